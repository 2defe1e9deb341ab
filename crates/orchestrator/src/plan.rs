//! From what is wanted and what is there to what is to be done. Pure: the plan is the contract with the user.

use std::collections::BTreeMap;

use pgherd_agent::{Authentication, NodeSpec, Role, Upstream};
use pgherd_images::contract;
use pgherd_probe::{NodeState, Policy, assess};
use serde::Serialize;

use crate::{
    ClusterName, ClusterSpec, ContainerState, Inventory, NodeName, Replicas, Step,
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
    /// There are nodes, but no primary among them, and none may be made up.
    #[error(
        "cluster \"{0}\" has nodes, but none is or was asked to be its primary\n\
         hint: If the data of the nodes that are left do not matter, \"cluster rm {0}\" removes them."
    )]
    NoPrimary(ClusterName),
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
    let mut steps = Vec::new();
    if observed.network == Presence::Absent {
        steps.push(Step::CreateNetwork);
    }
    if observed.secrets == Presence::Absent {
        steps.push(Step::CreateSecretsVolume);
    }

    let primary = primary_number(observed)?;
    let wanted = wanted_nodes(desired, observed, primary);
    let mut ports = observed.free_ports.iter().copied();
    for number in &wanted {
        let role = if *number == primary { Role::Primary } else { replica_of(&observed.node_name(primary)) };
        let port = if desired.publish { ports.next() } else { None };
        steps.extend(bring_up(&observed.node_name(*number), observed.nodes.get(number), &role, port));
    }
    for number in observed.nodes.keys().filter(|number| !wanted.contains(number)) {
        steps.extend(take_down(&observed.node_name(*number), &observed.node_name(primary)));
    }
    let waiting_on = if steps.is_empty() { waiting_on(observed) } else { Vec::new() };
    Ok(Plan { steps, waiting_on })
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
        Some(name) => taken("container or volume", name.clone()),
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
    Ok(())
}

fn replicas_found(observed: &Inventory) -> u16 {
    u16::try_from(observed.nodes.len().saturating_sub(1)).unwrap_or(u16::MAX)
}

/// The node that is the primary, or that shall become it: the first one, if nobody was ever asked to be anything.
fn primary_number(observed: &Inventory) -> Result<u16, Refusal> {
    if let Some(number) = observed.primary() {
        return Ok(number);
    }
    // A volume without a container may hold the primary; its turn to be asked comes after the container is made.
    let unread = |node: &NodeInventory| node.spec.is_none();
    match observed.nodes.iter().find(|(_, node)| unread(node)) {
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
    Role::Replica { upstream: Upstream { host: primary.to_string(), port: contract::PORT } }
}

/// From whatever is there of a node to a started container.
fn bring_up(node: &NodeName, found: Option<&NodeInventory>, role: &Role, port: Option<u16>) -> Vec<Step> {
    let place = || {
        Step::PlaceSpec(
            node.clone(),
            NodeSpec {
                node: node.to_string(),
                role: role.clone(),
                authentication: Authentication::Scram,
                upstream_wait_seconds: NodeSpec::default_upstream_wait_seconds(),
            },
        )
    };
    let create = || Step::CreateContainer(node.clone(), port);
    let start = || Step::Start(node.clone());
    match found {
        None => vec![Step::CreateVolume(node.clone()), create(), place(), start()],
        // What the volume holds is asked to be something already, or not: that shows once it has a container.
        Some(NodeInventory { container: None, .. }) => vec![create()],
        Some(NodeInventory { container: Some(ContainerState::Created), spec: None, .. }) => vec![place(), start()],
        Some(NodeInventory { container: Some(ContainerState::Created | ContainerState::Exited { .. }), .. }) => {
            vec![start()]
        }
        Some(_) => Vec::new(),
    }
}

fn take_down(node: &NodeName, upstream: &NodeName) -> Vec<Step> {
    vec![
        Step::RemoveContainer(node.clone()),
        Step::DropSlot { node: node.clone(), upstream: upstream.clone() },
        Step::RemoveVolume(node.clone()),
    ]
}

fn waiting_on(observed: &Inventory) -> Vec<WaitingOn> {
    let report = assess(&Policy::default(), &observed.observed());
    let in_place = |state| matches!(state, NodeState::Running | NodeState::Streaming);
    let mut waiting: BTreeMap<String, String> = BTreeMap::new();
    for node in report.nodes.into_iter().filter(|node| !in_place(node.state)) {
        let reasons: Vec<String> = node.findings.iter().map(ToString::to_string).collect();
        let doing = if reasons.is_empty() { node.state.to_string() } else { reasons.join("; ") };
        waiting.insert(node.node, doing);
    }
    waiting.into_iter().map(|(node, doing)| WaitingOn { node, doing }).collect()
}
