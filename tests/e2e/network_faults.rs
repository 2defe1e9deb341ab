//! What a sick network does to replication, and that it ends.

use std::time::{Duration, Instant};

use e2e::{Entry, Scenario, entry};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(a_node_is_cut_off, 2, "a node is cut off from all others"),
    entry!(one_way, 2, "a node is cut off in one direction"),
    entry!(two_nodes_only, 3, "two nodes are cut off from each other"),
    entry!(a_narrow_line, 2, "a line of little bandwidth"),
    entry!(no_name_server, 2, "a node without its name server"),
    entry!(delay_and_loss, 2, "a line that delays and loses").unrecorded(),
];

/// Whether the upstream of one replica has not heard it for longer than a healthy one is ever silent.
const UNHEARD: &str = "SELECT now() - reply_time > interval '3 s' FROM pg_stat_replication";

const TABLES: &str = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";

const ROWS: &str = "SELECT count(*) FROM t";

fn a_node_is_cut_off() {
    let mut s = Scenario::new("a_node_is_cut_off", ["split"]);
    s.run("cargo xtask cluster up split --replicas 1");
    s.run("cargo xtask cluster chaos partition split-2");
    s.sql("split-1", "CREATE TABLE t AS SELECT 1 AS x");
    s.sql_until("split-1", UNHEARD, "t", PATIENCE);
    s.sql("split-2", TABLES);
    s.note("nobody answers either way; both would, if they were asked by their own sockets");
    s.exits(2, "docker exec split-2 pg_isready -h split-1 -t 2");
    s.exits(2, "docker exec split-1 pg_isready -h split-2 -t 2");
    s.exits(3, "cargo xtask cluster status split");
    s.run("cargo xtask cluster chaos ls split");

    s.run("cargo xtask cluster chaos heal split");
    s.run("cargo xtask cluster chaos ls split");
    s.sql_until("split-2", TABLES, "1", PATIENCE);
    s.run("docker exec split-2 pg_isready -h split-1 -t 2");
    s.finish();
}

fn one_way() {
    let mut s = Scenario::new("one_way", ["street"]);
    s.run("cargo xtask cluster up street --replicas 1");
    s.sql("street-1", "CREATE TABLE t AS SELECT 0 AS x");
    s.sql("street-1", "INSERT INTO t VALUES (1)");
    s.sql_until("street-2", ROWS, "2", PATIENCE);

    s.note("the replica hears, and is not heard: it has what its upstream cannot know of");
    s.run("cargo xtask cluster chaos partition street-2 --direction out");
    s.sql("street-1", "INSERT INTO t VALUES (2)");
    s.sql_until("street-2", ROWS, "3", PATIENCE);
    s.sql_until("street-1", UNHEARD, "t", PATIENCE);
    s.sql(
        "street-1",
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > 0 AS seems_behind FROM pg_stat_replication",
    );
    s.exits(3, "cargo xtask cluster status street");
    s.run("cargo xtask cluster chaos heal street");

    s.note("the replica hears nothing: what is written does not arrive");
    s.run("cargo xtask cluster chaos partition street-2 --direction in");
    s.sql("street-1", "INSERT INTO t VALUES (3)");
    s.sql_until(
        "street-2",
        "SELECT now() - last_msg_receipt_time > interval '3 s' FROM pg_stat_wal_receiver",
        "t",
        PATIENCE,
    );
    s.sql("street-2", ROWS);
    s.run("cargo xtask cluster chaos heal street");
    s.sql_until("street-2", ROWS, "4", PATIENCE);
    s.finish();
}

fn two_nodes_only() {
    let mut s = Scenario::new("two_nodes_only", ["trio"]);
    s.run("cargo xtask cluster up trio --replicas 2");
    s.run("cargo xtask cluster chaos partition trio-2 --from trio-1");
    s.sql("trio-1", "CREATE TABLE t AS SELECT 1 AS x");
    s.sql_until("trio-3", TABLES, "1", PATIENCE);
    s.sql_until(
        "trio-1",
        "SELECT string_agg(right(application_name, 2), ' ') FROM pg_stat_replication WHERE now() - reply_time > interval '3 s'",
        "-2",
        PATIENCE,
    );
    s.sql("trio-2", TABLES);
    s.exits(2, "docker exec trio-2 pg_isready -h trio-1 -t 2");
    s.run("docker exec trio-2 pg_isready -h trio-3 -t 2");
    s.run("cargo xtask cluster chaos heal trio-2");
    s.sql_until("trio-2", TABLES, "1", PATIENCE);

    s.note("what makes no sense is refused");
    s.exits(1, "cargo xtask cluster chaos partition trio-2 --from trio-2");
    s.exits(1, "cargo xtask cluster chaos partition trio-2 --from trio-9");
    s.exits(1, "cargo xtask cluster chaos partition trio-9");
    s.exits(2, "cargo xtask cluster chaos bandwidth trio-2 fast");
    s.finish();
}

fn a_narrow_line() {
    const RATE_BITS: f64 = 2_000_000.0;
    const RECEIVED_BYTES: f64 = 1_000_000.0;
    let mut s = Scenario::new("a_narrow_line", ["straw"]);
    s.run("cargo xtask cluster up straw --replicas 1");
    s.run("cargo xtask cluster chaos bandwidth straw-1 2mbit");
    s.run("cargo xtask cluster chaos ls straw");
    s.note("a node has one queue to its network");
    s.exits(1, "cargo xtask cluster chaos bandwidth straw-1 1mbit");

    s.sql("straw-1", "CREATE TABLE ballast (x text)");
    s.sql("straw-1", "ALTER TABLE ballast ALTER x SET STORAGE PLAIN");
    s.sql("straw-1", "INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, 2000)");
    let began = Instant::now();
    let received = s.sql_aside("straw-2", "SELECT pg_last_wal_receive_lsn()");
    let enough = format!("SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '{received}') > {RECEIVED_BYTES}");
    while s.sql_aside("straw-2", &enough) != "t" {
        assert!(began.elapsed() < PATIENCE, "the replica received less than {RECEIVED_BYTES} bytes in {PATIENCE:?}");
    }
    // Half of what the line takes: what was in its queue before came at once.
    let least = Duration::from_secs_f64(RECEIVED_BYTES * 8.0 / RATE_BITS / 2.0);
    s.claim("a megabyte takes as long as the bandwidth lets it", began.elapsed() > least);
    s.sql(
        "straw-1",
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) > 5e6 AS far_behind FROM pg_stat_replication",
    );
    s.run("cargo xtask cluster chaos heal straw");
    s.sql_until("straw-2", "SELECT count(*) FROM ballast", "2000", PATIENCE);
    s.finish();
}

fn no_name_server() {
    let mut s = Scenario::new("no_name_server", ["nameless"]);
    s.run("cargo xtask cluster up nameless --replicas 1");
    s.run("cargo xtask cluster chaos dns nameless-2");
    s.note("who is connected stays connected");
    s.sql("nameless-1", "CREATE TABLE t AS SELECT 1 AS x");
    s.sql_until("nameless-2", TABLES, "1", PATIENCE);
    s.note("and who has to connect finds nobody");
    s.run("cargo xtask cluster chaos kill nameless-2 --process walreceiver");
    s.run_until("docker logs nameless-2", "could not translate host name", PATIENCE);
    s.sql_until("nameless-1", "SELECT count(*) FROM pg_stat_replication", "0", PATIENCE);
    s.exits(3, "cargo xtask cluster status nameless");
    s.run("cargo xtask cluster chaos heal nameless");
    s.sql_until("nameless-1", "SELECT state FROM pg_stat_replication", "streaming", PATIENCE);
    s.finish();
}

/// What the engine's kernel may not have: without netem both are refused, and that is all there is to see.
fn delay_and_loss() {
    let mut s = Scenario::new("delay_and_loss", ["slow"]);
    s.run("cargo xtask cluster up slow --replicas 1");
    let delayed = s.aside("cargo xtask cluster chaos delay slow-2 300ms");
    if delayed.output.contains("netem") {
        assert_eq!(delayed.code, Some(1), "{delayed}");
        let lossy = s.aside("cargo xtask cluster chaos loss slow-2 30%");
        assert!(lossy.code == Some(1) && lossy.output.contains("netem"), "{lossy}");
        s.run("cargo xtask cluster status slow");
        s.skip("the engine's kernel has no netem");
        return;
    }
    assert_eq!(delayed.code, Some(0), "{delayed}");
    let began = Instant::now();
    s.run("docker exec slow-2 pg_isready -h slow-1 -t 30");
    s.claim("an answer takes as long as the delay", began.elapsed() > Duration::from_millis(300));
    s.run("cargo xtask cluster chaos heal slow");

    s.run("cargo xtask cluster chaos loss slow-2 100%");
    s.exits(2, "docker exec slow-2 pg_isready -h slow-1 -t 2");
    s.run("cargo xtask cluster chaos heal slow");
    s.run("docker exec slow-2 pg_isready -h slow-1 -t 2");
    s.finish_unrecorded();
}
