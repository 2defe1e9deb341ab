//! The verbs that show: tables for people, JSON for programs.

use std::process::ExitCode;

use anyhow::bail;
use pgherd_orchestrator::{
    ClusterListing, ClusterName, Engine, Inventory, Observer, Refusal, connection_urls, list_clusters,
};
use pgherd_probe::{Health, NodeReport, Policy, Report, assess};
use serde::Serialize;

use crate::output::{self, Format};

/// Degraded or broken, as opposed to failed.
const EXIT_DEGRADED: u8 = 3;

pub(super) async fn status(engine: &Engine, name: &ClusterName, format: Format) -> anyhow::Result<ExitCode> {
    print(&observe_existing(engine, name).await?, format)
}

pub(super) async fn url(engine: &Engine, name: &ClusterName, format: Format) -> anyhow::Result<ExitCode> {
    let urls = connection_urls(engine, &observe_existing(engine, name).await?).await?;
    match format {
        Format::Json => output::json(&urls)?,
        Format::Table => output::line(urls.outside.unwrap_or(urls.inside))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn observe_existing(engine: &Engine, name: &ClusterName) -> anyhow::Result<Inventory> {
    let observed = Observer::new(engine, name).observe().await?;
    if observed.is_empty() {
        bail!(Refusal::NoSuchCluster(name.clone()));
    }
    Ok(observed)
}

/// The report with the name of what it is about.
#[derive(Serialize)]
struct ClusterReport<'a> {
    cluster: &'a ClusterName,
    #[serde(flatten)]
    report: &'a Report,
}

/// Prints the verdict and returns the exit code that it deserves.
pub(super) fn print(observed: &Inventory, format: Format) -> anyhow::Result<ExitCode> {
    let report = assess(&Policy::default(), &observed.observed());
    let printed = match format {
        Format::Json => output::json(&ClusterReport { cluster: &observed.name, report: &report }),
        Format::Table => print_table(&report),
    };
    match printed {
        // The verdict stands, whether or not anybody has read it to the end.
        Err(error) if !output::reader_is_gone(&error) => Err(error),
        _ if report.health == Health::Healthy => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::from(EXIT_DEGRADED)),
    }
}

fn print_table(report: &Report) -> anyhow::Result<()> {
    let header = ["NODE", "ROLE", "STATE", "TL", "LSN", "LAG", "TIME", "SLOT", "UPSTREAM", "SENDER", "RECEIVER"];
    output::table(header, report.nodes.iter().map(row))?;
    for finding in &report.findings {
        output::line(format_args!("{finding}\nhint: {}", finding.hint()))?;
    }
    for node in &report.nodes {
        for finding in &node.findings {
            output::line(format_args!("{}: {finding}\nhint: {}", node.node, finding.hint()))?;
        }
        for note in &node.notes {
            output::line(format_args!("{}: {note} (a note)\nhint: {}", node.node, note.hint()))?;
        }
    }
    Ok(())
}

fn row(node: &NodeReport) -> [String; 11] {
    fn text<T: ToString>(value: Option<&T>) -> String {
        value.map_or_else(|| "-".to_owned(), T::to_string)
    }
    [
        node.node.clone(),
        text(node.role.as_ref()),
        node.state.to_string(),
        text(node.timeline.as_ref()),
        text(node.lsn.as_ref()),
        node.replay_lag_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes} B")),
        node.replay_lag_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
        text(node.slot.as_ref()),
        text(node.upstream.as_ref()),
        // Both ends in PostgreSQL's own words: pg_stat_replication there, pg_stat_wal_receiver here.
        text(node.sender.as_ref().and_then(|sender| sender.state.as_ref())),
        text(node.receiver.as_ref().and_then(|receiver| receiver.status.as_ref())),
    ]
}

pub(super) async fn list(engine: &Engine, format: Format) -> anyhow::Result<ExitCode> {
    let clusters = list_clusters(engine).await?;
    if format == Format::Json {
        output::json(&clusters)?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |cluster: ClusterListing| {
        [
            cluster.name.to_string(),
            cluster.major.map_or_else(|| "-".to_owned(), |major| major.to_string()),
            cluster.nodes.to_string(),
            cluster.running.to_string(),
        ]
    };
    output::table(["NAME", "VERSION", "NODES", "RUNNING"], clusters.into_iter().map(row))?;
    Ok(ExitCode::SUCCESS)
}
