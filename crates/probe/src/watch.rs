//! What one look cannot see: that something stands still. Pure; the caller has the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use serde::{Deserialize, Serialize};

use crate::{Lsn, NodeLsn, NodeStatus, Observed, Reach, SystemIdentifier, TimelineId};

/// What earlier looks at a node add to this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// For how long, at least, nothing was replayed, although something was there to be replayed.
    ///
    /// Zero while replay goes on, or has nothing to do. `None` on a primary, and where nobody has watched.
    pub replay_stalled_ms: Option<u64>,
    /// For how long, at least, nothing was received, although the upstream had more on the same timeline.
    pub receive_stalled_ms: Option<u64>,
    /// For how long, at least, nothing could be committed, although it was tried. Zero where the last try came to a good end.
    ///
    /// `None` where nobody tries, for that is to write: an orchestrator's heartbeat does, and fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_stalled_ms: Option<u64>,
}

/// Remembers where every node stood still.
///
/// ```
/// use pgherd_probe::{Observed, Watch};
///
/// let mut watch = Watch::default();
/// # fn observe_all() -> Vec<Observed> { Vec::new() }
/// # fn clock_ms() -> u64 { 0 }
/// # for _ in 0..3 {
/// let began_ms = clock_ms();
/// let mut observed = observe_all();
/// watch.look(began_ms..clock_ms(), &mut observed);
/// // assess(&policy, &observed)
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Watch(BTreeMap<String, Memory>);

/// Of one node.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    replay: Option<Standstill>,
    receive: Option<Standstill>,
}

/// A position with something after it, at which a server has been seen.
#[derive(Debug, Clone, Copy)]
struct Standstill {
    at: Lsn,
    since_ms: u64,
}

/// How far a server can send, and on which history.
type Sendable = (SystemIdentifier, TimelineId, Lsn);

impl Watch {
    /// Fills [`NodeStatus::past`] of the nodes that answered, and remembers them.
    ///
    /// `during_ms` is from when the first was asked to when the last had answered, in milliseconds on a clock that only
    /// goes forward. A time that is filled in is the least that it can be, so that slow answers feign no standstill.
    pub fn look(&mut self, during_ms: Range<u64>, observed: &mut [Observed]) {
        let names: BTreeSet<&str> = observed.iter().map(|node| node.node.as_str()).collect();
        self.0.retain(|node, _| names.contains(node.as_str()));
        let sendable = |node: &Observed| Some((node.node.clone(), sendable(node.status()?)?));
        let sendable: BTreeMap<String, Sendable> = observed.iter().filter_map(sendable).collect();
        for node in observed {
            let upstream = node.upstream().and_then(|upstream| sendable.get(upstream)).copied();
            // A node that does not answer is remembered: if it comes back where it was, it has not moved.
            let Reach::Answered(status) = &mut node.reach else { continue };
            let memory = self.0.entry(node.node.clone()).or_default();
            status.past = memory.look(&during_ms, status, upstream);
        }
    }
}

impl Memory {
    fn look(&mut self, during_ms: &Range<u64>, status: &NodeStatus, upstream: Option<Sendable>) -> Past {
        let NodeLsn::Replica { receive, replay } = status.lsn else {
            *self = Memory::default();
            return Past::default();
        };
        let sent = upstream
            .filter(|(system, timeline, _)| (*system, *timeline) == (status.system_identifier, status.timeline))
            .map(|(_, _, end)| end);
        Past {
            replay_stalled_ms: Standstill::look(&mut self.replay, during_ms, replay, receive, has_a_record),
            receive_stalled_ms: Standstill::look(&mut self.receive, during_ms, receive, sent, |_, _| true),
            commit_stalled_ms: None,
        }
    }
}

impl Standstill {
    /// For how long a server has been `at` a place although it could have gone `to` another one; `None` if either is
    /// unknown. It begins when it is sure that it could.
    fn look(
        memory: &mut Option<Self>,
        during_ms: &Range<u64>,
        at: Option<Lsn>,
        to: Option<Lsn>,
        is_sure: fn(Lsn, Lsn) -> bool,
    ) -> Option<u64> {
        let before = memory.take();
        let (at, to) = (at?, to?);
        let begins = || (at < to && is_sure(at, to)).then_some(Self { at, since_ms: during_ms.end });
        *memory = before.filter(|before| before.at == at && at < to).or_else(begins);
        Some(memory.as_ref().map_or(0, |standstill| during_ms.start.saturating_sub(standstill.since_ms)))
    }
}

/// Whether a whole record is sure to lie between `replay` and `receive`.
///
/// A primary that is not committing flushes, and so sends, by pages: the first part of a record can be a quarter of a
/// minute ahead of the rest. No usual record is larger than 32 pages, which is what building an index logs at once.
fn has_a_record(replay: Lsn, receive: Lsn) -> bool {
    const PAGE: u64 = 8192;
    !receive.0.is_multiple_of(PAGE) || receive.bytes_since(replay) > 64 * PAGE
}

/// A primary sends what is durable.
fn sendable(status: &NodeStatus) -> Option<Sendable> {
    let end = match status.lsn {
        NodeLsn::Primary { flush, .. } => flush,
        NodeLsn::Replica { .. } => status.lsn.end()?,
    };
    Some((status.system_identifier, status.timeline, end))
}
