//! Who is there, and who follows whom: trees, quorums, and nodes that come and go.

use e2e::{Entry, Scenario, entry};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(one_eight_two, 9, "a cluster of two nodes becomes one of nine, and one of three"),
    entry!(
        clones_of_clones,
        8,
        "of many replicas that are born together most clone each other, or the primary if there is nobody"
    ),
    entry!(cascade, 4, "a tree of three levels is made, bent and cut"),
    entry!(quorum_of_two, 4, "commits wait for two of three replicas"),
    entry!(in_every_order, 3, "three nodes that were stopped come back in any order"),
    entry!(removed_by_hand, 3, "what was removed by hand is made again"),
    entry!(impossible_shapes, 3, "trees and quorums that cannot be are refused"),
];

const UPSTREAMS: &str = "SELECT sender_host FROM pg_stat_wal_receiver";

fn one_eight_two() {
    let mut s = Scenario::new("one_eight_two", ["flock"]);
    s.run("cargo xtask cluster up flock --replicas 1");
    s.sql("flock-1", "CREATE TABLE t AS SELECT 1 AS x");
    s.run("cargo xtask cluster scale flock 8");
    s.sql("flock-1", crate::STREAMING);
    s.sql_until("flock-9", "SELECT count(*) FROM t", "1", PATIENCE);
    s.run("cargo xtask cluster scale flock 2 --dry-run");
    s.run("cargo xtask cluster scale flock 2");
    s.sql("flock-1", "SELECT slot_name, active FROM pg_replication_slots ORDER BY 1");
    s.run("cargo xtask cluster add flock --upstream flock-3");
    s.expect("flock-4", UPSTREAMS, "flock-3");
    s.run("cargo xtask cluster remove flock-3");
    s.sql_until("flock-4", UPSTREAMS, "flock-1", PATIENCE);
    s.finish();
}

fn clones_of_clones() {
    const SLOTS: &str = "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots WHERE active";
    let mut s = Scenario::new("clones_of_clones", ["flock"]);
    s.run("cargo xtask cluster up flock --replicas 6");
    for (node, from) in [(2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (7, 2)] {
        s.run_until(
            &format!("docker logs flock-{node}"),
            &format!("verifying the clone of \"flock-{from}:5432\""),
            PATIENCE,
        );
    }
    s.note("all of them follow the primary, which has ended two segments for each of the two that cloned it, at most");
    s.sql("flock-1", SLOTS);
    s.expect("flock-1", "SELECT pg_current_wal_lsn() < '0/7000000'", "t");

    s.note("who is to clone a node that is not there clones the primary after a while");
    let spec = r#"{"node": "flock-8", "role": {"replica": {"upstream": "flock-1"}}, "upstream_wait_seconds": 30, "clone_from": "nobody"}"#;
    s.run(&format!(
        "docker run -d --name flock-8 --network pgherd-flock -v pgherd-flock-8:/var/lib/postgresql \
         -v pgherd-flock-secrets:/run/pgherd/secrets -e PGHERD_SPEC='{spec}' pgherd/postgres:17"
    ));
    s.run_until("docker logs flock-8", "gave up after 10 s; trying again", PATIENCE);
    s.sql_until("flock-8", UPSTREAMS, "flock-1", PATIENCE);
    s.finish();
}

fn cascade() {
    let mut s = Scenario::new("cascade", ["creek"]);
    s.run("cargo xtask cluster up creek --replicas 3 --upstream creek-3=creek-2 --upstream creek-4=creek-3");
    s.sql("creek-1", "CREATE TABLE t (x int)");
    s.sql("creek-1", "INSERT INTO t VALUES (1)");
    s.sql_until("creek-4", "SELECT count(*) FROM t", "1", PATIENCE);

    s.note("a node of the lowest level is moved up while it runs");
    s.remember("started", "creek-4", "SELECT pg_postmaster_start_time()");
    s.run("cargo xtask cluster repoint creek-4 creek-2");
    s.sql("creek-1", "INSERT INTO t VALUES (2)");
    s.sql_until("creek-4", "SELECT count(*) FROM t", "2", PATIENCE);
    s.expect("creek-4", "SELECT pg_postmaster_start_time() = :'started'", "t");

    s.note("the middle becomes the primary: who followed it still does, and the old primary follows it, too");
    s.run("cargo xtask cluster switchover creek-2");
    s.sql("creek-2", "INSERT INTO t VALUES (3)");
    for node in ["creek-1", "creek-3", "creek-4"] {
        s.expect(node, UPSTREAMS, "creek-2");
        s.sql_until(node, "SELECT count(*) FROM t", "3", PATIENCE);
    }
    s.note("and the end of a chain, which is given to the primary before it takes over");
    s.run("cargo xtask cluster repoint creek-4 creek-3");
    s.run("cargo xtask cluster switchover creek-4");
    s.sql("creek-4", "INSERT INTO t VALUES (4)");
    for node in ["creek-1", "creek-2", "creek-3"] {
        s.sql_until(node, "SELECT count(*) FROM t", "4", PATIENCE);
    }
    s.finish();
}

fn quorum_of_two() {
    let mut s = Scenario::new("quorum_of_two", ["jury"]);
    s.run("cargo xtask cluster up jury --replicas 3 --quorum 2");
    s.sql("jury-1", "SHOW synchronous_standby_names");
    s.sql("jury-1", "CREATE TABLE t (x int)");
    s.note("one of three is gone: two are left to confirm");
    s.kill("jury-4");
    s.sql("jury-1", "INSERT INTO t VALUES (1)");
    s.note("two are gone: the commit waits until one is back");
    s.kill("jury-3");
    let held = s.spawn("docker exec jury-1 psql -U postgres -c 'INSERT INTO t VALUES (2)'");
    s.sql_until("jury-1", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", "1", PATIENCE);
    s.expect("jury-1", "SELECT count(*) FROM t", "1");
    s.exits(3, "cargo xtask cluster start jury-3");
    s.join(held, 0);
    s.sql_until("jury-2", "SELECT count(*) FROM t", "2", PATIENCE);

    s.note("a quorum is changed on a cluster that runs");
    s.run("cargo xtask cluster start jury");
    s.run("cargo xtask cluster up jury --quorum 1 --dry-run");
    s.run("cargo xtask cluster up jury --quorum 1");
    s.sql_until("jury-1", "SHOW synchronous_standby_names", "ANY 1 (\"jury-2\", \"jury-3\", \"jury-4\")", PATIENCE);
    s.finish();
}

fn in_every_order() {
    let mut s = Scenario::new("in_every_order", ["trio"]);
    s.run("cargo xtask cluster up trio --replicas 2");
    for (row, [first, second, third]) in
        [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]].into_iter().enumerate()
    {
        s.run("cargo xtask cluster stop trio");
        for number in [first, second, third] {
            s.run(&format!("docker start trio-{number}"));
        }
        s.run("cargo xtask cluster wait trio --streaming");
        s.sql("trio-1", &format!("CREATE TABLE t{row} ()"));
        for replica in ["trio-2", "trio-3"] {
            s.sql_until(replica, &format!("SELECT count(*) FROM pg_class WHERE relname = 't{row}'"), "1", PATIENCE);
        }
    }
    s.finish();
}

fn removed_by_hand() {
    let mut s = Scenario::new("removed_by_hand", ["glade"]);
    s.run("cargo xtask cluster up glade --replicas 2");
    s.sql("glade-1", "CREATE TABLE t AS SELECT 1 AS x");
    s.remove_container("glade-3");
    s.exits(3, "cargo xtask cluster status glade");
    s.run("cargo xtask cluster repair glade --dry-run");
    s.run("cargo xtask cluster repair glade");
    s.note("the primary, too");
    s.remove_container("glade-1");
    s.run("cargo xtask cluster up glade");
    s.expect("glade-1", "SELECT count(*) FROM t", "1");
    s.note("and with its data, a replica is a new one");
    s.remove_container("glade-2");
    s.run("docker volume rm pgherd-glade-2");
    s.run("cargo xtask cluster up glade --replicas 2");
    s.expect("glade-2", "SELECT count(*) FROM t", "1");
    s.finish();
}

fn impossible_shapes() {
    let mut s = Scenario::new("impossible_shapes", ["knot"]);
    s.exits(1, "cargo xtask cluster up knot --replicas 2 --upstream knot-2=knot-3 --upstream knot-3=knot-2");
    s.exits(1, "cargo xtask cluster up knot --replicas 2 --quorum 3");
    s.exits(1, "cargo xtask cluster up knot --replicas 2 --upstream knot-3=knot-2 --quorum 2");
    s.exits(2, "cargo xtask cluster up knot --upstream knot-2");
    let left = s.aside(&format!("docker ps -aq --filter name={}", s.real("knot"))).output;
    s.claim("nothing was made", left.is_empty());
    s.run("cargo xtask cluster up knot --replicas 2 --quorum 1");
    for line in [
        "cargo xtask cluster repoint knot-2 knot-2",
        "cargo xtask cluster repoint knot-2 knot-9",
        "cargo xtask cluster repoint knot-1 knot-2",
        "cargo xtask cluster repoint knot-2 demo-1",
        "cargo xtask cluster up knot --quorum 3",
        "cargo xtask cluster remove knot-9",
    ] {
        s.exits(1, line);
    }
    s.note("a replica of a replica confirms nothing, and is not missed while enough others do");
    s.run("cargo xtask cluster repoint knot-3 knot-2");
    s.expect("knot-1", "SHOW synchronous_standby_names", "ANY 1 (\"knot-2\", \"knot-3\")");
    s.run("cargo xtask cluster status knot");
    s.exits(1, "cargo xtask cluster up knot --quorum 2");
    s.run("cargo xtask cluster remove knot-3");
    s.exits(1, "cargo xtask cluster up knot --quorum 2");
    s.finish();
}
