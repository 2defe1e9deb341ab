//! Where nodes parted: the histories of their timelines, compared by content, because two promotions can have one number.

use std::{cmp::Reverse, collections::BTreeSet};

use crate::{Finding, History, NodeStatus, Switch, assess::Answered};

/// What is certain about the nodes that answered, against the one that all others should follow.
#[derive(Default)]
pub(crate) struct Forks<'a> {
    /// Where the first primary parted from the last one.
    pub(crate) of_primaries: Option<Switch>,
    /// Replicas that cannot follow any more.
    pub(crate) of_replicas: Vec<Finding>,
    /// All who have parted.
    pub(crate) apart: BTreeSet<&'a str>,
}

pub(crate) fn forks<'a>(answered: &Answered<'a>) -> Forks<'a> {
    let rank = |(node, status): &(&'a str, &'a NodeStatus)| {
        (!status.in_recovery(), status.timeline, status.lsn.visible(), Reverse(*node))
    };
    let Some((trunk, trunk_status)) = answered.iter().max_by_key(rank) else { return Forks::default() };
    let mut forks = Forks::default();
    for (node, status) in answered.iter() {
        let Some(fork) = fork(status, trunk_status) else { continue };
        if !status.in_recovery() {
            forks.of_primaries = Some(forks.of_primaries.map_or(fork, |first| first.min(fork)));
        } else if is_beyond(status, fork) && is_beyond(trunk_status, fork) {
            forks.of_replicas.push(Finding::Forked {
                node: node.to_owned(),
                timeline: status.timeline,
                lsn: status.lsn.visible(),
                from: trunk.to_owned(),
                fork,
            });
        } else {
            continue;
        }
        forks.apart.insert(node);
    }
    forks
}

/// `None` where one follows the other, and where a history is unknown.
fn fork(ours: &NodeStatus, theirs: &NodeStatus) -> Option<Switch> {
    if ours.system_identifier != theirs.system_identifier {
        return None;
    }
    History::fork((ours.history.as_ref()?, ours.timeline), (theirs.history.as_ref()?, theirs.timeline))
}

/// Whether a node has something that only one of the branches has. One that has not can still follow the other branch.
fn is_beyond(status: &NodeStatus, fork: Switch) -> bool {
    status.timeline != fork.timeline || status.timeline_lsn > Some(fork.at)
}
