//! What Prometheus reads.

use std::time::Duration;

use pgherd_probe::{Observed, Policy, assess};

use super::encode;

#[test]
fn every_sample_is_of_its_own_and_stands_below_its_type() {
    let observed: Vec<Observed> =
        serde_json::from_str(include_str!("../../../../../crates/orchestrator/tests/observed.json")).expect("nodes");
    let report = assess(&Policy::default(), &observed);
    let text = encode(&"demo".parse().expect("a name"), &observed, &report, Duration::from_millis(12));
    insta::assert_snapshot!(text, @r#"
    # HELP pg_up Whether the node answered
    # TYPE pg_up gauge
    pg_up{cluster="demo",node="demo-1"} 1.0
    pg_up{cluster="demo",node="demo-2"} 1.0
    pg_up{cluster="demo",node="demo-3"} 0.0
    pg_up{cluster="demo",node="demo-4"} 1.0
    pg_up{cluster="demo",node="demo-5"} 1.0
    # HELP pg_static The release of PostgreSQL
    # TYPE pg_static gauge
    pg_static{cluster="demo",node="demo-1",short_version="17.12.0"} 1.0
    pg_static{cluster="demo",node="demo-2",short_version="17.12.0"} 1.0
    pg_static{cluster="demo",node="demo-4",short_version="17.12.0"} 1.0
    pg_static{cluster="demo",node="demo-5",short_version="17.12.0"} 1.0
    # HELP pg_replication_is_replica Whether the node is in recovery
    # TYPE pg_replication_is_replica gauge
    pg_replication_is_replica{cluster="demo",node="demo-1"} 0.0
    pg_replication_is_replica{cluster="demo",node="demo-2"} 1.0
    pg_replication_is_replica{cluster="demo",node="demo-4"} 1.0
    pg_replication_is_replica{cluster="demo",node="demo-5"} 1.0
    # HELP pg_replication_lag_seconds How far a replica is behind its upstream; 0 on a primary
    # TYPE pg_replication_lag_seconds gauge
    pg_replication_lag_seconds{cluster="demo",node="demo-1"} 0.0
    pg_replication_lag_seconds{cluster="demo",node="demo-2"} 1.5
    pg_replication_lag_seconds{cluster="demo",node="demo-4"} 0.0
    pg_replication_lag_seconds{cluster="demo",node="demo-5"} 2.0
    # HELP pg_replication_last_replay_seconds The age of the transaction that was replayed last
    # TYPE pg_replication_last_replay_seconds gauge
    pg_replication_last_replay_seconds{cluster="demo",node="demo-2"} 1.5
    pg_replication_last_replay_seconds{cluster="demo",node="demo-4"} 0.9
    pg_replication_last_replay_seconds{cluster="demo",node="demo-5"} 2.0
    # HELP pgherd_replay_lag_bytes What the upstream has and the replica has not replayed
    # TYPE pgherd_replay_lag_bytes gauge
    pgherd_replay_lag_bytes{cluster="demo",node="demo-2"} 4096.0
    pgherd_replay_lag_bytes{cluster="demo",node="demo-4"} 0.0
    pgherd_replay_lag_bytes{cluster="demo",node="demo-5"} 4096.0
    # HELP pgherd_replay_paused Whether somebody has paused replay, or asked for it
    # TYPE pgherd_replay_paused gauge
    pgherd_replay_paused{cluster="demo",node="demo-2"} 0.0
    pgherd_replay_paused{cluster="demo",node="demo-4"} 0.0
    pgherd_replay_paused{cluster="demo",node="demo-5"} 0.0
    # HELP pgherd_replay_delay_seconds So much later than the primary it replays on purpose
    # TYPE pgherd_replay_delay_seconds gauge
    pgherd_replay_delay_seconds{cluster="demo",node="demo-2"} 1.0
    # HELP pgherd_lsn_bytes The end of what queries on the node see
    # TYPE pgherd_lsn_bytes gauge
    pgherd_lsn_bytes{cluster="demo",node="demo-1"} 83886080.0
    pgherd_lsn_bytes{cluster="demo",node="demo-2"} 83881984.0
    pgherd_lsn_bytes{cluster="demo",node="demo-4"} 83886080.0
    pgherd_lsn_bytes{cluster="demo",node="demo-5"} 83881984.0
    # HELP pgherd_timeline The timeline that the node writes or receives
    # TYPE pgherd_timeline gauge
    pgherd_timeline{cluster="demo",node="demo-1"} 1.0
    pgherd_timeline{cluster="demo",node="demo-2"} 1.0
    pgherd_timeline{cluster="demo",node="demo-4"} 1.0
    pgherd_timeline{cluster="demo",node="demo-5"} 1.0
    # HELP pgherd_node_health How far the node takes the cluster: 0 healthy, 1 degraded, 2 broken
    # TYPE pgherd_node_health gauge
    pgherd_node_health{cluster="demo",node="demo-1"} 0.0
    pgherd_node_health{cluster="demo",node="demo-2"} 0.0
    pgherd_node_health{cluster="demo",node="demo-3"} 1.0
    pgherd_node_health{cluster="demo",node="demo-4"} 0.0
    pgherd_node_health{cluster="demo",node="demo-5"} 1.0
    # HELP pgherd_node_state What the node is doing
    # TYPE pgherd_node_state gauge
    pgherd_node_state{cluster="demo",node="demo-1",state="running"} 1.0
    pgherd_node_state{cluster="demo",node="demo-2",state="streaming"} 1.0
    pgherd_node_state{cluster="demo",node="demo-3",state="stopped"} 1.0
    pgherd_node_state{cluster="demo",node="demo-4",state="streaming"} 1.0
    pgherd_node_state{cluster="demo",node="demo-5",state="not streaming"} 1.0
    # HELP pg_stat_replication_pg_current_wal_lsn_bytes The end of what the sender has
    # TYPE pg_stat_replication_pg_current_wal_lsn_bytes gauge
    pg_stat_replication_pg_current_wal_lsn_bytes{cluster="demo",node="demo-1",application_name="demo-2",state="streaming",slot_name="demo_2"} 83886080.0
    pg_stat_replication_pg_current_wal_lsn_bytes{cluster="demo",node="demo-1",application_name="pg_basebackup",state="backup",slot_name=""} 83886080.0
    pg_stat_replication_pg_current_wal_lsn_bytes{cluster="demo",node="demo-2",application_name="demo-4",state="streaming",slot_name="demo_4"} 83886080.0
    # HELP pg_stat_replication_pg_wal_lsn_diff What the receiver has not said that it replayed
    # TYPE pg_stat_replication_pg_wal_lsn_diff gauge
    pg_stat_replication_pg_wal_lsn_diff{cluster="demo",node="demo-1",application_name="demo-2",state="streaming",slot_name="demo_2"} 33554432.0
    pg_stat_replication_pg_wal_lsn_diff{cluster="demo",node="demo-2",application_name="demo-4",state="streaming",slot_name="demo_4"} 0.0
    # HELP pgherd_stat_replication_write_lag_seconds From flushing here to writing there
    # TYPE pgherd_stat_replication_write_lag_seconds gauge
    pgherd_stat_replication_write_lag_seconds{cluster="demo",node="demo-1",application_name="demo-2",state="streaming",slot_name="demo_2"} 0.003
    # HELP pgherd_stat_replication_flush_lag_seconds From flushing here to flushing there
    # TYPE pgherd_stat_replication_flush_lag_seconds gauge
    pgherd_stat_replication_flush_lag_seconds{cluster="demo",node="demo-1",application_name="demo-2",state="streaming",slot_name="demo_2"} 0.005
    # HELP pgherd_stat_replication_replay_lag_seconds From flushing here to replaying there
    # TYPE pgherd_stat_replication_replay_lag_seconds gauge
    pgherd_stat_replication_replay_lag_seconds{cluster="demo",node="demo-1",application_name="demo-2",state="streaming",slot_name="demo_2"} 1.5
    # HELP pgherd_stat_replication_reply_age_seconds The time since the receiver was heard last
    # TYPE pgherd_stat_replication_reply_age_seconds gauge
    pgherd_stat_replication_reply_age_seconds{cluster="demo",node="demo-1",application_name="demo-2",state="streaming",slot_name="demo_2"} 70.0
    pgherd_stat_replication_reply_age_seconds{cluster="demo",node="demo-2",application_name="demo-4",state="streaming",slot_name="demo_4"} 0.2
    # HELP pgherd_stat_replication_sync Whether commits wait for the receiver, or may
    # TYPE pgherd_stat_replication_sync gauge
    pgherd_stat_replication_sync{cluster="demo",node="demo-1",application_name="demo-2",state="streaming",slot_name="demo_2"} 0.0
    pgherd_stat_replication_sync{cluster="demo",node="demo-1",application_name="pg_basebackup",state="backup",slot_name=""} 0.0
    pgherd_stat_replication_sync{cluster="demo",node="demo-2",application_name="demo-4",state="streaming",slot_name="demo_4"} 0.0
    # HELP pg_stat_wal_receiver_status -3 hidden, -2 other, -1 stopping, 0 stopped, 1 starting, 2 streaming, 3 waiting, 4 restarting
    # TYPE pg_stat_wal_receiver_status gauge
    pg_stat_wal_receiver_status{cluster="demo",node="demo-2",upstream_host="demo-1",slot_name="demo_2"} 2.0
    pg_stat_wal_receiver_status{cluster="demo",node="demo-4",upstream_host="demo-2",slot_name="demo_4"} 2.0
    pg_stat_wal_receiver_status{cluster="demo",node="demo-5",upstream_host="demo-1",slot_name="demo_5"} 2.0
    # HELP pg_stat_wal_receiver_flushed_lsn The end of what is received and durable
    # TYPE pg_stat_wal_receiver_flushed_lsn gauge
    pg_stat_wal_receiver_flushed_lsn{cluster="demo",node="demo-2",upstream_host="demo-1",slot_name="demo_2"} 83886080.0
    pg_stat_wal_receiver_flushed_lsn{cluster="demo",node="demo-4",upstream_host="demo-2",slot_name="demo_4"} 83886080.0
    pg_stat_wal_receiver_flushed_lsn{cluster="demo",node="demo-5",upstream_host="demo-1",slot_name="demo_5"} 83881984.0
    # HELP pg_stat_wal_receiver_latest_end_lsn The upstream's end when it last spoke
    # TYPE pg_stat_wal_receiver_latest_end_lsn gauge
    pg_stat_wal_receiver_latest_end_lsn{cluster="demo",node="demo-2",upstream_host="demo-1",slot_name="demo_2"} 83886080.0
    pg_stat_wal_receiver_latest_end_lsn{cluster="demo",node="demo-4",upstream_host="demo-2",slot_name="demo_4"} 83886080.0
    pg_stat_wal_receiver_latest_end_lsn{cluster="demo",node="demo-5",upstream_host="demo-1",slot_name="demo_5"} 83881984.0
    # HELP pg_stat_wal_receiver_received_tli The timeline of what was received last
    # TYPE pg_stat_wal_receiver_received_tli gauge
    pg_stat_wal_receiver_received_tli{cluster="demo",node="demo-2",upstream_host="demo-1",slot_name="demo_2"} 1.0
    pg_stat_wal_receiver_received_tli{cluster="demo",node="demo-4",upstream_host="demo-2",slot_name="demo_4"} 1.0
    pg_stat_wal_receiver_received_tli{cluster="demo",node="demo-5",upstream_host="demo-1",slot_name="demo_5"} 1.0
    # HELP pgherd_stat_wal_receiver_message_age_seconds The time since the upstream spoke last
    # TYPE pgherd_stat_wal_receiver_message_age_seconds gauge
    pgherd_stat_wal_receiver_message_age_seconds{cluster="demo",node="demo-2",upstream_host="demo-1",slot_name="demo_2"} 0.1
    pgherd_stat_wal_receiver_message_age_seconds{cluster="demo",node="demo-4",upstream_host="demo-2",slot_name="demo_4"} 0.1
    pgherd_stat_wal_receiver_message_age_seconds{cluster="demo",node="demo-5",upstream_host="demo-1",slot_name="demo_5"} 0.1
    # HELP pg_replication_slots_active Whether a stream uses the slot
    # TYPE pg_replication_slots_active gauge
    pg_replication_slots_active{cluster="demo",node="demo-1",slot_name="demo_2",slot_type="physical"} 1.0
    pg_replication_slots_active{cluster="demo",node="demo-1",slot_name="demo_3",slot_type="physical"} 0.0
    pg_replication_slots_active{cluster="demo",node="demo-1",slot_name="demo_5",slot_type="physical"} 0.0
    pg_replication_slots_active{cluster="demo",node="demo-2",slot_name="demo_4",slot_type="physical"} 1.0
    # HELP pg_replication_slot_slot_is_active Whether a stream uses the slot
    # TYPE pg_replication_slot_slot_is_active gauge
    pg_replication_slot_slot_is_active{cluster="demo",node="demo-1",slot_name="demo_2",slot_type="physical"} 1.0
    pg_replication_slot_slot_is_active{cluster="demo",node="demo-1",slot_name="demo_3",slot_type="physical"} 0.0
    pg_replication_slot_slot_is_active{cluster="demo",node="demo-1",slot_name="demo_5",slot_type="physical"} 0.0
    pg_replication_slot_slot_is_active{cluster="demo",node="demo-2",slot_name="demo_4",slot_type="physical"} 1.0
    # HELP pg_replication_slots_pg_wal_lsn_diff What cannot be recycled because of the slot, in bytes
    # TYPE pg_replication_slots_pg_wal_lsn_diff gauge
    pg_replication_slots_pg_wal_lsn_diff{cluster="demo",node="demo-1",slot_name="demo_2",slot_type="physical"} 4096.0
    pg_replication_slots_pg_wal_lsn_diff{cluster="demo",node="demo-1",slot_name="demo_3",slot_type="physical"} 33554432.0
    pg_replication_slots_pg_wal_lsn_diff{cluster="demo",node="demo-1",slot_name="demo_5",slot_type="physical"} 4096.0
    pg_replication_slots_pg_wal_lsn_diff{cluster="demo",node="demo-2",slot_name="demo_4",slot_type="physical"} 0.0
    # HELP pg_replication_slot_safe_wal_size_bytes What can be written before the slot may be lost
    # TYPE pg_replication_slot_safe_wal_size_bytes gauge
    pg_replication_slot_safe_wal_size_bytes{cluster="demo",node="demo-1",slot_name="demo_3",slot_type="physical"} 1073741824.0
    # HELP pg_replication_slot_wal_status Whether what the slot keeps is still there
    # TYPE pg_replication_slot_wal_status gauge
    pg_replication_slot_wal_status{cluster="demo",node="demo-1",slot_name="demo_2",slot_type="physical",wal_status="reserved"} 1.0
    pg_replication_slot_wal_status{cluster="demo",node="demo-1",slot_name="demo_3",slot_type="physical",wal_status="extended"} 1.0
    pg_replication_slot_wal_status{cluster="demo",node="demo-1",slot_name="demo_5",slot_type="physical",wal_status="reserved"} 1.0
    pg_replication_slot_wal_status{cluster="demo",node="demo-2",slot_name="demo_4",slot_type="physical",wal_status="reserved"} 1.0
    # HELP pg_stat_archiver_archived_count How many files were archived
    # TYPE pg_stat_archiver_archived_count gauge
    pg_stat_archiver_archived_count{cluster="demo",node="demo-1"} 12.0
    # HELP pg_stat_archiver_failed_count How many attempts to archive a file failed
    # TYPE pg_stat_archiver_failed_count gauge
    pg_stat_archiver_failed_count{cluster="demo",node="demo-1"} 1.0
    # HELP pg_stat_archiver_last_archive_age The time since a file was archived, in seconds
    # TYPE pg_stat_archiver_last_archive_age gauge
    pg_stat_archiver_last_archive_age{cluster="demo",node="demo-1"} 60.0
    # HELP pgherd_conflicts How many queries were canceled for replay, in all databases
    # TYPE pgherd_conflicts gauge
    pgherd_conflicts{cluster="demo",node="demo-2",kind="lock"} 1.0
    pgherd_conflicts{cluster="demo",node="demo-2",kind="snapshot"} 2.0
    # HELP pgherd_transaction_age The age of the oldest transaction id that is not frozen
    # TYPE pgherd_transaction_age gauge
    pgherd_transaction_age{cluster="demo",node="demo-1"} 750.0
    # HELP pgherd_checksum_failures How many pages had a wrong checksum, in all databases
    # TYPE pgherd_checksum_failures gauge
    pgherd_checksum_failures{cluster="demo",node="demo-1"} 0.0
    # HELP pgherd_pending_restart How many settings wait for a restart
    # TYPE pgherd_pending_restart gauge
    pgherd_pending_restart{cluster="demo",node="demo-1"} 1.0
    # HELP pgherd_disk_free_bytes What PostgreSQL may still use of the volume
    # TYPE pgherd_disk_free_bytes gauge
    pgherd_disk_free_bytes{cluster="demo",node="demo-1"} 21474836480.0
    # HELP pgherd_disk_total_bytes How large the volume is
    # TYPE pgherd_disk_total_bytes gauge
    pgherd_disk_total_bytes{cluster="demo",node="demo-1"} 42949672960.0
    # HELP pgherd_findings What is wrong, by its kind
    # TYPE pgherd_findings gauge
    pgherd_findings{cluster="demo",kind="stopped",health="degraded",node="demo-3"} 1.0
    pgherd_findings{cluster="demo",kind="not_seen_by_upstream",health="degraded",node="demo-5"} 1.0
    pgherd_findings{cluster="demo",kind="slot_inactive",health="degraded",node="demo-5"} 1.0
    # HELP pgherd_cluster_health How well the cluster does its job: 0 healthy, 1 degraded, 2 broken
    # TYPE pgherd_cluster_health gauge
    pgherd_cluster_health{cluster="demo"} 1.0
    # HELP pgherd_look_seconds How long it took to ask every node
    # TYPE pgherd_look_seconds gauge
    pgherd_look_seconds{cluster="demo"} 0.012
    # EOF
    "#);
    let mut samples: Vec<&str> = Vec::new();
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(typed) => family = typed.split(' ').next().expect("a name"),
            None if line.starts_with('#') => {}
            None => {
                let (sample, value) = line.rsplit_once(' ').expect("a value");
                assert!(sample.starts_with(&format!("{family}{{")) && value.parse::<f64>().is_ok(), "{line}");
                assert!(!samples.contains(&sample), "twice: {sample}");
                samples.push(sample);
            }
        }
    }
    assert!(samples.len() > 50, "only {} samples", samples.len());
}
