//! `cargo xtask ci`: everything that has to hold before a change is taken, on a machine with cargo and a Docker engine.

mod dependencies;

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use pgherd_images::contract::labels;
use pgherd_orchestrator::Owner;
use xshell::{Shell, cmd};

use crate::e2e::shell_in_workspace;

/// Runs everything that has to hold before a change is taken
#[derive(clap::Args)]
pub(crate) struct CiArgs {}

/// What a stage needs: a shell in the workspace, and the path of this program.
struct Ground {
    sh: Shell,
    xtask: PathBuf,
}

type Stage = (&'static str, fn(&Ground) -> anyhow::Result<()>);

/// Cheap before dear, so that the first answer comes soon.
const STAGES: [Stage; 9] = [
    ("format", |on| Ok(cmd!(on.sh, "cargo fmt --all --check").run()?)),
    ("clippy", |on| {
        Ok(cmd!(on.sh, "cargo clippy --workspace --all-targets --features pgherd-probe/cli --quiet -- --deny warnings")
            .run()?)
    }),
    // Among others, each has what others ask of its dependencies.
    ("crates alone", |on| {
        for name in ["pgherd-images", "pgherd-probe", "pgherd-agent", "pgherd-orchestrator"] {
            cmd!(on.sh, "cargo clippy --package {name} --no-default-features --quiet -- --deny warnings").run()?;
        }
        Ok(())
    }),
    ("docs", |on| {
        let docs = cmd!(on.sh, "cargo doc --workspace --no-deps --quiet").env("RUSTDOCFLAGS", "--deny warnings");
        Ok(docs.run()?)
    }),
    ("dependencies", |on| dependencies::check(&on.sh)),
    // Each crate as it would be published. With verification it passes, too, but each is compiled with its own features and without the
    // workspace's profile, which takes two cores almost four minutes; that the crates compile is what the stages around this one say.
    ("packages", |on| {
        let crates =
            cmd!(on.sh, "cargo package --workspace --exclude xtask --exclude e2e --no-verify --allow-dirty --quiet");
        Ok(crates.run()?)
    }),
    ("unit tests", |on| {
        cmd!(on.sh, "cargo test --workspace --exclude e2e --features pgherd-probe/cli --quiet").run()?;
        // The scenarios' library, without the scenarios.
        cmd!(on.sh, "cargo test --package e2e --lib --quiet").run()?;
        Ok(cmd!(on.sh, "cargo test --package e2e --doc --quiet").run()?)
    }),
    ("end to end", |on| {
        let xtask = &on.xtask;
        cmd!(on.sh, "{xtask} e2e").run()?;
        // The same as libraries, in tests that know nothing of the runner.
        let alone = cmd!(on.sh, "cargo test --package e2e --test plain --test with_sqlx --quiet");
        Ok(alone.env("PGHERD_XTASK", xtask).run()?)
    }),
    ("nothing left", |on| nothing_left(&on.sh)),
];

pub(crate) fn run(_: &CiArgs) -> anyhow::Result<ExitCode> {
    // Taken before anything is compiled: that may put another file in this one's place.
    let xtask = env::current_exe().context("could not find out which program this is")?;
    let sh = shell_in_workspace()?;
    // A changed snapshot is an error here, not a file to look at later.
    sh.set_var("INSTA_UPDATE", "no");
    let ground = Ground { sh, xtask };

    let start = Instant::now();
    let mut times = Vec::new();
    for (name, stage) in STAGES {
        eprintln!("== {name}");
        let start_of_stage = Instant::now();
        stage(&ground).with_context(|| format!("ci: {name} failed"))?;
        times.push((name, start_of_stage.elapsed()));
    }
    for (name, time) in times {
        eprintln!("{name:<14}{:>8}", minutes(time));
    }
    eprintln!("ci: {} of {} stages passed in {}", STAGES.len(), STAGES.len(), minutes(start.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// Whatever a test makes carries its owner's label. What has a live owner is of another run on the same engine.
fn nothing_left(sh: &Shell) -> anyhow::Result<()> {
    let filter = format!("label={}", labels::OWNER);
    let mut left = Vec::new();
    for (list, name) in [(&["ps", "--all"][..], "Names"), (&["volume", "ls"], "Name"), (&["network", "ls"], "Name")] {
        let format = format!("{{{{.Label \"{}\"}}}} {{{{.{name}}}}}", labels::OWNER);
        let listed = cmd!(sh, "docker {list...} --filter {filter} --format {format}").quiet().read()?;
        let of_the_dead = listed.lines().filter_map(|line| line.split_once(' ')).filter(|(owner, _)| !is_alive(owner));
        left.extend(of_the_dead.map(|(_, name)| format!("{} {name}", list[0])));
    }
    if left.is_empty() { Ok(()) } else { bail!("left on the engine: {}", left.join(", ")) }
}

fn is_alive(owner: &str) -> bool {
    owner.parse::<Owner>().is_ok_and(|owner| owner.is_alive())
}

fn minutes(time: Duration) -> String {
    format!("{}m {:02}s", time.as_secs() / 60, time.as_secs() % 60)
}
