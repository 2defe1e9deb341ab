//! What the runner makes of failures: they are planted, each in another way.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use e2e::{Entry, Scenario, entry};
use flate2::read::GzDecoder;
use pgherd_orchestrator::{Engine, Owner, sweep};
use quick_junit::{Report, TestCaseStatus};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(failures_are_reported, 3, "every way to fail leaves a report that helps"),
    entry!(what_hangs_is_ended, 1, "a scenario that hangs is ended, reported and removed"),
    entry!(a_killed_runner_is_swept, 1, "a killed runner takes its scenario along, and the next one sweeps"),
    entry!(faults_of_a_killed_runner, 2, "what faults leave behind is swept as well"),
    entry!(a_replaced_runner_goes_on, 0, "a runner whose program is replaced while it runs plays what is left"),
    entry!(nothing_is_selected, 0, "a filter that matches nothing is an error"),
];

/// The planted suite with these arguments and results.
fn planted(arguments: &[&str], results: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planted"));
    command.args(arguments).arg("--output").arg(results).stdin(Stdio::null());
    command
}

/// What it prints, and its exit code.
fn output(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().expect("the planted suite");
    (String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(), output.status.code())
}

fn results() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn failures_are_reported() {
    let mut s = Scenario::new("failures_are_reported", [""; 0]);
    let results = results();
    let (said, code) = output(&mut planted(&["--jobs", "2", "--shuffle", "7"], results.path()));
    s.claim("a run with failures ends with 1", code == Some(1));
    s.claim("its last line counts", said.trim_end().ends_with("\n1 passed, 4 failed, 1 skipped"));
    s.claim("the seed of its order is printed", said.contains("--shuffle 7"));
    s.claim("who is skipped says why", said.contains("  skips (no such device)\n"));
    for failed in [
        "failed: plot-1=# SELECT 1 + 1  [answers \"3\"]\nit exited with 0 and said:\n2\n",
        "failed: $ docker version  [until it says \"no engine says this\", within 2 s]\nwaited 2 s; at last it exited with 0",
        "failed: scenario \"asserts_nothing\" asserts nothing",
        "failed: scenario \"is_never_finished\" was begun and not finished",
    ] {
        let first = failed.lines().next().unwrap_or_default();
        s.claim(&format!("it says {first}"), said.contains(failed));
    }
    for (what, text) in [
        ("the transcript so far", "\n$ docker kill plot-2\nplot-2\n"),
        ("the probe's report", "it is degraded\n"),
        ("the plan", "plan: start plot-"),
        ("the inventory", "$ docker volume ls --filter name="),
        ("the plan of the node that was made by hand", "what its agent would do next\n"),
        ("the end of every log", "the last 40 lines of its log\n"),
    ] {
        s.claim(&format!("the report has {what}"), said.contains(text));
    }
    let bundle = files_of(&results.path().join("expects_wrongly.tar.gz"));
    for (file, text) in [
        ("transcript.txt", "SELECT 1 + 1"),
        ("report.txt", "inventory"),
        (".status.json", "\"health\": \"degraded\""),
        (".plan.json", "\"start\""),
        (".agent-plan.txt", "step: "),
        (".pg_controldata.txt", "Database system identifier"),
        (".log", "database system is ready"),
        (".inspect.json", "\"State\""),
    ] {
        let holds = bundle.iter().any(|(name, content)| name.ends_with(file) && content.contains(text));
        s.claim(&format!("the bundle has {file} with {text}"), holds);
    }

    let xml = fs::read_to_string(results.path().join("junit.xml")).expect("junit.xml");
    let report = Report::deserialize_from_str(&xml).expect("well-formed XML");
    let (tests, failures) = (report.tests, report.failures);
    let cases = &report.test_suites[0].test_cases;
    let skipped = cases.iter().filter(|case| matches!(case.status, TestCaseStatus::Skipped { .. })).count();
    s.claim("junit.xml counts the same", (tests, failures, skipped) == (6, 4, 1));
    let reported = cases.iter().find(|case| case.name.as_str() == "expects_wrongly").expect("a case");
    let output = reported.system_out.as_ref().map_or("", |text| text.as_str());
    s.claim("and has the reports", output.contains("failed: plot-1=#") && output.contains("inventory"));
    s.finish();
}

/// The files of a bundle.
fn files_of(bundle: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(bundle).expect("a bundle")));
    let entries = archive.entries().expect("an archive").map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("text");
        (entry.path().expect("a path").to_string_lossy().into_owned(), content)
    });
    entries.collect()
}

fn what_hangs_is_ended() {
    let mut s = Scenario::new("what_hangs_is_ended", [""; 0]);
    let results = results();
    let made = results.path().join("made");
    let arguments = ["--all", "--limit", "20", "waits_to_be_killed"];
    let (said, code) = output(planted(&arguments, results.path()).env("PLANTED_MADE", &made));
    s.claim("the run fails", code == Some(1) && said.trim_end().ends_with("\n0 passed, 1 failed, 0 skipped"));
    s.claim("it says how long it has waited", said.contains("timed out after 20 s"));
    s.claim("the transcript shows where it was", said.contains("$ docker network create odd_net"));
    s.claim("the runner reports in its place", said.contains("what its agent would do next"));
    s.claim("the bundle is there", results.path().join("waits_to_be_killed.tar.gz").is_file());
    let names = fs::read_to_string(&made).expect("the names of what it has made");
    s.claim("all that it has made is gone", names.split_whitespace().count() == 3 && on_the_engine(&s, &names) == 0);
    s.finish();
}

fn a_killed_runner_is_swept() {
    let mut s = Scenario::new("a_killed_runner_is_swept", ["bystander"]);
    s.run("docker network create bystander");
    let foreign = Foreign::new();
    let (mut runner, names) = run_until_made("waits_to_be_killed");
    let owner = owner_of(&s, &names);

    sweep_now();
    s.claim("while its owner lives, nothing is swept", on_the_engine(&s, &names) == 3 && owner.is_alive());
    runner.kill();
    wait_until("the scenario ends with its runner", || !owner.is_alive());
    sweep_now();
    s.claim("the next run sweeps the node, its volume and its network", on_the_engine(&s, &names) == 0);

    s.claim("what has no owner is still there", on_the_engine(&s, &foreign.0) == 1);
    s.note("what a living run has made is still there");
    s.run("docker network inspect --format {{.Name}} bystander");
    s.finish();
}

fn faults_of_a_killed_runner() {
    let mut s = Scenario::new("faults_of_a_killed_runner", [""; 0]);
    let (mut runner, names) = run_until_made("leaves_faults");
    let (owner, nodes) = (owner_of(&s, &names), names.split_whitespace().take(2).collect::<Vec<_>>());
    let device =
        |s: &Scenario| s.aside(&format!("docker run --rm -v /dev:/dev pgherd/toolbox ls /dev/pgherd-{}", nodes[0]));
    let processes = |s: &Scenario| nodes.iter().map(|node| processes_of(s, node)).sum::<usize>();
    s.claim("its nodes run, frozen or not", on_the_engine(&s, &names) == 5 && processes(&s) > 4);
    s.claim("a loop device holds the disk of the first one", device(&s).code == Some(0));
    runner.kill();
    wait_until("the scenario ends with its runner", || !owner.is_alive());
    // As the next runs do, if they begin at the same time.
    thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(sweep_now))));
    s.claim("the next run sweeps containers, volumes and the network", on_the_engine(&s, &names) == 0);
    s.claim("no process of theirs is left, frozen or not", processes(&s) == 0);
    s.claim("and no loop device", device(&s).code == Some(2));
    s.finish();
}

fn a_replaced_runner_goes_on() {
    let mut s = Scenario::new("a_replaced_runner_goes_on", [""; 0]);
    let results = results();
    let program = results.path().join("planted");
    fs::copy(env!("CARGO_BIN_EXE_planted"), &program).expect("a copy of the program");
    let mut command = Command::new(&program);
    command.args(["--output", &results.path().to_string_lossy(), "passes"]).stdin(Stdio::null());
    let runner = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a run"));
    // As a build does it.
    fs::remove_file(&program).expect("a file");
    fs::write(&program, "another one").expect("a file");
    let exit_code = ends(runner);
    let xml = fs::read_to_string(results.path().join("junit.xml")).expect("junit.xml");
    let report = Report::deserialize_from_str(&xml).expect("well-formed XML");
    s.claim("it ends", exit_code.is_some());
    s.claim("and has played its scenario", (exit_code, report.tests, report.failures) == (Some(0), 1, 0));
    s.finish();
}

/// Waits for the end of a run, and returns its exit code.
fn ends(mut runner: Killed) -> Option<i32> {
    let mut ended = None;
    wait_until("the run ends", || {
        ended = runner.0.try_wait().expect("a child");
        ended.is_some()
    });
    ended.and_then(|ended| ended.code())
}

fn nothing_is_selected() {
    let mut s = Scenario::new("nothing_is_selected", [""; 0]);
    let results = results();
    let (said, code) = output(&mut planted(&["no_such_scenario"], results.path()));
    s.claim("the run ends with 2", code == Some(2));
    s.claim("it says why", said.contains("no scenario has \"no_such_scenario\" in its name\nhint: "));
    let (said, code) = output(&mut planted(&["--list"], results.path()));
    s.claim("the list ends with 0", code == Some(0));
    s.claim("it names everything", said.lines().count() == 9 && said.contains("--all"));
    s.finish();
}

/// Runs a planted scenario until it has made something, and says what.
fn run_until_made(scenario: &str) -> (Killed, String) {
    let results = results();
    let made = results.path().join("made");
    let mut runner = planted(&["--all", scenario], results.path());
    let runner = runner.env("PLANTED_MADE", &made).stdout(Stdio::null()).stderr(Stdio::null());
    let runner = Killed(runner.spawn().expect("a run that is going to be killed"));
    wait_until("the scenario has made what it is to make", || made.exists());
    (runner, fs::read_to_string(&made).expect("the names of what it has made"))
}

/// How many processes of a node's PostgreSQL run on the engine's machine: its name is in their titles.
fn processes_of(s: &Scenario, node: &str) -> usize {
    let list = "docker run --rm --pid host pgherd/toolbox sh -c \
                'for p in /proc/[0-9]*; do tr \"\\0\" \" \" < $p/cmdline && echo; done 2> /dev/null; true'";
    let title = format!("postgres: {node}: ");
    s.aside(list).output.lines().filter(|line| line.starts_with(&title)).count()
}

/// How many things of these names there are.
fn on_the_engine(s: &Scenario, names: &str) -> usize {
    names.split_whitespace().filter(|name| s.aside(&format!("docker inspect {name}")).code == Some(0)).count()
}

/// The owner of the first of these.
fn owner_of(s: &Scenario, names: &str) -> Owner {
    let container = names.split_whitespace().next().expect("a container");
    let label = s.aside(&format!("docker inspect --format \"{{{{json .Config.Labels}}}}\" {container}")).output;
    let labels: BTreeMap<String, String> = serde_json::from_str(label.trim()).expect("labels");
    labels["pgherd.owner"].parse().expect("an owner")
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {} s until {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
}

fn sweep_now() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = Engine::connect().await.expect("an engine");
        sweep(&engine).await.expect("an orderly sweep");
    });
}

/// A runner that does not outlive its test.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("its end");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended by itself, or by the test, or ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A volume without an owner, as a user would make one.
struct Foreign(String);

impl Foreign {
    fn new() -> Foreign {
        let made = Command::new("docker").args(["volume", "create"]).output().expect("docker");
        Foreign(String::from_utf8_lossy(&made.stdout).trim().to_owned())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let removed = Command::new("docker").args(["volume", "rm", &self.0]).output().expect("docker");
        if !removed.status.success() {
            let _ = std::io::stderr().write_all(&removed.stderr);
        }
    }
}
