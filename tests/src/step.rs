//! What a scenario does, as values that print as lines of a session.

use std::{fmt, time::Duration};

/// One line of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Does something once.
    Once(Action),
    /// Does it again and again, until its output is as expected.
    Until {
        /// What is repeated.
        action: Action,
        /// What it shall answer.
        expected: Expected,
        /// The bound of the wait.
        within: Duration,
    },
}

/// Something that is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A command line for a shell.
    Shell(String),
    /// A query as superuser, through the node's own socket.
    Sql {
        /// The container that it runs in.
        node: String,
        /// The query.
        query: String,
    },
}

/// What an output is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It is this and no more.
    Answer(String),
    /// It has this somewhere.
    Says(String),
}

impl Expected {
    pub(crate) fn is_met_by(&self, output: &str) -> bool {
        match self {
            Expected::Answer(answer) => output.trim() == answer,
            Expected::Says(text) => output.contains(text),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Shell(line) => write!(f, "$ {line}"),
            Action::Sql { node, query } => write!(f, "{node}=# {query}"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Answer(answer) => write!(f, "answers \"{answer}\""),
            Expected::Says(text) => write!(f, "says \"{text}\""),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Once(action) => action.fmt(f),
            Step::Until { action, expected, within } => {
                write!(f, "{action}  [until it {expected}, within {} s]", within.as_secs())
            }
        }
    }
}
