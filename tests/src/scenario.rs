//! A scenario: a session that is written down, compared with its snapshot, and leaves nothing.

use std::{
    collections::BTreeMap,
    env,
    io::{Read, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pgherd_images::contract::UID;

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

    /// Types a command line, which shall succeed, and returns what it printed.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> String {
        self.ends_with(0, line).output
    }

    /// Types a command line, which shall end with this exit code, and returns all that it printed.
    #[track_caller]
    pub fn exits(&mut self, code: i32, line: &str) -> String {
        self.ends_with(code, line).output
    }

    /// Asks a node something as superuser, through its own socket.
    #[track_caller]
    pub fn sql(&mut self, node: &str, query: &str) -> String {
        let outcome = self.record(sql(node, query));
        assert_eq!(outcome.code, Some(0), "the exit code of `{query}` on {node}\n{}", outcome.output);
        outcome.output.trim().to_owned()
    }

    /// Asks a node something that it shall refuse with this SQLSTATE.
    #[track_caller]
    pub fn sql_fails(&mut self, node: &str, sqlstate: &str, query: &str) {
        let outcome = self.record(sql(node, query));
        let error = outcome.output;
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
        self.perform(&sql(node, query)).output.trim().to_owned()
    }

    /// Puts a text file into a container that need not run, as the nodes' user, below a directory that is there already.
    pub fn plant(&mut self, directory: &str, path: &str, text: &str) {
        let mut copy = Command::new("docker")
            .args(["cp", "-", &self.names.localize(directory)])
            .stdin(Stdio::piped())
            .spawn()
            .expect("docker");
        copy.stdin.take().expect("its input").write_all(&archive_of(path, text)).expect("an archive that is taken");
        assert!(copy.wait().expect("its end").success(), "could not plant {path} in {directory}");
        self.write(&format!("# {path} holds \"{}\"\n", text.trim()));
    }

    /// The content of every file below a path of a container that need not run.
    #[must_use]
    pub fn files(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let copied = Command::new("docker").args(["cp", &self.names.localize(path), "-"]).output().expect("docker");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let mut archive = tar::Archive::new(&copied.stdout[..]);
        let entries = archive.entries().expect("an archive").map(|entry| {
            let mut entry = entry.expect("an entry of an archive");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("a file");
            (entry.path().expect("a path").to_string_lossy().into_owned(), content)
        });
        entries.collect()
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
        assert_eq!(outcome.code, Some(code), "the exit code of `{line}`\n{}", outcome.output);
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
            if expected.is_met_by(&outcome.output) {
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

/// A tar of one file and the directories above it.
fn archive_of(path: &str, text: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut append = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(UID.into());
        header.set_gid(UID.into());
        header.set_size(content.len().try_into().expect("a size"));
        archive.append_data(&mut header, path, content).expect("an entry");
    };
    for (end, _) in path.match_indices('/') {
        append(&path[..end], tar::EntryType::Directory, 0o700, b"");
    }
    append(path, tar::EntryType::Regular, 0o600, text.as_bytes());
    archive.into_inner().expect("an archive")
}

fn sql(node: &str, query: &str) -> Action {
    Action::Sql { node: node.to_owned(), query: query.to_owned() }
}

fn run(invocation: &Invocation) -> Outcome {
    process::run(invocation, COMMAND_LIMIT)
}
