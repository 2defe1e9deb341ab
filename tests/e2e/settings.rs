//! Settings of a whole cluster, changed while it is in use.

mod load;

use e2e::{Entry, Scenario, entry};

use crate::PATIENCE;
use load::{Load, SHUTDOWN, Seen};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(tuned, 4, "settings are changed on three levels under load, and no replica stands still"),
    entry!(tuned_by_a_switchover, 3, "the primary need not be started anew: another one takes over"),
    entry!(drift, 2, "settings that differ from node to node are told"),
    entry!(untunable, 2, "what cannot be set is refused, or undone"),
];

const BOUND: &str = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('max_connections', \
                     'max_worker_processes', 'max_prepared_transactions', 'max_locks_per_transaction', 'max_wal_senders')";

const NODES: [&str; 3] = ["tune-1", "tune-2", "tune-3"];

/// What is written now arrives at the end of the cascade.
fn streams(s: &mut Scenario, row: u32) {
    s.sql("tune-1", &format!("INSERT INTO t VALUES ({row})"));
    s.sql_until("tune-3", "SELECT max(x) FROM t", &row.to_string(), PATIENCE);
}

/// A cascade, with a table for a client that commits all the time, and the line by which it connects.
fn under_load(name: &'static str) -> (Scenario, String) {
    let mut s = Scenario::new(name, ["tune"]);
    s.run("cargo xtask cluster up tune --replicas 2 --upstream tune-3=tune-2 --publish");
    s.run("docker exec tune-1 psql -U app -c 'CREATE TABLE load ()'");
    let url = s.aside("cargo xtask cluster url tune").output.trim().to_owned();
    (s, url)
}

/// Changes settings under load, and returns what the client saw of it, in a line.
fn meanwhile(s: &mut Scenario, url: &str, settings: &str) -> String {
    let before = ended_by_shutdown(s);
    let load = Load::begin(url);
    s.run(&format!("cargo xtask cluster set tune {settings}"));
    let Seen { commits, ends, gap } = load.end();
    let by_shutdown = ended_by_shutdown(s) - before;
    // For the report, should it be anything else. Whoever is told while he writes may not get to read it.
    eprintln!("{settings}: {by_shutdown} ended by a shutdown, {ends:?} by the client");
    let is_it = |end: &Option<String>| end.as_deref().is_none_or(|sqlstate| sqlstate == SHUTDOWN);
    s.claim(
        "a client has committed all the time, and its one trouble was that its primary was shut down",
        (ends.len(), by_shutdown) == (1, 1) && ends.iter().all(is_it),
    );
    s.run("cargo xtask cluster wait tune --replayed now");
    let rows = s.aside("docker exec tune-3 psql -U app -Atc 'SELECT count(*) FROM load'").output;
    let rows: u64 = rows.trim().parse().unwrap_or_else(|_| panic!("{rows}"));
    s.claim("what was acknowledged is at the end of the cascade", rows >= commits);
    format!("{commits} commits, with a gap of {:.2} s at most: {settings}\n", gap.as_secs_f64())
}

/// How many sessions of the client's a server has ended, because it was shut down.
fn ended_by_shutdown(s: &Scenario) -> usize {
    let logs = NODES.map(|node| s.aside(&format!("docker logs {node}")).output).concat();
    let ended = |line: &&str| {
        line.contains(" app@app ") && line.contains("terminating connection due to administrator command")
    };
    logs.lines().filter(ended).count()
}

/// Whether anybody has paused for want of a setting, or would not start.
fn have_stood_still(s: &Scenario) -> bool {
    NODES.iter().any(|node| {
        let log = s.aside(&format!("docker logs {node}")).output;
        log.contains("insufficient parameter settings") || log.contains("recovery has paused")
    })
}

fn tuned() {
    let (mut s, url) = under_load("tuned");
    s.sql("tune-1", "CREATE TABLE t (x int)");
    let started = "SELECT pg_postmaster_start_time()";
    let before = NODES.map(|node| s.sql_aside(node, started));
    s.run("cargo xtask cluster set tune work_mem=64MB");
    for node in NODES {
        s.expect(node, "SHOW work_mem", "64MB");
    }
    let still = NODES.map(|node| s.sql_aside(node, started));
    s.claim("nobody was started anew for that", before == still);

    s.note("what a replica must not have less of is raised on replicas first, and lowered on the primary first");
    let raise = "max_connections=120 max_worker_processes=9 max_prepared_transactions=5 max_locks_per_transaction=70 max_wal_senders=110";
    s.run(&format!("cargo xtask cluster set tune {raise} --dry-run"));
    let mut figures = meanwhile(&mut s, &url, raise);
    for node in NODES {
        s.expect(node, BOUND, "120 70 5 110 9");
    }
    streams(&mut s, 1);
    let lower = "max_connections=60 max_worker_processes=6 max_prepared_transactions=0 max_locks_per_transaction=32 max_wal_senders=40";
    figures += &meanwhile(&mut s, &url, lower);
    for node in NODES {
        s.expect(node, BOUND, "60 32 0 40 6");
    }
    streams(&mut s, 2);
    let stood_still = have_stood_still(&s);
    s.claim("no replica has stood still", !stood_still);
    s.keep_figures(&figures);
    s.run(&format!("cargo xtask cluster set tune {lower}"));

    s.note("a new node has the same; what is reset is as usual");
    s.run("cargo xtask cluster scale tune 3");
    s.expect("tune-4", BOUND, "60 32 0 40 6");
    s.run("cargo xtask cluster set tune --reset work_mem");
    s.expect("tune-4", "SHOW work_mem", "4MB");
    s.finish();
}

fn tuned_by_a_switchover() {
    let (mut s, url) = under_load("tuned_by_a_switchover");
    let raise = "max_connections=120 max_prepared_transactions=5 --switchover";
    s.run(&format!("cargo xtask cluster set tune {raise} --dry-run"));
    let figures = meanwhile(&mut s, &url, raise);
    s.keep_figures(&figures);
    for node in NODES {
        s.expect(
            node,
            "SELECT current_setting('max_connections') || ' ' || current_setting('max_prepared_transactions')",
            "120 5",
        );
    }
    s.note("whoever took over had its settings before, and was not started again");
    s.expect("tune-2", "SELECT pg_is_in_recovery()", "f");
    s.remember("primary_since", "tune-2", "SELECT pg_postmaster_start_time()");
    s.expect("tune-1", "SELECT pg_postmaster_start_time() > :'primary_since'", "t");
    let stood_still = have_stood_still(&s);
    s.claim("no replica has stood still", !stood_still);
    s.run(&format!("cargo xtask cluster set tune {raise}"));

    s.note("what needs no start needs nobody else; and what is lowered is lowered on the primary first, where it is");
    s.run("cargo xtask cluster set tune work_mem=64MB --switchover");
    s.exits(1, "cargo xtask cluster set tune max_connections=60 --switchover");
    s.expect("tune-2", "SHOW max_connections", "120");
    s.finish();
}

fn drift() {
    let mut s = Scenario::new("drift", ["tune"]);
    s.run("cargo xtask cluster up tune --replicas 1");
    s.note("what was set by hand on one node is worth a note");
    s.sql("tune-2", "ALTER SYSTEM SET work_mem = '64MB'");
    s.sql("tune-2", "SELECT pg_reload_conf()");
    s.run_until("cargo xtask cluster status tune", "work_mem 64MB, not 4MB", PATIENCE);
    s.run("cargo xtask cluster status tune");
    s.sql("tune-2", "ALTER SYSTEM RESET ALL");
    s.sql("tune-2", "SELECT pg_reload_conf()");

    s.note("a replica with less than its primary stands still, and the hint helps");
    s.sql("tune-1", "ALTER SYSTEM SET max_connections = 150");
    s.restart("tune-1");
    s.sql_until("tune-2", "SELECT pg_get_wal_replay_pause_state()", "paused", PATIENCE);
    s.exits(3, "cargo xtask cluster status tune");
    s.sql("tune-2", "ALTER SYSTEM SET max_connections = 200");
    s.restart("tune-2");
    s.run("cargo xtask cluster wait tune --streaming");
    s.run("cargo xtask cluster status tune");

    s.note("with more than the primary it would hold that one back");
    s.exits(1, "cargo xtask cluster switchover tune");
    s.sql("tune-2", "ALTER SYSTEM SET max_connections = 150");
    s.restart("tune-2");
    s.run("cargo xtask cluster wait tune --streaming");
    s.run("cargo xtask cluster switchover tune");
    s.finish();
}

fn untunable() {
    let mut s = Scenario::new("untunable", ["tune"]);
    s.run("cargo xtask cluster up tune --replicas 1");
    for settings in ["work_mem=much", "wrok_mem=64MB", "port=5433", "block_size=4096", "tune other work_mem=64MB"] {
        s.exits(1, &format!("cargo xtask cluster set tune {settings}"));
    }
    let told = s.aside("cargo xtask cluster set tune work_mem=1kB");
    // Of which units, is another word in each version.
    let is_told = told.output.contains("is outside the valid range for parameter \"work_mem\"");
    s.claim("nor is what is out of range taken", told.code == Some(1) && is_told);

    s.note("more memory than there is shows at a start alone");
    let failed = s.aside("cargo xtask cluster set tune shared_buffers=1000GB");
    let told = failed.output.contains(&s.real("\"tune-2\" does not start with these settings"));
    s.claim("it is told, and undone", failed.code == Some(1) && told);
    for node in ["tune-1", "tune-2"] {
        s.expect(node, "SHOW shared_buffers", "128MB");
    }
    s.run("cargo xtask cluster status tune");
    s.finish();
}
