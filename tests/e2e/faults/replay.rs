//! What is received and not shown; what is written and not kept; what is late on purpose, and what is no fault at all.

use e2e::{Entry, entry};

use super::{Act, Begin, Fails, Fault, Named, Run, Sql, Table, Until};

pub(crate) const SCENARIOS: &[Entry] =
    &[entry!(faults_of_replay, 2, "what is said of replay that stands still, of data that are damaged, and of work")
        .alone()];

const RELOAD: Act = Sql("still-2", "SELECT pg_reload_conf()");
const RELOAD_PRIMARY: Act = Sql("still-1", "SELECT pg_reload_conf()");

/// Some seconds of work for both nodes: write-ahead log in large and in small pieces, and a checkpoint in between.
const LOAD: &str = "docker exec still-1 psql -U postgres -qc 'CREATE TABLE load AS SELECT g, md5(g::text) FROM generate_series(1, 300000) AS g' \
                    -c CHECKPOINT -c 'CREATE INDEX ON load (md5)' -c 'UPDATE load SET g = g + 1' -c 'DROP TABLE load'";

const FAULTS: &[Fault] = &[
    Fault {
        name: "no fault: nobody writes",
        node: "still-2",
        make: &[],
        write: false,
        findings: &[],
        within: 6,
        end: &[],
    },
    Fault {
        name: "no fault: hard work",
        node: "still-2",
        make: &[Begin(LOAD)],
        write: false,
        findings: &[],
        within: 6,
        end: &[],
    },
    Fault {
        name: "no fault: replay late on purpose",
        node: "still-2",
        make: &[Sql("still-2", "ALTER SYSTEM SET recovery_min_apply_delay = '4s'"), RELOAD],
        write: true,
        findings: &[],
        within: 6,
        end: &[Sql("still-2", "ALTER SYSTEM RESET ALL"), RELOAD],
    },
    Fault {
        name: "no fault: a setting waits for a restart",
        node: "still-2",
        make: &[Sql("still-2", "ALTER SYSTEM SET max_wal_senders = 101"), RELOAD],
        write: false,
        findings: &[],
        within: 2,
        end: &[Sql("still-2", "ALTER SYSTEM RESET ALL"), RELOAD],
    },
    Fault {
        name: "replay paused",
        node: "still-2",
        make: &[Sql("still-2", "SELECT pg_wal_replay_pause()")],
        write: true,
        findings: &["still-2 replay_paused"],
        within: 2,
        end: &[Sql("still-2", "SELECT pg_wal_replay_resume()")],
    },
    Fault {
        name: "query in the way of replay",
        node: "still-2",
        make: &[
            Sql("still-1", "CREATE TABLE contested AS SELECT 1 AS x"),
            Until("still-2", "SELECT count(*) = 1 FROM pg_class WHERE relname = 'contested'"),
            Sql("still-2", "ALTER SYSTEM SET max_standby_streaming_delay = -1"),
            RELOAD,
            Begin(
                "docker exec still-2 psql -U postgres -c 'BEGIN ISOLATION LEVEL REPEATABLE READ' -c 'TABLE contested' \
                 -c 'SELECT pg_sleep(600)'",
            ),
            Until("still-2", "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
            Sql("still-1", "DELETE FROM contested"),
            Sql("still-1", "VACUUM contested"),
        ],
        write: true,
        findings: &["still-2 recovery_conflict"],
        within: 13,
        end: &[
            Sql("still-2", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
            Sql("still-2", "ALTER SYSTEM RESET ALL"),
            RELOAD,
        ],
    },
    Fault {
        name: "collation of a database is of another version",
        node: "still-1",
        make: &[Sql("still-1", "UPDATE pg_database SET datcollversion = 'older' WHERE datname = 'template1'")],
        write: false,
        findings: &["still-1 collation_mismatch", "still-2 collation_mismatch"],
        within: 2,
        end: &[Sql("still-1", "ALTER DATABASE template1 REFRESH COLLATION VERSION")],
    },
    Fault {
        name: "archiver fails",
        node: "still-1",
        make: &[
            Sql("still-1", "ALTER SYSTEM SET archive_mode = on"),
            Sql("still-1", "ALTER SYSTEM SET archive_command = 'false'"),
            Run("docker restart still-1"),
            Until("still-1", "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'"),
            Sql("still-1", "SELECT pg_switch_wal()"),
        ],
        write: true,
        findings: &["still-1 archiver_failing"],
        within: 3,
        end: &[
            Sql("still-1", "ALTER SYSTEM SET archive_command = 'true'"),
            RELOAD_PRIMARY,
            Sql("still-1", "SELECT pg_switch_wal()"),
        ],
    },
    Fault {
        name: "page of a replica damaged",
        node: "still-2",
        make: &[
            Sql("still-1", "CREATE TABLE damaged AS SELECT generate_series(1, 1000) AS x"),
            Sql("still-1", "CHECKPOINT"),
            Until("still-2", "SELECT count(*) = 1 FROM pg_class WHERE relname = 'damaged'"),
            Sql("still-2", "CHECKPOINT"),
            Run("docker restart still-2"),
            Until("still-2", "SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"),
            Named("file", "still-2", "SELECT pg_relation_filepath('damaged')"),
            Run("docker run --rm -v pgherd-still-2:/var/lib/postgresql pgherd/toolbox:latest sh -c \"printf x | \
                 dd of=/var/lib/postgresql/17/data/:'file' bs=1 seek=5000 conv=notrunc status=none\""),
            // The warning before the error has checksums, which are never the same.
            Fails("still-2", "XX001", "SET client_min_messages = error; SELECT count(*) FROM damaged"),
        ],
        write: false,
        findings: &["still-2 checksum_failures"],
        within: 2,
        end: &[Sql("still-1", "DROP TABLE damaged"), Sql("still-2", "SELECT pg_stat_reset()")],
    },
];

fn faults_of_replay() {
    let mut table = Table::begin("faults_of_replay", "still", &[], "--replicas 1");
    table.show(FAULTS);
    table.finish();
}
