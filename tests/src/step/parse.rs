//! A step from its line.

use std::{fmt, str::FromStr, time::Duration};

use super::{Action, Expected, Step};

/// A line that is no step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseStepError(String);

impl fmt::Display for ParseStepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a step: \"{}\"\nhint: Steps begin with \"$ \", with \"NODE=# \" or with \"# \".", self.0)
    }
}

impl std::error::Error for ParseStepError {}

impl FromStr for Step {
    type Err = ParseStepError;

    fn from_str(line: &str) -> Result<Step, ParseStepError> {
        let is_one_line = !line.contains('\n');
        is_one_line.then(|| step(line)).flatten().ok_or_else(|| ParseStepError(line.to_owned()))
    }
}

fn step(line: &str) -> Option<Step> {
    if let Some(text) = line.strip_prefix("# ") {
        let claim = text.strip_prefix("checked: ").map(|claim| Step::Claim(claim.to_owned()));
        return Some(claim.unwrap_or_else(|| Step::Note(text.to_owned())));
    }
    let (typed, expectation) = expectation(line).map_or((line, None), |(typed, found)| (typed, Some(found)));
    let expected = |found: Option<Expectation>| match found {
        None => Some(Expected::Success),
        Some((expected, None)) => Some(expected),
        Some((_, Some(_))) => None,
    };
    if let Some(job) = typed.strip_prefix("$ wait %") {
        return Some(Step::Join { job: job.parse().ok()?, expected: expected(expectation)? });
    }
    if let Some(command) = typed.strip_prefix("$ ").and_then(|command| command.strip_suffix(" &")) {
        return expectation.is_none().then(|| Step::Begin(command.to_owned()));
    }
    let action = match typed.strip_prefix("$ ") {
        Some(line) => Action::Shell(line.to_owned()),
        None => {
            let (node, query) = typed.split_once("=# ")?;
            Action::Sql { node: node.to_owned(), query: query.to_owned() }
        }
    };
    Some(match expectation {
        Some((expected, Some(within))) => Step::Until { action, expected, within },
        once => Step::Once { action, expected: expected(once)? },
    })
}

/// How something shall end, and the bound of the wait for it.
type Expectation = (Expected, Option<Duration>);

/// Splits an expectation off the end of a line. A quoted text may look like the beginning of one, too.
fn expectation(line: &str) -> Option<(&str, Expectation)> {
    let inner = line.strip_suffix(']')?;
    inner.match_indices("  [").find_map(|(at, bracket)| {
        let text = &inner[at + bracket.len()..];
        let found = match text.strip_prefix("until it ") {
            Some(text) => {
                let (text, bound) = text.strip_suffix(" s")?.rsplit_once(", within ")?;
                (expected(text)?, Some(Duration::from_secs(bound.parse().ok()?)))
            }
            None => (expected(text)?, None),
        };
        Some((&line[..at], found))
    })
}

fn expected(text: &str) -> Option<Expected> {
    if text == "succeeds" {
        return Some(Expected::Success);
    }
    let (verb, object) = ["exits with ", "fails with ", "is :", "answers ", "says "]
        .into_iter()
        .find_map(|verb| Some((verb, text.strip_prefix(verb)?)))?;
    match verb {
        "exits with " => object.parse().ok().map(Expected::Exit),
        "fails with " => {
            let is_sqlstate = object.len() == 5 && object.bytes().all(|b| b.is_ascii_alphanumeric());
            is_sqlstate.then(|| Expected::Sqlstate(object.to_owned()))
        }
        "is :" => {
            let is_name = !object.is_empty() && object.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            is_name.then(|| Expected::Named(object.to_owned()))
        }
        "answers " => serde_json::from_str(object).ok().map(Expected::Answer),
        _ => serde_json::from_str(object).ok().map(Expected::Says),
    }
}

#[cfg(test)]
mod tests {
    use super::Step;

    #[test]
    fn a_line_survives_its_step() {
        for line in [
            "$ docker kill shop-1",
            "$ cargo xtask cluster status shop  [exits with 3]",
            "$ docker logs shop-2  [until it says \"ready\", within 60 s]",
            "$ docker logs shop-2  [until it exits with 1, within 60 s]",
            "$ cargo xtask cluster up shop &",
            "$ wait %1",
            "$ wait %2  [exits with 1]",
            "shop-1=# SELECT 1",
            "shop-1=# SELECT ARRAY[1]",
            "shop-1=# SELECT ARRAY[  [1]  ]  [succeeds]",
            "shop-1=# SELECT x  FROM t  [answers \"a \\\"b\\\"\\nc  [answers \\\"d\\\"]\"]",
            "shop-2=# DELETE FROM t  [fails with 25006]",
            "shop-2=# SELECT count(*)  [until it answers \"3\", within 60 s]",
            "shop-2=# SELECT pg_postmaster_start_time()  [is :before]",
            "# checked: nothing was cloned again",
            "# the primary goes down",
        ] {
            let step: Step = line.parse().unwrap_or_else(|error| panic!("{error}"));
            let printed = step.to_string();
            assert_eq!(printed.parse(), Ok(step), "{line}");
            if !line.contains("ARRAY[1]") {
                assert_eq!(printed, line);
            }
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for line in ["", "docker ps", "$ wait %x", "$ docker ps &  [exits with 1]", "$ docker ps\n$ docker ps"] {
            assert!(line.parse::<Step>().is_err(), "{line}");
        }
    }
}
