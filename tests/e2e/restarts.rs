//! What outlives a container: everything that matters.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(containers_come_and_go, 2, "data outlive restarts and containers"),
    entry!(killed_in_mid_clone, 2, "a clone that was killed is made again"),
    entry!(the_upstream_is_away, 2, "a primary that goes in the middle of a clone, and later"),
    entry!(every_order, 3, "nodes stop and start in every order"),
    entry!(a_cluster_is_killed_and_started, 3, "a cluster comes back from being killed"),
];

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

fn containers_come_and_go() {
    let mut s = with_a_primary("containers_come_and_go");
    s.run(RUN_REPLICA);
    s.sql("pg-primary", "CREATE TABLE t (x int)");
    streams(&mut s, 1);
    let cloned_at = s.sql_aside("pg-replica", CLONED_AT);
    let system_identifier = s.sql_aside("pg-primary", "SELECT system_identifier FROM pg_control_system()");

    s.note("the replica is restarted");
    s.restart("pg-replica");
    streams(&mut s, 2);

    s.note("its container is removed and made again on the same volume");
    s.remove_container("pg-replica");
    s.sql("pg-primary", "INSERT INTO t VALUES (3)");
    s.run(RUN_REPLICA);
    streams(&mut s, 4);

    s.note("the primary is restarted");
    s.restart("pg-primary");
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    streams(&mut s, 5);

    s.note("the primary's container is killed, removed, and made again on the same volume");
    s.kill("pg-primary");
    s.run("docker rm pg-primary");
    s.run(RUN_PRIMARY);
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    streams(&mut s, 6);

    s.note("nothing was lost, cloned or initialized again");
    s.expect("pg-replica", "SELECT array_agg(x ORDER BY x) FROM t", "{1,2,3,4,5,6}");
    let still = s.sql_aside("pg-replica", CLONED_AT) == cloned_at;
    s.claim("the replica was cloned once", still);
    let still = s.sql_aside("pg-primary", "SELECT system_identifier FROM pg_control_system()") == system_identifier;
    s.claim("the system identifier is the same", still);
    s.expect("pg-replica", "SELECT timeline_id FROM pg_control_checkpoint()", "1");
    s.sql("pg-primary", "SELECT count(*), bool_and(active) FROM pg_replication_slots");
    s.finish();
}

/// A quarter of a gigabyte over a line that takes 20 s for it, so that a clone can be met on its way by whoever needs a second to look.
fn with_a_slow_primary(name: &'static str) -> Scenario {
    let mut s = with_a_primary(name);
    s.sql("pg-primary", "CREATE TABLE ballast (x text)");
    s.sql("pg-primary", "ALTER TABLE ballast ALTER x SET STORAGE PLAIN");
    s.sql("pg-primary", "INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, 32000)");
    s.run(
        "docker run --rm --network container:pg-primary --cap-add NET_ADMIN pgherd/toolbox \
         tc qdisc add dev eth0 root tbf rate 100mbit burst 1mb latency 50ms",
    );
    s
}

/// Waits until so much of the running clone has been sent.
fn cloned(s: &mut Scenario, percent: u32) {
    let progress = "SELECT count(*) > 0 FROM pg_stat_progress_basebackup \
                    WHERE backup_streamed * 100 / (SELECT sum(pg_database_size(oid)) FROM pg_database) >=";
    s.sql_until("pg-primary", &format!("{progress} {percent}"), "t", PATIENCE);
}

/// The clone came to its end, and what was killed before has left neither files nor slots.
fn is_whole(s: &mut Scenario) {
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql_until("pg-replica", "SELECT count(*) FROM ballast", "32000", PATIENCE);
    s.sql("pg-replica", "SELECT name FROM pg_ls_dir('..') AS name WHERE name NOT IN ('data', 'control') ORDER BY 1");
    s.sql("pg-primary", "SELECT slot_name, active FROM pg_replication_slots ORDER BY 1");
}

fn killed_in_mid_clone() {
    let mut s = with_a_slow_primary("killed_in_mid_clone");
    s.run(RUN_REPLICA);
    for percent in [10, 45, 80] {
        cloned(&mut s, percent);
        s.kill("pg-replica");
        s.note("what was cloned so far is not in place");
        s.exits(1, "docker cp pg-replica:/var/lib/postgresql/17/data/PG_VERSION -");
        s.run("docker start pg-replica");
    }
    is_whole(&mut s);
    s.finish();
}

fn the_upstream_is_away() {
    let mut s = with_a_slow_primary("the_upstream_is_away");
    s.note("in the middle of a clone");
    s.run(RUN_REPLICA);
    cloned(&mut s, 30);
    s.kill("pg-primary");
    s.run_until("docker logs pg-replica", "trying again", PATIENCE);
    s.run("docker start pg-primary");
    is_whole(&mut s);

    s.note("and afterwards: what is there can be read, and what is written later arrives");
    s.kill("pg-primary");
    s.sql_until("pg-replica", "SELECT count(*) FROM pg_stat_wal_receiver", "0", PATIENCE);
    s.sql("pg-replica", "SELECT count(*) FROM ballast");
    s.run("docker start pg-primary");
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.sql("pg-primary", "CREATE TABLE t (x int)");
    streams(&mut s, 1);
    s.finish();
}

fn every_order() {
    let mut s = Scenario::new("every_order", ["order"]);
    s.run("cargo xtask cluster up order --replicas 2");
    s.sql("order-1", "CREATE TABLE t (x int)");
    let orders = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
    for (row, order) in orders.into_iter().enumerate() {
        let nodes = order.map(|number| format!("order-{number}")).join(" ");
        s.run(&format!("docker stop {nodes}"));
        s.run(&format!("docker start {nodes}"));
        s.sql_until("order-1", STREAMING_COUNT, "2", PATIENCE);
        s.sql("order-1", &format!("INSERT INTO t VALUES ({row})"));
        for replica in ["order-2", "order-3"] {
            s.sql_until(replica, "SELECT max(x) FROM t", &row.to_string(), PATIENCE);
        }
    }
    s.run("cargo xtask cluster status order");
    s.finish();
}

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
    s.remove_container("phoenix-3");
    s.exits(3, "cargo xtask cluster status phoenix");
    s.run("cargo xtask cluster up phoenix");
    let still = s.sql_aside("phoenix-3", CLONED_AT) == cloned_at;
    s.claim("phoenix-3 was not cloned again", still);
    s.finish();
}
