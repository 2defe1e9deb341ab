//! A replica is given another upstream, or one that has lost what it needs: what it has decides what happens.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(to_a_descendant, 3, "a replica follows a new upstream that has all that it has"),
    entry!(to_a_stranger, 3, "a replica that has what its new upstream has not refuses, and nothing is lost"),
    entry!(twins, 3, "two replicas are promoted at the very same place, and are told apart by their WAL"),
    entry!(lost_wal, 2, "a replica whose upstream has thrown away the WAL that comes next is cloned anew"),
];

const NAMES: [&str; 10] = [
    "pg-primary",
    "pg-replica",
    "pg-other",
    "pg-third",
    "pg_stream",
    "pg_secrets",
    "primary_data",
    "replica_data",
    "other_data",
    "third_data",
];

const ROWS: &str = "SELECT string_agg(x, ', ' ORDER BY x) FROM t";

fn run_replica(s: &mut Scenario, name: &str, upstream: &str) {
    let data = name.replace("pg-", "") + "_data";
    s.run(&format!(
        "docker run -d --name {name} --hostname {name} --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v {data}:/var/lib/postgresql -e PRIMARY_NAME={upstream} pgherd/replica:17"
    ));
}

fn primary_and(name: &'static str, replicas: &[&str]) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s.run(
        "docker run -d --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v primary_data:/var/lib/postgresql pgherd/primary:17",
    );
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    for replica in replicas {
        run_replica(&mut s, replica, "pg-primary");
    }
    s.sql("pg-primary", "CREATE TABLE t (x text)");
    s.sql("pg-primary", "INSERT INTO t VALUES ('common')");
    for replica in replicas {
        s.sql_until(replica, ROWS, "common", PATIENCE);
    }
    s
}

fn to_a_descendant() {
    let mut s = primary_and("to_a_descendant", &["pg-replica", "pg-other"]);
    s.remove_container("pg-other");
    s.stop("pg-primary");
    s.run("docker exec pg-replica pgherd-agent promote");
    s.sql("pg-replica", "INSERT INTO t VALUES ('new')");
    run_replica(&mut s, "pg-other", "pg-replica");
    s.run_until("docker logs pg-other", "rejoin: streaming: timeline 1 up to ", PATIENCE);
    s.sql_until("pg-other", ROWS, "common, new", PATIENCE);
    s.expect("pg-other", "SELECT received_tli FROM pg_stat_wal_receiver", "2");
    s.finish();
}

fn to_a_stranger() {
    let mut s = primary_and("to_a_stranger", &["pg-replica", "pg-other"]);
    s.note("one replica becomes a primary of its own; the other goes on");
    s.expect("pg-replica", "SELECT pg_promote()", "t");
    s.sql("pg-replica", "INSERT INTO t VALUES ('new')");
    s.sql("pg-primary", "INSERT INTO t VALUES ('lonely')");
    s.sql_until("pg-other", ROWS, "common, lonely", PATIENCE);
    s.remove_container("pg-other");
    run_replica(&mut s, "pg-other", "pg-replica");
    is_refused(
        &mut s,
        "pg-other",
        "refused: data directory followed \"pg-primary:5432\" and has what its new upstream \"pg-replica:5432\" has not",
    );

    s.note("back to whom it came from");
    s.remove_container("pg-other");
    run_replica(&mut s, "pg-other", "pg-primary");
    s.run_until("docker logs pg-other", "rejoin: streaming: the upstream is on our timeline 1", PATIENCE);
    s.sql_until("pg-other", ROWS, "common, lonely", PATIENCE);
    s.finish();
}

fn twins() {
    let mut s = primary_and("twins", &["pg-replica", "pg-other", "pg-third"]);
    s.note("a primary that is shut down leaves its replicas at its end");
    s.stop("pg-primary");
    for twin in ["pg-replica", "pg-other"] {
        s.expect(twin, "SELECT pg_promote()", "t");
        s.sql(twin, &format!("INSERT INTO t VALUES ('{twin}')"));
    }
    let history = |s: &Scenario, twin| s.sql_aside(twin, "SELECT pg_read_file('pg_wal/00000002.history')");
    let [one, other] = ["pg-replica", "pg-other"].map(|twin| history(&s, twin));
    s.claim("both are on timeline 2, with the same history to the byte", one == other && one.starts_with("1\t"));

    s.note("who has followed the one does not stream from the other, not even if it was killed before a checkpoint");
    s.remove_container("pg-third");
    run_replica(&mut s, "pg-third", "pg-replica");
    s.sql_until("pg-third", ROWS, "common, pg-replica", PATIENCE);
    s.remove_container("pg-third");
    run_replica(&mut s, "pg-third", "pg-other");
    is_refused(&mut s, "pg-third", "their histories agree, but their WAL before ");
    s.note("nor does its twin");
    s.remove_container("pg-other");
    run_replica(&mut s, "pg-other", "pg-replica");
    is_refused(&mut s, "pg-other", "their histories agree, but their WAL before ");

    s.note("a newer timeline counts, but a rewind would see nothing to undo");
    s.remove_container("pg-third");
    run_replica(&mut s, "pg-third", "pg-replica");
    s.sql_until("pg-replica", STREAMING_COUNT, "1", PATIENCE);
    s.stop("pg-replica");
    s.run("docker exec pg-third pgherd-agent promote");
    s.sql("pg-third", "INSERT INTO t VALUES ('pg-third')");
    s.remove_container("pg-other");
    run_replica(&mut s, "pg-other", "pg-third");
    s.run_until(
        "docker logs pg-other",
        "rejoin: re-cloning: the upstream's history is ours, and its WAL before ",
        PATIENCE,
    );
    s.sql_until("pg-other", ROWS, "common, pg-replica, pg-third", PATIENCE);
    let trash = s.aside("docker exec pg-other pgherd-agent trash").output;
    s.claim("the twin's own data are in its trash", trash.starts_with("data-") && trash.lines().count() == 1);
    s.finish();
}

fn is_refused(s: &mut Scenario, node: &str, why: &str) {
    s.run_until(&format!("docker logs {node}"), why, PATIENCE);
    s.run_until(&format!("docker inspect --format {{{{.State.Status}}}} {node}"), "exited", PATIENCE);
}

/// The primary keeps as little WAL as it may, and goes on by some segments.
fn move_on(s: &mut Scenario, row: &str) {
    s.sql("pg-primary", &format!("INSERT INTO t VALUES ('{row}')"));
    switch_wal(s, "pg-primary");
    s.sql("pg-primary", "CHECKPOINT");
}

fn switch_wal(s: &mut Scenario, node: &str) {
    for _ in 0..4 {
        s.sql(node, "SELECT pg_switch_wal() IS NULL, txid_current() IS NULL");
    }
}

fn lost_wal() {
    let mut s = primary_and("lost_wal", &["pg-replica"]);
    s.sql("pg-primary", "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
    s.sql("pg-primary", "ALTER SYSTEM SET wal_keep_size = 0");
    s.sql("pg-primary", "SELECT pg_reload_conf()");

    s.note("the slot is lost");
    s.stop("pg-replica");
    move_on(&mut s, "missed");
    s.expect("pg-primary", "SELECT wal_status FROM pg_replication_slots", "lost");
    s.note("the next one is to be kept");
    s.sql("pg-primary", "ALTER SYSTEM RESET max_slot_wal_keep_size");
    s.sql("pg-primary", "SELECT pg_reload_conf()");
    s.run("docker start pg-replica");
    s.run_until("docker logs pg-replica", "rejoin: re-cloning: the upstream has invalidated our slot", PATIENCE);
    s.sql_until("pg-replica", ROWS, "common, missed", PATIENCE);
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    let kept = |s: &Scenario| s.aside("docker exec pg-replica pgherd-agent trash").output.matches("data-").count();
    let first = kept(&s);
    s.claim("the old data directory is in the trash", first == 1);

    s.note("the slot is gone, and the WAL with it");
    s.stop("pg-replica");
    s.sql_until("pg-primary", "SELECT count(*) FROM pg_replication_slots WHERE active", "0", PATIENCE);
    s.sql("pg-primary", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    move_on(&mut s, "missed as well");
    s.run("docker start pg-replica");
    s.run_until("docker logs pg-replica", "rejoin: re-cloning: we are at ", PATIENCE);
    s.sql_until("pg-replica", ROWS, "common, missed, missed as well", PATIENCE);
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    let second = kept(&s);
    s.claim("the trash holds both", second == 2);
    s.finish();
}
