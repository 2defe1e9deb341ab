//! What is there now: the engine's side of each node, its specification, and what its PostgreSQL says.

use std::collections::BTreeMap;

use pgherd_agent::{NodeSpec, Role};
use pgherd_probe::{NodeStatus, Observed, Reach};

use crate::{
    ClusterName, ContainerState, Limits, NodeName, Origin, Refusal, SourceInventory, SourceRefusal, Storage, VolumeSize,
};

/// Everything that planning needs to know. Read at once, and out of date at once.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The cluster that was looked at.
    pub name: ClusterName,
    /// The cluster's network.
    pub network: Presence,
    /// The cluster's secrets volume.
    pub secrets: Presence,
    /// The server that is not ours and that replicas follow in the place of a primary.
    pub source: Option<SourceInventory>,
    /// What the cluster began with, as its secrets volume says.
    pub origin: Option<Origin>,
    /// All nodes of which at least the container or the volume is there, by number.
    pub nodes: BTreeMap<u16, NodeInventory>,
    /// Containers and volumes that have the name of a node of this cluster, but are not ours: kind and name.
    pub strangers: Vec<(&'static str, String)>,
    /// Ports of the host's loopback interface that were free a moment ago, one for every container to be made.
    pub free_ports: Vec<u16>,
}

/// Whether something is there under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No.
    Absent,
    /// Yes, with the labels of this cluster.
    Ours,
    /// Yes, but it is somebody else's.
    Strange,
}

/// A file system of limited size, in a file on a volume of the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// How large it was made.
    pub size: VolumeSize,
    /// Whether the engine looked for its device and found none, as after a restart of its host.
    pub is_detached: bool,
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodeInventory {
    /// The container's state, or `None` where only the volume is there.
    pub container: Option<ContainerState>,
    /// Whether the volume is there.
    pub volume: bool,
    /// The disk that the volume is on, where the volume has a size of its own.
    pub disk: Option<Disk>,
    /// Where it keeps its data.
    pub storage: Storage,
    /// How much it may take; no limits without a container.
    pub limits: Limits,
    /// The major version of PostgreSQL that the node was made for.
    pub major: Option<u16>,
    /// The port of the host that leads to it.
    pub published: Option<u16>,
    /// What the node is asked to be; unknown without a container, through which alone it can be read.
    pub spec: Option<NodeSpec>,
    /// Why what the node is asked to be could not be read, although something is there.
    pub unreadable_spec: Option<String>,
    /// What its PostgreSQL says, or why it says nothing.
    pub reach: Reach,
}

impl NodeInventory {
    /// What PostgreSQL says, where it answers.
    #[must_use]
    pub fn status(&self) -> Option<&NodeStatus> {
        match &self.reach {
            Reach::Answered(status) => Some(status),
            _ => None,
        }
    }

    /// The host name of the upstream that the node is asked to follow.
    #[must_use]
    pub fn expected_upstream(&self) -> Option<&str> {
        match &self.spec.as_ref()?.role {
            Role::Primary => None,
            Role::Replica { upstream } => Some(&upstream.host),
        }
    }
}

impl Inventory {
    /// The nodes that answer, and take writes.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = u16> {
        self.nodes.iter().filter(|(_, node)| node.is_primary()).map(|(number, _)| *number)
    }

    /// Whether nothing of the cluster is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.network != Presence::Ours && self.secrets != Presence::Ours
    }

    /// Refuses what takes a primary of the cluster's own.
    ///
    /// # Errors
    /// [`SourceRefusal::NotOurs`] where it follows a server that is not ours; `what` is what was asked, as an infinitive.
    pub fn refuse_followers(&self, what: &'static str) -> Result<(), Refusal> {
        self.source.as_ref().map_or(Ok(()), |found| {
            let (cluster, source_address) = (self.name.clone(), found.source.to_string());
            Err(SourceRefusal::NotOurs { cluster, source_address, what }.into())
        })
    }

    /// The name of the node of this number.
    #[must_use]
    pub fn node_name(&self, number: u16) -> NodeName {
        self.name.node(number)
    }

    /// The number of the primary: the node that says so, else the one that was asked to be it.
    #[must_use]
    pub fn primary(&self) -> Option<u16> {
        let by = |matches: &dyn Fn(&NodeInventory) -> bool| {
            self.nodes.iter().find(|(_, node)| matches(node)).map(|(number, _)| *number)
        };
        by(&|node| node.status().is_some_and(|status| !status.in_recovery()))
            .or_else(|| by(&|node| node.spec.as_ref().is_some_and(|spec| spec.role == Role::Primary)))
    }

    /// The size that the nodes' own volumes were made with.
    #[must_use]
    pub fn volume_size(&self) -> Option<VolumeSize> {
        self.nodes.values().find_map(|node| node.disk).map(|disk| disk.size)
    }

    /// Where the nodes keep their data; `None` where there is none.
    #[must_use]
    pub fn storage(&self) -> Option<&Storage> {
        self.nodes.values().find(|node| node.volume).map(|node| &node.storage)
    }

    /// How much a node may take, by one that has a container.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.nodes.values().find(|node| node.container.is_some()).map(|node| node.limits).unwrap_or_default()
    }

    /// What the probe's verdict needs to know.
    #[must_use]
    pub fn observed(&self) -> Vec<Observed> {
        let observed = |(number, node): (&u16, &NodeInventory)| Observed {
            node: self.node_name(*number).to_string(),
            expected_upstream: node.expected_upstream().map(str::to_owned),
            reach: node.reach.clone(),
        };
        self.source.iter().map(SourceInventory::observed).chain(self.nodes.iter().map(observed)).collect()
    }
}
