//! `cluster check`: the verdict in one line and an exit code, for those who ask by machine.

use std::{fmt::Write, process::ExitCode};

use anyhow::anyhow;
use clap::Args;
use pgherd_orchestrator::{ClusterName, Engine, Lookout, TimeSpan};
use pgherd_probe::{Finding, Health, NodeReport, NodeRole, Policy, Report};
use tokio::time::timeout;

use super::{NameArg, status};
use crate::output;

/// "Could not tell", in the order that Nagios gives to its words.
const NAGIOS_UNKNOWN: u8 = 3;

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    name: NameArg,
    /// Speaks as a plugin of Nagios: 0 OK, 1 WARNING for degraded, 2 CRITICAL for broken, 3 UNKNOWN, and performance data
    #[arg(long)]
    nagios: bool,
    /// How long it may take to tell
    #[arg(long, default_value = "10s", value_name = "SPAN")]
    timeout: TimeSpan,
}

pub(super) async fn check(engine: &Engine, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let name = &args.name.name;
    let mut lookout = Lookout::new(engine, name);
    let report = match timeout(args.timeout.into(), lookout.look_closely()).await {
        Ok(Ok(look)) => look.report,
        Ok(Err(error)) => return could_not_tell(args, error.into()),
        Err(_) => return could_not_tell(args, anyhow!("could not look at cluster \"{name}\" within {}", args.timeout)),
    };
    if args.nagios {
        output::line(nagios(name, &report, lookout.policy()))?;
        return Ok(ExitCode::from(nagios_code(report.health)));
    }
    output::line(summary(name, &report))?;
    Ok(status::exit_code(&report))
}

/// Fails, or says so in the words of Nagios.
pub(super) fn could_not_tell(args: &CheckArgs, error: anyhow::Error) -> anyhow::Result<ExitCode> {
    if !args.nagios {
        return Err(error);
    }
    output::line(format_args!("UNKNOWN - {}", one_line(&format!("{error:#}"))))?;
    Ok(ExitCode::from(NAGIOS_UNKNOWN))
}

/// The health, then the worst that was found, or what is there.
fn summary(cluster: &ClusterName, report: &Report) -> String {
    format!("cluster \"{cluster}\" is {}: {}", report.health, worst(report).unwrap_or_else(|| composition(report)))
}

fn worst(report: &Report) -> Option<String> {
    let of_cluster = report.findings.iter().map(|finding| (finding, finding.to_string()));
    let of_nodes = report.nodes.iter().flat_map(|node| node.findings.iter().map(move |f| (f, of_node(node, f))));
    let found: Vec<(&Finding, String)> = of_cluster.chain(of_nodes).collect();
    // The first of those that are equally bad.
    let (_, worst) = found.iter().rev().max_by_key(|(finding, _)| finding.health())?;
    let others = if found.len() > 1 { format!(" (and {} more)", found.len() - 1) } else { String::new() };
    Some(one_line(&format!("{worst}{others}")))
}

fn of_node(node: &NodeReport, finding: &Finding) -> String {
    format!("{} {finding}", node.node)
}

fn composition(report: &Report) -> String {
    let primaries: Vec<&str> =
        report.nodes.iter().filter(|node| node.role == Some(NodeRole::Primary)).map(|node| &*node.node).collect();
    let replicas: Vec<&NodeReport> = replicas(report).collect();
    let lag = replicas.iter().filter_map(|node| node.replay_lag_bytes).max();
    let lag = lag.map_or_else(String::new, |bytes| format!(", at most {bytes} bytes behind"));
    let plural = if replicas.len() == 1 { "replica streams" } else { "replicas stream" };
    format!("primary {}, {} {plural}{lag}", primaries.join(", "), replicas.len())
}

fn replicas(report: &Report) -> impl Iterator<Item = &NodeReport> {
    report.nodes.iter().filter(|node| node.role != Some(NodeRole::Primary))
}

/// The output of a plugin: the word, the line, and for every replica its lag in bytes and in milliseconds.
///
/// <https://www.monitoring-plugins.org/doc/guidelines.html#AEN201>
fn nagios(cluster: &ClusterName, report: &Report, policy: &Policy) -> String {
    let word = match report.health {
        Health::Healthy => "OK",
        Health::Degraded => "WARNING",
        Health::Broken => "CRITICAL",
    };
    // What follows a bar is performance data, so that a message has none.
    let mut text = format!("{word} - {}", summary(cluster, report).replace('|', "/"));
    let mut separator = " |";
    for node in replicas(report) {
        let value = |value: Option<u64>, unit: &str| value.map_or("U".to_owned(), |value| format!("{value}{unit}"));
        let (bytes, ms) = (value(node.replay_lag_bytes, "B"), value(node.replay_lag_ms, "ms"));
        let (max_bytes, max_ms) = (policy.max_replay_lag_bytes, policy.max_replay_lag_ms);
        // Writing to a string does not fail.
        let _ = write!(text, "{separator} {0}_lag={bytes};{max_bytes};;0 {0}_time={ms};{max_ms};;0", node.node);
        separator = "";
    }
    text
}

fn nagios_code(health: Health) -> u8 {
    match health {
        Health::Healthy => 0,
        Health::Degraded => 1,
        Health::Broken => 2,
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use pgherd_orchestrator::ClusterName;
    use pgherd_probe::{Observed, Policy, Report, assess};

    use super::{nagios, summary};

    fn told(nodes: &[&str]) -> String {
        let observed: Vec<Observed> =
            serde_json::from_str(include_str!("../../../crates/orchestrator/tests/observed.json")).expect("nodes");
        let observed: Vec<Observed> = observed.into_iter().filter(|o| nodes.contains(&&*o.node)).collect();
        let report: Report = assess(&Policy::default(), &observed);
        let name: ClusterName = "demo".parse().expect("a name");
        format!("{}\n{}", summary(&name, &report), nagios(&name, &report, &Policy::default()))
    }

    #[test]
    fn the_worst_comes_first_and_all_in_one_line() {
        insta::assert_snapshot!(told(&["demo-1", "demo-2", "demo-3", "demo-4", "demo-5"]), @r#"
        cluster "demo" is degraded: demo-3 is stopped: its container exited with code 137 (and 2 more)
        WARNING - cluster "demo" is degraded: demo-3 is stopped: its container exited with code 137 (and 2 more) | demo-2_lag=4096B;1073741824;;0 demo-2_time=1500ms;60000;;0 demo-3_lag=U;1073741824;;0 demo-3_time=U;60000;;0 demo-4_lag=0B;1073741824;;0 demo-4_time=0ms;60000;;0 demo-5_lag=4096B;1073741824;;0 demo-5_time=2000ms;60000;;0
        "#);
        insta::assert_snapshot!(told(&["demo-2", "demo-4"]), @r#"
        cluster "demo" is broken: no primary among 2 answering of 2 nodes (and 1 more)
        CRITICAL - cluster "demo" is broken: no primary among 2 answering of 2 nodes (and 1 more) | demo-2_lag=U;1073741824;;0 demo-2_time=U;60000;;0 demo-4_lag=0B;1073741824;;0 demo-4_time=0ms;60000;;0
        "#);
        insta::assert_snapshot!(told(&["demo-1"]), @r#"
        cluster "demo" is degraded: demo-1 has a slot "demo_3" of no known node: 33554432 bytes retained, extended (and 1 more)
        WARNING - cluster "demo" is degraded: demo-1 has a slot "demo_3" of no known node: 33554432 bytes retained, extended (and 1 more)
        "#);
    }
}
