//! The shapes that others read.

use insta::{assert_json_snapshot, assert_snapshot};
use pgherd_probe::{Finding, Lsn, NodeLsn, NodeState, NodeStatus, Reach, Slot};

use crate::cluster::{Cluster, END, replica_at};

#[test]
fn the_report_as_json() {
    let mut cluster = Cluster::cascade();
    cluster.0.truncate(2);
    cluster.status("demo-2").replay_paused = true;
    assert_json_snapshot!(cluster.assess(), @r#"
    {
      "schema": 1,
      "health": "degraded",
      "nodes": [
        {
          "node": "demo-1",
          "role": "primary",
          "state": "running",
          "timeline": 1,
          "lsn": "0/5000000",
          "replay_lag_bytes": null,
          "replay_lag_ms": null,
          "slot": null,
          "upstream": null,
          "receiver": null,
          "sender": null,
          "health": "healthy",
          "findings": [],
          "notes": []
        },
        {
          "node": "demo-2",
          "role": "replica",
          "state": "not_streaming",
          "timeline": 1,
          "lsn": "0/5000000",
          "replay_lag_bytes": 0,
          "replay_lag_ms": 0,
          "slot": "demo_2",
          "upstream": "demo-1",
          "receiver": {
            "status": "streaming",
            "sender_host": "demo-1",
            "sender_port": 5432,
            "slot_name": "demo_2",
            "received_tli": 1,
            "written_lsn": "0/5000000",
            "flushed_lsn": "0/5000000",
            "latest_end_lsn": "0/5000000",
            "last_msg_age_ms": 800,
            "clock_behind_ms": 0,
            "wait_event_type": "Activity",
            "wait_event": "WalReceiverMain"
          },
          "sender": {
            "application_name": "demo-2",
            "state": "streaming",
            "sent_lsn": "0/5000000",
            "write_lsn": "0/5000000",
            "flush_lsn": "0/5000000",
            "replay_lsn": "0/5000000",
            "write_lag_ms": null,
            "flush_lag_ms": null,
            "replay_lag_ms": null,
            "last_reply_age_ms": 400,
            "sync_state": "async"
          },
          "health": "degraded",
          "findings": [
            {
              "kind": "replay_paused",
              "replay": "0/5000000",
              "receive": "0/5000000",
              "health": "degraded",
              "message": "has replay paused at 0/5000000, with 0/5000000 received",
              "hint": "Call pg_wal_replay_resume() on the replica."
            }
          ],
          "notes": []
        }
      ],
      "findings": []
    }
    "#);
}

#[test]
fn the_status_as_json() {
    let status = Cluster::cascade().status("demo-2").clone();
    let json = serde_json::to_string_pretty(&status).unwrap();
    assert_eq!(serde_json::from_str::<NodeStatus>(&json).unwrap(), status);
    assert_snapshot!(json, @r#"
    {
      "server_version_num": 170012,
      "system_identifier": "7301442936183316481",
      "cluster_name": "demo-2",
      "timeline": 1,
      "timeline_lsn": "0/5000000",
      "newest_wal": null,
      "lsn": {
        "role": "replica",
        "receive": "0/5000000",
        "replay": "0/5000000"
      },
      "receiver": {
        "status": "streaming",
        "sender_host": "demo-1",
        "sender_port": 5432,
        "slot_name": "demo_2",
        "received_tli": 1,
        "written_lsn": "0/5000000",
        "flushed_lsn": "0/5000000",
        "latest_end_lsn": "0/5000000",
        "last_msg_age_ms": 800,
        "clock_behind_ms": 0,
        "wait_event_type": "Activity",
        "wait_event": "WalReceiverMain"
      },
      "receiver_status_interval_ms": 1000,
      "primary_host": "demo-1",
      "primary_slot_name": "demo_2",
      "replay_paused": false,
      "last_replay_age_ms": 3600000,
      "replay": {
        "wait_event_type": "Activity",
        "wait_event": "RecoveryWalStream",
        "min_apply_delay_ms": 0,
        "max_streaming_delay_ms": 30000,
        "conflicts": {
          "lock": 0,
          "snapshot": 0
        }
      },
      "downstreams": [
        {
          "application_name": "demo-3",
          "state": "streaming",
          "sent_lsn": "0/5000000",
          "write_lsn": "0/5000000",
          "flush_lsn": "0/5000000",
          "replay_lsn": "0/5000000",
          "write_lag_ms": null,
          "flush_lag_ms": null,
          "replay_lag_ms": null,
          "last_reply_age_ms": 400,
          "sync_state": "async"
        }
      ],
      "slots": [
        {
          "slot_name": "demo_3",
          "slot_type": "physical",
          "active": true,
          "restart_lsn": "0/5000000",
          "retained_bytes": 0,
          "wal_status": "reserved",
          "safe_wal_bytes": 4294967296,
          "inactive_ms": null
        }
      ],
      "synchronous": {
        "standby_names": "",
        "commits_waiting": 0
      },
      "upkeep": {
        "pending_restart": [],
        "collation_mismatches": [],
        "checksum_failures": 0,
        "last_checksum_failure_age_ms": null,
        "archiver": {
          "mode": "off",
          "archived_count": 0,
          "failed_count": 0,
          "last_failed_wal": null,
          "last_archived_age_ms": null,
          "last_failed_age_ms": null
        },
        "transaction_age": 27,
        "autovacuum_freeze_max_age": 200000000
      },
      "settings": [
        {
          "name": "max_connections",
          "setting": "100",
          "boot_val": "100",
          "unit": ""
        },
        {
          "name": "wal_keep_size",
          "setting": "64",
          "boot_val": "0",
          "unit": "MB"
        }
      ],
      "history": [],
      "disk": {
        "free_bytes": 42949672960,
        "total_bytes": 107374182400,
        "age_ms": 700
      },
      "postmaster": "standby",
      "stopped": [],
      "past": {
        "replay_stalled_ms": null,
        "receive_stalled_ms": null
      }
    }
    "#);
}

#[test]
fn a_lag_that_nobody_measured_is_unknown_and_not_an_hour() {
    let mut cluster = Cluster::cascade();
    cluster.status("demo-1").lsn = NodeLsn::Primary { write: Lsn(END.0 + 120), flush: END };
    let replica = &cluster.assess().nodes[1];
    assert_eq!(
        (replica.state, replica.replay_lag_bytes, replica.replay_lag_ms),
        (NodeState::Streaming, Some(120), None)
    );
}

#[test]
fn a_replica_that_was_asked_last_is_not_ahead() {
    let mut cluster = Cluster::cascade();
    cluster.status("demo-2").lsn = replica_at(END.0 + 120, END.0 + 120);
    let replica = &cluster.assess().nodes[1];
    assert_eq!((replica.replay_lag_bytes, replica.replay_lag_ms), (Some(0), Some(0)));
}

#[test]
fn a_replica_that_came_back_before_its_old_connection_was_missed_is_streaming() {
    let mut cluster = Cluster::cascade();
    let mut dead = cluster.downstream_of("demo-1").clone();
    dead.state = Some("catchup".to_owned());
    cluster.status("demo-1").downstreams.push(dead);
    assert!(cluster.assess().is_converged());
}

#[test]
fn a_connection_that_died_unnoticed_does_not_hide_the_one_that_replaced_it() {
    let mut cluster = Cluster::cascade();
    let mut dead = cluster.downstream_of("demo-1").clone();
    dead.last_reply_age_ms = Some(20_000);
    cluster.status("demo-1").downstreams.push(dead);
    assert!(cluster.assess().is_converged());
}

#[test]
fn a_replica_may_be_silent_for_two_and_a_half_of_its_own_intervals() {
    let unheard = |interval_ms, reply_age_ms, clock_behind_ms| {
        let mut cluster = Cluster::cascade();
        cluster.status("demo-2").receiver_status_interval_ms = interval_ms;
        cluster.receiver("demo-2").clock_behind_ms = Some(clock_behind_ms);
        cluster.downstream_of("demo-1").last_reply_age_ms = reply_age_ms;
        match cluster.assess().nodes[1].findings.as_slice() {
            [] => None,
            [Finding::SenderUnheard { reply_age_ms, max_ms, .. }] => Some((*reply_age_ms, *max_ms)),
            findings => panic!("{findings:?}"),
        }
    };
    assert_eq!(unheard(Some(1_000), Some(3_000), 0), None);
    assert_eq!(unheard(Some(1_000), Some(3_001), 0), Some((3_001, 3_000)));
    // PostgreSQL's default.
    assert_eq!(unheard(Some(10_000), Some(25_000), 0), None);
    assert_eq!(unheard(Some(10_000), Some(25_001), 0), Some((25_001, 25_000)));
    // It replies when it is asked only, or nobody said when it does.
    assert_eq!(unheard(Some(0), Some(50_000), 0), None);
    assert_eq!(unheard(None, Some(50_000), 0), None);
    // It waits for its disk.
    let mut cluster = Cluster::cascade();
    cluster.receiver("demo-2").wait_event_type = Some("IO".to_owned());
    cluster.downstream_of("demo-1").last_reply_age_ms = Some(8_000);
    assert!(cluster.assess().is_converged());
    cluster.downstream_of("demo-1").last_reply_age_ms = Some(8_001);
    assert!(!cluster.assess().is_converged());
    // It has just connected.
    assert_eq!(unheard(Some(1_000), None, 0), None);
    // Its clock is a minute late.
    assert_eq!(unheard(Some(1_000), Some(60_700), 60_000), None);
    assert_eq!(unheard(Some(1_000), Some(68_000), 60_000), Some((8_000, 3_000)));
}

#[test]
fn the_silence_of_a_sender_that_has_not_begun_is_not_judged() {
    let mut cluster = Cluster::cascade();
    cluster.downstream_of("demo-1").state = Some("startup".to_owned());
    cluster.downstream_of("demo-1").last_reply_age_ms = Some(20_000);
    let findings = &cluster.assess().nodes[1].findings;
    assert!(matches!(findings.as_slice(), [Finding::SenderNotStreaming { .. }]), "{findings:?}");
}

#[test]
fn a_slot_is_no_orphan_while_it_may_be_that_of_a_node() {
    let orphans = |reach: Option<Reach>, spoil: fn(&mut NodeStatus)| {
        let mut cluster = Cluster::cascade();
        cluster.slot_on("demo-2").active = false;
        spoil(cluster.status("demo-3"));
        if let Some(reach) = reach {
            cluster.node("demo-3").reach = reach;
        }
        let findings = cluster.assess().nodes.remove(1).findings;
        findings.iter().filter(|finding| matches!(finding, Finding::SlotOrphaned { .. })).count()
    };
    let reason = || "cloning from \"demo-2\"".to_owned();
    for reach in [
        Reach::Starting { reason: reason() },
        Reach::Unreachable { reason: reason() },
        Reach::Stopped { reason: reason() },
        Reach::Missing,
    ] {
        assert_eq!(orphans(Some(reach), |_| ()), 0);
    }
    assert_eq!(orphans(None, |status| status.receiver = None), 0);
    assert_eq!(orphans(None, |status| status.primary_slot_name = None), 0);
    // It streams, and without a slot.
    let give_up = |status: &mut NodeStatus| {
        status.primary_slot_name = None;
        status.receiver.as_mut().unwrap().slot_name = None;
    };
    assert_eq!(orphans(None, give_up), 1);
}

#[test]
fn a_slot_that_is_in_use_or_logical_is_no_orphan() {
    let mut cluster = Cluster::cascade();
    let slot = cluster.slot_on("demo-1").clone();
    let backup = Slot { slot_name: "pg_basebackup_4711".to_owned(), ..slot.clone() };
    let logical = Slot { slot_name: "subscription".to_owned(), slot_type: "logical".to_owned(), active: false, ..slot };
    cluster.status("demo-1").slots.extend([backup, logical]);
    assert_eq!(cluster.assess().nodes[0].findings, []);
}
