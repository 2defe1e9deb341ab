//! The processes of this node's PostgreSQL by what they do, and signals to them: how faults reach inside a node.
//!
//! They are told apart by their titles, which PostgreSQL keeps up to date without `update_process_title`, too
//! (<https://www.postgresql.org/docs/17/monitoring-ps.html>): a node that is sick enough to be looked at this way may
//! answer no query.

use std::{fmt, fs, io, str::FromStr};

use rustix::process::{Pid, Signal, kill_process};

/// What a process of PostgreSQL does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    /// The first one, which starts and watches all others.
    Postmaster,
    /// Replays WAL, on a replica for as long as it is one.
    Startup,
    /// Receives WAL from the upstream.
    Walreceiver,
    /// Sends WAL to a downstream, or a base backup.
    Walsender,
    /// Writes checkpoints and restartpoints.
    Checkpointer,
    /// Anything else, client backends among it.
    Other,
}

impl Process {
    /// All, by the names that they have on a command line.
    pub const NAMED: [(&'static str, Process); 6] = [
        ("postmaster", Process::Postmaster),
        ("startup", Process::Startup),
        ("walreceiver", Process::Walreceiver),
        ("walsender", Process::Walsender),
        ("checkpointer", Process::Checkpointer),
        ("other", Process::Other),
    ];

    fn named(name: &str) -> Option<Process> {
        Process::NAMED.iter().find(|(known, _)| *known == name).map(|(_, process)| *process)
    }

    /// From a command line as in `/proc/PID/cmdline`, or `None` if it is not PostgreSQL's. The title of a child has its
    /// role after the `cluster_name`.
    fn of_command_line(command_line: &str, cluster_name: &str) -> Option<Process> {
        let Some(title) = command_line.strip_prefix("postgres: ") else {
            let program = command_line.split('\0').next()?;
            return (program.rsplit('/').next() == Some("postgres")).then_some(Process::Postmaster);
        };
        let title = title.strip_prefix(cluster_name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(title);
        let first = title.split([' ', '\0']).next()?;
        // A user's session begins with his name, which may be any of these.
        Some(Process::named(first).filter(|process| *process != Process::Postmaster).unwrap_or(Process::Other))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Process::NAMED.iter().find(|(_, process)| process == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

/// Which processes a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Selection {
    /// All of PostgreSQL, behind the agent's back.
    All,
    /// Those that do this.
    Only(Process),
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::All => f.write_str("all"),
            Selection::Only(process) => process.fmt(f),
        }
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Process::NAMED.map(|(name, _)| name).join(", ");
        match text {
            "all" => Ok(Selection::All),
            name => Process::named(name)
                .map(Selection::Only)
                .ok_or_else(|| format!("unknown process \"{text}\"; known are {}, and all", known())),
        }
    }
}

/// A process that runs in this container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// In the container's numbering.
    pub pid: Pid,
    /// What it does.
    pub process: Process,
    /// Whether it has been stopped by a signal.
    pub frozen: bool,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.frozen { "frozen" } else { "running" };
        write!(f, "{} {state} {}", self.pid.as_raw_nonzero(), self.process)
    }
}

/// All processes of PostgreSQL in this container, in the order of their numbers.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn processes(cluster_name: &str) -> io::Result<Vec<Running>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else { continue };
        // One that has ended since is none.
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok();
        let Some((command_line, stat)) = read("cmdline").zip(read("stat")) else { continue };
        if let Some(process) = Process::of_command_line(&command_line, cluster_name) {
            found.push(Running { pid, process, frozen: is_stopped(&stat) });
        }
    }
    found.sort_by_key(|running| running.pid.as_raw_nonzero());
    Ok(found)
}

/// Sends a signal to the processes of a selection, and returns those that got it.
///
/// # Errors
/// Where `/proc` cannot be read, or a process may not be signalled.
pub fn signal(selection: Selection, signal: Signal, cluster_name: &str) -> io::Result<Vec<Running>> {
    let mut signalled = Vec::new();
    let wanted = |running: &Running| selection == Selection::All || selection == Selection::Only(running.process);
    for running in processes(cluster_name)?.into_iter().filter(wanted) {
        match kill_process(running.pid, signal) {
            Ok(()) => signalled.push(running),
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(signalled)
}

/// The third field of `/proc/PID/stat`, proc(5), after the program's name, which may hold anything.
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
}

#[cfg(test)]
mod tests {
    use super::{Process, Selection, is_stopped};

    #[test]
    fn processes_are_told_apart_by_their_titles() {
        for (command_line, process) in [
            ("/usr/lib/postgresql/17/bin/postgres\0-c\0config_file=x\0", Some(Process::Postmaster)),
            ("postgres: demo-2: startup recovering 000000010000000000000003\0", Some(Process::Startup)),
            ("postgres: demo-2: walreceiver streaming 0/3000148\0\0\0", Some(Process::Walreceiver)),
            ("postgres: demo-2: walsender replicator 10.0.0.3(35678) streaming 0/1\0", Some(Process::Walsender)),
            ("postgres: demo-2: checkpointer \0", Some(Process::Checkpointer)),
            ("postgres: demo-2: background writer \0", Some(Process::Other)),
            ("postgres: demo-2: app app 10.0.0.3(1) idle\0", Some(Process::Other)),
            ("postgres: demo-2: postmaster app [local] idle\0", Some(Process::Other)),
            ("postgres: checkpointer \0", Some(Process::Checkpointer)),
            ("pgherd-agent\0run\0", None),
            ("/usr/lib/postgresql/17/bin/pg_basebackup\0-D\0x\0", None),
            ("", None),
        ] {
            assert_eq!(Process::of_command_line(command_line, "demo-2"), process, "{command_line:?}");
        }
    }

    #[test]
    fn names_come_back() {
        for name in Process::NAMED.map(|(name, _)| name).into_iter().chain(["all"]) {
            assert_eq!(name.parse::<Selection>().expect(name).to_string(), name);
        }
        assert!("pager".parse::<Selection>().is_err());
    }

    #[test]
    fn a_stopped_process_is_seen() {
        assert!(is_stopped("57 (postgres) T 1 57 57 0"));
        assert!(!is_stopped("57 (a) T b) S 1 57 57 0"));
    }
}
