//! From what is wanted and what is there to what is to be done. Pure: the plan is the contract with the user.

use std::collections::BTreeMap;

use pgherd_agent::{NodeSpec, Role, Upstream};
use pgherd_images::contract;
use pgherd_probe::{Finding, NodeReport, NodeState, Policy, Report, assess};
use serde::Serialize;

use crate::{
    ClusterSpec, ContainerState, Inventory, NodeName, Primacy, Refusal, Replicas, Settings, SourceStep, Step, Storage,
    bring_up::{Birth, Wanted, bring_up, take_down},
    init_script,
    inventory::{NodeInventory, Presence},
    model::after,
    source::{self, SOURCE},
    succession::{Turn, turn},
    topology::upstreams,
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
    let report = assess(&Policy::default(), &observed.observed());
    let (mut steps, primary) = match turn(desired, observed, &report)? {
        Turn::First(plan) => return Ok(plan),
        Turn::Settled(primary) => (Vec::new(), primary),
        Turn::Handover { steps, to } => (steps, to),
    };
    // All that follows is planned for what is there then.
    let handed_over = !steps.is_empty();
    let observed = &after(&steps, observed);
    if !handed_over {
        refuse_second_primary(desired, observed, primary)?;
    }
    let wanted = wanted_nodes(desired, observed, primary)?;
    let upstreams = upstreams(desired, observed, primary, &wanted)?;
    refuse_quorum(desired, observed, &upstreams, primary)?;
    let is_new = |(number, upstream): &(&u16, &u16)| **upstream == SOURCE && !observed.nodes.contains_key(number);
    let new: Vec<u16> = upstreams.iter().filter(is_new).map(|(number, _)| *number).collect();
    let introduction = source::introduction(desired, observed, &new)?;

    let storage = desired.storage.as_ref().or(observed.storage()).cloned().unwrap_or_default();
    if observed.network == Presence::Absent {
        steps.push(Step::CreateNetwork);
    }
    if observed.secrets == Presence::Absent {
        let directory = storage.directory_of(&format!("{}-secrets", desired.name));
        steps.push(directory.map_or(Step::CreateSecretsVolume, Step::CreateSecretsVolumeIn));
    }
    steps.extend(introduction);
    let publish = desired.publish || observed.nodes.values().any(|node| node.published.is_some());
    let mut ports = observed.free_ports.iter().copied().filter(|_| publish);
    let birth = Birth {
        size: desired.volume_size.or(observed.volume_size()),
        storage,
        limits: desired.limits.or(observed.limits()),
        scripts: init_script::names(&desired.scripts),
    };
    let quorum = quorum(desired, observed, primary);
    // With the primary, so that there is not much to clone, and nothing that one of them has for itself.
    let begins_empty = desired.origin.is_none() && desired.scripts.is_empty();
    let is_birth = observed.nodes.is_empty() && primary != SOURCE && begins_empty;
    let follows_primary = |number: &&u16| is_birth && upstreams.get(number) == Some(&primary);
    let born_together: Vec<u16> = wanted.iter().filter(follows_primary).copied().collect();
    let mut former = Vec::new();
    // Whoever follows the first node before that one is asked to be anything follows a primary that is lost, if that is never done.
    let is_first_alone = desired.only.is_none() && is_first_unasked(observed, primary);
    let comes = |number: &&u16| concerns(desired, **number) && (!is_first_alone || **number == primary);
    for number in wanted.iter().filter(comes) {
        let node = observed.node_name(*number);
        let role = match upstreams.get(number) {
            Some(upstream) => Role::Replica { upstream: address_of(*upstream, observed) },
            None => Role::Primary,
        };
        let others = wanted.iter().filter(|other| *other != number).map(|other| address(&observed.node_name(*other)));
        let found = observed.nodes.get(number);
        let spec = NodeSpec {
            peers: others.collect(),
            quorum,
            settings: source::settings(observed, settings(desired, observed, *number, primary)),
            source: observed.source.as_ref().map(|found| found.source.for_nodes()),
            clone_from: clone_from(*number, &born_together).map(|other| address(&observed.node_name(other))),
            ..NodeSpec::new(node.to_string(), role)
        };
        let is_lost = desired.rewind == Some(*number) || is_forked(&node, found, &report);
        let way = Wanted {
            spec,
            may_rewind: desired.rewind == Some(*number) || handed_over,
            starts_anew: is_lost || desired.restarts.contains(number),
            origin: desired.origin.as_ref().or(observed.origin.as_ref()).filter(|_| *number == primary).cloned(),
        };
        let mut brought_up = bring_up(&node, found, &way, &birth, &mut ports);
        let has = found.filter(|found| found.container.is_some()).map(|found| found.limits);
        let limits = has.map(|has| desired.limits.or(has)).filter(|limits| has != Some(*limits));
        brought_up.extend(limits.map(|limits| Step::Limit { node: node.clone(), limits }));
        if *number != primary && found.is_some_and(NodeInventory::is_asked_to_be_primary) {
            former.extend(brought_up);
        } else {
            steps.extend(brought_up);
        }
    }
    if let Some(handover) = steps.iter().position(|step| matches!(step, Step::SwitchOver { .. })) {
        // Replicas follow the successor while the primary still writes: with a quorum, the first commit needs one of them.
        let follows = |step: &Step| matches!(step, Step::Specify(_, spec) if spec.role != Role::Primary);
        steps[handover..].sort_by_key(|step| !follows(step));
    }
    // The next plan's: who followed a former primary is told whom to follow before that one follows somebody itself, because what
    // a node was asked to be is all that says so; and nobody waits for it who waits for the new one.
    if !handed_over && !steps.iter().any(|step| matches!(step, Step::Specify(..))) {
        steps.extend(former);
    }
    for (number, found) in observed.nodes.iter().filter(|(number, _)| !wanted.contains(number)) {
        let upstream = found.asked_upstream(observed).filter(|upstream| wanted.contains(upstream)).unwrap_or(primary);
        let slot = drop_slot(&observed.node_name(*number), upstream, observed);
        steps.extend(take_down(&observed.node_name(*number), found, slot));
    }
    steps.extend(unused_slots(desired, observed, &upstreams));
    if !steps.is_empty() {
        return Ok(Plan { steps, waiting_on: Vec::new() });
    }
    let waiting_on = waiting_on(desired, observed, &report);
    refuse_parted(observed, primary, &report, &waiting_on)?;
    Ok(Plan { steps, waiting_on })
}

fn concerns(desired: &ClusterSpec, number: u16) -> bool {
    desired.only.is_none_or(|only| only == number)
}

/// Whether nobody was asked to be anything yet, and of the first node there is a volume alone, by an attempt that was cut off.
fn is_first_unasked(observed: &Inventory, first: u16) -> bool {
    let has_no_container = observed.nodes.get(&first).is_some_and(|node| node.container.is_none());
    has_no_container && observed.nodes.values().all(|node| node.spec.is_none())
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
    let size = desired.volume_size.or(observed.volume_size());
    if let Some(storage) = desired.storage.as_ref().filter(|storage| **storage != Storage::Volumes)
        && let Some(size) = size
    {
        return Err(Refusal::StorageHasNoSize { storage: storage.clone(), size });
    }
    if let (Some(wanted), Some(found)) = (&desired.storage, observed.storage())
        && wanted != found
    {
        return Err(Refusal::OtherStorage { cluster: cluster(), wanted: wanted.clone(), found: found.clone() });
    }
    if let Some(origin) = desired.origin.as_ref().filter(|_| desired.storage == Some(Storage::Memory)) {
        return Err(Refusal::OriginInMemory(origin.clone()));
    }
    // Whoever is started again with nothing must not begin a second history.
    let is_lost = |(_, node): &(&u16, &NodeInventory)| {
        let has_ended =
            matches!(node.container, Some(ContainerState::Exited { .. } | ContainerState::Restarting { .. }));
        node.storage == Storage::Memory && node.is_asked_to_be_primary() && has_ended
    };
    if let Some((number, _)) = observed.nodes.iter().find(is_lost)
        && desired.primacy == Primacy::AsFound
        && !observed.nodes.values().any(NodeInventory::is_primary)
    {
        return Err(Refusal::LostWithMemory(observed.node_name(*number)));
    }
    // The label of the secrets volume is older than any node.
    let is_begun = observed.secrets == Presence::Ours || !observed.nodes.is_empty();
    if let Some(wanted) = desired.origin.clone().filter(|wanted| is_begun && observed.origin.as_ref() != Some(wanted)) {
        return Err(Refusal::OtherOrigin { cluster: cluster(), wanted });
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
    let source = observed.source.iter().map(|found| found.source.address.host.clone());
    let primaries: Vec<String> = source.chain(primaries.map(|number| observed.node_name(number).to_string())).collect();
    if primaries.len() > 1 {
        return Err(Refusal::SplitBrain(primaries));
    }
    // Somebody else has promoted the one that answers: nobody has decided whose writes are to stay.
    let is_ours = observed.nodes.get(&primary).is_none_or(NodeInventory::is_asked_to_be_primary);
    let former = observed.nodes.iter().find(|(number, node)| **number != primary && node.is_asked_to_be_primary());
    match former {
        Some((number, _)) if !is_ours && desired.rewind != Some(*number) && concerns(desired, *number) => {
            Err(Refusal::PrimaryMoved { was: observed.node_name(*number), is: observed.node_name(primary) })
        }
        _ => Ok(()),
    }
}

fn replicas_found(observed: &Inventory) -> u16 {
    let primaries = usize::from(observed.source.is_none());
    u16::try_from(observed.nodes.len().saturating_sub(primaries)).unwrap_or(u16::MAX)
}

/// The numbers of the nodes that shall be there, the primary's among them.
fn wanted_nodes(desired: &ClusterSpec, observed: &Inventory, primary: u16) -> Result<Vec<u16>, Refusal> {
    for number in &desired.without {
        let node = observed.node_name(*number);
        if *number == primary {
            return Err(Refusal::RemovesPrimary(node));
        }
    }
    let stays = |number: &u16| *number != primary && !desired.without.contains(number);
    let existing = observed.nodes.keys().copied().filter(stays);
    let replicas = match desired.replicas {
        Replicas::AtLeast(wanted) | Replicas::Exactly(wanted) => usize::from(wanted),
        Replicas::AsFound if observed.nodes.is_empty() => Replicas::DEFAULT.into(),
        Replicas::AsFound => existing.clone().count(),
    };
    let new = (1..).filter(|number| stays(number) && !observed.nodes.contains_key(number));
    let mut wanted: Vec<u16> =
        existing.chain(new).take(replicas).chain(Some(primary).filter(|primary| *primary != SOURCE)).collect();
    wanted.sort_unstable();
    Ok(wanted)
}

/// How many replicas confirm a commit: what is asked, else what the primary was asked.
fn quorum(desired: &ClusterSpec, observed: &Inventory, primary: u16) -> u16 {
    let spec = |node: &NodeInventory| node.spec.as_ref().map(|spec| spec.quorum);
    let of_primary = observed.nodes.get(&primary).and_then(spec);
    desired.quorum.or(of_primary).or_else(|| observed.nodes.values().find_map(spec)).unwrap_or(0)
}

/// The settings of a node: those that are asked for, else those that it has, else the primary's, asked for or not, or those of any node; and
/// in a new cluster those that all shall have.
fn settings(desired: &ClusterSpec, observed: &Inventory, number: u16, primary: u16) -> Settings {
    let has = |number: u16| observed.nodes.get(&number)?.spec.as_ref().map(|spec| &spec.settings);
    let asked = |number: u16| desired.settings.get(&number);
    let others = || if primary == SOURCE { observed.nodes.keys().find_map(|other| has(*other)) } else { has(primary) };
    if let Some(known) = has(number) {
        return asked(number).unwrap_or(known).clone();
    }
    let mut settings = others().unwrap_or(&desired.common).clone();
    for asked in [primary, number].into_iter().filter_map(asked) {
        settings.extend(asked.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    settings
}

/// A replica of a replica confirms nothing. Who has come between them by a switchover that was cut off goes on from there.
fn refuse_quorum(
    desired: &ClusterSpec,
    observed: &Inventory,
    upstreams: &BTreeMap<u16, u16>,
    primary: u16,
) -> Result<(), Refusal> {
    let count = |replicas: usize| u16::try_from(replicas).unwrap_or(u16::MAX);
    let (quorum, replicas) = (quorum(desired, observed, primary), count(upstreams.len()));
    let direct = count(upstreams.values().filter(|upstream| **upstream == primary).count());
    let follows = |node: &&NodeInventory| node.asked_upstream(observed) == Some(primary);
    let is_asked = desired.quorum.is_some() || direct < count(observed.nodes.values().filter(follows).count());
    let cluster = || observed.name.clone();
    if quorum > replicas {
        return Err(Refusal::QuorumTooLarge { cluster: cluster(), quorum, replicas });
    }
    if quorum > direct && is_asked {
        return Err(Refusal::QuorumTooFar { cluster: cluster(), quorum, direct });
    }
    Ok(())
}

/// How many clone one node at once.
const CLONES_AT_ONCE: usize = 4;

/// How many of more than that clone the primary: each leaves a segment of WAL behind, which all others copy or receive.
const CLONES_OF_THE_PRIMARY: usize = 2;

/// Whom a replica clones in the place of the primary: of many that are born together, each serves those that come after it.
fn clone_from(number: u16, born_together: &[u16]) -> Option<u16> {
    let place = born_together.iter().position(|born| *born == number)?;
    let served = place.checked_sub(CLONES_OF_THE_PRIMARY).filter(|_| born_together.len() > CLONES_AT_ONCE)?;
    Some(born_together[served / CLONES_AT_ONCE])
}

pub(crate) fn address(node: &NodeName) -> Upstream {
    Upstream { host: node.to_string(), port: contract::PORT }
}

/// How other nodes reach one, or the server that is not ours.
fn address_of(number: u16, observed: &Inventory) -> Upstream {
    match observed.source.as_ref().filter(|_| number == SOURCE) {
        Some(found) => found.source.address.clone(),
        None => address(&observed.node_name(number)),
    }
}

/// Whether a running replica has WAL that its upstream has not, and was told that it may lose it: that takes a start.
fn is_forked(node: &NodeName, found: Option<&NodeInventory>, report: &Report) -> bool {
    let may = found.and_then(|found| found.spec.as_ref()).is_some_and(|spec| spec.rewind_to_new_upstream);
    may && found.is_some_and(NodeInventory::is_replica) && how_it_parted(&node.to_string(), report).is_some()
}

fn how_it_parted<'a>(node: &str, report: &'a Report) -> Option<&'a Finding> {
    report.findings.iter().find(|finding| matches!(finding, Finding::Forked { node: parted, .. } if parted == node))
}

/// Where nobody is left to be waited for but replicas that cannot follow the primary any more, and were not told that they may lose what it has
/// not.
fn refuse_parted(observed: &Inventory, primary: u16, report: &Report, waiting_on: &[WaitingOn]) -> Result<(), Refusal> {
    if !observed.nodes.get(&primary).is_some_and(NodeInventory::is_primary) {
        return Ok(());
    }
    // The cluster as a whole is waited for, too, by its own name.
    let node = |waiting: &WaitingOn| waiting.node.parse().ok().filter(|node: &NodeName| node.cluster == observed.name);
    let parted = |node: NodeName| Some((how_it_parted(&node.to_string(), report)?.to_string(), node));
    let all_parted: Option<Vec<_>> = waiting_on.iter().filter_map(node).map(parted).collect();
    match all_parted.and_then(|parted| parted.into_iter().next()) {
        Some((how, node)) => Err(Refusal::Parted { node, how }),
        None => Ok(()),
    }
}

/// Slots of our nodes where they do not stream from any more: each keeps WAL that nobody fetches. One that its user has just left can
/// look used for a moment yet.
fn unused_slots(desired: &ClusterSpec, observed: &Inventory, upstreams: &BTreeMap<u16, u16>) -> Vec<Step> {
    let mut steps = Vec::new();
    let of_source = observed.source.iter().filter_map(|found| Some((SOURCE, found.reach.status()?)));
    let of_nodes = observed.nodes.iter().filter_map(|(number, node)| Some((*number, node.status()?)));
    for (upstream, status) in of_source.chain(of_nodes) {
        let slots = status.slots.as_slice();
        for slot in slots.iter().filter(|slot| slot.slot_type == "physical") {
            let is_of =
                |number: &&u16| contract::slot_name(&observed.node_name(**number).to_string()) == slot.slot_name;
            let Some(user) = observed.nodes.keys().find(is_of) else { continue };
            let follows = upstreams.get(user);
            let has_left = observed.nodes[user].status().is_some_and(|status| {
                let sender = status.receiver.as_ref().and_then(|receiver| receiver.sender_host.clone());
                !status.in_recovery() || (sender.is_some() && sender == follows.map(|n| address_of(*n, observed).host))
            });
            let is_unused = follows != Some(&upstream) && (!slot.active || has_left);
            if is_unused && concerns(desired, *user) && !desired.without.contains(user) {
                steps.push(drop_slot(&observed.node_name(*user), upstream, observed));
            }
        }
    }
    steps
}

fn drop_slot(node: &NodeName, upstream: u16, observed: &Inventory) -> Step {
    match observed.source.as_ref().filter(|_| upstream == SOURCE) {
        Some(found) => {
            let (slot, at) = (contract::slot_name(&node.to_string()), found.source.to_string());
            SourceStep::DropSlot { slot, at }.into()
        }
        None => Step::DropSlot { node: node.clone(), upstream: observed.node_name(upstream) },
    }
}

fn waiting_on(desired: &ClusterSpec, observed: &Inventory, report: &Report) -> Vec<WaitingOn> {
    let concerned = desired.only.map(|number| observed.node_name(number).to_string());
    let is_concerned = |node: &str| concerned.as_deref().is_none_or(|concerned| concerned == node);
    let in_place = |state| matches!(state, NodeState::Running | NodeState::Streaming);
    let nodes = report.nodes.iter().filter(|node| is_concerned(&node.node) && !in_place(node.state));
    let node = |node: &NodeReport| {
        let reasons: Vec<String> = node.findings.iter().map(ToString::to_string).collect();
        WaitingOn { node: node.node.clone(), doing: reasons.join("; ") }
    };
    let mut waiting: Vec<WaitingOn> = nodes.map(node).collect();
    if concerned.is_none() {
        let whole = |finding: &Finding| WaitingOn { node: observed.name.to_string(), doing: finding.to_string() };
        waiting.extend(report.findings.iter().map(whole));
    }
    waiting
}
