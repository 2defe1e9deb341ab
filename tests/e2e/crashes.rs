//! The crash matrix: a node is killed before and after each step of every plan, and its next start brings it up.
//!
//! The agent ends itself at a point that the environment names, and with it everything in its container. No list holds the
//! points: they are those that a node passes when it is left in peace.

use std::{
    thread,
    time::{Duration, Instant},
};

use e2e::{Entry, Scenario, entry};
use serde_json::Value;

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(crashes, 2, "a node is killed before or after some steps of every plan"),
    entry!(every_crash_of_initialize, 1, "a primary that is made is killed before and after each step").long(),
    entry!(every_crash_of_clone, 2, "a replica that is cloned is killed before and after each step").long(),
    entry!(every_crash_of_rewind, 2, "a node that is rewound is killed before and after each step").long(),
    entry!(every_crash_of_reclone, 2, "a node that is cloned anew is killed before and after each step").long(),
];

const NAMES: [&str; 8] = [
    "pg-primary",
    "pg-replica",
    "pg-victim",
    "pg_stream",
    "pg_secrets",
    "primary_data",
    "victim_data",
    "victim_secrets",
];

/// Whether a plan of this name is to be cut off at this point.
type IsWanted = fn(&str, usize) -> bool;

/// A plan to be cut off.
struct Plan {
    name: &'static str,
    /// As what the victim is run.
    run: &'static str,
    /// The volume with whose content it begins.
    from: Option<&'static str>,
    /// What is true of it once it is up.
    is_up: &'static str,
    /// Steps that are not taken again once they are done.
    once: &'static [&'static str],
    /// Steps that are not taken at all.
    never: &'static [&'static str],
}

const INITIALIZE: Plan = Plan {
    name: "initialize",
    run: "-v victim_secrets:/run/pgherd/secrets pgherd/primary:17",
    from: None,
    is_up: "SELECT NOT pg_is_in_recovery()",
    once: &["initialize"],
    never: &["clone"],
};

const CLONE: Plan = Plan {
    name: "clone",
    run: "--network pg_stream -v pg_secrets:/run/pgherd/secrets -e PRIMARY_NAME=pg-replica pgherd/replica:17",
    from: None,
    is_up: "SELECT (SELECT string_agg(x, ' ' ORDER BY x) FROM t) = 'common new' AND EXISTS (SELECT FROM pg_stat_wal_receiver \
            WHERE status = 'streaming')",
    once: &["clone"],
    never: &["rewind"],
};

const REWIND: Plan =
    Plan { name: "rewind", from: Some("primary_data"), once: &["recover", "rewind"], never: &["clone"], ..CLONE };

const RECLONE: Plan = Plan { name: "re-clone", once: &["clone", "throw_away_data"], never: &["rewind"], ..REWIND };

fn crashes() {
    let mut s = begin("crashes");
    cut_off(&mut s, &INITIALIZE, is_drawn);
    diverge(&mut s);
    // Every clone begins a segment of the upstream's WAL, and a rewind needs all of them from the fork on.
    cut_off(&mut s, &REWIND, is_drawn);
    cut_off(&mut s, &CLONE, is_drawn);
    forget_what_has_changed(&mut s);
    cut_off(&mut s, &RECLONE, is_drawn);
    s.finish();
}

fn every_crash_of_initialize() {
    let mut s = begin("every_crash_of_initialize");
    cut_off(&mut s, &INITIALIZE, |_, _| true);
    s.finish();
}

fn every_crash_of_clone() {
    let mut s = begin("every_crash_of_clone");
    diverge(&mut s);
    cut_off(&mut s, &CLONE, |_, _| true);
    s.finish();
}

fn every_crash_of_rewind() {
    let mut s = begin("every_crash_of_rewind");
    diverge(&mut s);
    cut_off(&mut s, &REWIND, |_, _| true);
    s.finish();
}

fn every_crash_of_reclone() {
    let mut s = begin("every_crash_of_reclone");
    diverge(&mut s);
    forget_what_has_changed(&mut s);
    cut_off(&mut s, &RECLONE, |_, _| true);
    s.finish();
}

fn begin(name: &'static str) -> Scenario {
    Scenario::new(name, NAMES)
}

/// Draws the points of a short run, about every eighth.
fn is_drawn(plan: &str, point: usize) -> bool {
    const SEED: usize = 20_261_124;
    let number = plan.bytes().fold(SEED + point, |number, byte| number.wrapping_mul(31) + usize::from(byte));
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(8)
}

/// Leaves the old primary without what a rewind needs.
fn forget_what_has_changed(s: &mut Scenario) {
    s.note("now nobody knows any more which pages have changed");
    must(
        s,
        "docker run --rm -v primary_data:/var/lib/postgresql pgherd/postgres:17 sh -c 'postgres --single -F -D \
         /var/lib/postgresql/17/data template1 </dev/null && pg_checksums --disable -D /var/lib/postgresql/17/data'",
    );
}

/// A primary that was killed with a write that its replica has not, which was promoted, and has one of its own.
fn diverge(s: &mut Scenario) {
    s.run("docker network create pg_stream");
    s.run(
        "docker run -d --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets \
         -v primary_data:/var/lib/postgresql pgherd/primary:17",
    );
    s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", PATIENCE);
    s.run(
        "docker run -d --name pg-replica --network pg_stream -v pg_secrets:/run/pgherd/secrets -e PRIMARY_NAME=pg-primary \
         pgherd/replica:17",
    );
    s.sql("pg-primary", "CREATE TABLE t (x text)");
    s.sql("pg-primary", "INSERT INTO t VALUES ('common')");
    s.sql_until("pg-replica", "SELECT count(*) FROM t", "1", PATIENCE);
    s.stop("pg-replica");
    s.sql("pg-primary", "INSERT INTO t VALUES ('lonely')");
    s.kill("pg-primary");
    s.run("docker start pg-replica");
    s.sql_until("pg-replica", "SELECT pg_is_in_recovery()", "t", PATIENCE);
    s.run("docker exec pg-replica pgherd-agent promote");
    s.sql("pg-replica", "INSERT INTO t VALUES ('new')");
}

/// Lets the plan go its way, and then kills it at each point of that way that is wanted.
fn cut_off(s: &mut Scenario, plan: &Plan, is_wanted: IsWanted) {
    let way = undisturbed(s, plan);
    s.note(&format!("{}: {}", plan.name, way.join(", ")));
    // The last step ends with PostgreSQL.
    for point in (1..2 * way.len()).filter(|point| is_wanted(plan.name, *point)) {
        let place = if point % 2 == 1 { "before" } else { "after" };
        let done = &way[..point / 2];
        prepare(s, plan);
        run_victim(s, plan, &format!("-e PGHERD_CRASH_AT={point} "));
        let ending = "docker inspect --format \"{{.State.Status}} {{.State.ExitCode}}\" pg-victim";
        wait_until("it is killed", || s.aside(ending).output.trim() == "exited 137");
        must(s, "docker rm pg-victim");
        run_victim(s, plan, "");
        wait_until("it runs", || s.sql_aside("pg-victim", plan.is_up) == "t");
        let again = steps(s);
        let once_more = |step: &&&str| again.iter().any(|taken| taken == **step);
        let repeated = plan.once.iter().filter(|step| done.iter().any(|taken| taken == **step)).find(once_more);
        let strange = plan.never.iter().find(once_more);
        let what = format!("killed {place} {}, it comes up, and does nothing twice", way[(point - 1) / 2]);
        s.claim(&format!("{}: {what}", plan.name), repeated.is_none() && strange.is_none());
    }
    clear(s);
}

fn undisturbed(s: &Scenario, plan: &Plan) -> Vec<String> {
    prepare(s, plan);
    run_victim(s, plan, "");
    wait_until("it runs", || s.sql_aside("pg-victim", plan.is_up) == "t");
    steps(s)
}

/// A volume with what the plan begins with, and an upstream that knows nothing of it.
fn prepare(s: &Scenario, plan: &Plan) {
    clear(s);
    if plan.name != INITIALIZE.name {
        let drop = "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active";
        let left = "SELECT count(*) FROM pg_replication_slots";
        wait_until("no slot is left", || {
            !s.sql_aside("pg-replica", drop).is_empty() && s.sql_aside("pg-replica", left) == "0"
        });
    }
    if let Some(from) = plan.from {
        must(s, &format!("docker run --rm -v {from}:/from -v victim_data:/to pgherd/toolbox cp -a /from/. /to"));
    }
}

fn clear(s: &Scenario) {
    // Nothing of it may be there.
    let _ = s.aside("docker rm -f pg-victim");
    let _ = s.aside("docker volume rm -f victim_data victim_secrets");
}

fn run_victim(s: &Scenario, plan: &Plan, options: &str) {
    let run =
        "docker run -d --name pg-victim --hostname pg-victim -e PGHERD_LOG=json -v victim_data:/var/lib/postgresql";
    must(s, &format!("{run} {options}{}", plan.run));
}

/// The steps that the victim has taken.
fn steps(s: &Scenario) -> Vec<String> {
    let log = s.aside("docker logs pg-victim").output;
    let objects = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = objects.filter_map(|object| object["event"].as_str().map(str::to_owned));
    events.filter(|event| event != "waiting").collect()
}

fn must(s: &Scenario, line: &str) {
    let outcome = s.aside(line);
    assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.output);
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {} s until {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
}
