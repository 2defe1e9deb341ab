//! How PostgreSQL ended, and whether that was asked for: what tells a crash from a shutdown.

use std::fmt;

use rustix::process::Signal;

use crate::log::{Level, Line};

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

/// A way of asking PostgreSQL to end, <https://www.postgresql.org/docs/17/server-shutdown.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions are ended, and a checkpoint is written.
    Fast,
    /// All is dropped, and the next start recovers.
    Immediate,
}

impl Shutdown {
    /// What says so to the postmaster.
    #[must_use]
    pub fn signal(self) -> Signal {
        match self {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        }
    }

    /// Its name among the events of the log.
    #[must_use]
    pub fn event(self) -> &'static str {
        match self {
            Shutdown::Fast => "fast_shutdown",
            Shutdown::Immediate => "immediate_shutdown",
        }
    }
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shutdown::Fast => "fast shutdown",
            Shutdown::Immediate => "immediate shutdown",
        })
    }
}

/// The end of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// How the postmaster ended.
    pub exit: Exit,
    /// What the agent had asked of it last.
    pub asked: Option<Shutdown>,
}

impl Ending {
    /// The one line that says what kind of end it was. The reason is PostgreSQL's to give, in its own lines before.
    pub fn line(self) -> Line {
        let (level, event, judgement, hint) = match (self.exit, self.asked) {
            (Exit::Code(0), Some(Shutdown::Fast)) => (Level::Info, "shut_down", "as asked", None),
            (Exit::Code(0), Some(Shutdown::Immediate)) => {
                (Level::Warning, "shut_down", "as asked, at once: the next start may have to recover", None)
            }
            (Exit::Code(0), None) => {
                (Level::Warning, "shut_down", "which the agent did not ask for: somebody else shut it down", None)
            }
            (Exit::Signal(signal), Some(asked)) if signal == asked.signal().as_raw() => {
                (Level::Info, "shut_down", "as asked, before it had begun", None)
            }
            (_, Some(_)) => {
                (Level::Error, "crashed", "in the middle of its shutdown: the next start may have to recover", None)
            }
            (Exit::Code(_), None) => (
                Level::Error,
                "crashed",
                "which nobody asked for: it could not start, or could not go on",
                Some("its own last lines say why, with FATAL or PANIC in them"),
            ),
            (Exit::Signal(9), None) => (
                Level::Error,
                "crashed",
                "which nobody asked for: it was killed, and the next start recovers",
                Some(
                    "a kernel that is out of memory kills like this: compare the container's limit; else somebody did it",
                ),
            ),
            (Exit::Signal(_), None) => (
                Level::Error,
                "crashed",
                "which nobody asked for: it crashed, and the next start recovers",
                Some("its own last lines may say why"),
            ),
        };
        let message = format!("postgresql ended with {}, {judgement}", self.exit);
        Line::new(level, message).event(event).hint(hint.map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_from_a_shutdown() {
        let said = |exit, asked| Ending { exit, asked }.line().text();
        insta::assert_snapshot!(said(Exit::Code(0), Some(Shutdown::Fast)),
            @"pgherd-agent: postgresql ended with exit code 0, as asked");
        insta::assert_snapshot!(said(Exit::Code(0), Some(Shutdown::Immediate)),
            @"pgherd-agent: WARNING: postgresql ended with exit code 0, as asked, at once: the next start may have to recover");
        insta::assert_snapshot!(said(Exit::Code(0), None),
            @"pgherd-agent: WARNING: postgresql ended with exit code 0, which the agent did not ask for: somebody else shut it down");
        insta::assert_snapshot!(said(Exit::Signal(2), Some(Shutdown::Fast)),
            @"pgherd-agent: postgresql ended with signal 2, as asked, before it had begun");
        insta::assert_snapshot!(said(Exit::Signal(9), Some(Shutdown::Fast)),
            @"pgherd-agent: error: postgresql ended with signal 9, in the middle of its shutdown: the next start may have to recover");
        insta::assert_snapshot!(said(Exit::Code(1), None), @r"
        pgherd-agent: error: postgresql ended with exit code 1, which nobody asked for: it could not start, or could not go on
        pgherd-agent: hint: its own last lines say why, with FATAL or PANIC in them
        ");
        insta::assert_snapshot!(said(Exit::Signal(9), None), @r"
        pgherd-agent: error: postgresql ended with signal 9, which nobody asked for: it was killed, and the next start recovers
        pgherd-agent: hint: a kernel that is out of memory kills like this: compare the container's limit; else somebody did it
        ");
        insta::assert_snapshot!(said(Exit::Signal(6), None), @r"
        pgherd-agent: error: postgresql ended with signal 6, which nobody asked for: it crashed, and the next start recovers
        pgherd-agent: hint: its own last lines may say why
        ");
    }

    #[test]
    fn an_end_is_passed_on_as_a_shell_would() {
        for (exit, code) in [(Exit::Code(0), 0), (Exit::Code(3), 3), (Exit::Signal(9), 137), (Exit::Code(300), 255)] {
            assert_eq!(exit.code(), code, "{exit}");
        }
    }
}
