//! Judges what the nodes of one cluster said: no IO, no clock, and a reason for everything.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Finding, Health, NodeLsn, NodeReport, NodeRole, NodeState, NodeStatus, Primary, Report, Value, cascade, drift,
    fork, replica, slots, synchronous, upkeep,
};

/// Where good ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A replica may be this far behind its upstream, in bytes of write-ahead log.
    pub max_replay_lag_bytes: u64,
    /// A replica may be this far behind its upstream, in milliseconds.
    pub max_replay_lag_ms: u64,
    /// An upstream may not have heard from a replica for this long, in milliseconds, or for two and a half times the
    /// replica's own `wal_receiver_status_interval` where that is longer.
    ///
    /// Of a replica without such an interval, or with an unknown one, no silence is too long. A receiver that is at work or
    /// waits for its disk replies late, and has `max_busy_stall_ms` on top.
    pub max_reply_age_ms: u64,
    /// A replica may stand still for this long, in milliseconds, while there is something to be received or replayed.
    ///
    /// Only where [`Watch`](crate::Watch) has filled in for how long it does, and where the process that stands still
    /// says that it waits for more.
    pub max_stall_ms: u64,
    /// The same where the process is at work, or waits for its disk: a single record or flush may take its time. And for so long may a
    /// heartbeat's commit.
    pub max_busy_stall_ms: u64,
    /// A query may hold replay up for this long, in milliseconds.
    pub max_conflict_ms: u64,
    /// A volume is nearly full if it has less than this free, in bytes, and in hundredths of its size.
    pub min_free_bytes: u64,
    /// The other half of that rule: a large volume is not full at a tenth, a small one not below some gigabytes.
    pub min_free_percent: u64,
    /// Transaction ids may get this old, in transactions, or 1.05 times `autovacuum_freeze_max_age` where that is more.
    pub max_transaction_age: u64,
    /// Checksum failures that are older than this, in milliseconds, are mentioned only: nobody resets the counters.
    pub max_checksum_failure_age_ms: u64,
}

impl Default for Policy {
    /// Wide enough for a bulk load on a small machine that is busy with other things; 1 GiB is also the default
    /// `max_wal_size`. PostgreSQL's own interval of replies, 10 s, makes 25 s of the 3 s. Of two billion transaction ids PostgreSQL itself warns of the last forty million; one billion is five
    /// times the age at which autovacuum begins.
    fn default() -> Self {
        Policy {
            max_replay_lag_bytes: 1 << 30,
            max_replay_lag_ms: 60_000,
            max_reply_age_ms: 3_000,
            max_stall_ms: 1_500,
            max_busy_stall_ms: 5_000,
            max_conflict_ms: 10_000,
            min_free_bytes: 5 << 30,
            min_free_percent: 10,
            max_transaction_age: 1_000_000_000,
            max_checksum_failure_age_ms: 7 * 24 * 60 * 60 * 1_000,
        }
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

impl Observed {
    /// What it says, where it answered.
    #[must_use]
    pub fn status(&self) -> Option<&NodeStatus> {
        self.reach.status()
    }

    /// Whom it receives from, else whom it should receive from.
    #[must_use]
    pub fn upstream(&self) -> Option<&str> {
        let receiver = self.status().and_then(|status| status.receiver.as_ref());
        receiver.and_then(|receiver| receiver.sender_host.as_deref()).or(self.expected_upstream.as_deref())
    }
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

impl Reach {
    /// What it said, where it answered.
    #[must_use]
    pub fn status(&self) -> Option<&NodeStatus> {
        match self {
            Reach::Answered(status) => Some(status),
            _ => None,
        }
    }
}

/// Judges the nodes of one cluster.
///
/// A replica streams only if its upstream sees it *and* it sees its upstream *and* it replays: each end can be wrong
/// alone, and for hours.
#[must_use]
pub fn assess(policy: &Policy, observed: &[Observed]) -> Report {
    let answered = Answered::among(observed);
    let slots = slots::in_use(observed);
    let nodes: Vec<NodeReport> =
        observed.iter().map(|node| assess_node(policy, node, observed, &answered, &slots)).collect();
    let findings = assess_cluster(observed, &answered);
    let health = nodes.iter().map(|node| node.health).chain(findings.iter().map(Finding::health)).max();
    Report { schema: Report::SCHEMA, health: health.unwrap_or_default(), nodes, findings }
}

/// The nodes that answered, by name: a verdict must not depend on the order in which they did.
pub(crate) struct Answered<'a>(BTreeMap<&'a str, &'a NodeStatus>);

impl<'a> Answered<'a> {
    fn among(observed: &'a [Observed]) -> Self {
        Answered(observed.iter().filter_map(|node| Some((node.node.as_str(), node.status()?))).collect())
    }

    pub(crate) fn get(&self, node: &str) -> Option<&'a NodeStatus> {
        self.0.get(node).copied()
    }

    fn without(&self, nodes: &BTreeSet<&str>) -> Self {
        Answered(self.iter().filter(|(node, _)| !nodes.contains(node)).collect())
    }

    /// What each node has, where they do not all have the same.
    fn differing<T: PartialEq>(&self, value: impl Fn(&NodeStatus) -> T) -> Option<Vec<Value<T>>> {
        let values = self.0.iter().map(|(node, status)| Value { node: (*node).to_owned(), value: value(status) });
        let values: Vec<Value<T>> = values.collect();
        values.windows(2).any(|pair| pair[0].value != pair[1].value).then_some(values)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a NodeStatus)> {
        self.0.iter().map(|(node, status)| (*node, *status))
    }

    /// The node that takes writes, where it is one.
    pub(crate) fn primary(&self) -> Option<(&'a str, &'a NodeStatus)> {
        let mut primaries = self.iter().filter(|(_, status)| !status.in_recovery());
        primaries.next().filter(|_| primaries.next().is_none())
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

fn assess_cluster(observed: &[Observed], answered: &Answered<'_>) -> Vec<Finding> {
    let (primaries, forks) = (answered.primaries(), fork::forks(answered));
    let primary = match primaries.len() {
        0 => Some(Finding::NoPrimary { answered: answered.0.len(), nodes: observed.len() }),
        1 => None,
        _ => Some(Finding::SplitBrain { primaries, fork: forks.of_primaries }),
    };
    // Whoever has parted for good is not on its way.
    let together = answered.without(&forks.apart);
    let differing = [
        answered.differing(|status| status.system_identifier).map(|nodes| Finding::SystemIdentifiersDiffer { nodes }),
        together.differing(|status| status.timeline).map(|nodes| Finding::TimelinesDiffer { nodes }),
        answered.differing(NodeStatus::major_version).map(|nodes| Finding::MajorVersionsDiffer { nodes }),
    ];
    let findings = primary.into_iter().chain(forks.of_replicas).chain(differing.into_iter().flatten());
    findings.chain(cascade::circles(observed)).collect()
}

fn assess_node(
    policy: &Policy,
    observed: &Observed,
    all: &[Observed],
    answered: &Answered<'_>,
    slots_in_use: &BTreeSet<String>,
) -> NodeReport {
    let mut report = match &observed.reach {
        Reach::Answered(status) if status.in_recovery() => replica::assess(policy, observed, status, answered),
        Reach::Answered(status) => assess_primary(policy, observed, status, all),
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
    if let Reach::Answered(status) = &observed.reach {
        report.findings.extend(slots::assess(status, slots_in_use));
        report.findings.extend(upkeep::assess(policy, status));
        report.findings.extend(drift::assess(status, answered));
    }
    (report.findings, report.notes) =
        report.findings.into_iter().partition(|finding| finding.health() > Health::Healthy);
    report.health = report.findings.iter().map(Finding::health).max().unwrap_or_default();
    report
}

fn assess_primary(policy: &Policy, observed: &Observed, status: &NodeStatus, all: &[Observed]) -> NodeReport {
    let unexpected = |upstream: &String| Finding::UnexpectedPrimary { expected_upstream: upstream.clone() };
    let max_ms = policy.max_busy_stall_ms;
    let stalled_ms = status.past.commit_stalled_ms.filter(|stalled_ms| *stalled_ms > max_ms);
    let stalled = stalled_ms.map(|stalled_ms| Finding::CommitStalled { stalled_ms, max_ms });
    let unexpected = observed.expected_upstream.iter().map(unexpected);
    NodeReport {
        role: Some(NodeRole::Primary),
        timeline: Some(status.timeline),
        lsn: status.lsn.visible(),
        upstream: None,
        findings: unexpected.chain(stalled).chain(synchronous::assess(status, &observed.node, all)).collect(),
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
            notes: Vec::new(),
        }
    }
}
