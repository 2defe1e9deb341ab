//! What holds for every inventory.

use pgherd_agent::Role;
use pgherd_orchestrator::{
    ClusterSpec, ContainerState, Disk, Inventory, NodeInventory, Presence, Primacy, Refusal, Replicas, Step, after,
    plan,
};
use pgherd_probe::{Lsn, NodeLsn, Reach};
use proptest::prelude::*;

use crate::{desired, disks::half_a_gigabyte, node, nothing, replica, spec, succession::streaming};

fn any_container() -> impl Strategy<Value = Option<ContainerState>> {
    prop_oneof![
        Just(None),
        Just(Some(ContainerState::Created)),
        Just(Some(ContainerState::Running)),
        Just(Some(ContainerState::Paused)),
        Just(Some(ContainerState::Exited { exit_code: 137 })),
    ]
}

/// Node 1 is the primary, whatever else is there of it: what a specification says is what it was once given.
fn any_inventory() -> impl Strategy<Value = Inventory> {
    let presence = prop_oneof![Just(Presence::Absent), Just(Presence::Ours)];
    let nodes = prop::collection::btree_map(1..6_u16, (any_container(), any::<bool>(), any::<bool>()), 0..6);
    (presence.clone(), presence, nodes, any::<bool>()).prop_map(|(network, secrets, nodes, on_disks)| {
        let node = |(number, (container, placed, in_place)): (u16, (Option<ContainerState>, bool, bool))| {
            let runs = matches!(container, Some(ContainerState::Running | ContainerState::Paused));
            let disk = on_disks.then(|| Disk { size: half_a_gigabyte(), is_detached: !runs && !in_place });
            let is_detached = disk.is_some_and(|disk| disk.is_detached);
            // Nothing runs that was not given a specification, and without a container or its disk none can be read.
            let readable = container.is_some_and(|state| placed || state != ContainerState::Created) && !is_detached;
            let role = if number == 1 { Role::Primary } else { replica() };
            let found = node(number, container, readable.then_some(role));
            // A disk is there before its volume, and after it.
            let volume = !on_disks || container.is_some() || placed;
            (number, NodeInventory { disk, volume, ..found })
        };
        Inventory { network, secrets, nodes: nodes.into_iter().map(node).collect(), ..nothing() }
    })
}

/// What the engine would look like after these steps, each of which can be done.
pub(crate) fn apply_to(inventory: &mut Inventory, steps: &[Step]) {
    for step in steps {
        refuse_the_impossible(inventory, step);
        *inventory = after(std::slice::from_ref(step), inventory);
        // What was started once has a specification, which can be read as soon as its disk is there.
        if let Step::AttachDisk(n) = step
            && let Some(node) = inventory.nodes.get_mut(&n.number)
            && node.container.is_some_and(|state| state != ContainerState::Created)
            && node.spec.is_none()
        {
            node.spec = Some(spec(n.number, if n.number == 1 { Role::Primary } else { replica() }));
        }
    }
}

/// Fails where an engine would.
fn refuse_the_impossible(inventory: &Inventory, step: &Step) {
    let Some(node) = step.node().and_then(|node| inventory.nodes.get(&node.number)) else { return };
    let can_mount = node.volume && !node.disk.is_some_and(|disk| disk.is_detached);
    match step {
        Step::CreateDisk { .. } => assert_eq!(node.disk, None, "the second disk of a node"),
        Step::CreateVolumeOnDisk(_) => assert!(node.disk.is_some(), "a volume on a disk that is not there"),
        Step::CreateContainer { .. } | Step::PlaceSpec(..) | Step::Start(_) => {
            assert!(can_mount, "{step} would mount what is not there");
        }
        Step::Specify(_, spec) => {
            assert_eq!(node.container, Some(ContainerState::Running), "{step}: nobody is there to be told");
            let known = node.spec.as_ref().expect("a node that is something already");
            let is_primary = |role: &Role| *role == Role::Primary;
            assert!(
                !is_primary(&known.role) || is_primary(&spec.role),
                "{step}: a primary cannot step down while it runs"
            );
        }
        Step::RemoveVolume(_) | Step::RemoveDisk(_) => {
            assert_eq!(node.container, None, "a volume that is in use");
            if matches!(step, Step::RemoveDisk(_)) {
                assert!(!node.volume && node.disk.is_some_and(|disk| disk.is_detached), "a disk that is in use");
            }
        }
        _ => {}
    }
}

proptest! {
    /// However a plan was cut off, the next ones go on from there, and end with one primary and as many replicas as asked.
    #[test]
    fn plans_that_are_cut_off_anywhere_still_converge(
        mut observed in any_inventory(),
        wanted in 1..6_u16,
        cuts in prop::collection::vec(0..12_usize, 4),
    ) {
        let desired = desired(Replicas::Exactly(wanted));
        for cut in cuts.into_iter().map(Some).chain(std::iter::repeat_n(None, 6)) {
            let steps = match plan(&desired, &observed) {
                Ok(plan) => plan.steps,
                Err(Refusal::NoPrimary(_)) => return Ok(()),
                Err(refusal) => return Err(TestCaseError::fail(refusal.to_string())),
            };
            let length = cut.map_or(steps.len(), |cut| cut.min(steps.len()));
            apply_to(&mut observed, &steps[..length]);
        }
        prop_assert_eq!(plan(&desired, &observed).expect("a plan").steps, vec![]);
        let role = |node: &NodeInventory| node.spec.clone().map(|spec| spec.role);
        let primaries = observed.nodes.values().filter(|node| role(node) == Some(Role::Primary)).count();
        prop_assert_eq!(primaries, 1);
        prop_assert_eq!(observed.nodes.len(), usize::from(wanted) + 1);
    }

    /// The primary's data are never among what a plan removes.
    #[test]
    fn no_plan_removes_the_primary(observed in any_inventory(), wanted in 1..6_u16) {
        if let (Some(primary), Ok(plan)) = (observed.primary(), plan(&desired(Replicas::Exactly(wanted)), &observed)) {
            let removes = |step: &Step| matches!(step, Step::RemoveVolume(n) | Step::RemoveContainer(n) if n.number == primary);
            prop_assert!(!plan.steps.iter().any(removes));
        }
    }

    /// Nobody is promoted while the old primary may run, and nobody who has less than another one that answers, unless that is allowed.
    #[test]
    fn no_plan_promotes_before_fencing((observed, primacy) in any_trouble()) {
        let desired = ClusterSpec { primacy: primacy.clone(), ..desired(Replicas::AsFound) };
        let steps = plan(&desired, &observed).map(|plan| plan.steps).unwrap_or_default();
        let promoted = steps.iter().find_map(|step| match step {
            Step::Promote { node, .. } => Some(node.number),
            _ => None,
        });
        if let Some(promoted) = promoted {
            let is_down = matches!(observed.nodes[&1].container, Some(ContainerState::Exited { .. }) | None);
            prop_assert!(is_down, "the old primary may still run");
            // After a switchover that was cut off, the agent looks whether it has everything.
            let is_careful = matches!(primacy, Primacy::Failover { allow_data_loss: false, .. });
            let end = |number: u16| observed.nodes[&number].status().map(|status| (status.timeline, status.lsn.end()));
            let others = observed.nodes.keys().filter(|number| **number != 1);
            prop_assert!(!is_careful || others.into_iter().all(|number| end(*number) <= end(promoted)));
        }
    }

    /// However far a switchover or a failover got, the next plans lead to one primary that all others follow; at no time do two
    /// nodes take writes, and nothing is removed.
    #[test]
    fn a_succession_that_is_cut_off_anywhere_converges(
        (mut observed, primacy) in any_trouble(),
        cuts in prop::collection::vec(0..6_usize, 3),
    ) {
        let mut desired = ClusterSpec { primacy, ..desired(Replicas::AsFound) };
        let nodes = observed.nodes.len();
        for cut in cuts.into_iter().map(Some).chain(std::iter::repeat_n(None, 6)) {
            let Ok(next) = plan(&desired, &observed) else {
                // Refused: what is there is as good as before. Others may go on without.
                desired.primacy = Primacy::AsFound;
                continue;
            };
            let length = cut.map_or(next.steps.len(), |cut| cut.min(next.steps.len()));
            for step in &next.steps[..length] {
                apply_to(&mut observed, std::slice::from_ref(step));
                let writing = observed.nodes.values().filter(|node| node.status().is_some_and(|s| !s.in_recovery())).count();
                prop_assert!(writing <= 1, "{step} makes a second primary");
                if matches!(step, Step::Promote { .. } | Step::SwitchOver { .. }) {
                    desired.primacy = Primacy::AsFound;
                }
            }
            if cut.is_some() {
                desired.primacy = Primacy::AsFound;
            }
        }
        prop_assert_eq!(observed.nodes.len(), nodes);
        prop_assert_eq!(plan(&desired, &observed).expect("a plan").steps, vec![]);
        let roles: Vec<Role> = observed.nodes.values().map(|node| node.spec.clone().expect("a specification").role).collect();
        prop_assert_eq!(roles.iter().filter(|role| **role == Role::Primary).count(), 1);
    }
}

/// A primary and three replicas, each of which may be behind, hung or dead, and what is asked of them.
fn any_trouble() -> impl Strategy<Value = (Inventory, Primacy)> {
    let to = prop::option::of(2..5_u16);
    let primacy = prop_oneof![
        to.clone().prop_map(|to| Primacy::Switchover { to }),
        (to, any::<bool>(), any::<bool>()).prop_map(|(to, allow_data_loss, force)| Primacy::Failover {
            to,
            allow_data_loss,
            force
        }),
    ];
    let state = prop_oneof![
        4 => Just(None),
        1 => Just(Some(ContainerState::Exited { exit_code: 137 })),
        1 => Just(Some(ContainerState::Exited { exit_code: 0 })),
        1 => Just(Some(ContainerState::Running)),
    ];
    let trouble = prop::collection::vec((state, 0..3_u64), 4);
    (trouble, 0..3_u16, primacy).prop_map(|(trouble, quorum, primacy)| {
        let mut observed = streaming(3);
        for (node, (state, behind)) in observed.nodes.values_mut().zip(trouble) {
            if let Some(spec) = &mut node.spec {
                spec.quorum = quorum;
            }
            match (state, &mut node.reach) {
                // It runs, and says nothing.
                (Some(state), reach) => {
                    node.container = Some(state);
                    *reach = Reach::Unreachable { reason: "no answer".to_owned() };
                }
                (None, Reach::Answered(status)) => {
                    if let NodeLsn::Replica { receive, replay } = &mut status.lsn {
                        *receive = receive.map(|lsn| Lsn(lsn.0 - (behind << 20)));
                        *replay = *receive;
                    }
                }
                (None, _) => {}
            }
        }
        (observed, primacy)
    })
}
