//! What may happen to a clone on its way: each ends in a running node, or in a bounded failure that says why.

use std::collections::BTreeSet;

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(a_clone_is_seen, 3, "a clone tells how far it is"),
    entry!(frozen_in_mid_clone, 2, "the upstream stands still in the middle of a clone"),
    entry!(cut_off_in_mid_clone, 2, "the line to the upstream is cut in the middle of a clone"),
    entry!(promoted_in_mid_clone, 3, "the upstream is promoted in the middle of a clone"),
    entry!(full_in_mid_clone, 3, "the upstream's disk fills up in the middle of a clone"),
    entry!(no_room_for_a_clone, 2, "a clone that does not fit, before and in the middle of it"),
    entry!(beside_old_data, 2, "a clone that is to replace old data fails, and they are what they were"),
    entry!(a_clone_that_does_not_match, 2, "a file of a clone is not what was sent"),
    entry!(tablespaces, 3, "a clone takes tablespaces along"),
];

const NAMES: [&str; 8] =
    ["pg-primary", "pg-replica", "pg-other", "pg_stream", "pg_secrets", "primary_data", "replica_data", "other_data"];

const RUN_PRIMARY: &str = "docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                           -v primary_data:/var/lib/postgresql -d pgherd/primary:17";

const RUN_REPLICA: &str = "docker run --name pg-replica --hostname pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                           -v replica_data:/var/lib/postgresql -d -e PRIMARY_NAME=pg-primary pgherd/replica:17";

/// A clone that stands still for five seconds is begun anew.
const RUN_IMPATIENT_REPLICA: &str = "docker run --name pg-replica --hostname pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                                     -v replica_data:/var/lib/postgresql -e PGHERD_CLONE_STALL_SECONDS=5 -d \
                                     -e PRIMARY_NAME=pg-primary pgherd/replica:17";

/// The same, which soon gives up.
const RUN_DESPERATE_REPLICA: &str = "docker run --name pg-replica --hostname pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets \
                                     -v replica_data:/var/lib/postgresql -e PGHERD_CLONE_STALL_SECONDS=5 \
                                     -e PGHERD_CLONE_RETRIES=1 -e PGHERD_UPSTREAM_WAIT_SECONDS=5 -d \
                                     -e PRIMARY_NAME=pg-primary pgherd/replica:17";

const HOW_IT_ENDED: &str = "docker inspect --format \"{{.State.Status}} {{.State.ExitCode}}\" pg-replica";

/// A quarter of a gigabyte, so that a clone can be met on its way.
fn with_a_large_primary(name: &'static str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    s.run(RUN_PRIMARY);
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    fill(&mut s, "pg-primary");
    s
}

fn fill(s: &mut Scenario, node: &str) {
    s.sql(node, "CREATE TABLE ballast (x text)");
    s.sql(node, "ALTER TABLE ballast ALTER x SET STORAGE PLAIN");
    s.sql(node, "INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, 32000)");
}

/// A line that takes more than ten seconds for it.
fn slow_down(s: &mut Scenario, node: &str) {
    s.run(&format!(
        "docker run --rm --network container:{node} --cap-add NET_ADMIN pgherd/toolbox \
         tc qdisc add dev eth0 root tbf rate 160mbit burst 1mb latency 50ms"
    ));
}

/// Waits until so much of the running clone has been sent.
fn cloned(s: &mut Scenario, from: &str, percent: u32) {
    let progress = "SELECT count(*) > 0 FROM pg_stat_progress_basebackup \
                    WHERE backup_streamed * 100 / (SELECT sum(pg_database_size(oid)) FROM pg_database) >=";
    s.sql_until(from, &format!("{progress} {percent}"), "t", PATIENCE);
}

/// The clone came to its end, and no attempt has left anything.
fn is_whole(s: &mut Scenario, replica: &str, upstream: &str) {
    s.sql_until(replica, "SELECT status FROM pg_stat_wal_receiver", "streaming", PATIENCE);
    s.expect(replica, "SELECT count(*) FROM ballast", "32000");
    s.expect(replica, "SELECT count(*) FROM pg_ls_dir('..') AS name WHERE name NOT IN ('data', 'control')", "0");
    s.sql_until(upstream, "SELECT count(*) FROM pg_replication_slots WHERE NOT active", "0", PATIENCE);
}

/// The upstream knows that the clone is gone. Until then it does not give the slot back, which one who soon gives up does not wait for.
fn is_noticed(s: &mut Scenario) {
    s.sql_until("pg-primary", "SELECT count(*) FROM pg_replication_slots WHERE active", "0", PATIENCE);
}

fn log_has(s: &Scenario, node: &str, text: &str) -> bool {
    s.aside(&format!("docker logs {node}")).output.contains(text)
}

fn a_clone_is_seen() {
    let mut s = Scenario::new("a_clone_is_seen", ["seen"]);
    s.run("cargo xtask cluster up seen --replicas 1");
    fill(&mut s, "seen-1");
    s.run("cargo xtask cluster chaos bandwidth seen-1 160mbit");
    let scaling = s.spawn("cargo xtask cluster scale seen 2");
    s.run_until("docker logs seen-3", "MB, 2", PATIENCE);
    s.run_until("cargo xtask cluster status seen", " MB of 2", PATIENCE);
    s.run("cargo xtask cluster chaos heal seen");
    s.join(scaling, 0);
    s.expect("seen-3", "SELECT count(*) FROM ballast", "32000");

    let log = s.aside("docker logs seen-3").output;
    let told: Vec<&str> = log.lines().filter(|line| line.contains("pgherd-agent: cloning \"")).collect();
    let percents: Vec<u32> =
        told.iter().filter_map(|line| line.rsplit_once(", ")?.1.strip_suffix(" %")?.parse().ok()).collect();
    s.claim("the log tells of it at most once for every tenth", (2..=11).contains(&percents.len()));
    s.claim("and it only grows", percents.is_sorted());
    s.claim("the clone was verified", log.contains("verifying the clone"));
    s.finish();
}

/// From inside, because the engine cannot pause a container whose processes wait for a disk.
fn signal(s: &mut Scenario, to_whom: &str, claim: &str) {
    let sent = s.aside(&format!("docker exec pg-primary pgherd-agent signal {to_whom}"));
    s.claim(claim, sent.code == Some(0));
}

fn frozen_in_mid_clone() {
    let mut s = with_a_large_primary("frozen_in_mid_clone");
    slow_down(&mut s, "pg-primary");
    s.run(RUN_IMPATIENT_REPLICA);
    cloned(&mut s, "pg-primary", 20);
    signal(&mut s, "STOP walsender", "those who send stand still");
    s.run_until("docker logs pg-replica", "nothing came for 5 s", PATIENCE);
    signal(&mut s, "CONT walsender", "and go on");
    cloned(&mut s, "pg-primary", 20);
    signal(&mut s, "STOP all", "the whole upstream stands still");
    s.run_until("docker logs pg-replica", "timeout expired", PATIENCE);
    signal(&mut s, "CONT all", "and goes on");
    is_whole(&mut s, "pg-replica", "pg-primary");

    s.note("an upstream that never moves again ends a clone as well");
    s.run("docker rm -f pg-replica");
    s.run("docker volume rm replica_data");
    s.run(RUN_DESPERATE_REPLICA);
    cloned(&mut s, "pg-primary", 20);
    signal(&mut s, "STOP all", "the whole upstream stands still");
    s.run_until(HOW_IT_ENDED, "exited 1", PATIENCE);
    let told = ["nothing came for 5 s", "error: gave up", "hint: "];
    let explained = told.into_iter().all(|text| log_has(&s, "pg-replica", text));
    s.claim("the log says what it saw last, and what to do", explained);
    signal(&mut s, "CONT all", "the upstream goes on");
    is_noticed(&mut s);
    s.run("docker start pg-replica");
    is_whole(&mut s, "pg-replica", "pg-primary");
    s.finish();
}

fn cut_off_in_mid_clone() {
    const CUT: &str = "docker run --rm --network container:pg-replica --cap-add NET_ADMIN pgherd/toolbox nft";
    let mut s = with_a_large_primary("cut_off_in_mid_clone");
    slow_down(&mut s, "pg-primary");
    s.run(RUN_IMPATIENT_REPLICA);
    cloned(&mut s, "pg-primary", 30);
    let rules = "'add table inet cut; add chain inet cut in { type filter hook input priority 0; policy drop; }'";
    s.run(&format!("{CUT} {rules}"));
    s.run_until("docker logs pg-replica", "nothing came for 5 s", PATIENCE);
    s.run(&format!("{CUT} delete table inet cut"));
    is_whole(&mut s, "pg-replica", "pg-primary");

    s.note("a line that stays cut ends it");
    s.run("docker rm -f pg-replica");
    s.run("docker volume rm replica_data");
    s.run(RUN_DESPERATE_REPLICA);
    cloned(&mut s, "pg-primary", 30);
    s.run(&format!("{CUT} {rules}"));
    s.run_until(HOW_IT_ENDED, "exited 1", PATIENCE);
    let explained = log_has(&s, "pg-replica", "error: gave up");
    s.claim("the log says so", explained);
    is_noticed(&mut s);
    s.note("a container that starts has a new network, which is not cut");
    s.run("docker start pg-replica");
    is_whole(&mut s, "pg-replica", "pg-primary");
    s.finish();
}

fn promoted_in_mid_clone() {
    let mut s = with_a_large_primary("promoted_in_mid_clone");
    s.run(RUN_REPLICA);
    is_whole(&mut s, "pg-replica", "pg-primary");
    slow_down(&mut s, "pg-replica");
    s.run(
        "docker run --name pg-other --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v other_data:/var/lib/postgresql -d -e PRIMARY_NAME=pg-replica pgherd/replica:17",
    );
    cloned(&mut s, "pg-replica", 30);
    s.expect("pg-replica", "SELECT pg_promote()", "t");
    s.run_until("docker logs pg-other", "the standby was promoted during online backup", PATIENCE);
    is_whole(&mut s, "pg-other", "pg-replica");
    s.expect("pg-other", "SELECT received_tli FROM pg_stat_wal_receiver", "2");
    s.finish();
}

fn full_in_mid_clone() {
    let mut s = Scenario::new("full_in_mid_clone", ["crammed"]);
    s.run("cargo xtask cluster up crammed --replicas 1 --volume-size 1GB");
    fill(&mut s, "crammed-1");
    s.run("cargo xtask cluster chaos bandwidth crammed-1 160mbit");
    let scaling = s.spawn("cargo xtask cluster scale crammed 2");
    cloned(&mut s, "crammed-1", 30);
    s.run("cargo xtask cluster chaos disk-full crammed-1");
    s.run_until("docker logs crammed-3", "trying again", PATIENCE);
    s.run("cargo xtask cluster chaos heal crammed");
    s.join(scaling, 0);
    is_whole(&mut s, "crammed-3", "crammed-1");
    s.finish();
}

fn no_room_for_a_clone() {
    let mut s = with_a_large_primary("no_room_for_a_clone");
    slow_down(&mut s, "pg-primary");
    let small = |size| {
        format!("docker volume create replica_data --opt type=tmpfs --opt device=tmpfs --opt o=size={size}m,uid=999")
    };
    s.note("a disk that is too small");
    s.run(&small(200));
    s.run(RUN_REPLICA);
    s.run_until(HOW_IT_ENDED, "exited 1", PATIENCE);
    let log = s.aside("docker logs pg-replica").output;
    let error = log.lines().find(|line| line.contains("error: no room")).unwrap_or_default();
    let has_both = error.contains(" MB more are needed, and 1") && error.contains(" MB are free");
    s.claim("the log names both numbers", has_both);
    s.claim("it is tried once", !log.contains("trying again") && log.contains("hint: make room there"));
    s.run("docker rm pg-replica");
    s.run("docker volume rm replica_data");

    s.note("a disk that fills up in the middle of it");
    s.run(&small(700));
    s.run(RUN_REPLICA);
    cloned(&mut s, "pg-primary", 30);
    s.run("docker run --rm -v replica_data:/volume pgherd/toolbox fallocate -l 400MiB /volume/ballast");
    s.run_until(HOW_IT_ENDED, "exited 1", PATIENCE);
    let explained = log_has(&s, "pg-replica", "error: no room");
    s.claim("the log says so", explained);
    s.note("it has room again");
    s.run("docker start pg-replica");
    is_whole(&mut s, "pg-replica", "pg-primary");
    s.finish();
}

fn beside_old_data() {
    const MISSED: &str = "SELECT to_regclass('missed') IS NOT NULL";
    const OLD: &str = "pg-other:/volume/17/data";
    let mut s = with_a_large_primary("beside_old_data");
    s.run("docker volume create replica_data --opt type=tmpfs --opt device=tmpfs --opt o=size=1400m,uid=999");
    s.note("a volume in memory is gone when nobody uses it");
    s.run("docker run -d --name pg-other -v replica_data:/volume pgherd/toolbox sleep infinity");
    // Only an upstream that stands still takes so long: a busy machine is no reason to begin anew.
    s.run(&RUN_IMPATIENT_REPLICA.replace("SECONDS=5", "SECONDS=20"));
    is_whole(&mut s, "pg-replica", "pg-primary");
    s.note("the slot is lost while the replica is away");
    s.stop("pg-replica");
    s.sql("pg-primary", "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
    s.sql("pg-primary", "ALTER SYSTEM SET wal_keep_size = 0");
    s.sql("pg-primary", "SELECT pg_reload_conf()");
    s.sql("pg-primary", "CREATE TABLE missed (x text)");
    for _ in 0..4 {
        s.sql("pg-primary", "SELECT pg_switch_wal() IS NULL, txid_current() IS NULL");
    }
    s.sql("pg-primary", "CHECKPOINT");
    s.expect("pg-primary", "SELECT wal_status FROM pg_replication_slots", "lost");
    s.note("the next one is to be kept");
    s.sql("pg-primary", "ALTER SYSTEM RESET max_slot_wal_keep_size");
    s.sql("pg-primary", "SELECT pg_reload_conf()");
    slow_down(&mut s, "pg-primary");
    let old = s.files(OLD);

    s.note("the disk fills up in the middle of the next clone, and has no room for another one");
    s.run("docker start pg-replica");
    cloned(&mut s, "pg-primary", 20);
    s.run("docker exec pg-other fallocate -l 800MiB /volume/ballast");
    s.run_until(HOW_IT_ENDED, "exited 1", PATIENCE);
    is_noticed(&mut s);
    s.run("docker start pg-replica");
    s.run_until(HOW_IT_ENDED, "exited 1", PATIENCE);
    is_noticed(&mut s);
    let log = s.aside("docker logs pg-replica").output;
    let counts = ["rejoin: re-cloning: ", "error: no room to clone "].map(|text| log.matches(text).count());
    s.claim("the log says twice why it was to be cloned, and why it was not", counts == [2, 2]);
    let now = s.files(OLD);
    let has_changed = |path: &&String| old.get(*path) != now.get(*path);
    let changed: BTreeSet<&String> = old.keys().chain(now.keys()).filter(has_changed).collect();
    eprintln!("of {} files and directories, these have changed: {changed:?}", old.len());
    s.claim("the old data are in place, to the byte", changed.is_empty());
    s.run("docker exec pg-other rm /volume/ballast");

    s.note("the upstream stands still in the middle of it: until it is there again, the old data serve");
    s.run("docker start pg-replica");
    cloned(&mut s, "pg-primary", 20);
    signal(&mut s, "STOP all", "the whole upstream stands still");
    s.run_until("docker logs pg-replica", "nothing came for 20 s", PATIENCE);
    s.sql_until("pg-replica", "SELECT count(*) FROM ballast", "32000", PATIENCE);
    s.expect("pg-replica", MISSED, "f");
    signal(&mut s, "CONT all", "and goes on");

    s.note("the next start brings it up");
    s.restart("pg-replica");
    s.sql_until("pg-replica", "SELECT status FROM pg_stat_wal_receiver", "streaming", PATIENCE);
    s.expect("pg-replica", MISSED, "t");
    s.expect("pg-replica", "SELECT count(*) FROM ballast", "32000");
    let trash = s.aside("docker exec pg-replica pgherd-agent trash").output;
    s.claim("the old data are in the trash", trash.starts_with("data-") && trash.lines().count() == 1);
    s.finish();
}

fn a_clone_that_does_not_match() {
    let mut s = with_a_large_primary("a_clone_that_does_not_match");
    slow_down(&mut s, "pg-primary");
    s.run(RUN_REPLICA);
    cloned(&mut s, "pg-primary", 30);
    s.note("a byte too much in a file that has come");
    s.run(
        "docker exec pg-replica sh -c 'cd /var/lib/postgresql/17/partial/data && \
         for file in base/*/PG_VERSION; do printf x >> $file; done'",
    );
    s.run_until("docker logs pg-replica", "has size 4 on disk but size 3 in the manifest", PATIENCE);
    is_whole(&mut s, "pg-replica", "pg-primary");
    let once = s.aside("docker logs pg-replica").output.matches("could not verify the clone").count() == 1;
    s.claim("it was cloned twice, and verified", once);
    s.finish();
}

fn tablespaces() {
    const ROWS: &str = "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)";
    let mut s = with_a_large_primary("tablespaces");
    s.run("docker run --rm -u 999 -v primary_data:/volume pgherd/toolbox mkdir /volume/fast=1");
    s.sql("pg-primary", "CREATE TABLESPACE fast LOCATION '/var/lib/postgresql/fast=1'");
    s.sql("pg-primary", "CREATE TABLESPACE in_place LOCATION ''");
    s.sql("pg-primary", "CREATE TABLE a TABLESPACE fast AS SELECT generate_series(1, 1000) AS x");
    s.sql("pg-primary", "CREATE TABLE b TABLESPACE in_place AS SELECT generate_series(1, 2000) AS x");

    s.run(RUN_REPLICA);
    is_whole(&mut s, "pg-replica", "pg-primary");
    s.expect("pg-replica", ROWS, "1000|2000");
    s.sql("pg-replica", "SELECT spcname, pg_tablespace_location(oid) = 'pg_tblspc/' || oid FROM pg_tablespace WHERE oid > 9999 ORDER BY 1");

    s.note("a replica of the replica, and a restart");
    s.run(
        "docker run --name pg-other --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v other_data:/var/lib/postgresql -d -e PRIMARY_NAME=pg-replica pgherd/replica:17",
    );
    is_whole(&mut s, "pg-other", "pg-replica");
    s.restart("pg-replica");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s.sql("pg-primary", "INSERT INTO a VALUES (0)");
    s.sql("pg-primary", "INSERT INTO b VALUES (0)");
    for replica in ["pg-replica", "pg-other"] {
        s.sql_until(replica, ROWS, "1001|2001", PATIENCE);
    }

    s.note("one that is made without a directory is made on all nodes; one that is dropped is dropped");
    s.sql("pg-primary", "CREATE TABLESPACE later LOCATION ''");
    s.sql("pg-primary", "CREATE TABLE c TABLESPACE later AS SELECT 1 AS x");
    s.sql("pg-primary", "DROP TABLE a");
    s.sql("pg-primary", "DROP TABLESPACE fast");
    s.sql_until(
        "pg-other",
        "SELECT string_agg(spcname, ' ' ORDER BY oid) FROM pg_tablespace WHERE oid > 9999",
        "in_place later",
        PATIENCE,
    );
    s.expect("pg-other", "SELECT count(*) FROM c", "1");
    s.restart("pg-other");
    s.sql_until("pg-other", "SELECT status FROM pg_stat_wal_receiver", "streaming", PATIENCE);
    s.expect("pg-other", "SELECT count(*) FROM pg_ls_dir('pg_tblspc')", "2");
    s.finish();
}
