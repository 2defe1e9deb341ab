//! What the verdict says, and its JSON form.

use std::fmt;

use serde::Serialize;

use crate::{Downstream, Finding, Lsn, Receiver, TimelineId, finding};

/// The verdict on a cluster.
///
/// Its JSON form is an interface: names are snake_case and end in their unit, an [`Lsn`] is text, what is unknown is
/// `null`, and [`Report::SCHEMA`] changes when a reader would have to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The version of this shape, [`Report::SCHEMA`].
    pub schema: u32,
    /// The worst of all findings, of the nodes' and of the cluster's.
    pub health: Health,
    /// A row for each node, in the order in which they were handed in.
    pub nodes: Vec<NodeReport>,
    /// What concerns the cluster as a whole.
    #[serde(serialize_with = "finding::serialize")]
    pub findings: Vec<Finding>,
}

impl Report {
    /// The version of the JSON form.
    pub const SCHEMA: u32 = 1;

    /// Whether there is exactly one primary, and every other node is its replica and streams as seen from both ends.
    ///
    /// Less than health: a replica that streams and lags is converged, for there is nothing left to set up.
    #[must_use]
    pub fn is_converged(&self) -> bool {
        self.findings.is_empty()
            && self.nodes.iter().all(|node| matches!(node.state, NodeState::Running | NodeState::Streaming))
    }
}

/// The verdict on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub node: String,
    /// What it is, `None` while it does not answer.
    pub role: Option<NodeRole>,
    /// What it is doing.
    pub state: NodeState,
    /// The timeline that it writes or receives.
    pub timeline: Option<TimelineId>,
    /// The end of what its queries see: written on a primary, replayed on a replica.
    pub lsn: Option<Lsn>,
    /// What its upstream has and this replica has not replayed.
    ///
    /// `None` on a primary, and where the upstream does not answer or has another history. The two ends are not asked
    /// at the same instant, so this is good to what was written in between: a replica that keeps up shows some bytes
    /// where it was asked first, and zero where it was asked last.
    pub replay_lag_bytes: Option<u64>,
    /// How long ago this replica and its upstream were the same, to the best of what can be known.
    ///
    /// Zero when everything is replayed, however long the upstream has been idle. While the upstream streams to it and
    /// hears from it, the lag that the upstream measured, or `None` when it measured none. Otherwise the age of the
    /// last replayed transaction, which is an upper bound: the upstream may have been idle after it. It is never less
    /// than the silence of a stream that is not heard of.
    pub replay_lag_ms: Option<u64>,
    /// The slot that a replica uses on its upstream.
    pub slot: Option<String>,
    /// Whom it receives from, else whom it should receive from.
    pub upstream: Option<String>,
    /// The receiving end of its stream, as the replica itself sees it.
    pub receiver: Option<Receiver>,
    /// The sending end of its stream, as its upstream sees it.
    pub sender: Option<Downstream>,
    /// The worst of its findings.
    pub health: Health,
    /// What is wrong with it.
    #[serde(serialize_with = "finding::serialize")]
    pub findings: Vec<Finding>,
    /// What is worth knowing, and as it should be.
    #[serde(serialize_with = "finding::serialize")]
    pub notes: Vec<Finding>,
}

/// How well a cluster does its job; of a node, how far its trouble takes the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// There is nothing to do.
    #[default]
    Healthy,
    /// It serves with less than it was given: redundancy, freshness, room or certainty.
    Degraded,
    /// Writes have nowhere to go, or more than one place, data are damaged, or a node is not of this cluster's history.
    Broken,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// It takes writes.
    Primary,
    /// It is in recovery.
    Replica,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// A primary that answers.
    Running,
    /// A replica that receives from the right upstream and replays, as seen from both ends.
    Streaming,
    /// A replica that would be streaming, but whose upstream still sends it what it missed.
    CatchingUp,
    /// A replica of which at least one end does not say that it streams.
    NotStreaming,
    /// On its way up, and without answers yet.
    Starting,
    /// It should answer, and does not.
    Unreachable,
    /// It was stopped, or has exited.
    Stopped,
    /// There is no such node.
    Missing,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Broken => "broken",
        })
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NodeRole::Primary => "primary",
            NodeRole::Replica => "replica",
        })
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            NodeState::Running => "running",
            NodeState::Streaming => "streaming",
            NodeState::CatchingUp => "catching up",
            NodeState::NotStreaming => "not streaming",
            NodeState::Starting => "starting",
            NodeState::Unreachable => "unreachable",
            NodeState::Stopped => "stopped",
            NodeState::Missing => "missing",
        })
    }
}
