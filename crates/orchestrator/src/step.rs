//! The changes that a plan is made of. A step says everything; whoever applies it decides nothing.

use std::fmt;

use pgherd_agent::{NodeSpec, Role};
use serde::Serialize;

use crate::{Limits, NodeName, Origin, SourceStep, Storage, VolumeSize};

/// One change on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Creates the cluster's network.
    CreateNetwork,
    /// Creates the volume that the nodes share their secrets on.
    CreateSecretsVolume,
    /// Creates the same in this directory of the engine's host.
    CreateSecretsVolumeIn(String),
    /// Does something at a server that is not ours.
    AtSource(SourceStep),
    /// Creates the node's own volume on the engine's own file system.
    CreateVolume(NodeName),
    /// Creates the node's own volume where it is not on the engine's: in a directory of the host, or for data in memory, beside which
    /// it holds what the node is asked to be.
    CreateVolumeAs {
        /// Which node's.
        node: NodeName,
        /// Where the data are.
        storage: Storage,
    },
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
    /// Copies data of another server's to the volume of a node that was never started. All others wait for it: it can take hours.
    BringData {
        /// Which node's.
        node: NodeName,
        /// Where they are.
        origin: Origin,
    },
    /// Creates the node's container.
    CreateContainer {
        /// Which.
        node: NodeName,
        /// What the node is to be, unless its volume, which is there already, says so itself.
        born_as: Option<NodeSpec>,
        /// The port of the host that leads to it.
        port: Option<u16>,
        /// How much it may take.
        #[serde(skip_serializing_if = "Limits::are_none")]
        limits: Limits,
        /// Whether its data are in memory.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        in_memory: bool,
    },
    /// Puts scripts into the primary's container that fill its database.
    PlaceScripts {
        /// The primary.
        node: NodeName,
        /// Their names.
        names: Vec<String>,
    },
    /// Limits what a container may take, running or not.
    Limit {
        /// Which node's.
        node: NodeName,
        /// All its limits.
        limits: Limits,
    },
    /// Leaves a specification on the volume of a node that does not run.
    PlaceSpec(NodeName, NodeSpec),
    /// Gives the agent of a node that runs another specification.
    Specify(NodeName, NodeSpec),
    /// Stops the node's container in good order.
    Stop(NodeName),
    /// Makes a checkpoint, so that the one of the shutdown has little to write.
    Checkpoint(NodeName),
    /// Lets a replica go on replaying.
    ResumeReplay(NodeName),
    /// Shuts a primary down, and promotes a replica as soon as that has everything.
    SwitchOver {
        /// The primary.
        from: NodeName,
        /// The replica.
        to: NodeName,
    },
    /// Makes sure that a node takes no more writes: kills its container, or cuts it off.
    Fence(NodeName),
    /// Makes a replica the primary.
    Promote {
        /// The replica.
        node: NodeName,
        /// Why nothing is lost by that.
        guarantee: Guarantee,
    },
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

/// Why a replica that is promoted has all commits that were ever acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// The last record that it has is the one with which its upstream was shut down: its agent makes sure that it is such a
    /// record, and [`reconcile`](crate::reconcile) that the upstream's volume has none after it.
    CleanShutdown,
    /// So many of those answer that had to confirm commits that one of them has each commit, and this one has all that any of them
    /// has.
    Quorum {
        /// How many had to confirm a commit.
        quorum: u16,
        /// Of how many.
        named: u16,
        /// How many of these answer.
        answer: u16,
    },
    /// There is none.
    None,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guarantee::CleanShutdown => write!(f, "if it has all that its upstream had when that was shut down"),
            Guarantee::Quorum { quorum, named, answer } => write!(
                f,
                "which has every acknowledged commit: any {quorum} of {named} confirmed each, and {answer} of them answer"
            ),
            Guarantee::None => write!(f, "which may lack commits that were acknowledged"),
        }
    }
}

impl Step {
    /// The node that the step works on; `None` if it concerns all of them.
    ///
    /// Steps of different nodes are independent and run at once. A step of all nodes waits for those before it, and those
    /// after it wait for it.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Step::CreateNetwork
            | Step::CreateSecretsVolume
            | Step::CreateSecretsVolumeIn(_)
            | Step::AtSource(_)
            | Step::BringData { .. }
            | Step::SwitchOver { .. } => None,
            Step::CreateVolume(node)
            | Step::CreateVolumeAs { node, .. }
            | Step::PlaceScripts { node, .. }
            | Step::Limit { node, .. }
            | Step::CreateDisk { node, .. }
            | Step::AttachDisk(node)
            | Step::CreateVolumeOnDisk(node)
            | Step::CreateContainer { node, .. }
            | Step::PlaceSpec(node, _)
            | Step::Specify(node, _)
            | Step::Stop(node)
            | Step::Checkpoint(node)
            | Step::ResumeReplay(node)
            | Step::Fence(node)
            | Step::Promote { node, .. }
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
            Step::CreateSecretsVolumeIn(path) => write!(f, "create the secrets volume in {path}"),
            Step::AtSource(step) => step.fmt(f),
            Step::CreateVolume(node) => write!(f, "create the volume of {node}"),
            Step::CreateVolumeAs { node, storage: Storage::Memory } => {
                write!(f, "create the volume of {node}, for all but its data")
            }
            Step::CreateVolumeAs { node, storage } => {
                let directory = storage.directory_of(&node.to_string());
                write!(f, "create the volume of {node} in {}", directory.unwrap_or_default())
            }
            Step::CreateDisk { node, size } => write!(f, "create the disk of {node}, {size}"),
            Step::AttachDisk(node) => write!(f, "attach the disk of {node}"),
            Step::CreateVolumeOnDisk(node) => write!(f, "create the volume of {node} on its disk"),
            Step::BringData { node, origin } => write!(f, "copy the data of {origin} to the volume of {node}"),
            Step::CreateContainer { node, born_as, port, limits, in_memory } => {
                write!(f, "create the container of {node}")?;
                if let Some(spec) = born_as {
                    write!(f, ", {}", part(&spec.role))?;
                }
                port.map_or(Ok(()), |port| write!(f, ", published on 127.0.0.1:{port}"))?;
                if *in_memory {
                    write!(f, ", with its data in memory")?;
                }
                if limits.are_none() { Ok(()) } else { write!(f, ", with at most {limits}") }
            }
            Step::PlaceScripts { node, names } => write!(f, "have {node} run {}", names.join(", ")),
            Step::Limit { node, limits } => write!(f, "limit {node} to {limits}"),
            Step::PlaceSpec(node, spec) => write!(f, "make {node} {}{}", part(&spec.role), with_settings(spec)),
            Step::Specify(node, spec) => {
                let peers: Vec<&str> = spec.peers.iter().map(|peer| peer.host.as_str()).collect();
                write!(f, "tell {node} to be {}", part(&spec.role))?;
                if !peers.is_empty() {
                    write!(f, " beside {}", peers.join(", "))?;
                }
                if spec.quorum > 0 {
                    write!(f, ", any {} of which confirm a commit", spec.quorum)?;
                }
                write!(f, "{}", with_settings(spec))
            }
            Step::Stop(node) => write!(f, "stop {node}"),
            Step::Checkpoint(node) => write!(f, "make a checkpoint on {node}"),
            Step::ResumeReplay(node) => write!(f, "resume replay on {node}"),
            Step::SwitchOver { from, to } => write!(f, "shut {from} down, and promote {to} once it has everything"),
            Step::Fence(node) => write!(f, "kill {node}, so that it takes no more writes"),
            Step::Promote { node, guarantee } => write!(f, "promote {node}, {guarantee}"),
            Step::Start(node) => write!(f, "start {node}"),
            Step::DropSlot { node, upstream } => write!(f, "drop the slot of {node} on {upstream}"),
            Step::RemoveContainer(node) => write!(f, "remove the container of {node}"),
            Step::DetachDisk(node) => write!(f, "detach the disk of {node}"),
            Step::RemoveVolume(node) => write!(f, "remove the volume of {node}"),
            Step::RemoveDisk(node) => write!(f, "remove the disk of {node}"),
        }
    }
}

/// Only what differs from the usual settings.
fn with_settings(spec: &NodeSpec) -> String {
    let settings: Vec<String> = spec.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    if settings.is_empty() { String::new() } else { format!(", with {}", settings.join(", ")) }
}

fn part(role: &Role) -> String {
    match role {
        Role::Primary => "the primary".to_owned(),
        Role::Replica { upstream } => format!("a replica of {}", upstream.host),
    }
}
