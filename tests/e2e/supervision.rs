//! What process 1 of a node owes it: orphans reaped, shutdowns in time, ends that are told apart, changes taken up.

use e2e::{Entry, Scenario, entry, redact::redact};
use serde_json::Value;

use crate::{PATIENCE, STREAMING_COUNT};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(orphans, 2, "10,000 orphans come to process 1 while PostgreSQL works"),
    entry!(stuck_shutdowns, 2, "a fast shutdown hangs, and becomes an immediate one in time"),
    entry!(ends, 1, "a crash is told from a shutdown, and both from a start that failed"),
    entry!(reloads, 2, "a running node takes up what has changed"),
];

const NAMES: [&str; 5] = ["pg-primary", "pg-replica", "pg_stream", "pg_secrets", "primary_data"];

/// Has no restart policy: what ends stays as it is.
fn run_node(s: &mut Scenario, name: &str, image: &str, options: &str) {
    let mounts = "--network pg_stream -v pg_secrets:/run/pgherd/secrets";
    s.run(&format!("docker run -d --name {name} {mounts}{options} pgherd/{image}:17"));
}

fn with_a_primary(name: &'static str, options: &str) -> Scenario {
    let mut s = Scenario::new(name, NAMES);
    s.run("docker network create pg_stream");
    run_node(&mut s, "pg-primary", "primary", options);
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s
}

fn with_a_replica(name: &'static str) -> Scenario {
    let mut s = with_a_primary(name, "");
    run_node(&mut s, "pg-replica", "replica", " -e PRIMARY_NAME=pg-primary");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);
    s
}

/// Waits until the container has ended with this code.
fn ended(s: &mut Scenario, node: &str, code: u8) {
    let line = format!("docker inspect --format \"{{{{.State.Status}}}} with {{{{.State.ExitCode}}}}.\" {node}");
    s.run_until(&line, &format!("exited with {code}."), PATIENCE);
}

/// Lists the processes of the container for which `condition` holds of what `/proc/PID/stat` has, proc(5), and counts them.
fn processes(condition: &str) -> String {
    let postmaster = "read -r postmaster </var/lib/postgresql/17/data/postmaster.pid";
    let each = format!("read -r pid name state parent rest <$stat && {condition} && echo \"$name\" && n=$((n + 1))");
    let all = format!("for stat in /proc/[0-9]*/stat; do {each}; done; echo \"there are $n.\"");
    format!("docker exec pg-primary sh -c '{postmaster}; n=0; {all}' 2>/dev/null")
}

fn orphans() {
    let mut s = with_a_primary("orphans", " -v primary_data:/var/lib/postgresql");
    s.remember("started", "pg-primary", "SELECT pg_postmaster_start_time()");

    s.note("four sessions write until they are told to end");
    s.sql("pg-primary", "CREATE TABLE work AS SELECT session, 0 AS done FROM generate_series(1, 4) AS session");
    s.sql("pg-primary", "CREATE TABLE the_end (x int)");
    s.sql(
        "pg-primary",
        "CREATE PROCEDURE work(mine int) LANGUAGE plpgsql AS 'BEGIN WHILE NOT EXISTS (SELECT FROM the_end) LOOP \
         UPDATE work SET done = done + 1 WHERE session = mine; COMMIT; END LOOP; END'",
    );
    let sessions: Vec<_> = (1..=4)
        .map(|session| s.spawn(&format!("docker exec pg-primary psql -U postgres -c \"CALL work({session})\"")))
        .collect();
    s.sql_until("pg-primary", "SELECT min(done) > 0 FROM work", "t", PATIENCE);
    s.remember("before", "pg-primary", "SELECT min(done) FROM work");

    s.note("the parent of an orphan is the agent, and the postmaster has none but its own children");
    s.run("docker exec pg-primary sh -c '(psql -U postgres -c \"SELECT pg_sleep(600)\" >/dev/null 2>&1 &)'");
    s.run_until(&processes("[ \"$name$parent\" = \"(psql)1\" ]"), "there are 1.", PATIENCE);
    s.run("docker exec pg-primary sh -c 'i=0; while [ $i -lt 10000 ]; do (exit $((i % 256)) &); i=$((i + 1)); done'");
    let children = s.aside(&processes("[ \"$parent\" = \"$postmaster\" ]")).output;
    let (count, names) = children
        .lines()
        .collect::<Vec<_>>()
        .split_last()
        .map_or((0, true), |(_, names)| (names.len(), names.iter().all(|name| *name == "(postgres)")));
    s.claim("the postmaster has the children that it wants, and no others", count > 4 && names);

    s.note("no zombie is left, and nobody has noticed anything");
    s.run_until(&processes("[ \"$state\" = Z ]"), "there are 0.", PATIENCE);
    s.expect("pg-primary", "SELECT pg_postmaster_start_time() = :'started'", "t");
    s.expect("pg-primary", "SELECT min(done) > :'before' FROM work", "t");
    s.sql("pg-primary", "INSERT INTO the_end VALUES (1)");
    for session in sessions {
        s.join(session, 0);
    }
    let log = s.aside("docker logs pg-primary").output;
    let trouble = ["crash", "recovery", "terminated by signal", "exited with exit code", "reinitializing"];
    s.claim("the log tells of no crash and of no recovery", !trouble.iter().any(|word| log.contains(word)));

    s.note("among orphans that end all the time the exit code is still PostgreSQL's");
    let _more = s.spawn("docker exec pg-primary sh -c 'while :; do (exit 3 &); done'");
    s.run("docker stop pg-primary");
    ended(&mut s, "pg-primary", 0);
    s.run_until("docker logs pg-primary", "postgresql ended with exit code 0, as asked", PATIENCE);

    s.note("what it is good for: PostgreSQL as process 1 takes the first bad end of an orphan for that of a session");
    s.run("docker rm pg-primary");
    s.run(
        "docker run -d --name pg-primary --entrypoint postgres -v primary_data:/var/lib/postgresql pgherd/primary:17 \
         -D /var/lib/postgresql/17/data -c config_file=/var/lib/postgresql/17/control/postgresql.conf -c ssl=off",
    );
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.run("docker exec pg-primary sh -c '(exit 2 &)'");
    s.run_until("docker logs pg-primary", "all server processes terminated; reinitializing", PATIENCE);
    s.finish();
}

fn stuck_shutdowns() {
    let mut s = with_a_replica("stuck_shutdowns");
    let late = "WARNING: immediate shutdown: the time for a fast one is over";
    s.sql("pg-primary", "CREATE TABLE t (x int)");

    s.note("a replica stands still, and does not confirm what the primary waits for: Docker would kill after 10 s");
    s.run("docker exec pg-replica sh -c 'pgherd-agent signal STOP walreceiver >/dev/null'");
    s.run("docker stop pg-primary");
    ended(&mut s, "pg-primary", 0);
    s.run_until("docker logs pg-primary", late, PATIENCE);
    s.run("docker exec pg-replica sh -c 'pgherd-agent signal CONT walreceiver >/dev/null'");
    s.run("docker start pg-primary");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);

    s.note(
        "a session stands still: PostgreSQL kills it 5 s after an immediate shutdown, which begins 6 s before the end",
    );
    s.run("docker rm -f -v pg-primary pg-replica");
    s.run("docker volume rm pg_secrets");
    run_node(&mut s, "pg-primary", "primary", " --stop-timeout 30 -e PGHERD_STOP_SECONDS=30");
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.sql("pg-primary", "CREATE TABLE t AS SELECT 1 AS x");
    let _session = s.spawn("docker exec pg-primary psql -U postgres -c \"SELECT pg_sleep(600)\"");
    s.sql("pg-primary", "CREATE VIEW sleeper AS SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    s.sql_until("pg-primary", "SELECT count(*) FROM sleeper", "1", PATIENCE);
    s.run("docker exec pg-primary sh -c 'kill -STOP $(psql -U postgres -Atc \"TABLE sleeper\")'");
    s.run("docker stop pg-primary");
    ended(&mut s, "pg-primary", 0);
    s.run_until("docker logs pg-primary", late, PATIENCE);
    s.run_until("docker logs pg-primary", "issuing SIGKILL to recalcitrant children", PATIENCE);
    s.run("docker start pg-primary");
    s.run_until("docker logs pg-primary", "automatic recovery in progress", PATIENCE);
    s.sql_until("pg-primary", "SELECT x FROM t", "1", PATIENCE);
    s.finish();
}

fn ends() {
    let mut s = with_a_primary("ends", " -e PGHERD_LOG=json");
    s.note("asked for before PostgreSQL runs");
    run_node(&mut s, "pg-replica", "replica", " -e PRIMARY_NAME=nobody.invalid");
    s.run_until("docker logs pg-replica", "still waiting for upstream", PATIENCE);
    s.run("docker stop pg-replica");
    ended(&mut s, "pg-replica", 143);

    s.note("asked for");
    s.run("docker stop pg-primary");
    ended(&mut s, "pg-primary", 0);

    let start_again = |s: &mut Scenario| {
        s.run("docker start pg-primary");
        s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    };
    s.note("shut down by somebody else");
    start_again(&mut s);
    s.run("docker exec -d pg-primary pgherd-agent signal INT postmaster");
    ended(&mut s, "pg-primary", 0);

    s.note("killed");
    start_again(&mut s);
    s.run("docker exec -d pg-primary pgherd-agent signal KILL postmaster");
    ended(&mut s, "pg-primary", 137);

    s.note("not able to start");
    start_again(&mut s);
    s.sql("pg-primary", "ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'");
    s.run("docker stop pg-primary");
    s.run("docker start pg-primary");
    ended(&mut s, "pg-primary", 1);

    let log = s.aside("docker logs pg-primary").output;
    let (ours, postgresqls): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.starts_with('{'));
    let objects: Vec<Value> = ours.iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    s.claim("every other line is one of PostgreSQL's", postgresqls.iter().all(|line| !line.contains("pgherd-agent")));
    s.claim(
        "every object has a time, a level, a node, an event and a message",
        objects
            .iter()
            .all(|it| ["ts", "level", "node", "event", "message"].iter().all(|key| !text(it, key).is_empty())),
    );
    for object in &objects {
        let line = format!("{} {}: {}", text(object, "level"), text(object, "event"), text(object, "message"));
        s.note(redact(&line).trim());
    }
    s.finish();
}

fn reloads() {
    let mut s = with_a_replica("reloads");
    s.sql("pg-primary", "CREATE TABLE t (x int)");

    s.note("the password is changed, and the stream breaks");
    s.sql("pg-primary", "ALTER ROLE replicator PASSWORD 'another one'");
    s.plant("pg-primary:/run/pgherd/secrets", "replication-password", "another one");
    s.sql("pg-primary", "SELECT pg_terminate_backend(pid) FROM pg_stat_replication");
    s.run_until("docker logs pg-replica", "password authentication failed for user \"replicator\"", PATIENCE);
    s.run("docker exec pg-replica pgherd-agent reload");
    s.sql_until("pg-primary", STREAMING_COUNT, "1", PATIENCE);

    s.note("what cannot be read changes nothing");
    let spec = "17/control/spec.json";
    let ways_in =
        "SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE address = 'all' AND 'replicator' = ANY(user_name)";
    s.plant("pg-replica:/var/lib/postgresql", spec, "{");
    s.run("docker exec pg-replica pgherd-agent reload");
    s.run_until("docker logs pg-replica", "the node goes on with what it was asked before", PATIENCE);
    s.expect("pg-replica", ways_in, "scram-sha-256");

    s.note("one part of a new specification is taken up; another role waits, because a start alone finds out whether it can");
    let asked = r#"{"node":"pg","role":"primary","authentication":"trust"}"#;
    s.plant("pg-replica:/var/lib/postgresql", spec, asked);
    s.run("docker exec pg-replica pgherd-agent reload");
    s.run_until("docker logs pg-replica", "that waits for its next start", PATIENCE);
    s.sql_until("pg-replica", ways_in, "trust", PATIENCE);
    s.expect(
        "pg-replica",
        "SELECT setting LIKE 'host=pg-primary %' FROM pg_settings WHERE name = 'primary_conninfo'",
        "t",
    );
    s.sql("pg-primary", "INSERT INTO t VALUES (1)");
    s.sql_until("pg-replica", "SELECT count(*) FROM t", "1", PATIENCE);
    s.finish();
}
