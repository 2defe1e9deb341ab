//! `cluster status --watch`: the verdict again and again, over connections that stay open.

use std::{io::IsTerminal, pin::pin, process::ExitCode, time::Duration};

use clap::Args;
use crossterm::{
    cursor::MoveTo,
    queue,
    terminal::{Clear, ClearType},
};
use pgherd_orchestrator::{ClusterName, Engine, Lookout};
use pgherd_probe::Report;
use tokio::{
    signal::ctrl_c,
    time::{MissedTickBehavior, interval},
};

use super::status::{self, ClusterReport};
use crate::output::{self, Format};

#[derive(Args)]
pub(super) struct WatchArgs {
    /// Looks again after so many seconds, until ctrl-c; the exit code is then that of the last look
    ///
    /// On a terminal the picture is drawn anew each time. With "--format json", every look is one line.
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds_or_hint)]
    pub(super) watch: Option<Duration>,
    /// Ends by itself after so many looks
    #[arg(long, value_name = "LOOKS", requires = "watch", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Commits a few bytes without effect on the primary at each look: one that answers may hang with all commits
    #[arg(long, requires = "watch")]
    heartbeat: bool,
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "it is not a number of seconds from 0.1 to 86400".to_owned())
}

/// Whatever follows is taken for the seconds.
fn seconds_or_hint(text: &str) -> Result<Duration, String> {
    seconds(text).map_err(|error| format!("{error}\nhint: The name of a cluster stands before \"--watch\"."))
}

pub(super) async fn watch(
    engine: &Engine,
    name: &ClusterName,
    format: Format,
    every: Duration,
    args: &WatchArgs,
) -> anyhow::Result<ExitCode> {
    let mut lookout = Lookout::new(engine, name);
    if args.heartbeat {
        lookout = lookout.with_heartbeat();
    }
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupted = pin!(ctrl_c());
    // Whoever interrupts before the first look knows nothing.
    let mut verdict = ExitCode::FAILURE;
    for _ in 0..args.count.unwrap_or(u32::MAX) {
        let look = async {
            ticks.tick().await;
            lookout.look().await
        };
        let report = tokio::select! {
            _ = &mut interrupted => break,
            look = look => look?.report,
        };
        verdict = status::exit_code(&report);
        match draw(name, &report, format) {
            Err(error) if output::reader_is_gone(&error) => break,
            drawn => drawn?,
        }
    }
    Ok(verdict)
}

fn draw(cluster: &ClusterName, report: &Report, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json_line(&ClusterReport { cluster, report }),
        Format::Table if std::io::stdout().is_terminal() => redraw(cluster, report),
        Format::Table => output::line(format_args!("{}\n", status::text(report))),
    }
}

/// Draws over what is there, line by line, so that nothing flickers.
fn redraw(cluster: &ClusterName, report: &Report) -> anyhow::Result<()> {
    let mut screen = Vec::new();
    queue!(screen, MoveTo(0, 0))?;
    for line in format!("cluster \"{cluster}\" is {}\n\n{}", report.health, status::text(report)).lines() {
        screen.extend_from_slice(line.as_bytes());
        queue!(screen, Clear(ClearType::UntilNewLine))?;
        screen.extend_from_slice(b"\r\n");
    }
    queue!(screen, Clear(ClearType::FromCursorDown))?;
    output::write_through(&screen)
}
