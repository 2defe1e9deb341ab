//! The shapes that others read.

use insta::{assert_json_snapshot, assert_snapshot};
use pgherd_probe::{Lsn, NodeLsn, NodeState, NodeStatus};

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
          "findings": []
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
            "flushed_lsn": "0/5000000",
            "latest_end_lsn": "0/5000000",
            "last_msg_age_ms": 800
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
          ]
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
        "flushed_lsn": "0/5000000",
        "latest_end_lsn": "0/5000000",
        "last_msg_age_ms": 800
      },
      "primary_slot_name": "demo_2",
      "replay_paused": false,
      "last_replay_age_ms": 3600000,
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
          "wal_status": "reserved"
        }
      ]
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
