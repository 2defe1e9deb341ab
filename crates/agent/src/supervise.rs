//! Being PID 1: signals, children, orphans.
//!
//! One thread receives signals and passes them on as messages; everything else happens in the caller's thread. Children
//! are spawned and reaped by that thread alone, so no exit status can be lost between the two. Every child is waited for
//! by `waitpid(-1)`: what is not the one in question is an orphan, and is reaped in passing.

mod watch;

use std::{
    ffi::OsStr,
    fmt,
    fs::File,
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
use crate::{error::Error, log::log};

/// How long an interrupted tool has to clean up before it is killed. The postmaster is never killed.
const TOOL_GRACE: Duration = Duration::from_secs(5);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// The exit code of one who passes this end on: a shell's 128 + N for a signal.
    #[must_use]
    pub fn code(self) -> u8 {
        let code = match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

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
        Ok(Supervisor { events, wake, child: None })
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
    /// SIGTERM and SIGINT ask for a fast shutdown, and a second one for an immediate one; SIGQUIT for an immediate one at
    /// once. It is never killed: that would leave its shared memory and its children behind
    /// (<https://www.postgresql.org/docs/17/server-shutdown.html>).
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn guard(&mut self, postmaster: &mut Command) -> Result<Exit, Error> {
        // In a group of its own a Ctrl-C at the terminal reaches it once, through us, and not twice.
        let command = postmaster.stdin(Stdio::null()).process_group(0);
        let pid = self.spawn(command).map_err(Error::doing("run postgres"))?;
        let mut stopping = false;
        loop {
            if let Some(exit) = self.exit() {
                return Ok(exit);
            }
            let signal = match self.next_event(None)? {
                Some(Event::Signal(SIGHUP)) => Signal::HUP,
                Some(Event::Signal(SIGTERM | SIGINT)) if !stopping => {
                    log("fast shutdown");
                    Signal::INT
                }
                Some(Event::Signal(SIGTERM | SIGINT | SIGQUIT)) => {
                    log("immediate shutdown");
                    Signal::QUIT
                }
                _ => continue,
            };
            stopping |= signal != Signal::HUP;
            // It is gone only where its end is already among the events.
            let _ = rustix::process::kill_process(pid, signal);
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
        let end = Instant::now() + TOOL_GRACE;
        while self.exit().is_none() && self.next_event(Some(end))?.is_some() {}
        // Its children may outlive it, and write to what the next start takes for its own.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        Ok(())
    }

    /// The next event, or nothing at `end`. Children that ended are reaped in passing, and only announced as a wake-up.
    fn next_event(&mut self, end: Option<Instant>) -> io::Result<Option<Event>> {
        let event = match end {
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
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
