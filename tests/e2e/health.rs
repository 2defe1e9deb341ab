//! What a node's own health check says, and what it tells of its disk.

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(healthy_when_it_serves, 2, "a node is healthy when it answers, and not before or after"),
    entry!(healthy_under_faults, 2, "faults that a node can see by itself, and those that it cannot"),
    entry!(room_is_told, 2, "a superuser reads how much room the node's disk has"),
];

/// More often than the image asks for, and nothing else.
const NODE: &str = "docker run -d --health-interval 1s --health-retries 2 --stop-timeout 60 -e PGHERD_STOP_SECONDS=60 \
                    --network pg_stream -v pg_secrets:/run/pgherd/secrets";

/// What `docker ps` shows in brackets.
fn engine_says(s: &mut Scenario, node: &str, status: &str) {
    s.run_until(
        &format!("docker inspect --format \"it is {{{{.State.Health.Status}}}}.\" {node}"),
        &format!("it is {status}."),
        PATIENCE,
    );
}

/// Waits until the node says so.
fn node_says(s: &mut Scenario, node: &str, words: &str) {
    s.run_until(&format!("docker exec {node} pgherd-agent health"), words, PATIENCE);
}

/// Waits until the node says so, and has it say so once more, to see how that ends.
fn node_ends(s: &mut Scenario, node: &str, words: &str, code: i32) {
    node_says(s, node, words);
    s.exits(code, &format!("docker exec {node} pgherd-agent health"));
}

/// A shell that sends every initdb a signal, and ends where it has found one.
fn signal_initdb(signal: &str) -> String {
    let found = format!("read -r name <$p/comm && [ $name = initdb ] && kill -{signal} ${{p#/proc/}} && exit");
    format!("while :; do for p in /proc/[0-9]*; do {found}; done; done")
}

fn healthy_when_it_serves() {
    let names = ["pg-primary", "pg-replica", "pg_stream", "pg_secrets", "primary_data"];
    let mut s = Scenario::new("healthy_when_it_serves", names);
    let run_primary = |s: &mut Scenario, before: &str| {
        let command = format!("sh -c '({before}) 2>/dev/null & exec pgherd-agent run'");
        s.run(&format!("{NODE} --name pg-primary -v primary_data:/var/lib/postgresql pgherd/primary:17 {command}"));
    };
    s.run("docker inspect --format \"{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Retries}}\" pgherd/primary:17");
    s.run("docker network create pg_stream");

    s.note("a replica that waits for its primary");
    s.run(&format!("{NODE} --name pg-replica -e PRIMARY_NAME=pg-primary pgherd/replica:17"));
    node_ends(&mut s, "pg-replica", "waiting for the primary", 1);
    engine_says(&mut s, "pg-replica", "starting");

    s.note("a primary whose initdb stands still from its first moment on");
    run_primary(&mut s, &signal_initdb("STOP"));
    node_ends(&mut s, "pg-primary", "initializing a new data directory", 1);
    engine_says(&mut s, "pg-primary", "starting");
    s.run(&format!("docker exec pg-primary sh -c '{}'", signal_initdb("CONT")));

    s.note("both serve");
    node_ends(&mut s, "pg-primary", "healthy: primary", 0);
    engine_says(&mut s, "pg-primary", "healthy");
    node_says(&mut s, "pg-replica", "healthy: replica, streams from \"pg-primary\"");
    engine_says(&mut s, "pg-replica", "healthy");

    s.note("the primary recovers from a crash, and its startup process stands still");
    s.sql("pg-primary", "CREATE TABLE t AS SELECT generate_series(1, 1000000) AS x");
    s.kill("pg-primary");
    s.remove_container("pg-primary");
    run_primary(&mut s, "until pgherd-agent signal STOP startup; do :; done >/dev/null");
    // It is starting up, or has not yet reached a consistent state.
    node_says(&mut s, "pg-primary", "unhealthy: the database system is");
    let asked = s.aside("docker exec pg-primary pgherd-agent health");
    s.claim("that ends with 1", asked.code == Some(1));
    engine_says(&mut s, "pg-primary", "starting");
    s.note("a replica can be read from all the while");
    node_says(&mut s, "pg-replica", "healthy: replica, receives nothing");
    s.run("docker exec pg-primary sh -c 'pgherd-agent signal CONT startup >/dev/null'");
    node_ends(&mut s, "pg-primary", "healthy: primary", 0);
    s.run_until("docker logs pg-primary", "automatic recovery in progress", PATIENCE);
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    engine_says(&mut s, "pg-primary", "healthy");

    s.note("the primary shuts down, and waits for a replica that stands still");
    s.run("docker exec pg-replica sh -c 'pgherd-agent signal STOP walreceiver >/dev/null'");
    s.run("docker exec pg-primary sh -c 'kill 1'");
    node_ends(&mut s, "pg-primary", "shutting down", 1);
    engine_says(&mut s, "pg-primary", "unhealthy");
    s.run("docker exec pg-replica sh -c 'pgherd-agent signal CONT walreceiver >/dev/null'");
    s.run_until("docker logs pg-primary", "postgresql ended with exit code 0, as asked", PATIENCE);
    s.finish();
}

fn healthy_under_faults() {
    let mut s = Scenario::new("healthy_under_faults", ["lab"]);
    s.run("cargo xtask cluster up lab --replicas 1");

    s.note("a postmaster that stands still lets nobody in");
    s.run("cargo xtask cluster chaos freeze lab-1 --process postmaster");
    s.exits(1, "docker exec lab-1 pgherd-agent health");
    s.run("cargo xtask cluster chaos thaw lab-1 --process postmaster");
    node_ends(&mut s, "lab-1", "healthy: primary", 0);

    s.note("PostgreSQL is stopped behind the agent's back, and comes back with it");
    s.remember("before", "lab-2", "SELECT pg_postmaster_start_time()");
    s.run("cargo xtask cluster chaos stop lab-2 --postgres-only");
    s.sql_until("lab-2", "SELECT pg_postmaster_start_time() > :'before'", "t", PATIENCE);
    node_says(&mut s, "lab-2", "healthy: replica, streams from \"lab-1\"");

    s.note("who can be read from is healthy, and says what is amiss");
    s.sql("lab-2", "SELECT pg_wal_replay_pause()");
    node_says(&mut s, "lab-2", "replay is paused");
    s.sql("lab-2", "SELECT pg_wal_replay_resume()");
    s.run("cargo xtask cluster stop lab-1");
    node_says(&mut s, "lab-2", "healthy: replica, receives nothing");
    s.run("cargo xtask cluster start lab");

    s.note("what a node cannot see by itself takes both ends");
    s.run("cargo xtask cluster chaos freeze lab-2 --process walreceiver");
    s.sql("lab-1", "CREATE TABLE t AS SELECT 1 AS x");
    s.sql_until("lab-1", "SELECT now() - reply_time > interval '3 s' FROM pg_stat_replication", "t", PATIENCE);
    node_says(&mut s, "lab-2", "healthy: replica, streams from \"lab-1\"");
    let status = s.aside("cargo xtask cluster status lab");
    s.claim("status says that something is wrong", status.code == Some(3));
    s.finish();
}

/// The room on the node's disk, as `d`.
const ROOM: &str = "(SELECT pg_read_file('/run/pgherd/disk.json')::jsonb) AS room (d)";

fn is_told_again(s: &mut Scenario, node: &str) {
    s.remember("told", node, &format!("SELECT d->>'at_unix_ms' FROM {ROOM}"));
    s.sql_until(node, &format!("SELECT (d->>'at_unix_ms')::bigint > :'told'::bigint FROM {ROOM}"), "t", PATIENCE);
}

fn room_is_told() {
    let mut s = Scenario::new("room_is_told", ["brim", "pg-primary", "pg_secrets"]);
    s.run("cargo xtask cluster up brim --replicas 1 --volume-size 256MB");
    let free = |condition: &str| format!("SELECT (d->>'free_bytes')::bigint {condition} FROM {ROOM}");
    s.sql("brim-1", &format!("SELECT string_agg(key, ' ' ORDER BY key) FROM {ROOM}, jsonb_object_keys(d) AS key"));
    let size = format!("SELECT (d->>'total_bytes')::bigint BETWEEN 200 << 20 AND 256 << 20 FROM {ROOM}");
    s.expect("brim-1", &size, "t");
    s.expect("brim-1", &free("> 50 << 20"), "t");

    s.note("it is told again where nothing changes");
    is_told_again(&mut s, "brim-1");
    let age =
        format!("SELECT now() - to_timestamp((d->>'at_unix_ms')::bigint / 1000.0) < interval '1 min' FROM {ROOM}");
    s.expect("brim-1", &age, "t");

    s.note("the disk is full, and has room again");
    s.run("cargo xtask cluster chaos disk-full brim-1");
    s.sql_until("brim-1", &free("< 1 << 20"), "t", PATIENCE);
    s.run("docker exec brim-1 pgherd-agent health");
    s.run("cargo xtask cluster chaos heal brim");
    s.sql_until("brim-1", &free("> 50 << 20"), "t", PATIENCE);

    s.note("the file system where it is told is full itself");
    s.run(
        "docker run -d --name pg-primary --tmpfs /run/pgherd:uid=999,gid=999,size=1m \
         -v pg_secrets:/run/pgherd/secrets pgherd/primary:17",
    );
    s.sql_until("pg-primary", &free("> 0"), "t", PATIENCE);
    is_told_again(&mut s, "pg-primary");
    s.sql_fails("pg-primary", "53100", "COPY (SELECT repeat('x', 2000000)) TO '/run/pgherd/ballast'");
    is_told_again(&mut s, "pg-primary");
    s.finish();
}
