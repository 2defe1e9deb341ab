//! pgherd's command line: one match, one file for each command.

mod application;
mod bench;
mod ci;
mod cluster;
mod drill;
mod e2e;
mod ground;
mod images;
mod output;
mod progress;
#[cfg(test)]
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Stamps out PostgreSQL streaming-replication clusters in Docker
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 degraded or broken.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Images(images::ImagesArgs),
    Cluster(cluster::ClusterArgs),
    E2e(e2e::E2eArgs),
    Bench(bench::BenchArgs),
    Drill(drill::DrillArgs),
    Ci(ci::CiArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("PGHERD_LOG"))
        .with_writer(std::io::stderr)
        .init();
    end_with_test_run();
    let result = match &arguments.command {
        Command::Images(args) => images::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::E2e(args) => e2e::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Drill(args) => drill::run(args),
        Command::Ci(args) => ci::run(args),
    };
    result.unwrap_or_else(|error| {
        if output::reader_is_gone(&error) {
            return ExitCode::SUCCESS;
        }
        output::note(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

/// What a test run starts ends with it, also where that is killed: nothing is made any more that nobody would remove.
fn end_with_test_run() {
    if std::env::var_os("PGHERD_OWNER").is_some() {
        // Without it, the next run sweeps a little more.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    }
}
