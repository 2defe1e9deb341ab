//! The verbs that show: tables for people, JSON for programs.

use std::process::ExitCode;

use anyhow::bail;
use pgherd_orchestrator::{
    ClusterListing, ClusterName, Engine, Inventory, Lookout, Observer, Refusal, connection_urls, list_clusters,
};
use pgherd_probe::{Health, NodeReport, Policy, Report, assess};
use serde::Serialize;

use crate::output::{self, Format, or_dash};

/// Degraded or broken, as opposed to failed.
const EXIT_DEGRADED: u8 = 3;

pub(super) async fn status(engine: &Engine, name: &ClusterName, format: Format) -> anyhow::Result<ExitCode> {
    show(name, &Lookout::new(engine, name).look().await?.report, format)
}

pub(super) async fn url(engine: &Engine, name: &ClusterName, format: Format) -> anyhow::Result<ExitCode> {
    let observed = Observer::new(engine, name).observe().await?;
    if observed.is_empty() {
        bail!(Refusal::NoSuchCluster(name.clone()));
    }
    let urls = connection_urls(engine, &observed).await?;
    match format {
        Format::Json => output::json(&urls)?,
        Format::Table => output::line(urls.outside.unwrap_or(urls.inside))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The report with the name of what it is about.
#[derive(Serialize)]
pub(super) struct ClusterReport<'a> {
    pub(super) cluster: &'a ClusterName,
    #[serde(flatten)]
    pub(super) report: &'a Report,
}

/// Judges what is there, prints the verdict and returns the exit code that it deserves.
pub(super) fn print(observed: &Inventory, format: Format) -> anyhow::Result<ExitCode> {
    show(&observed.name, &assess(&Policy::default(), &observed.observed()), format)
}

fn show(cluster: &ClusterName, report: &Report, format: Format) -> anyhow::Result<ExitCode> {
    let printed = match format {
        Format::Json => output::json(&ClusterReport { cluster, report }),
        Format::Table => output::line(text(report)),
    };
    match printed {
        // The verdict stands, whether or not anybody has read it to the end.
        Err(error) if !output::reader_is_gone(&error) => Err(error),
        _ => Ok(exit_code(report)),
    }
}

/// The exit code that a verdict deserves.
pub(super) fn exit_code(report: &Report) -> ExitCode {
    match report.health {
        Health::Healthy => ExitCode::SUCCESS,
        Health::Degraded | Health::Broken => ExitCode::from(EXIT_DEGRADED),
    }
}

/// The verdict for people: a row for each node, and below it what was found, with what to do.
pub(super) fn text(report: &Report) -> String {
    let header = ["NODE", "ROLE", "STATE", "TL", "LSN", "LAG", "TIME", "SLOT", "UPSTREAM", "SENDER", "RECEIVER"];
    let mut text = output::table_text(header, report.nodes.iter().map(row));
    for finding in &report.findings {
        text += &format!("\n{finding}\nhint: {}", finding.hint());
    }
    for node in &report.nodes {
        for finding in &node.findings {
            text += &format!("\n{}: {finding}\nhint: {}", node.node, finding.hint());
        }
        for note in &node.notes {
            text += &format!("\n{}: {note} (a note)\nhint: {}", node.node, note.hint());
        }
    }
    text
}

fn row(node: &NodeReport) -> [String; 11] {
    [
        node.node.clone(),
        or_dash(node.role),
        node.state.to_string(),
        or_dash(node.timeline),
        or_dash(node.lsn),
        or_dash(node.replay_lag_bytes.map(|bytes| format!("{bytes} B"))),
        or_dash(node.replay_lag_ms.map(|ms| format!("{ms} ms"))),
        or_dash(node.slot.as_ref()),
        or_dash(node.upstream.as_ref()),
        // Both ends in PostgreSQL's own words: pg_stat_replication there, pg_stat_wal_receiver here.
        or_dash(node.sender.as_ref().and_then(|sender| sender.state.as_ref())),
        or_dash(node.receiver.as_ref().and_then(|receiver| receiver.status.as_ref())),
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
