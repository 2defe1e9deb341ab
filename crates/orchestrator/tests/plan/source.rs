//! Clusters around a server that is not ours.

use insta::assert_snapshot;
use pgherd_agent::{Role, Upstream};
use pgherd_orchestrator::{
    ClusterFile, ContainerState, Inventory, NodeInventory, Presence, Primacy, Replicas, Source, SourceFacts,
    SourceInventory, SourcePlace, SourceStep, Step, after, plan,
};
use pgherd_probe::{Reach, SystemIdentifier};
use proptest::prelude::*;

use crate::{desired, node, nothing, rendered, there};

fn address() -> Upstream {
    Upstream { host: "theirs".to_owned(), port: 5433 }
}

fn facts() -> SourceFacts {
    SourceFacts {
        system_identifier: SystemIdentifier(7),
        major: 17,
        port: 5433,
        listen_addresses: "*".to_owned(),
        wal_level: "replica".to_owned(),
        wal_senders: (10, 0),
        slots: (10, 0),
        slot_names: Vec::new(),
        order_bound: [("max_connections".to_owned(), 150), ("max_wal_senders".to_owned(), 10)].into(),
        has_superuser: true,
        locales: vec!["C.UTF-8".to_owned()],
        missing_locales: Vec::new(),
        hba_file: "/etc/postgresql/17/main/pg_hba.conf".to_owned(),
        hba_error: None,
        nodes_are_at: "samenet".to_owned(),
        has_role: false,
        has_line: false,
    }
}

fn source(is_recorded: bool, facts: Option<SourceFacts>) -> SourceInventory {
    let source = Source {
        place: SourcePlace::Container { name: "theirs".to_owned(), port: 5433 },
        address: address(),
        network: Some("their_net".to_owned()),
        role: "pgherd_demo".to_owned(),
    };
    SourceInventory { source, is_recorded, reach: Reach::Unreachable { reason: "not asked".to_owned() }, facts }
}

/// Nothing is there but the server.
fn met(facts: SourceFacts) -> Inventory {
    Inventory { source: Some(source(false, Some(facts))), ..nothing() }
}

fn follower(number: u16) -> (u16, NodeInventory) {
    let mut found = node(number, Some(ContainerState::Running), Some(Role::Replica { upstream: address() }));
    let theirs = source(true, None).source;
    let spec = found.spec.as_mut().expect("a specification");
    spec.source = Some(pgherd_agent::Source { address: theirs.address, replication_role: theirs.role });
    (number, found)
}

/// Followers that were made some time ago, and nobody who may change the server.
fn followed(replicas: u16) -> Inventory {
    Inventory { source: Some(source(true, None)), ..there((1..=replicas).map(follower)) }
}

#[test]
fn a_server_is_introduced_to_before_anything_follows_it() {
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &met(facts())), @r#"
    create the network
    create the secrets volume
    make role pgherd_demo on theirs:5433, LOGIN REPLICATION, a member of pg_monitor
    append "host replication,postgres pgherd_demo samenet scram-sha-256" to /etc/postgresql/17/main/pg_hba.conf on theirs:5433, and have it read its configuration again
    try whether theirs:5433 lets that role in
    create the volume of demo-1
    create the container of demo-1, a replica of theirs
    start demo-1
    create the volume of demo-2
    create the container of demo-2, a replica of theirs
    start demo-2
    "#);
}

#[test]
fn what_is_there_is_not_done_again() {
    let known = SourceFacts { has_role: true, has_line: true, ..facts() };
    let cut_off = Inventory {
        network: Presence::Ours,
        secrets: Presence::Ours,
        source: Some(source(true, Some(known))),
        ..nothing()
    };
    assert_snapshot!(rendered(&desired(Replicas::AtLeast(1)), &cut_off), @"
    try whether theirs:5433 lets that role in
    create the volume of demo-1
    create the container of demo-1, a replica of theirs
    start demo-1
    ");
    for replicas in [Replicas::AsFound, Replicas::AtLeast(2), Replicas::Exactly(2)] {
        assert_eq!(plan(&desired(replicas), &followed(2)).map(|plan| plan.steps), Ok(vec![]));
    }
}

#[test]
fn nodes_have_no_less_than_the_server_of_what_a_replica_needs() {
    let steps = plan(&desired(Replicas::AtLeast(1)), &met(facts())).expect("a plan").steps;
    let born = steps.iter().find_map(|step| match step {
        Step::CreateContainer { born_as, .. } => born_as.clone(),
        _ => None,
    });
    let born = born.expect("a new node");
    assert_eq!(born.settings, [("max_connections".to_owned(), "150".to_owned())].into());
    assert_eq!(born.source.expect("a server").replication_role, "pgherd_demo");
}

#[test]
fn who_goes_takes_his_slot_along() {
    assert_snapshot!(rendered(&desired(Replicas::Exactly(1)), &followed(2)), @"
    tell demo-1 to be a replica of theirs
    remove the container of demo-2
    drop slot demo_2 on theirs:5433
    remove the volume of demo-2
    ");
}

#[test]
fn a_new_one_is_made_without_an_administrator() {
    assert_snapshot!(rendered(&desired(Replicas::Exactly(2)), &followed(1)), @"
    tell demo-1 to be a replica of theirs beside demo-2
    create the volume of demo-2
    create the container of demo-2, a replica of theirs
    start demo-2
    ");
}

#[test]
fn a_server_that_is_found_elsewhere_is_told() {
    let mut moved = followed(1);
    moved.source.as_mut().expect("a server").source.address.host = "172.17.0.9".to_owned();
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &moved), @"tell demo-1 to be a replica of 172.17.0.9");
}

#[test]
fn what_is_for_its_owner_to_do_is_refused() {
    let failover = Primacy::Failover { to: None, allow_data_loss: true, force: true };
    for primacy in [Primacy::Switchover { to: Some(1) }, failover] {
        let desired = pgherd_orchestrator::ClusterSpec { primacy, ..desired(Replicas::AsFound) };
        let refused = rendered(&desired, &followed(2));
        assert!(refused.contains("over: cluster \"demo\" follows theirs:5433, which is not ours"), "{refused}");
    }
    let quorum = pgherd_orchestrator::ClusterSpec { quorum: Some(1), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&quorum, &followed(2)), @r#"
    refused: cannot have commits wait for replicas: cluster "demo" follows theirs:5433, which is not ours
    hint: That is for its owner to do, at theirs:5433.
    "#);
    assert_eq!(ClusterFile::of(&followed(2)).replicas, Some(2));
}

#[test]
fn servers_that_cannot_be_followed() {
    let refused =
        |facts| rendered(&desired(Replicas::AsFound), &met(facts)).lines().next().unwrap_or_default().to_owned();
    for (facts, why) in [
        (SourceFacts { major: 15, ..facts() }, "the server is PostgreSQL 15, not 17"),
        (SourceFacts { wal_level: "minimal".to_owned(), ..facts() }, "the server has wal_level = minimal"),
        (
            SourceFacts { listen_addresses: "localhost, ::1".to_owned(), ..facts() },
            "the server listens on \"localhost, ::1\"",
        ),
        (SourceFacts { has_superuser: false, ..facts() }, "the server has no superuser \"postgres\""),
        (SourceFacts { hba_error: Some("line 3: nonsense".to_owned()), ..facts() }, "line 3: nonsense"),
        (SourceFacts { missing_locales: vec!["de_DE.UTF-8".to_owned()], ..facts() }, "has not: de_DE.UTF-8"),
        (SourceFacts { wal_senders: (10, 7), ..facts() }, "take 4 of the server's max_wal_senders = 10, of which 7"),
        (SourceFacts { slots: (10, 9), ..facts() }, "take 2 of the server's max_replication_slots = 10, of which 9"),
        (SourceFacts { has_role: true, ..facts() }, "role \"pgherd_demo\" is there already"),
    ] {
        let refused = refused(facts);
        assert!(refused.starts_with("refused: ") && refused.contains(why), "{refused}");
    }
    let own = Inventory { source: met(facts()).source, ..crate::complete(1) };
    assert!(rendered(&desired(Replicas::AsFound), &own).contains("has a primary of its own"));
}

proptest! {
    /// However a plan is cut off, the next ones go on from there: the role is made once, before any node, and none is a primary.
    #[test]
    fn plans_that_are_cut_off_still_converge(wanted in 1..6_u16, cuts in prop::collection::vec(0..14_usize, 4)) {
        let desired = desired(Replicas::Exactly(wanted));
        let mut observed = met(SourceFacts { wal_senders: (100, 0), ..facts() });
        let mut roles = 0;
        for cut in cuts.into_iter().map(Some).chain(std::iter::repeat_n(None, 6)) {
            let steps = plan(&desired, &observed).map_err(|refusal| TestCaseError::fail(refusal.to_string()))?.steps;
            let length = cut.map_or(steps.len(), |cut| cut.min(steps.len()));
            for step in &steps[..length] {
                let has_role = observed.source.as_ref().and_then(|found| found.facts.as_ref()).is_some_and(|facts| facts.has_role);
                roles += usize::from(matches!(step, Step::AtSource(SourceStep::MakeRole { .. })));
                let is_of_a_node = step.node().is_some();
                prop_assert!(has_role || !is_of_a_node, "{} comes before the role", step);
                observed = after(std::slice::from_ref(step), &observed);
            }
        }
        prop_assert_eq!(plan(&desired, &observed).expect("a plan").steps, vec![]);
        prop_assert_eq!(roles, 1);
        prop_assert_eq!(observed.nodes.len(), usize::from(wanted));
        let follows = |node: &NodeInventory| node.expected_upstream() == Some("theirs");
        prop_assert!(observed.nodes.values().all(follows));
    }
}
