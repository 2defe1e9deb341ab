//! Judges what the nodes of one cluster said: no IO, no clock, and a reason for everything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Finding, Health, NodeLsn, NodeReport, NodeRole, NodeState, NodeStatus, Primary, Report, Value, replica};

/// Where good ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A replica may be this far behind its upstream, in bytes of write-ahead log.
    pub max_replay_lag_bytes: u64,
    /// A replica may be this far behind its upstream, in milliseconds.
    pub max_replay_lag_ms: u64,
}

impl Default for Policy {
    /// Wide enough for a bulk load on a small machine; 1 GiB is also the default `max_wal_size`.
    fn default() -> Self {
        Policy { max_replay_lag_bytes: 1 << 30, max_replay_lag_ms: 60_000 }
    }
}

/// What is known about one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its name, which is also its `cluster_name` and the host name under which its downstreams reach it.
    pub node: String,
    /// The node that it should stream from. `None` for the primary, and where nothing is expected: then a replica is
    /// judged against whom it says that it streams from.
    pub expected_upstream: Option<String>,
    /// Whether it answered, and what.
    pub reach: Reach,
}

/// Whether a node answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It said this.
    Answered(Box<NodeStatus>),
    /// It runs, and says that it is not ready yet.
    Starting {
        /// What it is doing.
        reason: String,
    },
    /// It should run, and did not answer.
    Unreachable {
        /// The error.
        reason: String,
    },
    /// It does not run.
    Stopped {
        /// How that came, `exit code 137`.
        reason: String,
    },
    /// There is no such node.
    Missing,
}

/// Judges the nodes of one cluster.
///
/// A replica streams only if its upstream sees it *and* it sees its upstream *and* it replays: each end can be wrong
/// alone, and for hours.
#[must_use]
pub fn assess(policy: &Policy, observed: &[Observed]) -> Report {
    let answered = Answered::among(observed);
    let nodes: Vec<NodeReport> = observed.iter().map(|node| assess_node(policy, node, &answered)).collect();
    let findings = assess_cluster(observed.len(), &answered);
    let health = nodes.iter().map(|node| node.health).chain(findings.iter().map(Finding::health)).max();
    Report { schema: Report::SCHEMA, health: health.unwrap_or_default(), nodes, findings }
}

/// The nodes that answered, by name: a verdict must not depend on the order in which they did.
pub(crate) struct Answered<'a>(BTreeMap<&'a str, &'a NodeStatus>);

impl<'a> Answered<'a> {
    fn among(observed: &'a [Observed]) -> Self {
        let status = |node: &'a Observed| match &node.reach {
            Reach::Answered(status) => Some((node.node.as_str(), status.as_ref())),
            _ => None,
        };
        Answered(observed.iter().filter_map(status).collect())
    }

    pub(crate) fn get(&self, node: &str) -> Option<&'a NodeStatus> {
        self.0.get(node).copied()
    }

    /// What each node has, where they do not all have the same.
    fn differing<T: PartialEq>(&self, value: impl Fn(&NodeStatus) -> T) -> Option<Vec<Value<T>>> {
        let values = self.0.iter().map(|(node, status)| Value { node: (*node).to_owned(), value: value(status) });
        let values: Vec<Value<T>> = values.collect();
        values.windows(2).any(|pair| pair[0].value != pair[1].value).then_some(values)
    }

    fn primaries(&self) -> Vec<Primary> {
        let primary = |(node, status): (&&str, &&NodeStatus)| match status.lsn {
            NodeLsn::Primary { write, .. } => {
                Some(Primary { node: (*node).to_owned(), timeline: status.timeline, lsn: write })
            }
            NodeLsn::Replica { .. } => None,
        };
        self.0.iter().filter_map(primary).collect()
    }
}

fn assess_cluster(nodes: usize, answered: &Answered<'_>) -> Vec<Finding> {
    let primaries = answered.primaries();
    let primary = match primaries.len() {
        0 => Some(Finding::NoPrimary { answered: answered.0.len(), nodes }),
        1 => None,
        _ => Some(Finding::SplitBrain { primaries }),
    };
    [
        primary,
        answered.differing(|status| status.system_identifier).map(|nodes| Finding::SystemIdentifiersDiffer { nodes }),
        answered.differing(|status| status.timeline).map(|nodes| Finding::TimelinesDiffer { nodes }),
        answered.differing(NodeStatus::major_version).map(|nodes| Finding::MajorVersionsDiffer { nodes }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn assess_node(policy: &Policy, observed: &Observed, answered: &Answered<'_>) -> NodeReport {
    let mut report = match &observed.reach {
        Reach::Answered(status) if status.in_recovery() => replica::assess(policy, observed, status, answered),
        Reach::Answered(status) => assess_primary(observed, status),
        Reach::Starting { reason } => {
            silent(observed, NodeState::Starting, Finding::Starting { reason: reason.clone() })
        }
        Reach::Unreachable { reason } => {
            silent(observed, NodeState::Unreachable, Finding::Unreachable { reason: reason.clone() })
        }
        Reach::Stopped { reason } => silent(observed, NodeState::Stopped, Finding::Stopped { reason: reason.clone() }),
        Reach::Missing => silent(observed, NodeState::Missing, Finding::Missing),
    };
    if let Reach::Answered(status) = &observed.reach
        && !status.cluster_name.is_empty()
        && status.cluster_name != observed.node
    {
        report.findings.push(Finding::NameDiffers { cluster_name: status.cluster_name.clone() });
    }
    report.health = report.findings.iter().map(Finding::health).max().unwrap_or_default();
    report
}

fn assess_primary(observed: &Observed, status: &NodeStatus) -> NodeReport {
    let unexpected = |upstream: &String| Finding::UnexpectedPrimary { expected_upstream: upstream.clone() };
    NodeReport {
        role: Some(NodeRole::Primary),
        timeline: Some(status.timeline),
        lsn: status.lsn.visible(),
        upstream: None,
        findings: observed.expected_upstream.iter().map(unexpected).collect(),
        ..NodeReport::unknown(observed, NodeState::Running)
    }
}

fn silent(observed: &Observed, state: NodeState, finding: Finding) -> NodeReport {
    NodeReport { findings: vec![finding], ..NodeReport::unknown(observed, state) }
}

impl NodeReport {
    /// A row with all that is known of a node that says nothing.
    pub(crate) fn unknown(observed: &Observed, state: NodeState) -> NodeReport {
        NodeReport {
            node: observed.node.clone(),
            role: None,
            state,
            timeline: None,
            lsn: None,
            replay_lag_bytes: None,
            replay_lag_ms: None,
            slot: None,
            upstream: observed.expected_upstream.clone(),
            receiver: None,
            sender: None,
            health: Health::Healthy,
            findings: Vec::new(),
        }
    }
}
