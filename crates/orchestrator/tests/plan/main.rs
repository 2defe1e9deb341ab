//! The planner: what is wanted and what is there in, rendered plans out.

mod disks;
mod file;
mod laws;
mod means;
mod origin;
mod rotation;
mod settings;
mod source;
mod succession;
mod topology;

use std::collections::BTreeMap;

use insta::assert_snapshot;
use pgherd_agent::{NodeSpec, Role, Upstream};
use pgherd_orchestrator::{
    ClusterSpec, ContainerState, Inventory, Limits, NodeInventory, Presence, Refusal, Replicas, Storage, plan,
};
use pgherd_probe::{Lsn, NodeLsn, NodeStatus, Past, Reach, Synchronous, SystemIdentifier, TimelineId, Upkeep};

fn desired(replicas: Replicas) -> ClusterSpec {
    ClusterSpec { replicas, ..ClusterSpec::new("demo".parse().expect("a name"), 17) }
}

fn nothing() -> Inventory {
    Inventory {
        name: "demo".parse().expect("a name"),
        network: Presence::Absent,
        secrets: Presence::Absent,
        source: None,
        origin: None,
        nodes: BTreeMap::new(),
        strangers: Vec::new(),
        free_ports: vec![50001, 50002, 50003],
    }
}

fn spec(number: u16, role: Role) -> NodeSpec {
    NodeSpec::new(format!("demo-{number}"), role)
}

fn replica() -> Role {
    Role::Replica { upstream: Upstream { host: "demo-1".to_owned(), port: 5432 } }
}

fn node(number: u16, container: Option<ContainerState>, role: Option<Role>) -> NodeInventory {
    NodeInventory {
        container,
        volume: true,
        disk: None,
        storage: Storage::Volumes,
        limits: Limits::default(),
        major: Some(17),
        published: None,
        spec: role.map(|role| spec(number, role)),
        unreadable_spec: None,
        reach: Reach::Unreachable { reason: "not asked".to_owned() },
    }
}

fn there(nodes: impl IntoIterator<Item = (u16, NodeInventory)>) -> Inventory {
    let nodes = nodes.into_iter().collect();
    introduced(Inventory { network: Presence::Ours, secrets: Presence::Ours, nodes, ..nothing() })
}

/// The same nodes, each of which knows all others.
fn introduced(mut observed: Inventory) -> Inventory {
    let numbers: Vec<u16> = observed.nodes.keys().copied().collect();
    for (number, node) in &mut observed.nodes {
        let others = numbers.iter().filter(|other| *other != number);
        if let Some(spec) = &mut node.spec {
            spec.peers = others.map(|other| Upstream { host: format!("demo-{other}"), port: 5432 }).collect();
        }
    }
    observed
}

fn complete(replicas: u16) -> Inventory {
    let running = Some(ContainerState::Running);
    let primary = (1, node(1, running, Some(Role::Primary)));
    there([primary].into_iter().chain((2..replicas + 2).map(|n| (n, node(n, running, Some(replica()))))))
}

fn rendered(desired: &ClusterSpec, observed: &Inventory) -> String {
    match plan(desired, observed) {
        Err(refusal) => format!("refused: {refusal}"),
        Ok(plan) => {
            let steps = plan.steps.iter().map(ToString::to_string);
            let waiting = plan.waiting_on.iter().map(|w| format!("wait for {}: {}", w.node, w.doing));
            steps.chain(waiting).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn a_new_cluster_is_made_in_one_plan() {
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &nothing()), @"
    create the network
    create the secrets volume
    create the volume of demo-1
    create the container of demo-1, the primary
    start demo-1
    create the volume of demo-2
    create the container of demo-2, a replica of demo-1
    start demo-2
    create the volume of demo-3
    create the container of demo-3, a replica of demo-1
    start demo-3
    ");
}

#[test]
fn published_nodes_get_a_port_each() {
    let desired = ClusterSpec { publish: true, ..desired(Replicas::AtLeast(1)) };
    assert_snapshot!(rendered(&desired, &nothing()), @"
    create the network
    create the secrets volume
    create the volume of demo-1
    create the container of demo-1, the primary, published on 127.0.0.1:50001
    start demo-1
    create the volume of demo-2
    create the container of demo-2, a replica of demo-1, published on 127.0.0.1:50002
    start demo-2
    ");
}

#[test]
fn a_complete_cluster_needs_no_step() {
    for replicas in [Replicas::AsFound, Replicas::AtLeast(2), Replicas::Exactly(2)] {
        assert_eq!(plan(&desired(replicas), &complete(2)).map(|plan| plan.steps), Ok(vec![]));
    }
}

#[test]
fn a_container_that_was_removed_is_made_again_and_asked_what_it_is() {
    let mut observed = complete(2);
    observed.nodes.insert(2, node(2, None, None));
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"create the container of demo-2");
    observed.nodes.insert(2, node(2, Some(ContainerState::Created), Some(replica())));
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &introduced(observed)), @"start demo-2");
}

#[test]
fn the_primary_is_made_again_as_what_it_was() {
    let mut observed = complete(1);
    observed.nodes.insert(1, node(1, None, None));
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"create the container of demo-1");
    observed.nodes.insert(1, node(1, Some(ContainerState::Created), Some(Role::Primary)));
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &introduced(observed)), @"start demo-1");
}

#[test]
fn a_making_that_was_cut_off_is_taken_up() {
    let cut_off = there([(1, node(1, None, None)), (2, node(2, Some(ContainerState::Created), None))]);
    assert_snapshot!(rendered(&desired(Replicas::AtLeast(1)), &cut_off), @"create the container of demo-1");
    let with_container = |state| node(1, Some(state), None);
    let cut_off =
        there([(1, with_container(ContainerState::Created)), (2, node(2, Some(ContainerState::Created), None))]);
    assert_snapshot!(rendered(&desired(Replicas::AtLeast(1)), &cut_off), @"
    make demo-1 the primary
    start demo-1
    make demo-2 a replica of demo-1
    start demo-2
    ");
}

#[test]
fn scaling_up_takes_the_lowest_free_numbers() {
    let mut observed = complete(3);
    observed.nodes.remove(&3);
    assert_snapshot!(rendered(&desired(Replicas::Exactly(3)), &observed), @"
    create the volume of demo-3
    create the container of demo-3, a replica of demo-1
    start demo-3
    ");
}

#[test]
fn scaling_down_takes_the_highest_numbers_and_their_slots() {
    assert_snapshot!(rendered(&desired(Replicas::Exactly(1)), &complete(3)), @"
    tell demo-1 to be the primary beside demo-2
    tell demo-2 to be a replica of demo-1 beside demo-1
    remove the container of demo-3
    drop the slot of demo-3 on demo-1
    remove the volume of demo-3
    remove the container of demo-4
    drop the slot of demo-4 on demo-1
    remove the volume of demo-4
    ");
}

#[test]
fn nothing_is_made_up_where_the_primary_is_lost() {
    let mut observed = complete(2);
    observed.nodes.remove(&1);
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @r#"
    refused: cluster "demo" has nodes, but none is or was asked to be its primary
    hint: If the data of the nodes that are left do not matter, "cluster rm demo" removes them.
    "#);
}

#[test]
fn no_node_becomes_the_primary_of_replicas_that_have_lost_theirs() {
    let mut observed = complete(2);
    observed.nodes.remove(&1);
    observed.nodes.insert(4, node(4, Some(ContainerState::Created), None));
    assert!(matches!(plan(&desired(Replicas::AsFound), &observed), Err(Refusal::NoPrimary(_))));
}

/// A primary that answers, as far as planning looks at one.
fn answering_primary(number: u16) -> NodeInventory {
    let status = NodeStatus {
        server_version_num: 170_012,
        system_identifier: SystemIdentifier(7),
        cluster_name: format!("demo-{number}"),
        timeline: TimelineId(2),
        timeline_lsn: None,
        newest_wal: None,
        lsn: NodeLsn::Primary { write: Lsn(0x0300_0000), flush: Lsn(0x0300_0000) },
        receiver: None,
        receiver_status_interval_ms: None,
        primary_host: None,
        primary_slot_name: None,
        replay_paused: false,
        last_replay_age_ms: None,
        replay: None,
        downstreams: vec![],
        slots: vec![],
        synchronous: Synchronous::default(),
        upkeep: Upkeep::default(),
        history: None,
        disk: None,
        settings: None,
        postmaster: None,
        stopped: None,
        past: Past::default(),
    };
    NodeInventory {
        reach: Reach::Answered(Box::new(status)),
        ..node(number, Some(ContainerState::Running), Some(replica()))
    }
}

#[test]
fn a_former_primary_is_not_started_beside_one_that_somebody_else_promoted() {
    let mut observed = complete(2);
    observed.nodes.insert(1, node(1, Some(ContainerState::Exited { exit_code: 137 }), Some(Role::Primary)));
    observed.nodes.insert(2, answering_primary(2));
    let observed = introduced(observed);
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @r#"
    refused: "demo-2" is the primary now, and "demo-1" was asked to be: starting it would make a second one
    hint: If what only "demo-1" has may go to its trash, "cluster rejoin demo-1" makes it a replica of "demo-2".
    "#);
    let only = |number| ClusterSpec { only: Some(number), ..desired(Replicas::AsFound) };
    assert!(matches!(plan(&only(1), &observed), Err(Refusal::PrimaryMoved { .. })));
    assert_eq!(plan(&only(3), &observed).map(|plan| plan.steps.len()), Ok(1));
    let rejoin = ClusterSpec { rewind: Some(1), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&rejoin, &observed), @"
    tell demo-2 to be the primary beside demo-1, demo-3
    tell demo-3 to be a replica of demo-2 beside demo-1, demo-2
    ");
}

#[test]
fn two_primaries_are_no_cluster_to_build_on() {
    let mut observed = complete(2);
    observed.nodes.insert(1, answering_primary(1));
    observed.nodes.insert(2, answering_primary(2));
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"
    refused: nodes demo-1, demo-2 are primaries at once
    hint: Stop all but the one whose data shall stay.
    ");
}

#[test]
fn new_nodes_of_a_published_cluster_are_published_too() {
    let mut observed = complete(1);
    observed.nodes.values_mut().for_each(|node| node.published = Some(40_000));
    assert_snapshot!(rendered(&desired(Replicas::Exactly(2)), &observed), @"
    tell demo-1 to be the primary beside demo-2, demo-3
    tell demo-2 to be a replica of demo-1 beside demo-1, demo-3
    create the volume of demo-3
    create the container of demo-3, a replica of demo-1, published on 127.0.0.1:50001
    start demo-3
    ");
}

#[test]
fn one_node_alone_is_started() {
    let stopped = Some(ContainerState::Exited { exit_code: 0 });
    let observed = there([(1, node(1, stopped, Some(Role::Primary))), (2, node(2, stopped, Some(replica())))]);
    let only = ClusterSpec { only: Some(2), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&only, &observed), @"
    start demo-2
    ");
}

#[test]
fn a_strangers_container_under_a_name_of_ours_stays() {
    let mut observed = complete(2);
    observed.nodes.insert(3, node(3, None, None));
    observed.strangers = vec![("container", "demo-3".to_owned())];
    assert_snapshot!(rendered(&desired(Replicas::Exactly(1)), &observed), @r#"
    refused: container "demo-3" exists already and does not belong to cluster "demo"
    hint: Choose another name, or remove it.
    "#);
}

#[test]
fn a_specification_that_makes_no_sense_is_not_acted_upon() {
    let mut observed = complete(1);
    let unreadable = |state| NodeInventory { unreadable_spec: Some("EOF".to_owned()), ..node(2, Some(state), None) };
    observed.nodes.insert(2, unreadable(ContainerState::Exited { exit_code: 0 }));
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @r#"
    refused: could not read what "demo-2" is asked to be: EOF
    hint: It may have been made by a newer version.
    "#);
    observed.nodes.insert(2, unreadable(ContainerState::Created));
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"
    make demo-2 a replica of demo-1
    start demo-2
    ");
}

#[test]
fn contradictions_are_refused() {
    assert_snapshot!(rendered(&desired(Replicas::AtLeast(1)), &complete(2)), @r#"
    refused: cluster "demo" has 2 replicas already, more than 1
    hint: "cluster scale demo 1" removes some, with their data.
    "#);
    assert_snapshot!(rendered(&ClusterSpec { major: 18, ..desired(Replicas::AsFound) }, &complete(2)), @r#"
    refused: cluster "demo" runs PostgreSQL 17, not 18
    hint: Give it its own version, or use another name.
    "#);
    assert_snapshot!(rendered(&ClusterSpec { publish: true, ..desired(Replicas::AsFound) }, &complete(2)), @r#"
    refused: cluster "demo" was made without published ports
    hint: Remove it and make it again with "--publish", or connect from inside its network.
    "#);
    assert_snapshot!(rendered(&desired(Replicas::Exactly(0)), &complete(2)), @"
    refused: cannot make 0 replicas
    hint: Ask for 1 to 48.
    ");
    assert_snapshot!(rendered(&desired(Replicas::Exactly(49)), &nothing()), @"
    refused: cannot make 49 replicas
    hint: Ask for 1 to 48.
    ");
}

#[test]
fn what_belongs_to_somebody_else_is_left_alone() {
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &Inventory { network: Presence::Strange, ..nothing() }), @r#"
    refused: network "pgherd-demo" exists already and does not belong to cluster "demo"
    hint: Choose another name, or remove it.
    "#);
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &Inventory { secrets: Presence::Strange, ..nothing() }), @r#"
    refused: volume "pgherd-demo-secrets" exists already and does not belong to cluster "demo"
    hint: Choose another name, or remove it.
    "#);
    let strangers = vec![("container", "demo-2".to_owned())];
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &Inventory { strangers, ..nothing() }), @r#"
    refused: container "demo-2" exists already and does not belong to cluster "demo"
    hint: Choose another name, or remove it.
    "#);
}
