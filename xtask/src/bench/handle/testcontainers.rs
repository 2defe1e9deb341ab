//! The other way: a program of its own in `xtask/testcontainers`, so that nobody compiles that crate who does not measure.

use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::block_in_place,
};
use xshell::cmd;

use super::relay::Relay;
use crate::{e2e::shell_in_workspace, ground::Ground};

/// The program, which waits to be told of a volume.
pub(super) struct Starter {
    program: Child,
    volumes: ChildStdin,
    seconds: Lines<BufReader<ChildStdout>>,
    /// The program's way to the engine.
    _relay: Relay,
}

impl Starter {
    pub(super) async fn ready(ground: &Ground) -> anyhow::Result<Starter> {
        let sh = shell_in_workspace()?;
        let (manifest, target) = ("xtask/testcontainers/Cargo.toml", "target/testcontainers");
        block_in_place(|| {
            cmd!(sh, "cargo build --quiet --locked --manifest-path {manifest} --target-dir {target}").run()
        })?;
        let relay = Relay::open().await?;
        let mut program = Command::new(sh.current_dir().join(target).join("debug/start-by-testcontainers"))
            .args([&ground.image, &ground.owner.to_string()])
            .env("DOCKER_HOST", relay.host())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("could not run what was just compiled")?;
        let volumes = program.stdin.take().context("it has no input")?;
        let seconds = BufReader::new(program.stdout.take().context("it has no output")?).lines();
        Ok(Starter { program, volumes, seconds, _relay: relay })
    }

    /// Seconds until its node has answered. The volume is there before: images of ours declare none, and on the image's own file system
    /// PostgreSQL would be slower.
    pub(super) async fn measure(&mut self, ground: &Ground, round: u16) -> anyhow::Result<f64> {
        let volume = format!("bench-{}-testcontainers-{round}", std::process::id());
        ground.engine.create_volume(&volume, ground.labels()).await?;
        self.volumes.write_all(format!("{volume}\n").as_bytes()).await?;
        let seconds = self.seconds.next_line().await?.context("testcontainers has started no node: see above")?;
        seconds.parse().with_context(|| format!("it says \"{seconds}\""))
    }

    /// Has it remove what it has made.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.volumes);
        let status = self.program.wait().await?;
        ensure!(status.success(), "testcontainers has not removed its nodes: {status}");
        Ok(())
    }
}
