//! The changes that a plan is made of. A step says everything; whoever applies it decides nothing.

use std::fmt;

use pgherd_agent::{NodeSpec, Role};
use serde::Serialize;

use crate::NodeName;

/// One change on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Creates the cluster's network.
    CreateNetwork,
    /// Creates the volume that the nodes share their secrets on.
    CreateSecretsVolume,
    /// Creates the node's own volume.
    CreateVolume(NodeName),
    /// Creates the node's container, on the host's port if one is given.
    CreateContainer(NodeName, Option<u16>),
    /// Leaves the node's specification on its volume, before its first start.
    PlaceSpec(NodeName, NodeSpec),
    /// Starts the node's container.
    Start(NodeName),
    /// Drops the slot of `node` on its upstream, so that the upstream keeps no log for it.
    DropSlot {
        /// The node that used it.
        node: NodeName,
        /// The node that has it.
        upstream: NodeName,
    },
    /// Removes the node's container.
    RemoveContainer(NodeName),
    /// Removes the node's volume, and with it its data.
    RemoveVolume(NodeName),
}

impl Step {
    /// The node that the step works on; `None` if it concerns all of them.
    ///
    /// Steps of different nodes are independent and run at once. A step of all nodes waits for those before it, and those
    /// after it wait for it.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Step::CreateNetwork | Step::CreateSecretsVolume => None,
            Step::CreateVolume(node)
            | Step::CreateContainer(node, _)
            | Step::PlaceSpec(node, _)
            | Step::Start(node)
            | Step::DropSlot { node, .. }
            | Step::RemoveContainer(node)
            | Step::RemoveVolume(node) => Some(node),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::CreateNetwork => write!(f, "create the network"),
            Step::CreateSecretsVolume => write!(f, "create the secrets volume"),
            Step::CreateVolume(node) => write!(f, "create the volume of {node}"),
            Step::CreateContainer(node, None) => write!(f, "create the container of {node}"),
            Step::CreateContainer(node, Some(port)) => {
                write!(f, "create the container of {node}, published on 127.0.0.1:{port}")
            }
            Step::PlaceSpec(node, spec) => match &spec.role {
                Role::Primary => write!(f, "make {node} the primary"),
                Role::Replica { upstream } => write!(f, "make {node} a replica of {}", upstream.host),
            },
            Step::Start(node) => write!(f, "start {node}"),
            Step::DropSlot { node, upstream } => write!(f, "drop the slot of {node} on {upstream}"),
            Step::RemoveContainer(node) => write!(f, "remove the container of {node}"),
            Step::RemoveVolume(node) => write!(f, "remove the volume of {node}"),
        }
    }
}
