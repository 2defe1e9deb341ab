//! `cargo xtask e2e`: the scenarios of the package `e2e`, on a real engine and with the real command line.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::Context;
use pgherd_images::release::PostgresMajor;
use pgherd_orchestrator::Engine;
use serde_json::Value;
use tokio::runtime::Runtime;
use xshell::{Shell, cmd};

use crate::images;

/// Runs the end-to-end scenarios
///
/// Results are in target/e2e: junit.xml, and a bundle for each failure. Exit codes: 0 all passed, 1 some failed, 2 wrong
/// usage, or no scenario was selected.
#[derive(clap::Args)]
pub(crate) struct E2eArgs {
    /// Runs only scenarios whose name has this in it; "ls" lists them instead
    filter: Option<String>,
    /// Runs the long ones, too
    #[arg(long)]
    all: bool,
    /// Keeps what a failed scenario made, until the next run
    #[arg(long)]
    keep: bool,
    /// Shuffles the scenarios, the same way for the same seed
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Runs this many scenarios side by side at most [default: by cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Ends a scenario that takes longer than this [default: 600]
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// The major version of PostgreSQL that the scenarios are played on
    #[arg(long, default_value_t = PostgresMajor::DEFAULT)]
    version: PostgresMajor,
}

impl E2eArgs {
    fn lists(&self) -> bool {
        self.filter.as_deref() == Some("ls")
    }

    /// The same for the runner, which has these options, too.
    fn for_runner(&self) -> Vec<String> {
        let flag = |name: &str, is_set: bool| is_set.then(|| format!("--{name}"));
        let option = |name: &str, value: Option<String>| value.map(|value| format!("--{name}={value}"));
        [
            flag("all", self.all),
            flag("keep", self.keep),
            option("shuffle", self.shuffle.map(|seed| seed.to_string())),
            option("jobs", self.jobs.map(|jobs| jobs.to_string())),
            option("limit", self.limit.map(|seconds| seconds.to_string())),
            option("version", Some(self.version.to_string())),
            self.filter.clone(),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

pub(crate) fn run(args: &E2eArgs) -> anyhow::Result<ExitCode> {
    // Taken before anything is compiled: that may put another file in this one's place.
    let xtask = env::current_exe().context("could not find out which program this is")?;
    let sh = shell_in_workspace()?;
    let [runner, probe] = build(&sh)?;
    let mut runner = Command::new(runner);
    runner.args(args.for_runner()).envs([("PGHERD_XTASK", xtask), ("PGHERD_PROBE", probe)]);
    runner.env("INSTA_WORKSPACE_ROOT", sh.current_dir());
    if args.lists() {
        return exit_code(&mut runner);
    }
    let runtime = Runtime::new()?;
    let engine = runtime.block_on(Engine::connect())?;
    runtime.block_on(images::ensure(&engine, args.version))?;
    runtime.block_on(images::ensure_toolbox(&engine))?;
    runtime.block_on(images::ensure_peers(&engine, args.version))?;
    runtime.block_on(images::ensure_compose(&engine))?;
    // What earlier runs left that were killed.
    sweep(&runtime, &engine)?;
    let ended = exit_code(&mut runner);
    if !args.keep {
        sweep(&runtime, &engine)?;
    }
    ended
}

/// Compiles the scenarios and the probe's command, which is no part of this one, and says where both programs are.
fn build(sh: &Shell) -> anyhow::Result<[PathBuf; 2]> {
    let what = ["--package", "e2e", "--test", "e2e", "--package", "pgherd-probe", "--bin", "pgherd-probe"];
    let build = cmd!(sh, "cargo build --quiet {what...} --features pgherd-probe/cli");
    let messages = build.arg("--message-format=json-render-diagnostics").quiet().read()?;
    let messages: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let program = |name: &str| {
        let mut of_target = messages.iter().filter(|message| message["target"]["name"] == name);
        let program = of_target.find_map(|message| message["executable"].as_str().map(PathBuf::from));
        program.with_context(|| format!("cargo has built no program \"{name}\""))
    };
    Ok([program("e2e")?, program("pgherd-probe")?])
}

fn exit_code(runner: &mut Command) -> anyhow::Result<ExitCode> {
    let status = runner.status().context("could not run the scenarios")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Removes what dead runs left.
pub(crate) fn sweep(runtime: &Runtime, engine: &Engine) -> anyhow::Result<()> {
    for removed in runtime.block_on(pgherd_orchestrator::sweep(engine))? {
        eprintln!("removed {removed}, which a dead run had left");
    }
    Ok(())
}

/// A shell that stands where this workspace's `Cargo.toml` is, wherever its user stands.
pub(crate) fn shell_in_workspace() -> anyhow::Result<Shell> {
    let sh = Shell::new()?;
    sh.change_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    Ok(sh)
}
