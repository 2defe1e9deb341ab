//! What a scenario says: each of these is a step, which is done at once and fails the scenario where it does not end as
//! expected.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    process::{Command, Stdio},
    time::Duration,
};

use pgherd_images::contract::UID;

use crate::{
    Scenario,
    step::{Action, Expected, Step},
};

/// A command in the background.
#[must_use = "a job that is not joined is ended with the scenario"]
#[derive(Debug)]
pub struct JobNumber(usize);

impl Scenario {
    /// Types a command line, which shall succeed, and returns what it printed.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> String {
        self.perform(&once(shell(line), Expected::Success))
    }

    /// Types a command line, which shall end with this exit code, and returns all that it printed.
    #[track_caller]
    pub fn exits(&mut self, code: i32, line: &str) -> String {
        self.perform(&once(shell(line), Expected::Exit(code)))
    }

    /// Waits until a command's output has this in it.
    #[track_caller]
    pub fn run_until(&mut self, line: &str, text: &str, within: Duration) {
        let (action, expected) = (shell(line), Expected::Says(text.to_owned()));
        self.perform(&Step::Until { action, expected, within });
    }

    /// Begins a command in the background.
    #[track_caller]
    pub fn spawn(&mut self, line: &str) -> JobNumber {
        self.perform(&Step::Begin(line.to_owned()));
        JobNumber(self.jobs())
    }

    /// Waits for a command in the background, which shall end with this exit code, and returns all that it printed.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a job ends once")]
    pub fn join(&mut self, job: JobNumber, code: i32) -> String {
        let expected = if code == 0 { Expected::Success } else { Expected::Exit(code) };
        self.perform(&Step::Join { job: job.0, expected })
    }

    /// Asks a node something as superuser, through its own socket.
    #[track_caller]
    pub fn sql(&mut self, node: &str, query: &str) -> String {
        self.perform(&once(sql(node, query), Expected::Success)).trim().to_owned()
    }

    /// Asks a node something that it shall answer with exactly this.
    #[track_caller]
    pub fn expect(&mut self, node: &str, query: &str, answer: &str) {
        self.perform(&once(sql(node, query), Expected::Answer(answer.to_owned())));
    }

    /// Asks a node something whose answer is different each time: `:'name'` stands for it in later queries, as in psql.
    #[track_caller]
    pub fn remember(&mut self, name: &str, node: &str, query: &str) {
        self.perform(&once(sql(node, query), Expected::Named(name.to_owned())));
    }

    /// Asks a node something that it shall refuse with this SQLSTATE.
    #[track_caller]
    pub fn sql_fails(&mut self, node: &str, sqlstate: &str, query: &str) {
        self.perform(&once(sql(node, query), Expected::Sqlstate(sqlstate.to_owned())));
    }

    /// Waits until a node answers a query with exactly this.
    #[track_caller]
    pub fn sql_until(&mut self, node: &str, query: &str, answer: &str, within: Duration) {
        let (action, expected) = (sql(node, query), Expected::Answer(answer.to_owned()));
        self.perform(&Step::Until { action, expected, within });
    }

    /// Stops a node in an orderly way.
    #[track_caller]
    pub fn stop(&mut self, node: &str) {
        self.run(&format!("docker stop {node}"));
    }

    /// Kills a node: no signal reaches its processes before the last one.
    #[track_caller]
    pub fn kill(&mut self, node: &str) {
        self.run(&format!("docker kill {node}"));
    }

    /// Freezes all processes of a container. Again and again: on a host with cgroups of version 1 the engine gives up on one
    /// in which processes come and go, as those of a health check do, and lets it go on.
    #[track_caller]
    pub fn pause(&mut self, node: &str) {
        self.run_until(&format!("docker pause {node} && echo frozen"), "frozen", Duration::from_secs(60));
    }

    /// Stops a node in an orderly way and starts it again.
    #[track_caller]
    pub fn restart(&mut self, node: &str) {
        self.run(&format!("docker restart {node}"));
    }

    /// Removes the container of a node, running or not. Its volume stays.
    #[track_caller]
    pub fn remove_container(&mut self, node: &str) {
        self.run(&format!("docker rm -f {node}"));
    }

    /// Asserts something that the transcript does not show by itself, such as that two redacted values are the same.
    ///
    /// # Panics
    /// If it does not hold.
    #[track_caller]
    pub fn claim(&mut self, claim: &str, holds: bool) {
        self.perform(&Step::Claim(claim.to_owned()));
        assert!(holds, "failed: # checked: {claim}\nit does not hold");
    }

    /// Writes what the next lines are about.
    #[track_caller]
    pub fn note(&mut self, text: &str) {
        assert!(!text.starts_with("checked: "), "a note is no claim: {text}");
        self.perform(&Step::Note(text.to_owned()));
    }

    /// Puts a text file into a container that need not run, as the nodes' user, below a directory that is there already.
    ///
    /// # Panics
    /// If it cannot be put there.
    pub fn plant(&mut self, directory: &str, path: &str, text: &str) {
        let mut copy = Command::new("docker")
            .args(["cp", "-", &self.names.localize(directory)])
            .stdin(Stdio::piped())
            .spawn()
            .expect("docker");
        // With the slash that it has in the container, so that it is known for a path.
        let path_there = self.names.localize(&format!("/{path}"));
        let archive = archive_of(path_there.trim_start_matches('/'), text);
        copy.stdin.take().expect("its input").write_all(&archive).expect("an archive that is taken");
        assert!(copy.wait().expect("its end").success(), "could not plant {path} in {directory}");
        self.note(&format!("{path} holds \"{}\"", text.trim()));
    }

    /// The content of every file below a path of a container that need not run.
    ///
    /// # Panics
    /// If it cannot be read.
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
}

fn once(action: Action, expected: Expected) -> Step {
    Step::Once { action, expected }
}

fn shell(line: &str) -> Action {
    Action::Shell(line.to_owned())
}

fn sql(node: &str, query: &str) -> Action {
    Action::Sql { node: node.to_owned(), query: query.to_owned() }
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
