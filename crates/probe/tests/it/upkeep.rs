//! What somebody has to see to before it is a fault of the stream.

use insta::assert_snapshot;
use pgherd_probe::{CollationMismatch, Disk, Health, Reach, Slot};

use crate::cluster::{Cluster, verdict};

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
    // A replica of a replica is named like all others, and can confirm nothing; whether it is there does not matter to a commit.
    assert_snapshot!(verdict(|cluster| sync(cluster, "ANY 1 (\"demo-2\", \"demo-3\")")), @"healthy");
    let stopped = verdict(|cluster| {
        sync(cluster, "ANY 1 (\"demo-2\", \"demo-3\")");
        cluster.node("demo-3").reach = Reach::Stopped { reason: "exit code 0".to_owned() };
    });
    assert!(!stopped.contains("synchronous replicas"), "{stopped}");
    assert_snapshot!(verdict(|cluster| sync(cluster, "ANY 2 (\"demo-2\", \"demo-3\")")), @r#"
    broken
    demo-1: running
      has 1 of 2 synchronous replicas
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
      has a slot "demo_2" with 3221225472 bytes retained, and room for 1073741824 bytes more
      hint: See to who uses the slot. If nobody will, call pg_drop_replication_slot(); else make room: max_slot_wal_keep_size, or the disk.
    "#);
    let fill_the_disk = |cluster: &mut Cluster| {
        cluster.slot_on("demo-1").retained_bytes = Some(60 << 30);
        cluster.slot_on("demo-1").safe_wal_bytes = None;
    };
    assert_snapshot!(verdict(fill_the_disk), @r#"
    degraded
    demo-1: running
      has a slot "demo_2" with 64424509440 bytes retained, and room for 42949672960 bytes more
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
fn a_server_that_shuts_down_and_answers() {
    let stop = |cluster: &mut Cluster| cluster.status("demo-2").postmaster = Some("stopping".to_owned());
    assert_snapshot!(verdict(stop), @r"
    degraded
    demo-2: streaming, 0 bytes behind, 0 ms behind
      is shutting down, and answers whoever is connected
      hint: If somebody wants it to, wait: a smart shutdown lasts as long as the last session. Else start it again.
    ");
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
