//! Replicas that stream from each other in a circle, which nothing new can enter.

use std::collections::BTreeMap;

use crate::{Finding, Observed};

/// Every circle once, from its first node by name.
pub(crate) fn circles(observed: &[Observed]) -> Vec<Finding> {
    let replicas = observed.iter().filter(|node| node.status().is_some_and(|status| status.in_recovery()));
    let upstreams: BTreeMap<&str, &str> =
        replicas.filter_map(|node| Some((node.node.as_str(), node.upstream()?))).collect();
    let circle = |first: &&str| circle(first, &upstreams);
    upstreams.keys().filter_map(circle).map(|nodes| Finding::Circle { nodes }).collect()
}

/// The nodes from `first` up to itself, if it is the first by name of a circle.
fn circle(first: &str, upstreams: &BTreeMap<&str, &str>) -> Option<Vec<String>> {
    let mut nodes = vec![first.to_owned()];
    let mut node = *upstreams.get(first)?;
    while node != first {
        // One before the first begins the circle; more nodes than there are go round in another one.
        if node < first || nodes.len() == upstreams.len() {
            return None;
        }
        nodes.push(node.to_owned());
        node = upstreams.get(node)?;
    }
    Some(nodes)
}
