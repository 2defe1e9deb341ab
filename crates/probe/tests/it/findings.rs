//! One fault each, and everything that is said about it.

use insta::assert_snapshot;
use pgherd_probe::{
    CollationMismatch, Disk, Health, History, Lsn, NodeLsn, Process, Reach, Receiver, Slot, SystemIdentifier,
    TimelineId,
};

use crate::cluster::{Cluster, END, replica_at, verdict};

fn history(text: &str) -> Option<History> {
    Some(text.parse().unwrap())
}

#[test]
fn nothing() {
    assert_snapshot!(verdict(|_| ()), @"healthy");
    assert!(Cluster::cascade().assess().is_converged());
}

#[test]
fn a_primary_that_is_stopped() {
    let stop =
        |cluster: &mut Cluster| cluster.node("demo-1").reach = Reach::Stopped { reason: "exit code 137".to_owned() };
    assert_snapshot!(verdict(stop), @r#"
    broken
      no primary among 2 answering of 3 nodes
      hint: Start the node that was the primary; if it is gone, promote the replica that is furthest.
    demo-1: stopped
      is stopped: exit code 137
      hint: Start the node; if it exits again, its log says why.
    demo-2: not streaming
      has an upstream "demo-1" of which nothing is known
      hint: See to the upstream first. If it is none of the cluster's nodes, correct primary_conninfo.
    "#);
}

#[test]
fn a_replica_that_does_not_exist() {
    assert_snapshot!(verdict(|cluster| cluster.node("demo-3").reach = Reach::Missing), @r"
    degraded
    demo-3: missing
      does not exist
      hint: Create the node, or take it out of the cluster.
    ");
}

#[test]
fn a_replica_that_does_not_answer() {
    let reason = "connection refused".to_owned();
    assert_snapshot!(verdict(|cluster| cluster.node("demo-3").reach = Reach::Unreachable { reason }), @r"
    degraded
    demo-3: unreachable
      could not be reached: connection refused
      hint: Look at the node's log, and at the network between it and here.
    ");
}

#[test]
fn a_replica_that_is_starting() {
    let reason = "cloning from \"demo-2\"".to_owned();
    assert_snapshot!(verdict(|cluster| cluster.node("demo-3").reach = Reach::Starting { reason }), @r#"
    degraded
    demo-3: starting
      is starting: cloning from "demo-2"
      hint: Wait. If it takes long, the node's log says what it is waiting for.
    "#);
}

#[test]
fn an_empty_cluster() {
    assert_snapshot!(verdict(|cluster| cluster.0.clear()), @r"
    broken
      no primary among 0 answering of 0 nodes
      hint: Start the node that was the primary; if it is gone, promote the replica that is furthest.
    ");
}

#[test]
fn a_replica_that_was_promoted_behind_our_back() {
    let promote = |cluster: &mut Cluster| {
        let status = cluster.status("demo-2");
        status.lsn = NodeLsn::Primary { write: END, flush: END };
        status.timeline = TimelineId(2);
        status.history = history("1 0/5000000");
        status.receiver = None;
        cluster.status("demo-1").downstreams.clear();
        cluster.status("demo-3").timeline = TimelineId(2);
        cluster.status("demo-3").history = history("1 0/5000000");
    };
    assert_snapshot!(verdict(promote), @r#"
    broken
      2 primaries: "demo-1" on timeline 1 at 0/5000000, "demo-2" on timeline 2 at 0/5000000; they parted at 0/5000000 on timeline 1
      hint: Stop all of them but one at once: what is written to the others has to be thrown away. The highest timeline is that of the latest promotion.
    demo-2: running
      is a primary, but should stream from "demo-1"
      hint: If somebody promoted it, make it the primary everywhere. If nobody did, stop it before it is written to.
    "#);
}

#[test]
fn a_stranger() {
    let swap = |cluster: &mut Cluster| {
        let status = cluster.status("demo-3");
        status.system_identifier = SystemIdentifier(7_299_000_000_000_000_000);
        status.server_version_num = 160_004;
        status.cluster_name = "other".to_owned();
    };
    assert_snapshot!(verdict(swap), @r#"
    broken
      different system identifiers: "demo-1" has 7301442936183316481, "demo-2" has 7301442936183316481, "demo-3" has 7299000000000000000
      hint: The nodes were initialized separately. Take out the stranger, or clone it from the primary.
      different major versions: "demo-1" has 17, "demo-2" has 17, "demo-3" has 16
      hint: Streaming works within one major version only. Upgrade the primary, and clone its replicas again.
    demo-3: streaming
      has cluster_name "other", not the name of the node
      hint: Check that this is the right server, and set cluster_name to the name of the node.
    "#);
}

#[test]
fn a_replica_without_a_receiver() {
    let disconnect = |cluster: &mut Cluster| {
        cluster.status("demo-3").receiver = None;
        cluster.status("demo-3").lsn = replica_at(END.0 - 4096, END.0 - 4096);
        cluster.status("demo-2").downstreams.clear();
        cluster.slot_on("demo-2").active = false;
        cluster.slot_on("demo-2").retained_bytes = Some(4096);
    };
    assert_snapshot!(verdict(disconnect), @r#"
    degraded
    demo-3: not streaming, 4096 bytes behind, 3600000 ms behind
      has no wal receiver for upstream "demo-2"
      hint: The replica's log says why it cannot connect: address, password, slot, or write-ahead log that is gone.
      is not in pg_stat_replication of upstream "demo-2"
      hint: If the replica says that it streams, look at the address that it streams from and at its application_name; else the replica's log says why it cannot connect.
      does not use its slot "demo_3" on upstream "demo-2": 4096 bytes retained
      hint: Bring the replica back, or drop the slot before it fills the upstream's disk.
    "#);
}

#[test]
fn a_replica_that_nothing_is_known_of() {
    let forget = |cluster: &mut Cluster| {
        cluster.node("demo-3").expected_upstream = None;
        cluster.status("demo-3").receiver = None;
    };
    assert_snapshot!(verdict(forget), @r"
    degraded
    demo-3: not streaming
      has no wal receiver and no expected upstream
      hint: Set primary_conninfo and reload.
    ");
}

#[test]
fn a_receiver_that_waits() {
    assert_snapshot!(verdict(|cluster| cluster.receiver("demo-3").status = Some("waiting".to_owned())), @r"
    degraded
    demo-3: not streaming, 0 bytes behind, 0 ms behind
      has a wal receiver that is waiting, not streaming
      hint: Wait for wal_retrieve_retry_interval. If it stays, the replica's log says what it is waiting for.
    ");
}

#[test]
fn a_probing_role_without_privileges() {
    let hide = |cluster: &mut Cluster| {
        *cluster.receiver("demo-3") = Receiver::default();
        cluster.downstream_of("demo-2").state = None;
    };
    assert_snapshot!(verdict(hide), @r#"
    degraded
    demo-3: not streaming, 0 bytes behind, 0 ms behind
      has a wal receiver that the probing role may not look into
      hint: Grant pg_read_all_stats to the probing role.
      has a stream that the probing role may not look into on upstream "demo-2"
      hint: Grant pg_read_all_stats to the probing role.
    "#);
}

#[test]
fn a_stream_that_only_the_replica_believes_in() {
    assert_snapshot!(verdict(|cluster| cluster.status("demo-2").downstreams.clear()), @r#"
    degraded
    demo-3: not streaming, 0 bytes behind, 0 ms behind
      is not in pg_stat_replication of upstream "demo-2"
      hint: If the replica says that it streams, look at the address that it streams from and at its application_name; else the replica's log says why it cannot connect.
    "#);
}

#[test]
fn a_stream_that_only_the_upstream_believes_in() {
    assert_snapshot!(verdict(|cluster| cluster.status("demo-3").receiver = None), @r#"
    degraded
    demo-3: not streaming, 0 bytes behind, 0 ms behind
      has no wal receiver for upstream "demo-2"
      hint: The replica's log says why it cannot connect: address, password, slot, or write-ahead log that is gone.
    "#);
}

#[test]
fn a_replica_that_streams_from_a_stranger() {
    let repoint = |cluster: &mut Cluster| cluster.receiver("demo-3").sender_host = Some("elsewhere".to_owned());
    assert_snapshot!(verdict(repoint), @r#"
    degraded
    demo-3: not streaming, 0 bytes behind, 0 ms behind
      receives from "elsewhere", but should receive from "demo-2"
      hint: Correct primary_conninfo and reload.
    "#);
}

#[test]
fn an_upstream_that_nobody_observed() {
    let repoint = |cluster: &mut Cluster| {
        cluster.node("demo-3").expected_upstream = None;
        cluster.receiver("demo-3").sender_host = Some("elsewhere".to_owned());
    };
    assert_snapshot!(verdict(repoint), @r#"
    degraded
    demo-3: not streaming
      has an upstream "elsewhere" of which nothing is known
      hint: See to the upstream first. If it is none of the cluster's nodes, correct primary_conninfo.
    "#);
}

#[test]
fn a_replica_that_catches_up() {
    let delay = |cluster: &mut Cluster| {
        let downstream = cluster.downstream_of("demo-2");
        downstream.state = Some("catchup".to_owned());
        downstream.sent_lsn = Some(Lsn(END.0 - 4096));
        cluster.status("demo-3").lsn = replica_at(END.0 - 8192, END.0 - 8192);
    };
    assert_snapshot!(verdict(delay), @r#"
    degraded
    demo-3: catching up, 8192 bytes behind, 3600000 ms behind
      is catching up: 0/4FFF000 sent of 0/5000000 that upstream "demo-2" has
      hint: Wait. If the distance grows, the replica or the network is too slow for the load.
    "#);
}

#[test]
fn a_sender_that_has_just_begun() {
    assert_snapshot!(verdict(|cluster| cluster.downstream_of("demo-2").state = Some("startup".to_owned())), @r#"
    degraded
    demo-3: not streaming, 0 bytes behind, 0 ms behind
      is in state startup on upstream "demo-2", not streaming
      hint: Wait for wal_sender_timeout. If it stays, the upstream's log says why.
    "#);
}

#[test]
fn a_stream_that_died_unnoticed() {
    let freeze = |cluster: &mut Cluster| {
        let downstream = cluster.downstream_of("demo-2");
        downstream.last_reply_age_ms = Some(8_125);
        downstream.replay_lag_ms = Some(3);
        cluster.status("demo-3").lsn = replica_at(END.0 - 4096, END.0 - 4096);
        cluster.status("demo-3").last_replay_age_ms = Some(9_500);
    };
    assert_snapshot!(verdict(freeze), @r#"
    degraded
    demo-3: not streaming, 4096 bytes behind, 9500 ms behind
      was last heard by upstream "demo-2" 8125 ms ago, more than 3000 ms
      hint: Look at the network between the two, and for a wal receiver that is stopped or waits for its disk. If it stays, the upstream ends the stream after wal_sender_timeout.
    "#);
}

#[test]
fn replay_that_is_paused() {
    let pause = |cluster: &mut Cluster| {
        cluster.status("demo-3").replay_paused = true;
        cluster.status("demo-3").lsn = replica_at(END.0, END.0 - 4096);
        cluster.downstream_of("demo-2").replay_lag_ms = Some(2_073);
    };
    assert_snapshot!(verdict(pause), @r"
    degraded
    demo-3: not streaming, 4096 bytes behind, 2073 ms behind
      has replay paused at 0/4FFF000, with 0/5000000 received
      hint: Call pg_wal_replay_resume() on the replica.
    ");
}

#[test]
fn a_slot_that_is_missing() {
    assert_snapshot!(verdict(|cluster| cluster.status("demo-2").slots.clear()), @r#"
    degraded
    demo-3: streaming, 0 bytes behind, 0 ms behind
      uses slot "demo_3", which upstream "demo-2" does not have
      hint: Call pg_create_physical_replication_slot() on the upstream; if write-ahead log is gone already, clone again.
    "#);
}

#[test]
fn a_slot_that_is_about_to_be_lost() {
    let fill = |cluster: &mut Cluster| {
        cluster.slot_on("demo-2").wal_status = Some("unreserved".to_owned());
        cluster.slot_on("demo-2").retained_bytes = Some(1 << 34);
    };
    assert_snapshot!(verdict(fill), @r#"
    degraded
    demo-3: streaming, 0 bytes behind, 0 ms behind
      is about to lose its slot "demo_3" on upstream "demo-2": 17179869184 bytes retained
      hint: Let the replica catch up before the next checkpoint, or raise max_slot_wal_keep_size on the upstream.
    "#);
}

#[test]
fn a_slot_that_is_lost() {
    assert_snapshot!(verdict(|cluster| cluster.slot_on("demo-2").wal_status = Some("lost".to_owned())), @r#"
    degraded
    demo-3: streaming, 0 bytes behind, 0 ms behind
      has lost its slot "demo_3" on upstream "demo-2"
      hint: Clone the replica again: its upstream no longer has what it needs.
    "#);
}

#[test]
fn a_replica_that_lags() {
    let lag = |cluster: &mut Cluster| {
        cluster.status("demo-1").lsn = NodeLsn::Primary { write: Lsn(END.0 + (2 << 30)), flush: END };
        cluster.downstream_of("demo-1").replay_lag_ms = Some(90_000);
    };
    assert_snapshot!(verdict(lag), @r"
    degraded
    demo-2: streaming, 2147483648 bytes behind, 90000 ms behind
      is 2147483648 bytes behind, more than 1073741824 bytes
      hint: Look for a long query that conflicts with replay, for a slow disk, and for a burst of writes on the primary.
      is 90000 ms behind, more than 60000 ms
      hint: Look for a long query that conflicts with replay, for a slow disk, and for a burst of writes on the primary.
    ");
}

#[test]
fn a_slot_that_a_lost_node_left_behind() {
    let lose = |cluster: &mut Cluster| {
        cluster.0.truncate(2);
        cluster.slot_on("demo-2").active = false;
        cluster.slot_on("demo-2").retained_bytes = Some(1 << 34);
        cluster.slot_on("demo-2").wal_status = Some("extended".to_owned());
    };
    assert_snapshot!(verdict(lose), @r#"
    degraded
    demo-2: streaming, 0 bytes behind, 0 ms behind
      has a slot "demo_3" of no known node: 17179869184 bytes retained, extended
      hint: If a node was lost, bring it back. If nobody misses it, call pg_drop_replication_slot() before it fills the disk.
      has a slot "demo_3" with 17179869184 bytes retained, and room for 4294967296 more
      hint: See to who uses the slot. If nobody will, call pg_drop_replication_slot(); else make room: max_slot_wal_keep_size, or the disk.
    "#);
}

#[test]
fn a_slot_that_nobody_ever_used() {
    let create = |cluster: &mut Cluster| {
        let slot_type = "physical".to_owned();
        cluster.status("demo-1").slots.push(Slot { slot_name: "spare".to_owned(), slot_type, ..Slot::default() });
    };
    assert_snapshot!(verdict(create), @r#"
    degraded
    demo-1: running
      has a slot "spare" of no known node: nothing retained, never used
      hint: If a node was lost, bring it back. If nobody misses it, call pg_drop_replication_slot() before it fills the disk.
    "#);
}

/// A replica of a cluster whose first node was left behind by a promotion at 0/5000000.
fn after_a_promotion(cluster: &mut Cluster) {
    for node in ["demo-1", "demo-2"] {
        let status = cluster.status(node);
        status.timeline = TimelineId(2);
        status.history = history("1 0/5000000");
    }
}

#[test]
fn a_replica_on_its_way_after_a_promotion() {
    assert_snapshot!(verdict(after_a_promotion), @r#"
    degraded
      different timelines: "demo-1" has 2, "demo-2" has 2, "demo-3" has 1
      hint: Right after a promotion, wait. If it stays, the node has to be pointed to the new primary, rewound or cloned again.
    "#);
}

#[test]
fn a_replica_that_cannot_follow_a_promotion() {
    let outrun = |cluster: &mut Cluster| {
        after_a_promotion(cluster);
        let status = cluster.status("demo-3");
        status.lsn = replica_at(END.0 + 4096, END.0 + 4096);
        status.timeline_lsn = Some(Lsn(END.0 + 4096));
    };
    assert_snapshot!(verdict(outrun), @r#"
    broken
      "demo-3" on timeline 1 at 0/5001000 and "demo-1" parted at 0/5000000 on timeline 1
      hint: Read nothing from it: what it has after that place is in no other history. Rewind it with pg_rewind, or clone it again.
    "#);
}

#[test]
fn two_promotions_with_one_number() {
    let promote_twice = |cluster: &mut Cluster| {
        after_a_promotion(cluster);
        let status = cluster.status("demo-3");
        status.timeline = TimelineId(2);
        status.history = history("1 0/4FFF000");
    };
    assert_snapshot!(verdict(promote_twice), @r#"
    broken
      "demo-3" on timeline 2 at 0/5000000 and "demo-1" parted at 0/4FFF000 on timeline 1
      hint: Read nothing from it: what it has after that place is in no other history. Rewind it with pg_rewind, or clone it again.
    "#);
}

#[test]
fn a_replica_whose_timeline_is_not_certain() {
    let lose_the_receiver = |cluster: &mut Cluster| {
        after_a_promotion(cluster);
        let status = cluster.status("demo-3");
        status.lsn = replica_at(END.0 + 4096, END.0 + 4096);
        status.timeline_lsn = Some(Lsn(END.0 - 4096));
    };
    assert_snapshot!(verdict(lose_the_receiver), @r#"
    degraded
      different timelines: "demo-1" has 2, "demo-2" has 2, "demo-3" has 1
      hint: Right after a promotion, wait. If it stays, the node has to be pointed to the new primary, rewound or cloned again.
    "#);
}

#[test]
fn a_circle() {
    let turn = |cluster: &mut Cluster| cluster.receiver("demo-2").sender_host = Some("demo-3".to_owned());
    assert_snapshot!(verdict(turn), @r#"
    degraded
      streaming in a circle: "demo-2" from "demo-3", "demo-3" from "demo-2"
      hint: Nothing new can reach them. Point one of them to the primary: correct primary_conninfo and reload.
    demo-2: not streaming, 0 bytes behind, 0 ms behind
      receives from "demo-3", but should receive from "demo-1"
      hint: Correct primary_conninfo and reload.
    "#);
}

#[test]
fn processes_that_are_stopped() {
    let stop = |node: &str, backend_types: &[&str]| {
        let processes = backend_types
            .iter()
            .zip(27..)
            .map(|(backend_type, pid)| Process { backend_type: (*backend_type).to_owned(), pid });
        verdict(|cluster| cluster.status(node).stopped = Some(processes.collect()))
    };
    assert_snapshot!(stop("demo-1", &["postmaster", "walsender"]), @r"
    degraded
    demo-1: running
      has processes that are stopped: postmaster [27], walsender [28]
      hint: Find out who stopped them, and send them SIGCONT. Without a postmaster there are no new connections.
    ");
    assert_snapshot!(stop("demo-2", &["checkpointer", "startup"]), @r"
    degraded
    demo-2: not streaming, 0 bytes behind, 0 ms behind
      has processes that are stopped: startup [28]
      hint: Find out who stopped them, and send them SIGCONT. Without a postmaster there are no new connections.
      has processes that are stopped: checkpointer [27]
      hint: Find out who stopped them, and send them SIGCONT. Without a postmaster there are no new connections.
    ");
}

#[test]
fn a_receiver_that_is_frozen() {
    let freeze = |cluster: &mut Cluster| {
        cluster.status("demo-2").lsn = replica_at(END.0 - 4096, END.0 - 4096);
        cluster.status("demo-2").past.receive_stalled_ms = Some(1_990);
    };
    assert_snapshot!(verdict(freeze), @r#"
    degraded
    demo-2: not streaming, 4096 bytes behind
      has received nothing for 1990 ms: it has 0/4FFF000 of 0/5000000 that upstream "demo-1" has
      hint: Look for a wal receiver or a wal sender that is stopped, for a network that is cut, and for a disk that does not keep up.
    "#);
}

#[test]
fn a_startup_process_that_is_frozen() {
    let freeze = |cluster: &mut Cluster| {
        cluster.status("demo-3").lsn = replica_at(END.0, END.0 - 4096);
        cluster.status("demo-3").past.replay_stalled_ms = Some(1_990);
    };
    // One that is at work has more time.
    let at_work = |cluster: &mut Cluster| {
        freeze(cluster);
        cluster.status("demo-3").replay.as_mut().unwrap().wait_event_type = Some("IO".to_owned());
    };
    assert_eq!(verdict(at_work), "healthy\n");
    assert_snapshot!(verdict(freeze), @r"
    degraded
    demo-3: not streaming, 4096 bytes behind
      has replayed nothing for 1990 ms: it is at 0/4FFF000, with 0/5000000 received
      hint: Look at the startup process: it is stopped, or waits for its disk. If it stays, restart the replica.
    ");
}

#[test]
fn a_long_conflict() {
    let conflict = |stalled_ms| {
        verdict(|cluster| {
            let status = cluster.status("demo-3");
            status.lsn = replica_at(END.0, END.0 - 4096);
            status.past.replay_stalled_ms = Some(stalled_ms);
            let replay = status.replay.as_mut().unwrap();
            replay.wait_event_type = Some("IPC".to_owned());
            replay.wait_event = Some("RecoveryConflictSnapshot".to_owned());
        })
    };
    assert_snapshot!(conflict(9_990), @"healthy");
    assert_snapshot!(conflict(10_990), @r"
    degraded
    demo-3: not streaming, 4096 bytes behind
      has waited with replay for a query for 10990 ms, more than 10000 ms: RecoveryConflictSnapshot
      hint: Wait for max_standby_streaming_delay, or end the query: pg_stat_activity on the replica shows it.
    ");
}

#[test]
fn a_delay_that_is_asked_for() {
    let delay = |lag_ms, stalled_ms| {
        verdict(|cluster| {
            cluster.status("demo-1").lsn = NodeLsn::Primary { write: Lsn(END.0 + (2 << 30)), flush: END };
            cluster.downstream_of("demo-1").replay_lag_ms = Some(lag_ms);
            let status = cluster.status("demo-2");
            status.past.replay_stalled_ms = Some(stalled_ms);
            status.replay.as_mut().unwrap().min_apply_delay_ms = Some(300_000);
        })
    };
    assert_snapshot!(delay(359_000, 301_000), @r"
    healthy
    demo-2: streaming, 2147483648 bytes behind, 359000 ms behind
      note: replays 300000 ms late, as recovery_min_apply_delay says
      hint: Set recovery_min_apply_delay to 0 if nobody needs the delay.
    ");
    assert_snapshot!(delay(361_000, 302_000), @r"
    degraded
    demo-2: not streaming, 2147483648 bytes behind, 361000 ms behind
      has replayed nothing for 302000 ms: it is at 0/5000000, with 0/5000000 received
      hint: Look at the startup process: it is stopped, or waits for its disk. If it stays, restart the replica.
      is 361000 ms behind, more than 360000 ms
      hint: Look for a long query that conflicts with replay, for a slow disk, and for a burst of writes on the primary.
      note: replays 300000 ms late, as recovery_min_apply_delay says
      hint: Set recovery_min_apply_delay to 0 if nobody needs the delay.
    ");
}

#[test]
fn a_synchronous_replica_that_is_missing() {
    let sync = |cluster: &mut Cluster, setting: &str| {
        cluster.status("demo-1").synchronous.standby_names = Some(setting.to_owned());
        cluster.downstream_of("demo-1").sync_state = Some("sync".to_owned());
    };
    // The same on every node, so that the primary is among them.
    assert_snapshot!(verdict(|cluster| sync(cluster, "ANY 1 (\"demo-1\", \"demo-2\")")), @"healthy");
    assert_snapshot!(verdict(|cluster| sync(cluster, "\"demo-2\", \"demo-4\"")), @r#"
    degraded
    demo-1: running
      has 1 of 1 synchronous replicas, without "demo-4"
      hint: Bring the replica back. If commits hang meanwhile, take it out of synchronous_standby_names and reload.
    "#);
    let hang = |cluster: &mut Cluster| {
        sync(cluster, "FIRST 2 (\"demo-2\", \"demo-4\")");
        cluster.status("demo-1").synchronous.commits_waiting = Some(3);
    };
    assert_snapshot!(verdict(hang), @r#"
    broken
    demo-1: running
      has 1 of 2 synchronous replicas, without "demo-4": 3 commits wait
      hint: Bring the replica back. If commits hang meanwhile, take it out of synchronous_standby_names and reload.
    "#);
}

#[test]
fn a_slot_that_fills() {
    let fill = |cluster: &mut Cluster| {
        cluster.slot_on("demo-1").retained_bytes = Some(3 << 30);
        cluster.slot_on("demo-1").safe_wal_bytes = Some(1 << 30);
    };
    assert_snapshot!(verdict(fill), @r#"
    degraded
    demo-1: running
      has a slot "demo_2" with 3221225472 bytes retained, and room for 1073741824 more
      hint: See to who uses the slot. If nobody will, call pg_drop_replication_slot(); else make room: max_slot_wal_keep_size, or the disk.
    "#);
    let fill_the_disk = |cluster: &mut Cluster| {
        cluster.slot_on("demo-1").retained_bytes = Some(60 << 30);
        cluster.slot_on("demo-1").safe_wal_bytes = None;
    };
    assert_snapshot!(verdict(fill_the_disk), @r#"
    degraded
    demo-1: running
      has a slot "demo_2" with 64424509440 bytes retained, and room for 42949672960 more
      hint: See to who uses the slot. If nobody will, call pg_drop_replication_slot(); else make room: max_slot_wal_keep_size, or the disk.
    "#);
}

#[test]
fn a_logical_slot_that_is_lost() {
    let lose = |cluster: &mut Cluster| {
        cluster.status("demo-1").slots.push(Slot {
            slot_name: "orders".to_owned(),
            slot_type: "logical".to_owned(),
            wal_status: Some("lost".to_owned()),
            ..Slot::default()
        });
    };
    assert_snapshot!(verdict(lose), @r#"
    degraded
    demo-1: running
      has lost its logical slot "orders"
      hint: Drop the slot, and make its subscription anew: the subscriber has missed changes.
    "#);
}

#[test]
fn a_disk_that_is_nearly_full() {
    let disk = |free_bytes, total_bytes, age_ms| {
        verdict(|cluster| cluster.status("demo-1").disk = Some(Disk { free_bytes, total_bytes, age_ms }))
    };
    assert_snapshot!(disk(20 << 20, 256 << 20, 900), @r"
    degraded
    demo-1: running
      has 20971520 of 268435456 bytes free on its volume, less than 26843540 bytes
      hint: Make room before PostgreSQL stops: see to slots that retain write-ahead log and to what is not archived; never remove files from pg_wal.
    ");
    // A tenth of a large one is a lot, and what was seen a minute ago is no fact.
    assert_eq!(disk(6 << 30, 1 << 40, 900), "healthy\n");
    assert_eq!(disk(20 << 20, 256 << 20, 60_001), "healthy\n");
}

#[test]
fn checksum_failures() {
    let fail = |age_ms| {
        verdict(|cluster| {
            let upkeep = &mut cluster.status("demo-2").upkeep;
            (upkeep.checksum_failures, upkeep.last_checksum_failure_age_ms) = (Some(2), Some(age_ms));
        })
    };
    assert_snapshot!(fail(3_600_000), @r"
    broken
    demo-2: streaming, 0 bytes behind, 0 ms behind
      has had 2 checksum failures, the last 3600000 ms ago
      hint: Data are damaged: pg_stat_database and the log say where. A replica is cloned again; of a primary, switch to a replica that is sound. pg_stat_reset() in that database ends this.
    ");
    assert_snapshot!(fail(30_000_000_000), @r"
    healthy
    demo-2: streaming, 0 bytes behind, 0 ms behind
      note: has had 2 checksum failures, the last 30000000000 ms ago
      hint: Data are damaged: pg_stat_database and the log say where. A replica is cloned again; of a primary, switch to a replica that is sound. pg_stat_reset() in that database ends this.
    ");
}

#[test]
fn collations_of_another_version() {
    let upgrade = |cluster: &mut Cluster| {
        cluster.status("demo-2").upkeep.collation_mismatches = Some(vec![CollationMismatch {
            kind: "database".to_owned(),
            name: "app".to_owned(),
            recorded: Some("2.36".to_owned()),
            actual: Some("2.41".to_owned()),
        }]);
    };
    assert_snapshot!(verdict(upgrade), @r#"
    degraded
    demo-2: streaming, 0 bytes behind, 0 ms behind
      has other versions of collations than data were sorted by: database "app" by 2.36, now 2.41
      hint: Indexes on text may be wrong: use the operating system that they were made on, or REINDEX and ALTER … REFRESH VERSION on the primary.
    "#);
}

#[test]
fn an_archiver_that_fails() {
    let archive = |node: &str, mode: &str, archived_age_ms| {
        verdict(|cluster| {
            let archiver = cluster.status(node).upkeep.archiver.as_mut().unwrap();
            archiver.mode = mode.to_owned();
            (archiver.failed_count, archiver.last_failed_age_ms) = (7, Some(41_000));
            archiver.last_failed_wal = Some("000000010000000000000005".to_owned());
            archiver.last_archived_age_ms = archived_age_ms;
        })
    };
    assert_snapshot!(archive("demo-1", "on", Some(3_600_000)), @r#"
    degraded
    demo-1: running
      could not archive "000000010000000000000005" 41000 ms ago, and nothing since: 7 failures
      hint: The server's log has what archive_command said. Until it succeeds, pg_wal grows.
    "#);
    // It has succeeded since; it does not archive; it did when it was the primary.
    assert_eq!(archive("demo-1", "on", Some(2_000)), "healthy\n");
    assert_eq!(archive("demo-1", "off", None), "healthy\n");
    assert_eq!(archive("demo-2", "on", None), "healthy\n");
    assert_ne!(archive("demo-2", "always", None), "healthy\n");
}

#[test]
fn transaction_ids_that_run_out() {
    let grow = |node: &str, age, begins| {
        verdict(|cluster| {
            let upkeep = &mut cluster.status(node).upkeep;
            (upkeep.transaction_age, upkeep.autovacuum_freeze_max_age) = (Some(age), Some(begins));
        })
    };
    assert_eq!(grow("demo-1", 210_000_000, 200_000_000), "healthy\n");
    assert_snapshot!(grow("demo-1", 1_200_000_000, 200_000_000), @r"
    degraded
    demo-1: running
      has transaction ids that are 1200000000 transactions old, more than 1000000000, with 947483648 left
      hint: Look for what keeps VACUUM from freezing: long or prepared transactions, idle slots, autovacuum that is off. Then VACUUM.
    ");
    assert_snapshot!(grow("demo-1", 2_110_000_000, 200_000_000), @r"
    broken
    demo-1: running
      has transaction ids that are 2110000000 transactions old, more than 1000000000, with 37483648 left
      hint: Look for what keeps VACUUM from freezing: long or prepared transactions, idle slots, autovacuum that is off. Then VACUUM.
    ");
    assert_eq!(grow("demo-1", 1_200_000_000, 1_200_000_000), "healthy\n");
    assert_eq!(grow("demo-2", 2_110_000_000, 200_000_000), "healthy\n");
}

#[test]
fn settings_that_wait_for_a_restart() {
    let set = |cluster: &mut Cluster| {
        cluster.status("demo-1").upkeep.pending_restart = Some(vec!["shared_buffers".to_owned()]);
    };
    assert_snapshot!(verdict(set), @r"
    healthy
    demo-1: running
      note: has settings that wait for a restart: shared_buffers
      hint: Restart the node when it suits.
    ");
    let mut cluster = Cluster::cascade();
    set(&mut cluster);
    assert_eq!(cluster.assess().health, Health::Healthy);
}
