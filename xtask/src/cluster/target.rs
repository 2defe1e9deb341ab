//! A cluster or one of its nodes: their names never look alike.

use std::str::FromStr;

use pgherd_orchestrator::{ClusterName, InvalidName, NodeName};

#[derive(Clone)]
pub(super) enum Target {
    Cluster(ClusterName),
    Node(NodeName),
}

impl FromStr for Target {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Target::Node).or_else(|_| text.parse().map(Target::Cluster))
    }
}
