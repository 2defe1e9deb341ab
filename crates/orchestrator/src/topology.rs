//! Who follows whom. Pure: from what is asked and what was asked before to a tree with the primary at its root.

use std::collections::BTreeMap;

use pgherd_agent::Role;

use crate::{ClusterSpec, Inventory, NodeInventory, NodeName, Refusal};

/// The upstream of every node of `wanted` but the primary: the one that is asked for, else the one that it has, else the
/// primary. Who followed a former primary, or a node that goes, follows the primary.
///
/// # Errors
/// A [`Refusal`] where the primary is to follow somebody, somebody is to follow a node that is not there, or a chain does not end at
/// the primary.
pub(crate) fn upstreams(
    desired: &ClusterSpec,
    observed: &Inventory,
    primary: u16,
    wanted: &[u16],
) -> Result<BTreeMap<u16, u16>, Refusal> {
    let name = |number| observed.node_name(number);
    for (node, upstream) in &desired.upstreams {
        if *node == primary {
            return Err(Refusal::PrimaryFollowsNobody(name(*node)));
        }
        if !wanted.contains(node) {
            return Err(Refusal::NoSuchNode(name(*node)));
        }
        if !wanted.contains(upstream) {
            return Err(Refusal::NoSuchUpstream { node: name(*node), upstream: name(*upstream) });
        }
    }
    let was_primary = |number: &u16| observed.nodes.get(number).is_some_and(NodeInventory::is_asked_to_be_primary);
    let has = |number: &u16| {
        let found = observed.nodes.get(number)?.asked_upstream(observed)?;
        (found != *number && wanted.contains(&found) && !was_primary(&found)).then_some(found)
    };
    let replicas = wanted.iter().filter(|number| **number != primary);
    let upstream = |number: &u16| desired.upstreams.get(number).copied().or_else(|| has(number)).unwrap_or(primary);
    let upstreams: BTreeMap<u16, u16> = replicas.map(|number| (*number, upstream(number))).collect();
    for number in upstreams.keys() {
        if let Some(circle) = circle(*number, &upstreams) {
            return Err(Refusal::Circle(circle.into_iter().map(|number| name(number).to_string()).collect()));
        }
    }
    Ok(upstreams)
}

/// The nodes that follow each other, where going up from `start` never ends.
fn circle(start: u16, upstreams: &BTreeMap<u16, u16>) -> Option<Vec<u16>> {
    let mut seen = vec![start];
    let mut at = start;
    while let Some(upstream) = upstreams.get(&at) {
        if let Some(begin) = seen.iter().position(|number| number == upstream) {
            let mut members = seen.split_off(begin);
            members.sort_unstable();
            return Some(members);
        }
        seen.push(*upstream);
        at = *upstream;
    }
    None
}

impl NodeInventory {
    /// Whether it was asked to be the primary, whatever it is.
    pub(crate) fn is_asked_to_be_primary(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.role == Role::Primary)
    }

    /// The number of the node of this cluster that it was asked to follow.
    pub(crate) fn asked_upstream(&self, observed: &Inventory) -> Option<u16> {
        let upstream: NodeName = self.expected_upstream()?.parse().ok()?;
        (upstream.cluster == observed.name).then_some(upstream.number)
    }
}
