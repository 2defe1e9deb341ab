//! `cargo xtask bench`: how long it takes, and what it costs, beside how long and what another way does in the same run.

mod connection;
mod failover;
mod figures;
mod handle;
mod own;
mod probe;
mod rejoin;
mod scale;
mod up;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use pgherd_orchestrator::Replicas;

use crate::{
    ground::Ground,
    images::ImageArg,
    output::{Format, FormatArg},
};

use figures::Figures;

/// Measures pgherd beside other ways to the same end
#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    subject: Subject,
    #[command(flatten)]
    image: ImageArg,
}

#[derive(Subcommand)]
enum Subject {
    /// From nothing to a primary and two streaming replicas, in turn with the article's two scripts on the same PostgreSQL
    Up {
        /// How often each is measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
        rounds: u16,
        #[command(flatten)]
        format: FormatArg,
    },
    /// From the start of an old primary, which has what its successor has not, until it streams from that: by rewind, in turn
    /// with a new clone beside the same data
    Rejoin {
        /// How large its data directory is, in GB; the engine's disk has to hold about seven times as much
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=10))]
        gigabytes: u16,
        /// How often each is measured
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
        rounds: u16,
        #[command(flatten)]
        format: FormatArg,
    },
    /// From the order until another node takes writes, as a client sees it: after a crash, and in good order, in turn with a bare pg_promote
    Failover {
        /// How often each is measured
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
        rounds: u16,
        #[command(flatten)]
        format: FormatArg,
    },
    /// From nothing until a test's first question is answered: by a handle with one replica, in turn with a single node by the crate
    /// testcontainers on the same image, which is compiled first
    Handle {
        /// How often each is measured
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=20))]
        rounds: u16,
        #[command(flatten)]
        format: FormatArg,
    },
    /// From nothing to 1, 2, 4, 8 and more replicas, and once more when all stream: time, and the CPU and memory of this process
    Scale {
        /// The most replicas that are made
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=i64::from(Replicas::MAX)))]
        most: u16,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Of looking at nodes, over connections that are open: time, CPU, round trips, memory, and load beside that of pg_isready
    Probe {
        /// How many nodes there are
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=64))]
        nodes: u16,
        /// For how long each kind of load is measured, three times
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=600))]
        seconds: u16,
        #[command(flatten)]
        format: FormatArg,
    },
}

impl Subject {
    fn format(&self) -> Format {
        let (Subject::Up { format, .. }
        | Subject::Rejoin { format, .. }
        | Subject::Failover { format, .. }
        | Subject::Handle { format, .. }
        | Subject::Scale { format, .. }
        | Subject::Probe { format, .. }) = self;
        format.format
    }

    async fn measure(&self, ground: &Ground) -> anyhow::Result<Figures> {
        match *self {
            Subject::Up { rounds, .. } => up::measure(ground, rounds).await,
            Subject::Rejoin { gigabytes, rounds, .. } => rejoin::measure(ground, gigabytes, rounds).await,
            Subject::Failover { rounds, .. } => failover::measure(ground, rounds).await,
            Subject::Handle { rounds, .. } => handle::measure(ground, rounds).await,
            Subject::Scale { most, .. } => scale::measure(ground, most).await,
            Subject::Probe { nodes, seconds, .. } => probe::measure(ground, nodes, seconds).await,
        }
    }
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let measured = Ground::work("bench", &args.image, async |ground| args.subject.measure(ground).await)?;
    measured.print(args.subject.format())?;
    Ok(ExitCode::SUCCESS)
}
