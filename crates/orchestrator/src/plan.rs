//! From what is wanted and what is there to what is to be done. Pure: the plan is the contract with the user.

use pgherd_agent::{NodeSpec, Role, Upstream};
use pgherd_images::contract;
use pgherd_probe::{Finding, NodeReport, NodeState, Policy, assess};
use serde::Serialize;

use crate::{
    ClusterName, ClusterSpec, ContainerState, Inventory, NodeName, Replicas, Step, VolumeSize,
    inventory::{NodeInventory, Presence},
};

/// What to do next, and what to wait for.
#[must_use = "an unread plan changes nothing"]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The changes, in order; see [`Step::node`] for what may run at once.
    pub steps: Vec<Step>,
    /// The nodes that are not yet what they shall be, although nothing is left to do for them.
    pub waiting_on: Vec<WaitingOn>,
}

/// A node that needs time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingOn {
    /// Which one.
    pub node: String,
    /// What it is doing, and what else is known.
    pub doing: String,
}

/// Why nothing can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something on the engine has a name that we need.
    #[error(
        "{kind} \"{name}\" exists already and does not belong to cluster \"{cluster}\"\nhint: Choose another name, or remove it."
    )]
    NameTaken {
        /// Container, volume or network.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The cluster that was to use it.
        cluster: ClusterName,
    },
    /// The cluster runs another major version.
    #[error(
        "cluster \"{cluster}\" runs PostgreSQL {found}, not {wanted}\nhint: Give it its own version, or use another name."
    )]
    OtherMajor {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: u16,
        /// There.
        found: u16,
    },
    /// More nodes are there than were asked for.
    #[error(
        "cluster \"{cluster}\" has {found} replicas already, more than {wanted}\nhint: \"cluster scale {cluster} {wanted}\" removes some, with their data."
    )]
    TooManyReplicas {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: u16,
        /// There.
        found: u16,
    },
    /// A number of replicas that makes no sense.
    #[error("cannot make {0} replicas\nhint: Ask for 1 to {max}.", max = Replicas::MAX)]
    BadReplicaCount(u16),
    /// Ports are published when a container is created, or never.
    #[error(
        "cluster \"{0}\" was made without published ports\nhint: Remove it and make it again with \"--publish\", or connect from inside its network."
    )]
    NotPublished(ClusterName),
    /// The volumes of the cluster have another size.
    #[error(
        "the volumes of cluster \"{cluster}\" have {found}, not {wanted}\n\
         hint: Leave out \"--volume-size\", or remove the cluster and make it again."
    )]
    OtherVolumeSize {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: VolumeSize,
        /// There.
        found: VolumeSize,
    },
    /// The volumes of the cluster share the engine's file system.
    #[error(
        "the volumes of cluster \"{cluster}\" have no size of their own, so none of {wanted}\n\
         hint: Leave out \"--volume-size\", or remove the cluster and make it again."
    )]
    NoVolumeSize {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: VolumeSize,
    },
    /// There are nodes, but no primary among them, and none may be made up.
    #[error(
        "cluster \"{0}\" has nodes, but none is or was asked to be its primary\n\
         hint: If the data of the nodes that are left do not matter, \"cluster rm {0}\" removes them."
    )]
    NoPrimary(ClusterName),
    /// The primary is another one than was asked to be, and the old one would come back beside it.
    #[error(
        "\"{is}\" is the primary now, and starting \"{was}\" would make a second one\n\
         hint: If the data of \"{was}\" do not matter, remove its container and its volume."
    )]
    PrimaryMoved {
        /// Asked to be the primary.
        was: NodeName,
        /// Answers as the primary.
        is: NodeName,
    },
    /// More than one node takes writes.
    #[error("nodes {} are primaries at once\nhint: Stop all but the one whose data shall stay.", .0.join(", "))]
    SplitBrain(Vec<String>),
    /// What a node was asked to be makes no sense.
    #[error("could not read what \"{node}\" is asked to be: {reason}\nhint: It may have been made by a newer version.")]
    UnreadableSpec {
        /// The node.
        node: NodeName,
        /// What is wrong.
        reason: String,
    },
    /// A container of somebody else is on the network that is to go.
    #[error("network \"{network}\" is in use by {by}\nhint: Remove that first.")]
    NetworkInUse {
        /// The network.
        network: String,
        /// The containers.
        by: String,
    },
    /// Nothing of this name is there.
    #[error("there is no cluster \"{0}\"\nhint: \"cluster ls\" lists what there is, and \"cluster up {0}\" makes one.")]
    NoSuchCluster(ClusterName),
    /// Nothing of this name is there, or it is somebody else's.
    #[error("there is no node \"{0}\"\nhint: \"cluster status {cluster}\" lists the nodes of a cluster.", cluster = .0.cluster)]
    NoSuchNode(NodeName),
}

/// Plans the next changes on the way from `observed` to `desired`.
///
/// A plan can be the first of several: what a volume without a container is asked to be shows only once it has one. A
/// converged cluster's plan is empty.
///
/// # Errors
/// A [`Refusal`] if there is no way, or none that the user asked for.
pub fn plan(desired: &ClusterSpec, observed: &Inventory) -> Result<Plan, Refusal> {
    refuse_strangers(observed)?;
    refuse_contradictions(desired, observed)?;
    // What a node was asked to be is on its disk: who is the primary shows once all are attached.
    let detached = observed.nodes.iter().filter(|(_, node)| node.disk.is_some_and(|disk| disk.is_detached));
    let attach: Vec<Step> = detached.map(|(number, _)| Step::AttachDisk(observed.node_name(*number))).collect();
    if !attach.is_empty() {
        return Ok(Plan { steps: attach, waiting_on: Vec::new() });
    }
    let primary = primary_number(observed)?;
    refuse_second_primary(desired, observed, primary)?;

    let mut steps = Vec::new();
    if observed.network == Presence::Absent {
        steps.push(Step::CreateNetwork);
    }
    if observed.secrets == Presence::Absent {
        steps.push(Step::CreateSecretsVolume);
    }
    let publish = desired.publish || observed.nodes.values().any(|node| node.published.is_some());
    let mut ports = observed.free_ports.iter().copied().filter(|_| publish);
    let size = desired.volume_size.or(observed.volume_size());
    let wanted = wanted_nodes(desired, observed, primary);
    for number in wanted.iter().filter(|number| concerns(desired, **number)) {
        let role = if *number == primary { Role::Primary } else { replica_of(&observed.node_name(primary)) };
        let others = wanted.iter().filter(|other| *other != number).map(|other| address(&observed.node_name(*other)));
        let spec = NodeSpec { peers: others.collect(), ..NodeSpec::new(observed.node_name(*number).to_string(), role) };
        steps.extend(bring_up(&observed.node_name(*number), observed.nodes.get(number), &spec, size, &mut ports));
    }
    for (number, found) in observed.nodes.iter().filter(|(number, _)| !wanted.contains(number)) {
        steps.extend(take_down(&observed.node_name(*number), found, &observed.node_name(primary)));
    }
    let waiting_on = if steps.is_empty() { waiting_on(desired, observed) } else { Vec::new() };
    Ok(Plan { steps, waiting_on })
}

fn concerns(desired: &ClusterSpec, number: u16) -> bool {
    desired.only.is_none_or(|only| only == number)
}

fn refuse_strangers(observed: &Inventory) -> Result<(), Refusal> {
    let taken = |kind, name: String| Err(Refusal::NameTaken { kind, name, cluster: observed.name.clone() });
    if observed.network == Presence::Strange {
        return taken("network", observed.name.network());
    }
    if observed.secrets == Presence::Strange {
        return taken("volume", observed.name.secrets_volume());
    }
    match observed.strangers.first() {
        Some((kind, name)) => taken(kind, name.clone()),
        None => Ok(()),
    }
}

fn refuse_contradictions(desired: &ClusterSpec, observed: &Inventory) -> Result<(), Refusal> {
    let cluster = || desired.name.clone();
    if let Replicas::AtLeast(wanted) | Replicas::Exactly(wanted) = desired.replicas
        && !(1..=Replicas::MAX).contains(&wanted)
    {
        return Err(Refusal::BadReplicaCount(wanted));
    }
    if let Some(found) = observed.nodes.values().filter_map(|node| node.major).find(|major| *major != desired.major) {
        return Err(Refusal::OtherMajor { cluster: cluster(), wanted: desired.major, found });
    }
    if let Replicas::AtLeast(wanted) = desired.replicas
        && replicas_found(observed) > wanted
    {
        return Err(Refusal::TooManyReplicas { cluster: cluster(), wanted, found: replicas_found(observed) });
    }
    if desired.publish && observed.nodes.values().any(|node| node.container.is_some() && node.published.is_none()) {
        return Err(Refusal::NotPublished(cluster()));
    }
    if let Some(wanted) = desired.volume_size {
        let other =
            observed.nodes.values().map(|node| node.disk.map(|disk| disk.size)).find(|size| *size != Some(wanted));
        match other {
            Some(Some(found)) => return Err(Refusal::OtherVolumeSize { cluster: cluster(), wanted, found }),
            Some(None) => return Err(Refusal::NoVolumeSize { cluster: cluster(), wanted }),
            None => {}
        }
    }
    // What was never started was never read by its agent either, and is written anew.
    let unreadable = |(number, node): (&u16, &NodeInventory)| match (&node.unreadable_spec, node.container) {
        (Some(_), Some(ContainerState::Created)) | (None, _) => None,
        (Some(reason), _) => Some((observed.node_name(*number), reason.clone())),
    };
    match observed.nodes.iter().find_map(unreadable) {
        Some((node, reason)) => Err(Refusal::UnreadableSpec { node, reason }),
        None => Ok(()),
    }
}

/// A node that was the primary would come back as one. Whoever was promoted since must not get a second beside him.
fn refuse_second_primary(desired: &ClusterSpec, observed: &Inventory, primary: u16) -> Result<(), Refusal> {
    let answers = |node: &NodeInventory| node.status().is_some_and(|status| !status.in_recovery());
    let primaries = observed.nodes.iter().filter(|(_, node)| answers(node)).map(|(number, _)| *number);
    let primaries: Vec<String> = primaries.map(|number| observed.node_name(number).to_string()).collect();
    if primaries.len() > 1 {
        return Err(Refusal::SplitBrain(primaries));
    }
    let was_asked = |node: &NodeInventory| node.spec.as_ref().is_some_and(|spec| spec.role == Role::Primary);
    let former = observed.nodes.iter().find(|(number, node)| **number != primary && was_asked(node));
    match former {
        Some((number, _)) if concerns(desired, *number) => {
            Err(Refusal::PrimaryMoved { was: observed.node_name(*number), is: observed.node_name(primary) })
        }
        _ => Ok(()),
    }
}

fn replicas_found(observed: &Inventory) -> u16 {
    u16::try_from(observed.nodes.len().saturating_sub(1)).unwrap_or(u16::MAX)
}

/// The node that is the primary, or that shall become it: the first one, if nobody was ever asked to be anything.
fn primary_number(observed: &Inventory) -> Result<u16, Refusal> {
    if let Some(number) = observed.primary() {
        return Ok(number);
    }
    // What a volume without a container holds can be read once it has one, and it may be the primary. Where nobody was
    // ever asked to be anything, the first node becomes it.
    let nobody_was_asked = observed.nodes.values().all(|node| node.spec.is_none());
    let candidate = |node: &NodeInventory| node.container.is_none() || (nobody_was_asked && node.spec.is_none());
    match observed.nodes.iter().find(|(_, node)| candidate(node)) {
        Some((number, _)) => Ok(*number),
        None if observed.nodes.is_empty() => Ok(1),
        None => Err(Refusal::NoPrimary(observed.name.clone())),
    }
}

/// The numbers of the nodes that shall be there, the primary's among them.
fn wanted_nodes(desired: &ClusterSpec, observed: &Inventory, primary: u16) -> Vec<u16> {
    let replicas = match desired.replicas {
        Replicas::AtLeast(wanted) | Replicas::Exactly(wanted) => wanted,
        Replicas::AsFound if observed.nodes.is_empty() => Replicas::DEFAULT,
        Replicas::AsFound => replicas_found(observed),
    };
    let existing = observed.nodes.keys().copied().filter(|number| *number != primary);
    let new = (1..).filter(|number| *number != primary && !observed.nodes.contains_key(number));
    let mut wanted: Vec<u16> = existing.chain(new).take(replicas.into()).chain([primary]).collect();
    wanted.sort_unstable();
    wanted
}

fn replica_of(primary: &NodeName) -> Role {
    Role::Replica { upstream: address(primary) }
}

fn address(node: &NodeName) -> Upstream {
    Upstream { host: node.to_string(), port: contract::PORT }
}

/// From whatever is there of a node to a started container. A new one gets a disk where volumes have a `size`.
fn bring_up(
    node: &NodeName,
    found: Option<&NodeInventory>,
    spec: &NodeSpec,
    size: Option<VolumeSize>,
    ports: &mut impl Iterator<Item = u16>,
) -> Vec<Step> {
    let mut create = |born_as| Step::CreateContainer { node: node.clone(), born_as, port: ports.next() };
    let start = || Step::Start(node.clone());
    let has_disk = found.map_or(size.is_some(), |found| found.disk.is_some());
    // The engine mounts a volume as soon as it makes a container for it, or looks into one.
    let attach = has_disk.then(|| Step::AttachDisk(node.clone()));
    let volume = || if has_disk { Step::CreateVolumeOnDisk(node.clone()) } else { Step::CreateVolume(node.clone()) };
    // Whoever comes back as the primary asks the others whether one of them was promoted, so every node has to know them all.
    let known = found.and_then(|found| found.spec.as_ref()).filter(|known| known.peers != spec.peers);
    let tell =
        known.map(|known| Step::TellPeers(node.clone(), NodeSpec { peers: spec.peers.clone(), ..known.clone() }));
    match found {
        None => {
            let disk = size.map(|size| Step::CreateDisk { node: node.clone(), size });
            disk.into_iter().chain(attach).chain([volume(), create(Some(spec.clone())), start()]).collect()
        }
        // What the volume holds is asked to be something already, or not: that shows once it has a container.
        Some(NodeInventory { container: None, volume: there, .. }) => {
            attach.into_iter().chain((!there).then(volume)).chain([create(None)]).collect()
        }
        Some(NodeInventory { container: Some(ContainerState::Created), spec: None, .. }) => {
            attach.into_iter().chain([Step::PlaceSpec(node.clone(), spec.clone()), start()]).collect()
        }
        Some(NodeInventory { container: Some(ContainerState::Created | ContainerState::Exited { .. }), .. }) => {
            attach.into_iter().chain(tell).chain([start()]).collect()
        }
        Some(_) => tell.into_iter().collect(),
    }
}

/// Only what was seen to be ours goes. The slot goes in any case: without its node nobody else would. The disk goes last:
/// whatever is cut off before, it says that the node is not gone yet.
fn take_down(node: &NodeName, found: &NodeInventory, upstream: &NodeName) -> Vec<Step> {
    let container = found.container.is_some().then(|| Step::RemoveContainer(node.clone()));
    let slot = Step::DropSlot { node: node.clone(), upstream: upstream.clone() };
    let detach = found.disk.is_some().then(|| Step::DetachDisk(node.clone()));
    let volume = found.volume.then(|| Step::RemoveVolume(node.clone()));
    let disk = found.disk.is_some().then(|| Step::RemoveDisk(node.clone()));
    container.into_iter().chain([slot]).chain(detach).chain(volume).chain(disk).collect()
}

fn waiting_on(desired: &ClusterSpec, observed: &Inventory) -> Vec<WaitingOn> {
    let report = assess(&Policy::default(), &observed.observed());
    let concerned = desired.only.map(|number| observed.node_name(number).to_string());
    let is_concerned = |node: &str| concerned.as_deref().is_none_or(|concerned| concerned == node);
    let in_place = |state| matches!(state, NodeState::Running | NodeState::Streaming);
    let nodes = report.nodes.into_iter().filter(|node| is_concerned(&node.node) && !in_place(node.state));
    let node = |node: NodeReport| {
        let reasons: Vec<String> = node.findings.iter().map(ToString::to_string).collect();
        WaitingOn { node: node.node, doing: reasons.join("; ") }
    };
    let mut waiting: Vec<WaitingOn> = nodes.map(node).collect();
    if concerned.is_none() {
        let whole = |finding: &Finding| WaitingOn { node: observed.name.to_string(), doing: finding.to_string() };
        waiting.extend(report.findings.iter().map(whole));
    }
    waiting
}
