//! What outlives a container: everything that matters.

use e2e::Scenario;

use crate::{PATIENCE, STREAMING_COUNT};

const NAMES: [&str; 6] = ["pg-primary", "pg-replica", "pg_stream", "pg_secrets", "primary_data", "replica_data"];

const RUN_PRIMARY: &str = "docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                           -v primary_data:/var/lib/postgresql -d pgherd/primary:17";

const RUN_REPLICA: &str = "docker run --name pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                           -v replica_data:/var/lib/postgresql -d -e PRIMARY_NAME=pg-primary pgherd/replica:17";

/// When the file that every clone writes anew was last changed in any way.
const CLONED_AT: &str = "SELECT change FROM pg_stat_file('PG_VERSION')";

fn with_a_primary(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s.run(RUN_PRIMARY);
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s
}

/// A row that is written now arrives.
fn streams(s: &mut Scenario, row: u32) {
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql("pg-primary", &format!("INSERT INTO t VALUES ({row})"));
    s.sql_until("pg-replica", &format!("SELECT count(*) FROM t WHERE x = {row}"), "1", PATIENCE);
}

#[test]
fn containers_come_and_go() {
    let mut s = with_a_primary("containers_come_and_go");
    s.run(RUN_REPLICA);
    s.sql("pg-primary", "CREATE TABLE t (x int)");
    streams(&mut s, 1);
    let cloned_at = s.sql_aside("pg-replica", CLONED_AT);
    let system_identifier = s.sql_aside("pg-primary", "SELECT system_identifier FROM pg_control_system()");

    s.note("the replica is restarted");
    s.run("docker restart pg-replica");
    streams(&mut s, 2);

    s.note("its container is removed and made again on the same volume");
    s.run("docker rm -f pg-replica");
    s.sql("pg-primary", "INSERT INTO t VALUES (3)");
    s.run(RUN_REPLICA);
    streams(&mut s, 4);

    s.note("the primary is restarted");
    s.run("docker restart pg-primary");
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    streams(&mut s, 5);

    s.note("the primary's container is killed, removed, and made again on the same volume");
    s.run("docker kill pg-primary");
    s.run("docker rm pg-primary");
    s.run(RUN_PRIMARY);
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    streams(&mut s, 6);

    s.note("nothing was lost, cloned or initialized again");
    s.sql("pg-replica", "SELECT array_agg(x ORDER BY x) FROM t");
    assert_eq!(s.sql_aside("pg-replica", CLONED_AT), cloned_at);
    assert_eq!(s.sql_aside("pg-primary", "SELECT system_identifier FROM pg_control_system()"), system_identifier);
    s.sql("pg-replica", "SELECT timeline_id FROM pg_control_checkpoint()");
    s.sql("pg-primary", "SELECT count(*), bool_and(active) FROM pg_replication_slots");
    s.finish();
}

#[test]
fn killed_in_mid_clone() {
    let mut s = with_a_primary("killed_in_mid_clone");
    s.note("half a gigabyte, so that the clone takes a while");
    s.sql("pg-primary", "CREATE TABLE ballast (x text STORAGE PLAIN)");
    s.sql("pg-primary", "INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, 64000)");
    s.run(RUN_REPLICA);
    s.sql_until(
        "pg-primary",
        "SELECT count(*) FROM pg_stat_progress_basebackup WHERE backup_streamed > 10000000",
        "1",
        PATIENCE,
    );
    s.run("docker kill pg-replica");
    s.note("what was cloned so far is not in place");
    s.exits(1, "docker cp pg-replica:/var/lib/postgresql/17/data/PG_VERSION -");

    s.run("docker start pg-replica");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql_until("pg-replica", "SELECT count(*) FROM ballast", "64000", PATIENCE);
    s.note("and the killed clone has left neither files nor slots");
    s.sql("pg-replica", "SELECT name FROM pg_ls_dir('..') AS name WHERE name NOT IN ('data', 'control') ORDER BY 1");
    s.sql("pg-primary", "SELECT slot_name, active FROM pg_replication_slots ORDER BY 1");
    s.finish();
}

#[test]
fn a_cluster_is_killed_and_started() {
    let mut s = Scenario::new("a_cluster_is_killed_and_started", ["phoenix"]);
    s.run("cargo xtask cluster up phoenix --replicas 2");
    s.sql("phoenix-1", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS x");
    s.run("docker kill phoenix-1 phoenix-2 phoenix-3");
    s.exits(3, "cargo xtask cluster status phoenix");
    s.run("cargo xtask cluster start phoenix");
    s.sql("phoenix-1", crate::STREAMING);
    s.sql_until("phoenix-3", "SELECT count(*) FROM t", "1000", PATIENCE);

    s.note("a node's container is gone; its volume is not");
    let cloned_at = s.sql_aside("phoenix-3", CLONED_AT);
    s.run("docker rm -f phoenix-3");
    s.exits(3, "cargo xtask cluster status phoenix");
    s.run("cargo xtask cluster up phoenix");
    assert_eq!(s.sql_aside("phoenix-3", CLONED_AT), cloned_at);
    s.finish();
}
