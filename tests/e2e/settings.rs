//! Settings of a whole cluster, changed while it is in use.

use e2e::{Entry, Scenario, entry};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(tuned, 4, "settings are changed on three levels, and no replica stands still"),
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

fn tuned() {
    let mut s = Scenario::new("tuned", ["tune"]);
    s.run("cargo xtask cluster up tune --replicas 2 --upstream tune-3=tune-2");
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
    s.run(&format!("cargo xtask cluster set tune {raise}"));
    for node in NODES {
        s.expect(node, BOUND, "120 70 5 110 9");
    }
    streams(&mut s, 1);
    let lower = "max_connections=60 max_worker_processes=6 max_prepared_transactions=0 max_locks_per_transaction=32 max_wal_senders=40";
    s.run(&format!("cargo xtask cluster set tune {lower}"));
    for node in NODES {
        s.expect(node, BOUND, "60 32 0 40 6");
    }
    streams(&mut s, 2);
    let paused = NODES.iter().any(|node| {
        let log = s.aside(&format!("docker logs {node}")).output;
        log.contains("insufficient parameter settings") || log.contains("recovery has paused")
    });
    s.claim("no replica has stood still", !paused);
    s.run(&format!("cargo xtask cluster set tune {lower}"));

    s.note("a new node has the same; what is reset is as usual");
    s.run("cargo xtask cluster scale tune 3");
    s.expect("tune-4", BOUND, "60 32 0 40 6");
    s.run("cargo xtask cluster set tune --reset work_mem");
    s.expect("tune-4", "SHOW work_mem", "4MB");
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
