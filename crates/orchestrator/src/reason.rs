//! Why a step is part of a plan, for those who read a plan before it is carried out.

use pgherd_agent::{Examined, NodeSpec, Role};
use pgherd_images::contract;
use serde::Serialize;

use crate::{ClusterSpec, ContainerState, Inventory, NodeInventory, NodeName, Step, succession::what_it_does};

/// A step that would be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Foreseen {
    /// It, for a program.
    pub step: Step,
    /// The same for a person.
    pub text: String,
    /// Why.
    pub reason: String,
}

impl Foreseen {
    /// With what is known of data that the cluster begins with.
    pub(crate) fn new(
        step: Step,
        desired: &ClusterSpec,
        observed: &Inventory,
        examined: Option<&Examined>,
    ) -> Foreseen {
        let reason = match (&step, examined) {
            (Step::BringData { .. }, Some(examined)) => format!("the cluster begins with them: {examined}"),
            _ => reason(&step, desired, observed),
        };
        Foreseen { text: step.to_string(), reason, step }
    }
}

fn reason(step: &Step, desired: &ClusterSpec, observed: &Inventory) -> String {
    let found = |node: &NodeName| observed.nodes.get(&node.number);
    match step {
        Step::CreateNetwork => "there is none".to_owned(),
        Step::CreateSecretsVolume | Step::CreateSecretsVolumeIn(_) => "there is none".to_owned(),
        Step::AtSource(step) => step.reason().to_owned(),
        Step::PlaceScripts { .. } => "they fill the database of a new cluster".to_owned(),
        Step::Limit { node, .. } => match found(node).map(|found| found.limits) {
            Some(limits) if !limits.are_none() => format!("it may take {limits}"),
            _ => "it has no limits".to_owned(),
        },
        Step::CreateVolume(_) | Step::CreateVolumeAs { .. } | Step::CreateDisk { .. } => {
            "the node is wanted and not there".to_owned()
        }
        Step::CreateVolumeOnDisk(_) => "its disk has none".to_owned(),
        Step::AttachDisk(_) => "its volume cannot be mounted without".to_owned(),
        Step::BringData { .. } => "the cluster begins with them".to_owned(),
        Step::CreateContainer { node, .. } => match found(node) {
            Some(_) => "its volume has none".to_owned(),
            None => format!("the node is wanted and not there{}", slot_at_source(step)),
        },
        Step::PlaceSpec(node, spec) | Step::Specify(node, spec) => {
            let known = found(node).and_then(|found| found.spec.as_ref());
            known.map_or_else(|| "nobody has told it yet".to_owned(), |known| what_changes(known, spec))
        }
        Step::Start(node) => found(node).map_or_else(|| "it is new".to_owned(), why_it_is_down),
        Step::Stop(node) if desired.restarts.contains(&node.number) => {
            "settings wait for it that only a start takes up".to_owned()
        }
        Step::Stop(node) => match found(node) {
            Some(found) if found.is_asked_to_be_primary() => "it was the primary, and another one is".to_owned(),
            _ => "what it has its upstream has not, which its agent settles at a start".to_owned(),
        },
        Step::Checkpoint(_) => "the one of the shutdown has less to write then".to_owned(),
        Step::ResumeReplay(_) => "who is to take over has to replay everything first".to_owned(),
        Step::SwitchOver { from, to } => format!("\"{to}\" is to take over from \"{from}\""),
        Step::Fence(node) => {
            let doing = found(node).map_or_else(String::new, |found| what_it_does(&found.reach));
            format!("nobody takes over while it might come back, and it {doing}")
        }
        Step::Promote { node, .. } => format!("\"{node}\" has come furthest, or was named"),
        Step::DropSlot { node, upstream } => {
            let slot = contract::slot_name(&node.to_string());
            let slots = found(upstream).and_then(NodeInventory::status).map(|status| &status.slots);
            let slot = slots.into_iter().flatten().find(|found| found.slot_name == slot);
            match slot.and_then(|slot| slot.retained_bytes) {
                Some(bytes) => format!("it keeps {bytes} bytes of WAL that \"{node}\" does not fetch there"),
                None => format!("\"{node}\" does not stream from there"),
            }
        }
        Step::RemoveContainer(node) | Step::DetachDisk(node) | Step::RemoveVolume(node) | Step::RemoveDisk(node) => {
            if desired.without.contains(&node.number) {
                "the node is to go".to_owned()
            } else {
                "there are more replicas than are wanted".to_owned()
            }
        }
    }
}

/// What a new node changes on a server that is not ours.
fn slot_at_source(step: &Step) -> String {
    let Step::CreateContainer { node, born_as: Some(spec), .. } = step else { return String::new() };
    match (&spec.role, &spec.source) {
        (Role::Replica { upstream }, Some(source)) if *upstream == source.address => {
            format!("; it makes slot {} on {upstream}", contract::slot_name(&node.to_string()))
        }
        _ => String::new(),
    }
}

fn what_changes(known: &NodeSpec, spec: &NodeSpec) -> String {
    let hosts = |spec: &NodeSpec| spec.peers.iter().map(|peer| peer.host.clone()).collect::<Vec<_>>().join(", ");
    let mut changes = Vec::new();
    if known.role != spec.role {
        changes.push(match &known.role {
            Role::Primary => "it was the primary".to_owned(),
            Role::Replica { upstream } => format!("it was a replica of {}", upstream.host),
        });
    }
    if known.peers != spec.peers {
        let peers = hosts(known);
        changes.push(if peers.is_empty() { "it knew no peers".to_owned() } else { format!("its peers were {peers}") });
    }
    if known.quorum != spec.quorum {
        changes.push(format!("commits waited for {} replicas", known.quorum));
    }
    if known.rewind_to_new_upstream != spec.rewind_to_new_upstream {
        changes.push("it may be rewound now".to_owned());
    }
    if known.source != spec.source {
        changes.push("the server that is followed is found elsewhere".to_owned());
    }
    if known.settings != spec.settings {
        changes.push("it has other settings".to_owned());
    }
    changes.join("; ")
}

fn why_it_is_down(found: &NodeInventory) -> String {
    match found.container {
        Some(ContainerState::Exited { exit_code }) => format!("it has exited with code {exit_code}"),
        _ => "it was never started".to_owned(),
    }
}
