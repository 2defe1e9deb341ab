//! One fault each, and everything that is said about it.

use insta::assert_snapshot;
use pgherd_probe::{Lsn, NodeLsn, Reach, Receiver, Slot, SystemIdentifier};

use crate::cluster::{Cluster, END, replica_at, verdict};

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
      has a slot "demo_3" with 17179869184 bytes retained, and room for 4294967296 bytes more
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
fn a_replica_that_is_told_to_stream_from_a_stranger_and_does_not() {
    let mislead = |cluster: &mut Cluster| {
        cluster.status("demo-3").receiver = None;
        cluster.status("demo-3").primary_host = Some("stranger".to_owned());
        cluster.status("demo-2").downstreams.clear();
    };
    assert_snapshot!(verdict(mislead), @r#"
    degraded
    demo-3: not streaming, 0 bytes behind, 0 ms behind
      has no wal receiver for upstream "demo-2": primary_conninfo names "stranger"
      hint: Correct primary_conninfo and reload.
      is not in pg_stat_replication of upstream "demo-2"
      hint: If the replica says that it streams, look at the address that it streams from and at its application_name; else the replica's log says why it cannot connect.
    "#);
}
