//! What becomes of a node when its processes end or stand still, and that it comes back.

use e2e::{Entry, Scenario, entry};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(nodes_end, 2, "a replica is stopped, and killed"),
    entry!(behind_the_agents_back, 2, "PostgreSQL ends, and comes back with its agent"),
    entry!(processes_are_killed, 2, "PostgreSQL's processes are killed one by one"),
    entry!(a_frozen_stream, 2, "either end of the stream stands still"),
    entry!(frozen_processes, 2, "PostgreSQL's processes stand still one by one"),
];

/// When PostgreSQL was started, as opposed to the container.
const STARTED: &str = "SELECT pg_postmaster_start_time()";

/// A row that is written on the first node arrives on the second.
fn streams(s: &mut Scenario, row: u32) {
    s.sql("lab-1", &format!("INSERT INTO t VALUES ({row})"));
    s.sql_until("lab-2", &format!("SELECT count(*) FROM t WHERE x = {row}"), "1", PATIENCE);
}

fn with_a_table(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, ["lab"]);
    s.run("cargo xtask cluster up lab --replicas 1");
    s.sql("lab-1", "CREATE TABLE t (x int)");
    s.sql_until("lab-2", "SELECT count(*) FROM pg_class WHERE relname = 't'", "1", PATIENCE);
    s
}

fn nodes_end() {
    let mut s = with_a_table("nodes_end");
    let container = "docker inspect --format \"{{.State.Status}} {{.State.ExitCode}}\" lab-2";

    s.note("shut down in an orderly way: it says goodbye");
    s.run("cargo xtask cluster chaos stop lab-2");
    s.run(container);
    s.run_until("docker logs lab-2", "database system is shut down", PATIENCE);
    s.sql("lab-1", "SELECT active FROM pg_replication_slots");
    s.exits(3, "cargo xtask cluster status lab");
    s.run("cargo xtask cluster chaos heal lab");
    streams(&mut s, 1);

    s.note("killed: it stays down until somebody starts it, and recovers from what it had");
    s.run("cargo xtask cluster chaos kill lab-2");
    s.run(container);
    s.run("cargo xtask cluster chaos heal lab");
    s.run_until("docker logs lab-2", "database system was interrupted while in recovery", PATIENCE);
    streams(&mut s, 2);
    s.finish();
}

fn behind_the_agents_back() {
    let mut s = with_a_table("behind_the_agents_back");
    for (row, fault) in
        [(1, "stop lab-2 --postgres-only"), (2, "kill lab-2 --process postmaster"), (3, "kill lab-2 --process all")]
    {
        s.remember("before", "lab-2", STARTED);
        s.run(&format!("cargo xtask cluster chaos {fault}"));
        s.note("the agent ends with its PostgreSQL, and the engine starts both again");
        s.sql_until("lab-2", "SELECT pg_postmaster_start_time() > :'before'", "t", PATIENCE);
        s.run_until(
            "docker inspect --format \"restarted {{.RestartCount}} times\" lab-2",
            &format!("restarted {row} times"),
            PATIENCE,
        );
        streams(&mut s, row);
    }
    s.run_until("docker logs lab-2", "postgresql ended with exit code 0", PATIENCE);
    s.run_until("docker logs lab-2", "postgresql ended with signal 9", PATIENCE);
    s.finish();
}

fn processes_are_killed() {
    let mut s = with_a_table("processes_are_killed");
    let pid_of = |process: &str| format!("SELECT pid FROM pg_stat_activity WHERE backend_type = '{process}'");
    let replaced = |process: &str| pid_of(process).replace("SELECT pid", "SELECT pid <> :'before'");

    s.note("a replica's walreceiver is replaced by a new one");
    s.remember("before", "lab-2", &pid_of("walreceiver"));
    s.run("cargo xtask cluster chaos kill lab-2 --process walreceiver");
    s.sql_until("lab-2", &replaced("walreceiver"), "t", PATIENCE);
    streams(&mut s, 1);

    s.note("without one of its processes the primary ends all sessions, recovers and goes on");
    for (row, process) in [(2, "walsender"), (3, "checkpointer")] {
        s.remember("before", "lab-1", &pid_of(process));
        s.run(&format!("cargo xtask cluster chaos kill lab-1 --process {process}"));
        s.sql_until("lab-1", &replaced(process), "t", PATIENCE);
        streams(&mut s, row);
    }
    s.run_until("docker logs lab-1", "all server processes terminated; reinitializing", PATIENCE);

    s.note("without its startup process a replica ends, and is started again");
    s.remember("before", "lab-2", STARTED);
    s.run("cargo xtask cluster chaos kill lab-2 --process startup");
    s.sql_until("lab-2", "SELECT pg_postmaster_start_time() > :'before'", "t", PATIENCE);
    streams(&mut s, 4);

    s.note("a primary has no walreceiver");
    s.exits(1, "cargo xtask cluster chaos kill lab-1 --process walreceiver");
    s.finish();
}

fn a_frozen_stream() {
    let mut s = with_a_table("a_frozen_stream");
    s.note("either end of the stream stands still: what is written does not arrive, and status says so");
    for (row, node, process) in [(1, "lab-2", "walreceiver"), (2, "lab-1", "walsender")] {
        s.run(&format!("cargo xtask cluster chaos freeze {node} --process {process}"));
        s.sql("lab-1", &format!("INSERT INTO t VALUES ({row})"));
        s.sql_until("lab-1", "SELECT now() - reply_time > interval '3 s' FROM pg_stat_replication", "t", PATIENCE);
        s.sql("lab-2", &format!("SELECT count(*) FROM t WHERE x = {row}"));
        s.exits(3, "cargo xtask cluster status lab");
        s.run("cargo xtask cluster chaos ls lab");
        s.run(&format!("cargo xtask cluster chaos thaw {node} --process {process}"));
        s.sql_until("lab-2", &format!("SELECT count(*) FROM t WHERE x = {row}"), "1", PATIENCE);
    }
    s.run("cargo xtask cluster chaos ls lab");
    s.finish();
}

fn frozen_processes() {
    let mut s = with_a_table("frozen_processes");
    s.note("the startup process: all arrives, and nothing is replayed");
    s.run("cargo xtask cluster chaos freeze lab-2 --process startup");
    s.sql("lab-1", "INSERT INTO t VALUES (1)");
    s.remember("written", "lab-1", "SELECT pg_current_wal_lsn()");
    let behind =
        "SELECT flush_lsn >= :'written' AS arrived, replay_lsn < :'written' AS not_replayed FROM pg_stat_replication";
    s.sql_until("lab-1", behind, "t|t", PATIENCE);
    s.sql("lab-2", "SELECT count(*) FROM t");
    s.exits(1, "cargo xtask cluster chaos stop lab-2 --postgres-only");
    s.run("cargo xtask cluster chaos heal lab");
    s.sql_until("lab-2", "SELECT count(*) FROM t", "1", PATIENCE);
    s.exits(1, "cargo xtask cluster chaos thaw lab-2 --process startup");

    s.note("the checkpointer: a checkpoint is waited for in vain");
    s.run("cargo xtask cluster chaos freeze lab-1 --process checkpointer");
    s.sql_fails("lab-1", "57014", "SET statement_timeout = '2s'; CHECKPOINT");
    let checkpoint = s.spawn("docker exec lab-1 psql -U postgres -c CHECKPOINT");
    s.sql_until(
        "lab-1",
        "SELECT wait_event FROM pg_stat_activity WHERE query = 'CHECKPOINT'",
        "CheckpointStart",
        PATIENCE,
    );
    s.run("cargo xtask cluster chaos heal lab");
    s.join(checkpoint, 0);

    s.note("the postmaster: who is connected works on, and nobody new comes in");
    s.run("cargo xtask cluster chaos freeze lab-2 --process postmaster");
    s.exits(2, "docker exec -e PGCONNECT_TIMEOUT=2 lab-2 psql -U postgres -c \"SELECT 1\"");
    s.sql("lab-1", "INSERT INTO t VALUES (2)");
    s.remember("written", "lab-1", "SELECT pg_current_wal_lsn()");
    s.sql_until("lab-1", "SELECT replay_lsn >= :'written' FROM pg_stat_replication", "t", PATIENCE);
    s.run("cargo xtask cluster chaos thaw lab-2 --process postmaster");
    s.sql("lab-2", "SELECT count(*) FROM t");

    s.note("the whole container, its agent among it");
    s.exits(1, "cargo xtask cluster chaos thaw lab-2");
    s.run("cargo xtask cluster chaos partition lab-2");
    s.run("cargo xtask cluster chaos freeze lab-2");
    s.run("cargo xtask cluster chaos ls lab");
    s.exits(3, "cargo xtask cluster status lab");
    s.exits(1, "cargo xtask cluster chaos freeze lab-2");
    s.sql("lab-1", "INSERT INTO t VALUES (3)");
    s.run("cargo xtask cluster chaos heal lab");
    s.sql_until("lab-2", "SELECT count(*) FROM t", "3", PATIENCE);
    s.finish();
}
