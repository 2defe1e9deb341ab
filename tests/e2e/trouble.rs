//! What is seen of a cluster that is not well, and what is not done to it.

use std::thread;

use e2e::{Entry, Outcome, Scenario, entry};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(replay_is_paused, 2, "paused replay and frozen containers are seen"),
    entry!(promoted_behind_our_back, 2, "no primary is started beside a promoted one"),
    entry!(a_slot_is_left_behind, 3, "a slot of no node is seen, and taken over"),
    entry!(two_at_once, 2, "two changes at once do not meet"),
];

/// Standbys that have replied in the last second, as healthy ones do.
const HEARD: &str = "SELECT count(*) FROM pg_stat_replication WHERE reply_time > now() - interval '1 s'";

fn replay_is_paused() {
    let mut s = Scenario::new("replay_is_paused", ["ward"]);
    s.run("cargo xtask cluster up ward --replicas 1");
    s.sql("ward-2", "SELECT pg_wal_replay_pause()");
    s.sql_until("ward-2", "SELECT pg_get_wal_replay_pause_state()", "paused", PATIENCE);
    s.exits(3, "cargo xtask cluster status ward");
    s.sql("ward-2", "SELECT pg_wal_replay_resume()");
    s.run("cargo xtask cluster status ward");

    s.note("a frozen container is waited for neither by status nor by up");
    s.pause("ward-2");
    s.exits(3, "cargo xtask cluster status ward");
    s.exits(1, "cargo xtask cluster up ward");
    s.run("docker unpause ward-2");
    s.sql_until("ward-1", HEARD, "1", PATIENCE);
    s.run("cargo xtask cluster status ward");
    s.finish();
}

fn promoted_behind_our_back() {
    let mut s = Scenario::new("promoted_behind_our_back", ["coup"]);
    s.run("cargo xtask cluster up coup --replicas 1");
    s.sql("coup-2", "SELECT pg_promote()");
    s.exits(3, "cargo xtask cluster status coup");
    s.exits(1, "cargo xtask cluster up coup");

    s.note("the former primary is down: it is not started beside the new one, neither by up nor alone");
    s.kill("coup-1");
    s.exits(1, "cargo xtask cluster up coup");
    s.exits(1, "cargo xtask cluster start coup-1");

    s.note("nor does it come back by itself: it asks the other nodes first");
    s.run("docker start coup-1");
    s.run_until("docker logs coup-1", "refused: data directory is on timeline 1, and node \"coup-2", PATIENCE);
    s.sql("coup-2", "CREATE TABLE commits AS SELECT 1 AS x");
    s.finish();
}

fn a_slot_is_left_behind() {
    let mut s = Scenario::new("a_slot_is_left_behind", ["ghost"]);
    s.run("cargo xtask cluster up ghost --replicas 2");
    s.remove_container("ghost-3");
    s.run("docker volume rm pgherd-ghost-3");
    s.sql_until("ghost-1", "SELECT active FROM pg_replication_slots WHERE slot_name LIKE '%3'", "f", PATIENCE);
    s.exits(3, "cargo xtask cluster status ghost");

    s.note("the node that is made in its place takes the slot over");
    s.run("cargo xtask cluster up ghost --replicas 2");
    s.finish();
}

fn two_at_once() {
    let mut s = Scenario::new("two_at_once", ["twins"]);
    let up = || s.aside("cargo xtask cluster up twins --replicas 1");
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(up);
        (up(), first.join().expect("the other one ran"))
    });
    let well = |outcome: &Outcome| outcome.code == Some(0);
    let told = |outcome: &Outcome| outcome.output.contains("is being changed by another process");
    s.claim(
        "who comes second waits for what the first one made, or is told that the cluster is being changed",
        [&first, &second].into_iter().all(|outcome| well(outcome) || told(outcome)) && (well(&first) || well(&second)),
    );
    s.run("cargo xtask cluster up twins");
    let networks = s.aside(&format!("docker network ls -q --filter name={}", s.real("twins"))).output;
    s.claim("the cluster has one network", networks.lines().count() == 1);
    s.run("cargo xtask cluster rm twins --force");
    s.finish();
}
