//! What can go wrong while observing and applying.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    place::{Place, named, place_of},
    progress::Bytes,
    refusal::Refusal,
    spec::Upstream,
};

/// A failure of the agent; its text follows PostgreSQL's style.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node must not start.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It is not said, or not said properly, what the node is to be.
    #[error("{message}")]
    Specification {
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// The file system or the process table.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The same, and what was being done.
    #[error("could not {doing}: {source}")]
    Doing {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A clone that does not fit on the node's disk.
    #[error("no room to clone \"{upstream}\": {needed} more are needed, and {free} are free on the file system of \"{}\"", path.display())]
    NoRoom {
        /// Which.
        upstream: Upstream,
        /// Where it was to go.
        path: PathBuf,
        /// What the rest of it takes.
        needed: Bytes,
        /// What there is.
        free: Bytes,
    },
    /// A program of PostgreSQL's failed.
    #[error("{tool} failed with {status}: {complaint}")]
    Tool {
        /// Its name.
        tool: String,
        /// How it ended.
        status: crate::ending::Exit,
        /// The last lines of its standard error.
        complaint: String,
    },
    /// A script that was to fill a new data directory failed.
    #[error("could not run \"{}\": {complaint}", script.display())]
    Script {
        /// Which one.
        script: PathBuf,
        /// The last lines of its standard error.
        complaint: String,
    },
    /// The PostgreSQL of this node does not answer, or refuses.
    #[error("could not ask the postgresql of this node: {0}")]
    Local(String),
    /// Something at the upstream failed, which may succeed another time.
    #[error("could not {doing}: {complaint}")]
    Upstream {
        /// What was being done.
        doing: String,
        /// What was said.
        complaint: String,
    },
    /// Something at the upstream failed as often as it may.
    #[error("gave up after {attempts} attempts: {last}")]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// What came of the last one.
        last: Box<Error>,
    },
    /// A replica that may lack something of its upstream's, or one whose upstream was not shut down.
    #[error(
        "node \"{node}\" has not caught up with an upstream that was shut down after {milliseconds} ms: {last_seen}"
    )]
    NotCaughtUp {
        /// The replica.
        node: String,
        /// How long it was waited for.
        milliseconds: u128,
        /// What was seen last.
        last_seen: String,
    },
    /// A wait reached its bound.
    #[error("gave up waiting for {what} after {seconds} s; last seen: {last_seen}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u32,
        /// What there was instead.
        last_seen: String,
    },
    /// No end was found in so many rounds of observing and applying.
    #[error("did not reach a running node in {0} rounds")]
    Rounds(usize),
    /// A signal asked the agent to end before PostgreSQL was started.
    #[error("ended by signal {0}")]
    Interrupted(i32),
}

impl Error {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Refused(refusal) => Some(refusal.hint()),
            Error::Specification { hint, .. } => Some(hint.clone()),
            Error::TimedOut { .. } => Some(format!(
                "start the primary, on the same network and with the same secrets volume; or wait longer by -e {}=N",
                pgherd_images::contract::environment::UPSTREAM_WAIT_SECONDS
            )),
            Error::NotCaughtUp { .. } => Some(
                "shut the upstream down and wait longer by --wait-ms N; or promote without --caught-up, and lose what only the \
                 upstream has"
                    .into(),
            ),
            Error::Io(error) | Error::Doing { source: error, .. } => place_of(error).map(Place::hint),
            Error::NoRoom { .. } => {
                Some("make room there, or give the node a larger volume; whatever data it had are untouched".into())
            }
            Error::Script { .. } => Some(
                "mend it: what scripts have made so far is discarded, and the next start runs all of them on a new data directory; \
                 of a cluster, \"cluster stop\" and then \"cluster up --init\" again".into(),
            ),
            Error::GaveUp { .. } => Some(
                "look at the upstream and at the network between; the next start tries again, and whatever data the node \
                 had are untouched"
                    .into(),
            ),
            _ => None,
        }
    }

    /// The exit code of an agent that ends like this: a shell's 128 + N for a signal, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(1),
            _ => 1,
        }
    }

    /// Names what was being done, for use in `map_err`.
    pub fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let doing = what.into();
        move |source| Error::Doing { doing, source }
    }

    /// The same for something that was done at `path`, whose owner and mode say more than "permission denied".
    pub fn doing_at(what: impl Into<String>, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let doing = what.into();
        move |source| Error::Doing { doing, source: named(path, source) }
    }
}
