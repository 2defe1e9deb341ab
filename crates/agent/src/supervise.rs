//! Being PID 1: signals, children, orphans.
//!
//! One thread receives signals and passes them on as messages; everything else happens in the caller's thread. Children
//! are spawned and reaped by that thread alone, so no exit status can be lost between the two. Every child is waited for
//! by `waitpid(-1)`: what is not the one in question is an orphan, and is reaped in passing.

mod watch;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::MemfdFlags,
    process::{Pid, Signal, WaitOptions},
};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

pub(crate) use self::watch::{LOOK_INTERVAL, Watch};
use crate::{
    ending::{Ending, Exit, Shutdown},
    error::Error,
    grace::Grace,
    log::{Level, Line},
};

/// A short-lived program of PostgreSQL's.
pub struct Tool {
    name: String,
    command: Command,
    input: Option<String>,
}

impl Tool {
    /// A program on the `PATH`, in a locale that we can read and a time zone that initdb need not search for.
    #[must_use]
    pub fn new(name: &str) -> Tool {
        let mut command = Command::new(name);
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        Tool { name: name.to_owned(), command, input: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Tool {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Tool {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Tool {
        self.command.env(name, value);
        self
    }

    /// Runs it as this user, and as the group of the same number, which root may.
    #[must_use]
    pub fn as_user(mut self, id: u32) -> Tool {
        self.command.uid(id).gid(id);
        self
    }

    /// Sets what it reads from its standard input, which is empty otherwise.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Tool {
        self.input = Some(text.into());
        self
    }
}

enum Event {
    Signal(i32),
    Wake,
}

/// The one who is told of signals and reaps children.
pub struct Supervisor {
    events: Receiver<Event>,
    wake: Sender<Event>,
    child: Option<Child>,
    grace: Grace,
}

/// The one child that is not an orphan.
struct Child {
    pid: Pid,
    exit: Option<Exit>,
}

impl Supervisor {
    /// Takes over the signals. Process 1 has no default actions, so this comes before anything else.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn install() -> io::Result<Supervisor> {
        let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let (wake, events) = mpsc::channel();
        let sender = wake.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if sender.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Supervisor { events, wake, child: None, grace: Grace::default() })
    }

    /// Learns how much time there will be from the request to end until everything is killed.
    #[must_use]
    pub fn with_grace(self, grace: Grace) -> Supervisor {
        Supervisor { grace, ..self }
    }

    /// Runs a tool to its end, and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// Where it cannot be run, fails, or a signal asks the agent to end; it has ended by then, too.
    pub fn run(&mut self, tool: Tool) -> Result<String, Error> {
        self.watch(tool, &mut watch::Unwatched)
    }

    /// Waits for `duration`.
    ///
    /// # Errors
    /// Where a signal asks the agent to end.
    pub fn pause(&mut self, duration: Duration) -> Result<(), Error> {
        let end = Instant::now() + duration;
        while let Some(event) = self.next_event(Some(end))? {
            interrupted_by(&event)?;
        }
        Ok(())
    }

    /// Calls `f`, which may block where no signal reaches, in a thread of its own. After `bound` the thread is abandoned,
    /// and there is no result.
    ///
    /// # Errors
    /// Where a signal asks the agent to end.
    pub fn call<T: Send + 'static>(
        &mut self,
        bound: Duration,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let (result, results) = mpsc::channel();
        let wake = self.wake.clone();
        thread::Builder::new().spawn(move || {
            // Nobody listens any more where the bound or a signal came first.
            let _ = result.send(f());
            let _ = wake.send(Event::Wake);
        })?;
        let end = Instant::now() + bound;
        while let Some(event) = self.next_event(Some(end))? {
            interrupted_by(&event)?;
            if let Ok(value) = results.try_recv() {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Runs the postmaster to its end, and passes on to it what the agent is told.
    ///
    /// SIGTERM and SIGINT ask for a fast shutdown; a second one, SIGQUIT, or the clock before the grace period is over, for an
    /// immediate one. It is never killed: that would leave its shared memory and its children behind
    /// (<https://www.postgresql.org/docs/17/server-shutdown.html>). At a SIGHUP, `reload` writes what it shall read again.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn guard(
        &mut self,
        postmaster: &mut Command,
        mut reload: impl FnMut() -> Result<(), Error>,
    ) -> Result<Ending, Error> {
        // In a group of its own a Ctrl-C at the terminal reaches it once, through us, and not twice.
        let command = postmaster.stdin(Stdio::null()).process_group(0);
        let pid = self.spawn(command).map_err(Error::doing("run postgres"))?;
        let mut asked = None;
        let mut bound = None;
        loop {
            if let Some(exit) = self.exit() {
                return Ok(Ending { exit, asked });
            }
            let (shutdown, level, why) = match self.next_event(bound)? {
                Some(Event::Signal(SIGHUP)) => {
                    Line::new(Level::Info, "reloading").event("reload").write();
                    match reload() {
                        Ok(()) => pass_on_hang_up(pid),
                        Err(error) => Line::new(Level::Error, error).event("reload_failed").write(),
                    }
                    continue;
                }
                Some(Event::Signal(SIGTERM | SIGINT)) if asked.is_none() => (Shutdown::Fast, Level::Info, ""),
                Some(Event::Signal(SIGTERM | SIGINT | SIGQUIT)) => (Shutdown::Immediate, Level::Info, ""),
                Some(_) => continue,
                None => (Shutdown::Immediate, Level::Warning, ": the time for a fast one is over"),
            };
            Line::new(level, format_args!("{shutdown}{why}")).event(shutdown.event()).write();
            bound = (shutdown == Shutdown::Fast).then(|| Instant::now() + self.grace.for_fast_shutdown());
            asked = Some(shutdown);
            // It is gone only where its end is already among the events.
            let _ = rustix::process::kill_process(pid, shutdown.signal());
        }
    }

    /// Spawns the child whose exit will be kept. std's own handle is dropped, which neither waits nor kills.
    fn spawn(&mut self, command: &mut Command) -> io::Result<Pid> {
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("no valid process id"))?;
        self.child = Some(Child { pid, exit: None });
        Ok(pid)
    }

    fn exit(&self) -> Option<Exit> {
        self.child.as_ref().and_then(|child| child.exit)
    }

    fn end_group(&mut self, pid: Pid) -> Result<(), Error> {
        let _ = rustix::process::kill_process_group(pid, Signal::TERM);
        let end = Instant::now() + self.grace.for_tool();
        while self.exit().is_none() && self.next_event(Some(end))?.is_some() {}
        // Its children may outlive it, and write to what the next start takes for its own.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        Ok(())
    }

    /// The next event, or nothing at `end`. Children that ended are reaped in passing, and only announced as a wake-up.
    fn next_event(&mut self, end: Option<Instant>) -> io::Result<Option<Event>> {
        let event = match end {
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            // Orphans may end faster than they are reaped: the clock has precedence over what there is to hear.
            Some(end) if end <= Instant::now() => Err(RecvTimeoutError::Timeout),
            Some(end) => self.events.recv_timeout(end.saturating_duration_since(Instant::now())),
        };
        match event {
            Ok(Event::Signal(SIGCHLD)) => {
                self.reap()?;
                Ok(Some(Event::Wake))
            }
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the signal thread has ended")),
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let exit = status.exit_status().map(Exit::Code);
                    let exit = exit.or_else(|| status.terminating_signal().map(Exit::Signal));
                    if let Some(child) = self.child.as_mut().filter(|child| child.pid == pid) {
                        child.exit = exit;
                    }
                }
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Tells the postmaster to read its files again, unless it has yet to install its handlers: it would end, and reads them
/// later anyway.
fn pass_on_hang_up(pid: Pid) {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    if catches(&status, SIGHUP) {
        let _ = rustix::process::kill_process(pid, Signal::HUP);
    }
}

/// Whether a process has a handler for a signal, by its `/proc/PID/status`, proc(5).
fn catches(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn interrupted_by(event: &Event) -> Result<(), Error> {
    match event {
        Event::Signal(signal @ (SIGTERM | SIGINT | SIGQUIT)) => Err(Error::Interrupted(*signal)),
        _ => Ok(()),
    }
}

fn memory_file() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("pgherd-agent", MemfdFlags::CLOEXEC)?))
}

fn read_back(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{SIGHUP, SIGINT, catches};

    #[test]
    fn a_handler_is_seen() {
        let status = "Name:\tpostgres\nSigIgn:\t0000000001301800\nSigCgt:\t0000000180004201\n";
        assert!(catches(status, SIGHUP));
        assert!(!catches(status, SIGINT) && !catches("", SIGHUP));
    }
}
