//! The changes that a plan is made of. A step says everything; whoever applies it decides nothing.

use std::fmt;

use pgherd_agent::{NodeSpec, Role};
use serde::Serialize;

use crate::{NodeName, VolumeSize};

/// One change on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Creates the cluster's network.
    CreateNetwork,
    /// Creates the volume that the nodes share their secrets on.
    CreateSecretsVolume,
    /// Creates the node's own volume on the engine's own file system.
    CreateVolume(NodeName),
    /// Creates the volume that holds the node's disk, still empty.
    CreateDisk {
        /// Which node's.
        node: NodeName,
        /// The size of the file system that it is going to hold.
        size: VolumeSize,
    },
    /// Makes the node's disk if it is not made yet, and attaches it to its device if it is not attached.
    AttachDisk(NodeName),
    /// Creates the node's own volume on its disk.
    CreateVolumeOnDisk(NodeName),
    /// Creates the node's container.
    CreateContainer {
        /// Which.
        node: NodeName,
        /// What the node is to be, unless its volume, which is there already, says so itself.
        born_as: Option<NodeSpec>,
        /// The port of the host that leads to it.
        port: Option<u16>,
    },
    /// Leaves the node's specification on its volume, if neither that nor its container has one.
    PlaceSpec(NodeName, NodeSpec),
    /// Leaves the same specification with other peers on the node's volume.
    TellPeers(NodeName, NodeSpec),
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
    /// Detaches the node's disk from its device.
    DetachDisk(NodeName),
    /// Removes the node's volume, and with it its data, unless these are on a disk.
    RemoveVolume(NodeName),
    /// Removes the volume that holds the node's disk.
    RemoveDisk(NodeName),
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
            | Step::CreateDisk { node, .. }
            | Step::AttachDisk(node)
            | Step::CreateVolumeOnDisk(node)
            | Step::CreateContainer { node, .. }
            | Step::PlaceSpec(node, _)
            | Step::TellPeers(node, _)
            | Step::Start(node)
            | Step::DropSlot { node, .. }
            | Step::RemoveContainer(node)
            | Step::DetachDisk(node)
            | Step::RemoveVolume(node)
            | Step::RemoveDisk(node) => Some(node),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::CreateNetwork => write!(f, "create the network"),
            Step::CreateSecretsVolume => write!(f, "create the secrets volume"),
            Step::CreateVolume(node) => write!(f, "create the volume of {node}"),
            Step::CreateDisk { node, size } => write!(f, "create the disk of {node}, {size}"),
            Step::AttachDisk(node) => write!(f, "attach the disk of {node}"),
            Step::CreateVolumeOnDisk(node) => write!(f, "create the volume of {node} on its disk"),
            Step::CreateContainer { node, born_as, port } => {
                write!(f, "create the container of {node}")?;
                if let Some(spec) = born_as {
                    write!(f, ", {}", part(&spec.role))?;
                }
                port.map_or(Ok(()), |port| write!(f, ", published on 127.0.0.1:{port}"))
            }
            Step::PlaceSpec(node, spec) => write!(f, "make {node} {}", part(&spec.role)),
            Step::TellPeers(node, spec) => {
                let peers: Vec<&str> = spec.peers.iter().map(|peer| peer.host.as_str()).collect();
                write!(f, "tell {node} its peers: {}", peers.join(", "))
            }
            Step::Start(node) => write!(f, "start {node}"),
            Step::DropSlot { node, upstream } => write!(f, "drop the slot of {node} on {upstream}"),
            Step::RemoveContainer(node) => write!(f, "remove the container of {node}"),
            Step::DetachDisk(node) => write!(f, "detach the disk of {node}"),
            Step::RemoveVolume(node) => write!(f, "remove the volume of {node}"),
            Step::RemoveDisk(node) => write!(f, "remove the disk of {node}"),
        }
    }
}

fn part(role: &Role) -> String {
    match role {
        Role::Primary => "the primary".to_owned(),
        Role::Replica { upstream } => format!("a replica of {}", upstream.host),
    }
}
