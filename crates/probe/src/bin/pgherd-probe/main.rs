//! `pgherd-probe`: the verdict on servers, anybody's, by their connection strings.

mod probe;
mod target;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use futures_util::future::join_all;
use pgherd_probe::{Health, Observed, Policy, Reach, Report, Watch, assess};
use tokio::time::{MissedTickBehavior, interval};

use crate::{probe::Prober, target::Target};

/// No server said anything to judge.
const EXIT_UNKNOWN: u8 = 1;
const EXIT_USAGE: u8 = 2;
/// Degraded or broken, as opposed to failed.
const EXIT_DEGRADED: u8 = 3;

/// Says what PostgreSQL servers are doing, and whether they replicate.
///
/// Name all servers of a cluster, each as in cluster_name: a stream is looked at from both its ends. The strings are those
/// of libpq, with PGPASSFILE and other variables; a password is better in a password file, where nobody sees it.
///
/// Exit codes: 0 healthy, 3 degraded or broken, 1 no server could be asked, 2 wrong usage.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// "host=… user=…" of one server, or NAME="host=… user=…" of each
    #[arg(required = true, value_name = "[NAME=]CONNINFO")]
    servers: Vec<Target>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Looks again every so many seconds, until it is interrupted
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    watch: Option<Duration>,
    /// How long a server may take to be connected to, and then to answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    timeout: Duration,
}

/// For people or for programs.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|time| !time.is_zero()).ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = target::check(&arguments.servers) {
        note(&format!("error: {error}"));
        return ExitCode::from(EXIT_USAGE);
    }
    let mut probes: Vec<Prober> =
        arguments.servers.into_iter().map(|target| Prober::new(target, arguments.timeout)).collect();
    let mut rounds = arguments.watch.map(|every| {
        let mut rounds = interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rounds
    });
    let start = Instant::now();
    let now_ms = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut watch = Watch::default();
    loop {
        if let Some(rounds) = &mut rounds {
            rounds.tick().await;
        }
        let began_ms = now_ms();
        let mut observed = join_all(probes.iter_mut().map(Prober::observe)).await;
        watch.look(began_ms..now_ms(), &mut observed);
        for remark in probes.iter_mut().flat_map(Prober::take_remarks) {
            note(&remark);
        }
        let report = assess(&Policy::default(), &observed);
        let printed = print(&report, arguments.format, rounds.is_some());
        if rounds.is_none() || printed.is_err() {
            return exit_code(&observed, &report);
        }
    }
}

/// Prints the verdict: alone, or one of many.
fn print(report: &Report, format: Format, is_watching: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match (format, is_watching) {
        (Format::Text, false) => write!(out, "{report}"),
        (Format::Text, true) => writeln!(out, "{report}"),
        (Format::Json, false) => writeln!(out, "{}", serde_json::to_string_pretty(report)?),
        // One line each, for a reader that takes them one by one.
        (Format::Json, true) => writeln!(out, "{}", serde_json::to_string(report)?),
    }?;
    out.flush()
}

/// The verdict stands, whether or not anybody has read it to the end.
fn exit_code(observed: &[Observed], report: &Report) -> ExitCode {
    let said = |node: &Observed| matches!(node.reach, Reach::Answered(_) | Reach::Starting { .. });
    match report.health {
        Health::Healthy => ExitCode::SUCCESS,
        _ if observed.iter().any(said) => ExitCode::from(EXIT_DEGRADED),
        _ => ExitCode::from(EXIT_UNKNOWN),
    }
}

/// Tells something beside the result, on standard error. Nobody listening there is no reason to stop.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
