//! Slots that keep too much, or nothing, or for nobody; and disks that are full.

use e2e::{Entry, entry};

use super::{Act, Fault, Repeat, Run, Sql, Table, Until};

pub(crate) const SCENARIOS: &[Entry] =
    &[entry!(faults_of_slots, 2, "what is said of slots, and of disks that are full").alone()];

const HEAL: &[Act] = &[Repeat("cargo xtask cluster chaos heal brim", "streams after")];

/// Three segments of write-ahead log, and nothing else.
const SEGMENTS: Act = Sql(
    "brim-1",
    "SELECT count(pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))) FROM generate_series(1, 48)",
);

/// Lets the upstream end the stream and the slot go, while the replica cannot come back.
const PART: [Act; 3] = [
    Run("cargo xtask cluster chaos freeze brim-2 --process walreceiver"),
    Sql("brim-1", "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots"),
    Until("brim-1", "SELECT NOT active FROM pg_replication_slots"),
];

const FAULTS: &[Fault] = &[
    Fault {
        name: "slot of nobody",
        node: "brim-1",
        make: &[Sql("brim-1", "SELECT slot_name FROM pg_create_physical_replication_slot('nobody', true)")],
        write: false,
        findings: &["brim-1 slot_orphaned"],
        within: 2,
        end: &[Sql("brim-1", "SELECT pg_drop_replication_slot('nobody')")],
    },
    Fault {
        name: "slot fills while its replica is down",
        node: "brim-1",
        make: &[
            Sql("brim-1", "ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'"),
            Sql("brim-1", "SELECT pg_reload_conf()"),
            Run("cargo xtask cluster chaos stop brim-2"),
            SEGMENTS,
        ],
        write: false,
        findings: &["brim-1 slot_filling", "brim-2 stopped"],
        within: 2,
        end: HEAL,
    },
    Fault {
        name: "slot dropped",
        node: "brim-2",
        make: &[
            Sql("brim-1", "CREATE TABLE slot AS SELECT slot_name FROM pg_replication_slots"),
            PART[0],
            PART[1],
            PART[2],
            Sql("brim-1", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"),
            Run("cargo xtask cluster chaos thaw brim-2 --process walreceiver"),
        ],
        write: true,
        findings: &["brim-2 slot_missing", "brim-2 no_receiver", "brim-2 not_seen_by_upstream"],
        within: 2,
        end: &[Sql("brim-1", "SELECT count(pg_create_physical_replication_slot(slot_name, true)) FROM slot")],
    },
    Fault {
        name: "slot lost",
        node: "brim-2",
        make: &[
            PART[0],
            PART[1],
            PART[2],
            SEGMENTS,
            SEGMENTS,
            Sql("brim-1", "SELECT pg_switch_wal()"),
            Sql("brim-1", "CHECKPOINT"),
            Until("brim-1", "SELECT wal_status = 'lost' FROM pg_replication_slots"),
            // Whoever is let in, and tells how far he is before he is told that his WAL is gone, gives even a lost slot a position; by that
            // alone check_postgres is CRITICAL.
            Sql("brim-1", "ALTER ROLE replicator NOLOGIN"),
            Run("cargo xtask cluster chaos thaw brim-2 --process walreceiver"),
        ],
        write: true,
        findings: &["brim-2 slot_lost", "brim-2 no_receiver", "brim-2 not_seen_by_upstream"],
        within: 2,
        end: &[
            Sql("brim-1", "ALTER ROLE replicator LOGIN"),
            Sql("brim-1", "ALTER SYSTEM RESET max_slot_wal_keep_size"),
            Sql("brim-1", "SELECT pg_reload_conf()"),
            Run("docker restart brim-2"),
        ],
    },
    Fault {
        name: "disk of a replica full",
        node: "brim-2",
        make: &[
            Run("cargo xtask cluster chaos disk-full brim-2"),
            // It has room in the segment that it has begun, and not for two: more than 32 MB and less than 64 MB are missed.
            Sql(
                "brim-1",
                "SELECT count(pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))) FROM generate_series(1, 58)",
            ),
        ],
        write: true,
        findings: &[
            "brim-2 disk_nearly_full",
            "brim-2 no_receiver",
            "brim-2 not_seen_by_upstream",
            "brim-2 slot_inactive",
        ],
        within: 8,
        end: HEAL,
    },
    Fault {
        name: "disk of the primary full",
        node: "brim-1",
        make: &[Run("cargo xtask cluster chaos disk-full brim-1")],
        write: false,
        findings: &["brim-1 disk_nearly_full"],
        within: 8,
        end: HEAL,
    },
];

fn faults_of_slots() {
    let mut table = Table::begin("faults_of_slots", "brim", &[], "--replicas 1 --volume-size 512MB");
    table.show(FAULTS);
    table.finish();
}
