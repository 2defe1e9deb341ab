//! `cargo xtask e2e`: the scenarios of the package `e2e`, on a real engine and with the real command line.

use std::{env, fs, process::ExitCode, thread};

use anyhow::Context;
use pgherd_images::release::PostgresMajor;
use pgherd_orchestrator::Engine;
use tokio::runtime::Runtime;
use xshell::{Shell, cmd};

use crate::images;

/// Memory that a scenario may take: most are one primary and two replicas, one is a primary and sixteen.
const GIBIBYTES_PER_SCENARIO: u64 = 2;

/// Scenarios wait more than they compute.
const SCENARIOS_PER_CORE: usize = 2;

/// Runs the end-to-end scenarios
#[derive(clap::Args)]
pub(crate) struct E2eArgs {
    /// Runs only scenarios whose name has this in it
    filter: Option<String>,
    /// Keeps what a failed scenario made, until the next run
    #[arg(long)]
    keep: bool,
    /// Runs this many scenarios side by side [default: by cores and memory]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
}

pub(crate) fn run(args: &E2eArgs) -> anyhow::Result<ExitCode> {
    // Taken before anything is compiled: that may put another file in this one's place.
    let xtask = env::current_exe().context("could not find out which program this is")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let engine = runtime.block_on(Engine::connect())?;
    runtime.block_on(images::ensure(&engine, PostgresMajor::DEFAULT))?;
    // What earlier runs left that were killed.
    sweep(&runtime, &engine)?;

    let sh = shell_in_workspace()?;
    let jobs = args.jobs.map_or_else(default_jobs, usize::from).to_string();
    let filter = &args.filter;
    let mut scenarios = cmd!(sh, "cargo test --quiet --package e2e --test e2e -- --test-threads {jobs} {filter...}");
    scenarios = scenarios.env("PGHERD_XTASK", xtask);
    if args.keep {
        scenarios = scenarios.env("PGHERD_E2E_KEEP", "1");
    }
    let passed = scenarios.quiet().run();
    if !args.keep {
        sweep(&runtime, &engine)?;
    }
    passed?;
    Ok(ExitCode::SUCCESS)
}

fn sweep(runtime: &Runtime, engine: &Engine) -> anyhow::Result<()> {
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

fn default_jobs() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let by_memory = usize::try_from(available_gibibytes() / GIBIBYTES_PER_SCENARIO).unwrap_or(usize::MAX);
    (cores * SCENARIOS_PER_CORE).min(by_memory).max(1)
}

/// As the kernel estimates it, <https://docs.kernel.org/filesystems/proc.html#meminfo>. On another system, enough for one scenario.
fn available_gibibytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes =
        meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.unwrap_or(0_u64) / (1024 * 1024)
}
