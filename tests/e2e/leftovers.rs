//! A run that was killed leaves nothing that the next one does not sweep.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use e2e::Scenario;
use pgherd_orchestrator::{Engine, sweep};

#[test]
fn a_killed_run_is_swept() {
    let mut s = Scenario::new("a_killed_run_is_swept", ["bystander"]);
    s.run("docker network create bystander");

    let mut run = Command::new(env!("CARGO_BIN_EXE_half-a-scenario"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a run that is going to be killed");
    let mut names = String::new();
    let stdout = run.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut names).expect("the names of what it has made");
    let made: Vec<&str> = names.split_whitespace().collect();
    assert_eq!(made.len(), 3, "a container, a network and a volume: {names:?}");

    let on_the_engine =
        |s: &Scenario| made.iter().filter(|name| s.aside(&format!("docker inspect {name}")).code == Some(0)).count();
    sweep_now();
    assert_eq!(on_the_engine(&s), 3, "while its owner lives, nothing is swept");
    run.kill().expect("SIGKILL");
    run.wait().expect("its end");
    assert_eq!(on_the_engine(&s), 3, "a killed run cannot remove anything");
    sweep_now();
    assert_eq!(on_the_engine(&s), 0, "the next run sweeps what a dead owner has left");

    s.note("what a living run has made is still there");
    s.run("docker network inspect --format {{.Name}} bystander");
    s.finish();
}

fn sweep_now() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = Engine::connect().await.expect("an engine");
        sweep(&engine).await.expect("an orderly sweep");
    });
}
