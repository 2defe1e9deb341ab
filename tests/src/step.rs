//! What a scenario does, as values that print as lines of a session.
//!
//! Every step is one line, and every line is one step: [`Step`] prints itself and is parsed from what it prints.
//!
//! ```text
//! $ docker kill shop-1                                                a command, which shall succeed
//! $ cargo xtask cluster status shop  [exits with 3]                   … end with another exit code
//! $ docker logs shop-2  [until it says "ready", within 60 s]          … be repeated until its output has a text in it
//! $ cargo xtask cluster up shop &                                     … begin in the background
//! $ wait %1  [exits with 1]                                           … end there
//! shop-1=# SELECT 1                                                   a query as superuser, which shall succeed
//! shop-1=# SELECT count(*) FROM t  [answers "3"]                      … be answered with exactly this
//! shop-2=# DELETE FROM t  [fails with 25006]                          … be refused with this SQLSTATE
//! shop-2=# SELECT count(*) FROM t  [until it answers "3", within 60 s]
//! shop-2=# SELECT pg_postmaster_start_time()  [is :before]            … be called so, and :'before' stands for the answer
//! # checked: nothing was cloned again                                 a claim about what the transcript does not show
//! # the primary goes down                                             what the next lines are about
//! ```

mod parse;

use std::{fmt, time::Duration};

pub use parse::ParseStepError;

/// One line of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Does something once.
    Once {
        /// What is done.
        action: Action,
        /// How it shall end.
        expected: Expected,
    },
    /// Does it again and again, until it is as expected.
    Until {
        /// What is repeated.
        action: Action,
        /// How it shall end.
        expected: Expected,
        /// The bound of the wait.
        within: Duration,
    },
    /// Begins a command in the background.
    Begin(String),
    /// Waits for a command in the background.
    Join {
        /// Which: the first that began is 1.
        job: usize,
        /// How it shall end.
        expected: Expected,
    },
    /// States what was checked beside the session.
    Claim(String),
    /// Says what the next lines are about.
    Note(String),
}

/// Something that is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A command line for a shell: `docker …` or `cargo xtask …`.
    Shell(String),
    /// A query as superuser, through the node's own socket.
    Sql {
        /// The container that it runs in.
        node: String,
        /// The query.
        query: String,
    },
}

/// How something shall end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// With exit code 0, whatever it says.
    Success,
    /// With this exit code.
    Exit(i32),
    /// With an error of this SQLSTATE.
    Sqlstate(String),
    /// Well, and with exactly this output.
    Answer(String),
    /// With this somewhere in its output.
    Says(String),
    /// Well, and its output is called so from here on: `:'name'` stands for it in a query, as in psql.
    Named(String),
}

impl Expected {
    /// Whether an end is as expected.
    #[must_use]
    pub fn is_met_by(&self, code: Option<i32>, output: &str) -> bool {
        match self {
            Expected::Success | Expected::Named(_) => code == Some(0),
            Expected::Exit(expected) => code == Some(*expected),
            Expected::Sqlstate(sqlstate) => output.contains(&format!("ERROR:  {sqlstate}: ")),
            Expected::Answer(answer) => code == Some(0) && output.trim() == answer,
            Expected::Says(text) => output.contains(text),
        }
    }
}

impl Step {
    /// Whether it can fail for another reason than that its command does.
    #[must_use]
    pub fn asserts(&self) -> bool {
        match self {
            Step::Until { .. } | Step::Claim(_) => true,
            Step::Once { expected, .. } | Step::Join { expected, .. } => {
                !matches!(expected, Expected::Success | Expected::Named(_))
            }
            Step::Begin(_) | Step::Note(_) => false,
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

/// Texts are quoted as in JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Success => f.write_str("succeeds"),
            Expected::Exit(code) => write!(f, "exits with {code}"),
            Expected::Sqlstate(sqlstate) => write!(f, "fails with {sqlstate}"),
            Expected::Answer(answer) => write!(f, "answers {}", quoted(answer)),
            Expected::Says(text) => write!(f, "says {}", quoted(text)),
            Expected::Named(name) => write!(f, "is :{name}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Once { action, expected } => expecting(f, &action.to_string(), expected),
            Step::Until { action, expected, within } => {
                write!(f, "{action}  [until it {expected}, within {} s]", within.as_secs())
            }
            Step::Begin(line) => write!(f, "$ {line} &"),
            Step::Join { job, expected } => expecting(f, &format!("$ wait %{job}"), expected),
            Step::Claim(claim) => write!(f, "# checked: {claim}"),
            Step::Note(text) => write!(f, "# {text}"),
        }
    }
}

/// Success goes without saying, unless what was typed could itself be read as an expectation.
fn expecting(f: &mut fmt::Formatter<'_>, typed: &str, expected: &Expected) -> fmt::Result {
    match expected {
        Expected::Success if !typed.ends_with(']') => f.write_str(typed),
        expected => write!(f, "{typed}  [{expected}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::Expected;

    #[test]
    fn an_end_is_as_expected_or_not() {
        let error = "ERROR:  25006: cannot execute INSERT in a read-only transaction";
        for (expected, code, output, met) in [
            (Expected::Success, Some(0), "", true),
            (Expected::Success, None, "", false),
            (Expected::Exit(3), Some(3), "", true),
            (Expected::Exit(3), Some(0), "", false),
            (Expected::Sqlstate("25006".to_owned()), Some(1), error, true),
            (Expected::Sqlstate("2500".to_owned()), Some(1), error, false),
            (Expected::Answer("1".to_owned()), Some(0), "1\n", true),
            (Expected::Answer("1".to_owned()), Some(0), "11\n", false),
            (Expected::Answer("1".to_owned()), Some(1), "1\n", false),
            (Expected::Says("1".to_owned()), Some(1), "11\n", true),
        ] {
            assert_eq!(expected.is_met_by(code, output), met, "{expected} {code:?} {output}");
        }
    }
}
