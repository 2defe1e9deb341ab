//! Another node becomes the primary: in good order, or because the old one is dead, hung or cut off. Whoever was it comes back as a replica.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(handed_over, 3, "a switchover there and back, and one to a replica whose replay is paused"),
    entry!(under_pgbench, 2, "ten switchovers there and back lose nothing that pgbench was told of"),
    entry!(cut_off, 2, "a switchover that was cut off is finished by the next one, or undone"),
    entry!(killed, 3, "a failover from a primary that was killed, with a quorum"),
    entry!(hung, 3, "a failover from a primary that hangs"),
    entry!(partitioned, 3, "a failover from a primary that is cut off, and writes to nobody"),
    entry!(with_a_loss, 2, "a failover without a quorum is refused, unless the loss is allowed and told"),
    entry!(who_had_more, 3, "who has more than the new primary is rewound, where the loss is allowed"),
    entry!(parted, 3, "and where nobody has said so, he is named, and not waited for"),
    entry!(promoted_unasked, 2, "an old primary beside one that somebody has promoted follows it when it is told to"),
    entry!(not_now, 3, "who cannot take over is refused, before anything is changed"),
    entry!(whose_lock, 2, "a lock says since when it is held, and can be taken away"),
];

const ROWS: &str = "SELECT string_agg(x, ', ' ORDER BY x) FROM t";

fn with_a_table(name: &'static str, up: &str) -> Scenario {
    let mut s = Scenario::new(name, ["reign"]);
    s.run(&format!("cargo xtask cluster up reign {up}"));
    s.sql("reign-1", "CREATE TABLE t (x text)");
    s
}

/// Something that only the primary takes, and that arrives everywhere.
fn writes(s: &mut Scenario, primary: &str, others: &[&str], row: &str, all: &str) {
    s.sql(primary, &format!("INSERT INTO t VALUES ('{row}')"));
    for node in others {
        s.sql_until(node, ROWS, all, PATIENCE);
    }
}

fn handed_over() {
    let mut s = with_a_table("handed_over", "--replicas 2");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "a", "a");
    s.note("what would be done, and why");
    s.run("cargo xtask cluster switchover reign-2 --dry-run");
    s.expect("reign-1", "SELECT pg_is_in_recovery()", "f");
    s.run("cargo xtask cluster switchover reign-2");
    s.sql("reign-2", STREAMING);
    writes(&mut s, "reign-2", &["reign-1", "reign-3"], "b", "a, b");
    s.note("slots are where they are used, and nowhere else");
    for node in ["reign-1", "reign-2", "reign-3"] {
        s.sql(node, "SELECT slot_name, active FROM pg_replication_slots ORDER BY 1");
    }
    s.run("cargo xtask cluster switchover reign-2");

    s.note("a replica whose replay is paused goes on first");
    s.run("cargo xtask cluster lag pause reign-3");
    s.sql("reign-2", "INSERT INTO t VALUES ('c')");
    s.run("cargo xtask cluster switchover reign-3");
    s.expect("reign-3", ROWS, "a, b, c");
    s.run("cargo xtask cluster promote reign-1");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "d", "a, b, c, d");
    s.finish();
}

fn under_pgbench() {
    // Of its clients, each ends with its primary, and what it was told of by then is in a log.
    const SCRIPT: &str = "\
        export PGPASSWORD=$(< /run/pgherd/secrets/app-password); \
        pgbench -i -q; \
        until [ -e /tmp/stop ]; do pgbench -n -c 4 -T 3 -l --log-prefix=/tmp/told; done; \
        count=0; \
        for log in /tmp/told.*; do mapfile -t told < $log; count=$((count + ${#told[@]})); done; \
        echo $count";
    const CLIENTS: u64 = 4;
    const SWITCHOVERS: u64 = 10;
    let mut s = Scenario::new("under_pgbench", ["duel"]);
    let in_app = |node: &str, query: &str| format!("docker exec {node} psql -U postgres -d app -Atc \"{query}\"");
    s.run("cargo xtask cluster up duel --replicas 1");
    s.run(&format!(
        "docker run -d --name duel-bench --network pgherd-duel -v pgherd-duel-secrets:/run/pgherd/secrets \
         -e PGHOST=duel-1,duel-2 -e PGTARGETSESSIONATTRS=read-write -e PGUSER=app -e PGDATABASE=app \
         pgherd/postgres:17 bash -c '{SCRIPT}'"
    ));
    for node in (0..SWITCHOVERS).map(|round| if round % 2 == 0 { "duel-1" } else { "duel-2" }) {
        let commits = "SELECT 'commits' FROM pgbench_history WHERE mtime > now() - interval '1 s' LIMIT 1";
        s.run_until(&in_app(node, commits), "commits", PATIENCE);
        s.run("cargo xtask cluster switchover duel");
    }
    s.run("docker exec duel-bench bash -c '> /tmp/stop'");
    s.run("docker wait duel-bench");
    let number = |text: &str| text.lines().last().and_then(|line| line.trim().parse::<u64>().ok()).expect("a number");
    let told = number(&s.aside("docker logs duel-bench").output);
    let found = number(&s.aside(&in_app("duel-1", "SELECT count(*) FROM pgbench_history")).output);
    s.claim("every transaction that it was told of is there", told > SWITCHOVERS && found >= told);
    let unsure = CLIENTS * SWITCHOVERS;
    s.claim("and of the others one for each client and switchover at most", found <= told + unsure);
    s.note("each of them as a whole");
    s.run(&in_app(
        "duel-1",
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)",
    ));
    s.finish();
}

fn cut_off() {
    let mut s = with_a_table("cut_off", "--replicas 1");
    writes(&mut s, "reign-1", &["reign-2"], "a", "a");
    s.note("as far as a switchover gets whose operator dies at once: the primary is shut down");
    s.stop("reign-1");
    s.run("cargo xtask cluster switchover reign-2");
    writes(&mut s, "reign-2", &["reign-1"], "b", "a, b");

    s.note("a replica that slept through all that came after a shutdown does not take over");
    s.stop("reign-2");
    s.stop("reign-1");
    s.run("docker start reign-2");
    s.sql_until("reign-2", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.sql("reign-2", "INSERT INTO t VALUES ('unseen')");
    s.stop("reign-2");
    s.run("docker start reign-1");
    s.sql_until("reign-1", ROWS, "a, b", PATIENCE);
    s.exits(1, "cargo xtask cluster switchover reign-1");
    s.run("cargo xtask cluster up reign");
    s.sql_until("reign-1", ROWS, "a, b, unseen", PATIENCE);

    s.note("or it is undone");
    s.stop("reign-2");
    s.run("cargo xtask cluster up reign");
    s.expect("reign-2", "SELECT pg_is_in_recovery()", "f");

    s.note("or it got further: the successor is the primary, and the others are not told yet");
    s.stop("reign-2");
    s.run("docker exec reign-1 pgherd-agent promote --caught-up");
    s.run("cargo xtask cluster up reign");
    writes(&mut s, "reign-1", &["reign-2"], "c", "a, b, c, unseen");

    s.note("a failover that got no further than to kill is undone, too");
    s.kill("reign-1");
    s.run("cargo xtask cluster up reign");
    s.expect("reign-1", ROWS, "a, b, c, unseen");
    s.finish();
}

fn killed() {
    let mut s = with_a_table("killed", "--replicas 2 --quorum 1");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "a", "a");
    s.kill("reign-1");
    s.exits(3, "cargo xtask cluster status reign");
    s.exits(1, "cargo xtask cluster switchover reign-2");
    s.run("cargo xtask cluster failover reign");
    writes(&mut s, "reign-2", &["reign-1", "reign-3"], "b", "a, b");
    s.sql("reign-2", "SELECT application_name, sync_state FROM pg_stat_replication ORDER BY 1");

    s.note("where fewer answer than that, it is not known to lose nothing");
    s.stop("reign-3");
    writes(&mut s, "reign-2", &["reign-1"], "c", "a, b, c");
    s.kill("reign-2");
    s.exits(1, "cargo xtask cluster failover reign");
    s.exits(1, "cargo xtask cluster failover reign-3");
    s.run("docker start reign-3");
    s.sql_until("reign-3", ROWS, "a, b", PATIENCE);
    s.note("and whoever has less than another one does not take over");
    s.exits(1, "cargo xtask cluster failover reign-3");
    s.run("cargo xtask cluster failover reign");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "d", "a, b, c, d");
    s.finish();
}

fn hung() {
    let mut s = with_a_table("hung", "--replicas 2 --quorum 1");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "a", "a");
    s.run("cargo xtask cluster chaos freeze reign-1 --process all");
    s.run("cargo xtask cluster failover reign");
    writes(&mut s, "reign-2", &["reign-1", "reign-3"], "b", "a, b");
    s.pause("reign-2");
    s.run("cargo xtask cluster failover reign-3");
    writes(&mut s, "reign-3", &["reign-1", "reign-2"], "c", "a, b, c");
    s.finish();
}

fn partitioned() {
    let mut s = with_a_table("partitioned", "--replicas 2 --quorum 1");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "a", "a");
    s.run("cargo xtask cluster chaos partition reign-1");
    s.note("it answers the engine, and nobody acknowledges what it commits");
    let lonely = s.spawn("docker exec reign-1 psql -U postgres -c \"INSERT INTO t VALUES ('lonely')\"");
    s.sql_until("reign-1", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", "1", PATIENCE);
    s.exits(1, "cargo xtask cluster failover reign");
    s.run("cargo xtask cluster failover reign --force");
    s.join(lonely, 137);
    writes(&mut s, "reign-2", &["reign-1", "reign-3"], "b", "a, b");
    s.note("what was never acknowledged is in the trash of the old primary");
    s.run_until("docker logs reign-1", "rejoin: rewinding: ", PATIENCE);
    let trash = s.aside("docker exec reign-1 pgherd-agent trash").output;
    s.claim("its write-ahead log is kept", trash.contains("nobody else has what follows"));
    s.finish();
}

fn with_a_loss() {
    let mut s = with_a_table("with_a_loss", "--replicas 1");
    writes(&mut s, "reign-1", &["reign-2"], "a", "a");
    s.stop("reign-2");
    s.sql("reign-1", "INSERT INTO t VALUES ('lost')");
    s.kill("reign-1");
    s.run("docker start reign-2");
    s.sql_until("reign-2", "SELECT pg_is_in_recovery()", "t", PATIENCE);
    s.exits(1, "cargo xtask cluster failover reign");
    s.expect("reign-2", "SELECT pg_is_in_recovery()", "t");
    s.run("cargo xtask cluster failover reign --allow-data-loss");
    s.expect("reign-2", ROWS, "a");
    writes(&mut s, "reign-2", &["reign-1"], "b", "a, b");
    s.finish();
}

fn who_had_more() {
    let mut s = with_a_table("who_had_more", "--replicas 2");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "a", "a");
    s.stop("reign-2");
    writes(&mut s, "reign-1", &["reign-3"], "b", "a, b");
    s.kill("reign-1");
    s.run("docker start reign-2");
    s.sql_until("reign-2", ROWS, "a", PATIENCE);
    s.exits(1, "cargo xtask cluster failover reign-2");
    s.run("cargo xtask cluster failover reign-2 --allow-data-loss");
    writes(&mut s, "reign-2", &["reign-1", "reign-3"], "c", "a, c");
    s.note("nobody else has it any more, and it is in the trash");
    let trash = s.aside("docker exec reign-3 pgherd-agent trash").output;
    s.claim("its write-ahead log is kept", trash.contains("nobody else has what follows"));
    s.finish();
}

fn parted() {
    let mut s = with_a_table("parted", "--replicas 2");
    writes(&mut s, "reign-1", &["reign-2", "reign-3"], "a", "a");
    s.stop("reign-2");
    writes(&mut s, "reign-1", &["reign-3"], "b", "a, b");
    s.kill("reign-1");
    s.run("docker start reign-2");
    s.sql_until("reign-2", "SELECT pg_promote()", "t", PATIENCE);
    s.exits(1, "cargo xtask cluster rejoin reign-1");
    s.expect("reign-3", ROWS, "a, b");
    s.run("cargo xtask cluster rejoin reign-3");
    writes(&mut s, "reign-2", &["reign-1", "reign-3"], "c", "a, c");
    s.finish();
}

fn promoted_unasked() {
    let mut s = with_a_table("promoted_unasked", "--replicas 1");
    writes(&mut s, "reign-1", &["reign-2"], "a", "a");
    s.sql("reign-2", "SELECT pg_promote()");
    s.kill("reign-1");
    s.exits(1, "cargo xtask cluster up reign");
    s.run("cargo xtask cluster rejoin reign-1");
    writes(&mut s, "reign-2", &["reign-1"], "b", "a, b");
    s.finish();
}

fn not_now() {
    let mut s = with_a_table("not_now", "--replicas 2");
    s.exits(1, "cargo xtask cluster failover reign");
    s.exits(1, "cargo xtask cluster switchover reign-7");
    s.exits(1, "cargo xtask cluster remove reign-1");
    s.run("cargo xtask cluster lag set reign-3 5min");
    s.exits(1, "cargo xtask cluster switchover reign-3");
    s.stop("reign-2");
    s.exits(1, "cargo xtask cluster switchover reign-2");
    s.exits(1, "cargo xtask cluster switchover reign");
    s.exits(2, "cargo xtask cluster switchover 'no name'");
    s.note("nothing was changed");
    s.expect("reign-1", "SELECT pg_is_in_recovery()", "f");
    s.finish();
}

fn whose_lock() {
    let mut s = with_a_table("whose_lock", "--replicas 1");
    s.note("somebody on another machine changes the cluster, or did");
    s.run("docker volume create --label pgherd.cluster=reign --label pgherd.holder=elsewhere pgherd-reign-lock");
    s.exits(1, "cargo xtask cluster switchover reign");
    s.expect("reign-1", "SELECT pg_is_in_recovery()", "f");
    s.run("cargo xtask cluster switchover reign --steal-lock");
    s.expect("reign-2", "SELECT pg_is_in_recovery()", "f");
    s.finish();
}
