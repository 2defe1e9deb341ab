//! Scenarios that fail on purpose, each in another way: what `e2e/runner.rs` shows the runner to be worth.

use std::{env, fs, process::ExitCode, time::Duration};

use e2e::{Entry, Scenario, Suite, entry};

const SCENARIOS: &[Entry] = &[
    entry!(passes, 0, "the engine answers").unrecorded(),
    entry!(skips, 0, "this machine cannot").unrecorded(),
    entry!(expects_wrongly, 3, "an answer that never comes, beside a cluster and a node made by hand").unrecorded(),
    entry!(waits_in_vain, 0, "a wait with a bound of two seconds").unrecorded(),
    entry!(asserts_nothing, 0, "a session without a claim").unrecorded(),
    entry!(is_never_finished, 0, "a session without an end").unrecorded(),
    entry!(waits_to_be_killed, 1, "a node, a volume and a network, and no end").unrecorded().long(),
    entry!(leaves_faults, 2, "faults of every kind, and no end").unrecorded().long(),
];

const RUN_NODE: &str =
    "docker run -d --name odd --network odd_net -v odd_secrets:/run/pgherd/secrets pgherd/primary:17";

fn passes() {
    let mut s = Scenario::new("passes", [""; 0]);
    s.claim("the engine answers", s.aside("docker version").code == Some(0));
    s.finish_unrecorded();
}

fn skips() {
    let s = Scenario::new("skips", [""; 0]);
    s.skip("no such device");
}

fn expects_wrongly() {
    let mut s = Scenario::new("expects_wrongly", ["plot", "odd", "odd_net", "odd_secrets"]);
    s.run("cargo xtask cluster up plot --replicas 1");
    s.kill("plot-2");
    s.run("docker network create odd_net");
    s.run(RUN_NODE);
    s.sql_until("odd", "SELECT pg_is_in_recovery()", "f", Duration::from_secs(120));
    s.expect("plot-1", "SELECT 1 + 1", "3");
    s.finish_unrecorded();
}

fn waits_in_vain() {
    let mut s = Scenario::new("waits_in_vain", [""; 0]);
    s.run_until("docker version", "no engine says this", Duration::from_secs(2));
    s.finish_unrecorded();
}

fn asserts_nothing() {
    let mut s = Scenario::new("asserts_nothing", [""; 0]);
    s.run("docker version");
    s.finish_unrecorded();
}

fn is_never_finished() {
    let mut s = Scenario::new("is_never_finished", [""; 0]);
    s.claim("something holds", true);
}

fn waits_to_be_killed() {
    let mut s = Scenario::new("waits_to_be_killed", ["odd", "odd_net", "odd_secrets"]);
    s.run("docker network create odd_net");
    s.run(RUN_NODE);
    wait_to_be_killed(s, "odd odd_net odd_secrets");
}

fn leaves_faults() {
    let mut s = Scenario::new("leaves_faults", ["tomb"]);
    s.run("cargo xtask cluster up tomb --replicas 1 --volume-size 256MB");
    for fault in ["partition tomb-2", "disk-full tomb-2", "freeze tomb-1 --process checkpointer", "freeze tomb-2"] {
        s.run(&format!("cargo xtask cluster chaos {fault}"));
    }
    wait_to_be_killed(s, "tomb-1 tomb-2 pgherd-tomb-1 pgherd-tomb-secrets pgherd-tomb");
}

/// Says what it has made in the file that `PLANTED_MADE` names.
fn wait_to_be_killed(mut s: Scenario, made: &str) {
    if let Some(file) = env::var_os("PLANTED_MADE") {
        let partial = format!("{}.partial", file.display());
        fs::write(&partial, s.real(made)).expect("a file");
        fs::rename(&partial, &file).expect("a file in its place");
    }
    s.run_until("docker version", "no engine says this", Duration::from_secs(300));
    s.finish_unrecorded();
}

fn main() -> ExitCode {
    let (sources, snapshots) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/planted"), concat!(env!("CARGO_MANIFEST_DIR"), "/planted/snapshots"));
    e2e::main(Suite { name: "planted", sources, snapshots, scenarios: &[SCENARIOS] })
}
