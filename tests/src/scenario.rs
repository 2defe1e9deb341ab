//! A scenario: a session that is written down, compared with its snapshot, and leaves nothing.

use std::{
    env, fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{
    command::Invocation,
    names::Names,
    process::{self, Outcome},
    redact::redact,
    report,
    step::{Action, Expected, Step},
};

/// The environment variable that keeps what a failed scenario made.
const KEEP: &str = "PGHERD_E2E_KEEP";

/// No single command of a session takes longer.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// Between two looks at something that is waited for. An exec costs about as much.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A session in progress. What it made goes when it is dropped.
#[derive(Debug)]
pub struct Scenario {
    name: &'static str,
    names: Names,
    transcript: String,
    finished: bool,
}

impl Scenario {
    /// Begins a scenario. `name` is that of its snapshot; `names` are those that it gives to things on the engine.
    pub fn new(name: &'static str, names: impl IntoIterator<Item = impl Into<String>>) -> Scenario {
        Scenario { name, names: Names::new(names), transcript: String::new(), finished: false }
    }

    /// Types a command line, which shall succeed, and returns its standard output.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> String {
        self.ends_with(0, line).stdout
    }

    /// Types a command line, which shall end with this exit code, and returns all that it printed.
    #[track_caller]
    pub fn exits(&mut self, code: i32, line: &str) -> String {
        self.ends_with(code, line).output()
    }

    /// Asks a node something as superuser, through its own socket.
    #[track_caller]
    pub fn sql(&mut self, node: &str, query: &str) -> String {
        let outcome = self.record(sql(node, query));
        assert_eq!(outcome.code, Some(0), "the exit code of `{query}` on {node}\n{}", outcome.output());
        outcome.stdout.trim().to_owned()
    }

    /// Asks a node something that it shall refuse with this SQLSTATE.
    #[track_caller]
    pub fn sql_fails(&mut self, node: &str, sqlstate: &str, query: &str) {
        let outcome = self.record(sql(node, query));
        let error = outcome.stderr;
        assert!(error.contains(&format!("ERROR:  {sqlstate}: ")), "expected SQLSTATE {sqlstate} of `{query}`\n{error}");
    }

    /// Waits until a node answers a query with exactly this.
    #[track_caller]
    pub fn sql_until(&mut self, node: &str, query: &str, answer: &str, within: Duration) {
        self.until(sql(node, query), Expected::Answer(answer.to_owned()), within);
    }

    /// Waits until a command's output has this in it. The output itself goes unrecorded: it is whatever was there by then.
    #[track_caller]
    pub fn run_until(&mut self, line: &str, text: &str, within: Duration) {
        self.until(Action::Shell(line.to_owned()), Expected::Says(text.to_owned()), within);
    }

    /// Does something beside the session: it is not in the transcript, and may end in any way.
    pub fn aside(&self, line: &str) -> Outcome {
        self.perform(&Action::Shell(line.to_owned()))
    }

    /// Asks a node something beside the session, for comparison with a later answer.
    #[must_use]
    pub fn sql_aside(&self, node: &str, query: &str) -> String {
        self.perform(&sql(node, query)).output().trim().to_owned()
    }

    /// Puts a text file into a container that need not run, below a directory that is there already.
    pub fn plant(&mut self, directory: &str, path: &str, text: &str) {
        let planted = tempfile::tempdir().expect("a directory");
        let file = planted.path().join(path);
        fs::create_dir_all(file.parent().expect("a file has a parent")).expect("a directory");
        fs::write(&file, text).expect("a file");
        let copied = self.aside(&format!("docker cp {}/. {directory}", planted.path().display()));
        assert_eq!(copied.code, Some(0), "{copied}");
        self.write(&format!("# {path} holds \"{}\"\n", text.trim()));
    }

    /// Every byte of a file or directory in a container that need not run, with owners, modes and times, as a tar.
    #[must_use]
    pub fn archive(&self, path: &str) -> Vec<u8> {
        let output = Command::new("docker").args(["cp", &self.names.localize(path), "-"]).output().expect("docker");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// The text of one file in a container.
    #[must_use]
    pub fn file(&self, path: &str) -> String {
        let archive = self.archive(path);
        // One header, then the content up to the padding.
        let content = archive.get(512..).expect("a header");
        String::from_utf8_lossy(content).trim_end_matches('\0').to_owned()
    }

    /// Writes what the next lines are about.
    pub fn note(&mut self, text: &str) {
        self.write(&format!("# {text}\n"));
    }

    /// A text with the declared names as they are on the engine.
    #[must_use]
    pub fn real(&self, text: &str) -> String {
        self.names.localize(text)
    }

    /// Compares the transcript with its snapshot.
    #[track_caller]
    pub fn finish(mut self) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(self.name, self.transcript));
        self.finished = true;
    }

    #[track_caller]
    fn ends_with(&mut self, code: i32, line: &str) -> Outcome {
        let outcome = self.record(Action::Shell(line.to_owned()));
        assert_eq!(outcome.code, Some(code), "the exit code of `{line}`\n{}", outcome.output());
        outcome
    }

    fn record(&mut self, action: Action) -> Outcome {
        let outcome = self.perform(&action);
        let shown = redact(&self.names.restore(&outcome.to_string()));
        self.write(&format!("{}\n{shown}", Step::Once(action)));
        outcome
    }

    #[track_caller]
    fn until(&mut self, action: Action, expected: Expected, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let outcome = self.perform(&action);
            let output = outcome.output();
            if expected.is_met_by(&output) {
                break;
            }
            let bound = within.as_secs();
            assert!(
                Instant::now() < deadline,
                "waited {bound} s until `{action}` {expected}; it last said:\n{outcome}"
            );
            thread::sleep(POLL_INTERVAL);
        }
        self.write(&format!("{}\n", Step::Until { action, expected, within }));
    }

    fn perform(&self, action: &Action) -> Outcome {
        let here = match action {
            Action::Shell(line) => Action::Shell(self.names.localize(line)),
            Action::Sql { node, query } => {
                Action::Sql { node: self.names.localize(node), query: self.names.localize(query) }
            }
        };
        let invocation = Invocation::of(&here);
        for volume in invocation.volumes() {
            let create = Invocation::of(&Action::Shell(format!("docker volume create {volume}")));
            let _ = run(&create);
        }
        run(&invocation)
    }

    fn write(&mut self, text: &str) {
        if !self.transcript.is_empty() {
            self.transcript.push('\n');
        }
        self.transcript.push_str(text);
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if !self.finished {
            let report = report::of_run(self.names.run());
            eprintln!(
                "--- scenario \"{}\" failed; up to here:\n{}\n--- on the engine:\n{report}",
                self.name, self.transcript
            );
        }
        if self.finished || env::var_os(KEEP).is_none() {
            report::remove_run(self.names.run());
        }
    }
}

fn sql(node: &str, query: &str) -> Action {
    Action::Sql { node: node.to_owned(), query: query.to_owned() }
}

fn run(invocation: &Invocation) -> Outcome {
    process::run(&invocation.program, &invocation.arguments, &invocation.environment, COMMAND_LIMIT)
}
