//! Who takes over, when, and why not.

use insta::assert_snapshot;
use pgherd_agent::{Role, Upstream};
use pgherd_orchestrator::{ClusterSpec, ContainerState, Inventory, Primacy, Replicas, after, plan};
use pgherd_probe::{Lsn, NodeLsn, NodeStatus, Reach};
use serde_json::{Value, json};

use crate::{complete, desired, introduced, rendered};

const END: u64 = 0x0500_0000;

/// A primary with this many replicas that stream, as all of them see it.
pub(crate) fn streaming(replicas: u16) -> Inventory {
    let mut observed = complete(replicas);
    for (number, node) in &mut observed.nodes {
        let status = if *number == 1 { primary(replicas) } else { replica(*number) };
        node.reach = Reach::Answered(Box::new(serde_json::from_value::<NodeStatus>(status).expect("a status")));
    }
    observed
}

fn status(number: u16, more: &Value) -> Value {
    let mut status = json!({
        "server_version_num": 170_012, "system_identifier": "7", "cluster_name": format!("demo-{number}"), "timeline": 1,
        "receiver": null, "receiver_status_interval_ms": 1000, "primary_slot_name": null, "replay_paused": false,
        "last_replay_age_ms": null, "downstreams": [], "slots": [],
    });
    let fields = more.as_object().expect("fields").clone();
    status.as_object_mut().expect("fields").extend(fields);
    status
}

fn primary(replicas: u16) -> Value {
    let end = Lsn(END).to_string();
    let downstream = |number: u16| {
        json!({ "application_name": format!("demo-{number}"), "state": "streaming", "sent_lsn": end, "write_lsn": end,
                "flush_lsn": end, "replay_lsn": end, "write_lag_ms": null, "flush_lag_ms": null, "replay_lag_ms": null,
                "last_reply_age_ms": 100, "sync_state": "async" })
    };
    let slot = |number: u16| {
        json!({ "slot_name": format!("demo_{number}"), "slot_type": "physical", "active": true, "restart_lsn": end,
                "retained_bytes": 0, "wal_status": "reserved" })
    };
    let numbers = || 2..replicas + 2;
    status(
        1,
        &json!({ "lsn": { "role": "primary", "write": end, "flush": end },
                 "downstreams": numbers().map(downstream).collect::<Vec<_>>(),
                 "slots": numbers().map(slot).collect::<Vec<_>>() }),
    )
}

fn replica(number: u16) -> Value {
    let (end, slot) = (Lsn(END).to_string(), format!("demo_{number}"));
    let receiver = json!({ "status": "streaming", "sender_host": "demo-1", "sender_port": 5432, "slot_name": slot, "received_tli": 1,
                           "flushed_lsn": end, "latest_end_lsn": end, "last_msg_age_ms": 100, "clock_behind_ms": 0 });
    let more = json!({ "lsn": { "role": "replica", "receive": end, "replay": end }, "receiver": receiver,
                       "primary_slot_name": slot });
    status(number, &more)
}

fn with_quorum(mut observed: Inventory, quorum: u16) -> Inventory {
    observed.nodes.values_mut().filter_map(|node| node.spec.as_mut()).for_each(|spec| spec.quorum = quorum);
    observed
}

fn dies(observed: &mut Inventory, number: u16) {
    let node = observed.nodes.get_mut(&number).expect("a node");
    node.container = Some(ContainerState::Exited { exit_code: 137 });
    node.reach = Reach::Stopped { reason: "its container exited with code 137".to_owned() };
}

fn hangs(observed: &mut Inventory, number: u16) {
    observed.nodes.get_mut(&number).expect("a node").reach =
        Reach::Unreachable { reason: "no answer within 1 s".to_owned() };
}

fn change(observed: &mut Inventory, number: u16, change: impl FnOnce(&mut NodeStatus)) {
    match &mut observed.nodes.get_mut(&number).expect("a node").reach {
        Reach::Answered(status) => change(status),
        _ => panic!("a node that does not answer"),
    }
}

fn behind(observed: &mut Inventory, number: u16, bytes: u64) {
    let end = Some(Lsn(END - bytes));
    change(observed, number, |status| status.lsn = NodeLsn::Replica { receive: end, replay: end });
}

fn switchover(to: Option<u16>) -> ClusterSpec {
    ClusterSpec { primacy: Primacy::Switchover { to }, ..desired(Replicas::AsFound) }
}

fn failover(to: Option<u16>) -> ClusterSpec {
    ClusterSpec {
        primacy: Primacy::Failover { to, allow_data_loss: false, force: false },
        ..desired(Replicas::AsFound)
    }
}

fn lossy(to: Option<u16>, force: bool) -> ClusterSpec {
    ClusterSpec { primacy: Primacy::Failover { to, allow_data_loss: true, force }, ..desired(Replicas::AsFound) }
}

#[test]
fn a_primary_hands_over_and_all_others_follow() {
    let observed = streaming(2);
    assert_snapshot!(rendered(&switchover(None), &observed), @"
    make a checkpoint on demo-1
    tell demo-3 to be a replica of demo-2 beside demo-1, demo-2
    shut demo-1 down, and promote demo-2 once it has everything
    ");
    let steps = plan(&switchover(None), &observed).expect("a plan").steps;
    let observed = after(&steps, &observed);
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"
    make demo-1 a replica of demo-2
    start demo-1
    ");
}

#[test]
fn who_takes_over_is_made_ready_first() {
    let mut observed = streaming(2);
    change(&mut observed, 3, |status| status.replay_paused = true);
    assert_snapshot!(rendered(&switchover(Some(3)), &observed), @"resume replay on demo-3");

    let mut observed = streaming(2);
    behind(&mut observed, 3, 20 << 20);
    assert_snapshot!(rendered(&switchover(Some(3)), &observed), @"
    wait for demo-3: it is 20971520 bytes behind, and takes over at less than 16777216
    ");
    assert!(rendered(&switchover(None), &observed).contains("promote demo-2 "));
}

#[test]
fn a_switchover_that_was_cut_off_is_finished() {
    let mut observed = streaming(2);
    dies(&mut observed, 1);
    assert_snapshot!(rendered(&switchover(Some(2)), &observed), @r#"
    refused: cannot switch over: "demo-1" is stopped: its container exited with code 137
    hint: "cluster failover demo" makes a replica the primary without it.
    "#);
    observed.nodes.get_mut(&1).expect("a node").container = Some(ContainerState::Exited { exit_code: 0 });
    assert_snapshot!(rendered(&switchover(Some(2)), &observed), @"
    promote demo-2, if it has all that its upstream had when that was shut down
    tell demo-3 to be a replica of demo-2 beside demo-1, demo-2
    ");
}

#[test]
fn who_cannot_take_over_is_refused() {
    let refused = |spec: &ClusterSpec, observed: &Inventory| {
        let text = rendered(spec, observed);
        assert!(text.starts_with("refused: "), "{text}");
        text
    };
    let mut observed = streaming(2);
    hangs(&mut observed, 2);
    assert_snapshot!(refused(&switchover(Some(2)), &observed), @r#"
    refused: "demo-2" cannot become the primary: it does not answer: no answer within 1 s
    hint: "cluster status demo" tells more.
    "#);
    assert_snapshot!(refused(&failover(None), &observed), @r#"
    refused: cannot fail over: "demo-1" is the primary, and answers
    hint: "cluster switchover demo" moves the primary and loses nothing; "--force" kills it.
    "#);
    hangs(&mut observed, 3);
    assert_snapshot!(refused(&switchover(None), &observed), @r#"
    refused: no replica of cluster "demo" can become the primary: demo-2 does not answer: no answer within 1 s; demo-3 does not answer: no answer within 1 s
    hint: "cluster status demo" tells more.
    "#);
    dies(&mut observed, 1);
    assert_snapshot!(refused(&lossy(None, false), &observed), @r#"
    refused: no replica of cluster "demo" can become the primary: demo-2 does not answer: no answer within 1 s; demo-3 does not answer: no answer within 1 s
    hint: "cluster status demo" tells more.
    "#);
}

#[test]
fn nobody_is_promoted_before_the_old_primary_is_dead() {
    let mut observed = with_quorum(streaming(2), 1);
    hangs(&mut observed, 1);
    assert_snapshot!(rendered(&failover(None), &observed), @"kill demo-1, so that it takes no more writes");
    let steps = plan(&failover(None), &observed).expect("a plan").steps;
    let observed = after(&steps, &observed);
    assert_snapshot!(rendered(&failover(None), &observed), @"
    promote demo-2, which has every acknowledged commit: any 1 of 2 confirmed each, and 2 of them answer
    tell demo-3 to be a replica of demo-2 beside demo-1, demo-2, any 1 of which confirm a commit
    ");
    let steps = plan(&failover(None), &observed).expect("a plan").steps;
    let observed = after(&steps, &observed);
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"
    make demo-1 a replica of demo-2
    start demo-1
    ");
}

#[test]
fn nothing_is_lost_unless_that_was_said() {
    let mut observed = streaming(2);
    dies(&mut observed, 1);
    assert_snapshot!(rendered(&failover(None), &observed), @r#"
    refused: promoting "demo-2" may lose commits that were acknowledged: no replica has to confirm a commit (no quorum)
    hint: Bring the old primary back with "cluster start", or add "--allow-data-loss", which says how much that is at most.
    "#);
    assert!(rendered(&lossy(None, false), &observed).starts_with("promote demo-2, which may lack"));

    let mut observed = with_quorum(observed, 1);
    behind(&mut observed, 2, 4096);
    assert!(rendered(&failover(None), &observed).starts_with("promote demo-3, which has every acknowledged commit"));
    assert_snapshot!(rendered(&failover(Some(2)), &observed), @r#"
    refused: "demo-2" has 4096 bytes of WAL less than "demo-3"
    hint: Promote "demo-3", or add "--allow-data-loss".
    "#);
    assert!(rendered(&lossy(Some(2), false), &observed).starts_with("promote demo-2, which may lack"));

    hangs(&mut observed, 3);
    assert_snapshot!(rendered(&failover(None), &observed), @r#"
    refused: promoting "demo-2" may lose commits that were acknowledged: any 1 of 2 confirm a commit, so that 2 of them have to answer, not 1
    hint: Bring the old primary back with "cluster start", or add "--allow-data-loss", which says how much that is at most.
    "#);
    // Both had to confirm, so either has everything.
    assert!(rendered(&failover(None), &with_quorum(observed, 2)).starts_with("promote demo-2, which has every"));
}

#[test]
fn a_primary_that_answers_is_killed_on_demand_alone() {
    let observed = streaming(1);
    assert_eq!(rendered(&lossy(None, true), &observed), "kill demo-1, so that it takes no more writes");
    assert!(
        rendered(&lossy(None, false), &observed).starts_with("refused: cannot fail over: \"demo-1\" is the primary")
    );
}

/// A newer timeline counts more than a later position, which may be one of writes that were given up.
#[test]
fn the_newest_timeline_wins() {
    let mut observed = streaming(2);
    dies(&mut observed, 1);
    behind(&mut observed, 3, 1 << 20);
    change(&mut observed, 3, |status| status.timeline.0 = 2);
    assert!(rendered(&lossy(None, false), &observed).starts_with("promote demo-3"));
}

/// Node 2 is the primary, and node 3, which follows it, has 4096 bytes that it has not.
fn parted() -> Inventory {
    let mut observed = streaming(2);
    observed.nodes.remove(&1);
    let follows = Role::Replica { upstream: Upstream { host: "demo-2".to_owned(), port: 5432 } };
    for (number, role) in [(2, Role::Primary), (3, follows)] {
        observed.nodes.get_mut(&number).and_then(|node| node.spec.as_mut()).expect("a specification").role = role;
    }
    let at = Lsn(END - 4096);
    change(&mut observed, 2, |status| {
        status.timeline.0 = 2;
        status.history = serde_json::from_value(json!([{ "timeline": 1, "at": at }])).expect("a history");
        (status.lsn, status.receiver) = (NodeLsn::Primary { write: at, flush: at }, None);
    });
    change(&mut observed, 3, |status| {
        status.history = serde_json::from_value(json!([])).expect("a history");
        status.timeline_lsn = Some(Lsn(END));
    });
    introduced(observed)
}

#[test]
fn who_has_what_its_upstream_never_had_is_rewound_if_that_was_said() {
    let mut observed = parted();
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @r#"
    refused: "demo-3" on timeline 1 at 0/5000000 and "demo-2" parted at 0/4FFF000 on timeline 1: it cannot follow any more
    hint: If what "demo-3" has beyond that may go to its trash, "cluster rejoin demo-3" rewinds it; "cluster remove demo-3" gives it up.
    "#);
    observed.nodes.get_mut(&3).and_then(|node| node.spec.as_mut()).expect("a specification").rewind_to_new_upstream =
        true;
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &observed), @"
    stop demo-3
    start demo-3
    ");
    let other = ClusterSpec { only: Some(2), ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&other, &parted()), @"");
    // Others are waited for first.
    observed = parted();
    let mut late = observed.nodes[&3].clone();
    late.spec.as_mut().expect("a specification").node = "demo-4".to_owned();
    observed.nodes.insert(4, late);
    hangs(&mut observed, 4);
    assert_snapshot!(rendered(&desired(Replicas::AsFound), &introduced(observed)), @r#"
    wait for demo-3: receives from "demo-1", but should receive from "demo-2"; is not in pg_stat_replication of upstream "demo-2"; uses slot "demo_3", which upstream "demo-2" does not have
    wait for demo-4: could not be reached: no answer within 1 s
    wait for demo: "demo-3" on timeline 1 at 0/5000000 and "demo-2" parted at 0/4FFF000 on timeline 1
    "#);
}

#[test]
fn roles_are_kept_by_specifications() {
    let observed = streaming(1);
    let steps = plan(&switchover(Some(2)), &observed).expect("a plan").steps;
    let observed = after(&steps, &observed);
    let role = |number: u16| observed.nodes[&number].spec.clone().expect("a specification").role;
    assert_eq!(role(2), Role::Primary);
}
