//! Whether the replicas are there for which commits wait.

use crate::{Downstream, Finding, NodeStatus, Observed};

/// Only a primary waits. Its own name in the setting, which may be the same on every node, is nobody's; and a node that follows another
/// replica confirms nothing, and is none of those that are waited for while enough others do.
pub(crate) fn assess(primary: &NodeStatus, name: &str, observed: &[Observed]) -> Option<Finding> {
    let downstreams = primary.downstreams.as_slice();
    if downstreams.iter().any(|downstream| downstream.state.is_none()) {
        return None;
    }
    let Wanted { count: wanted, names } = parse(primary.synchronous.standby_names.as_deref()?)?;
    let confirms =
        |row: &&Downstream| row.is_streaming() && matches!(row.sync_state.as_deref(), Some("sync" | "quorum"));
    let confirming = downstreams.iter().filter(confirms).count();
    let is_there = |asked: &str| {
        let is_it = |row: &Downstream| row.is_streaming() && row.application_name.eq_ignore_ascii_case(asked);
        asked == "*" || asked.eq_ignore_ascii_case(&primary.cluster_name) || downstreams.iter().any(is_it)
    };
    let follows_a_replica = |asked: &str| {
        let node = observed.iter().find(|node| node.node.eq_ignore_ascii_case(asked));
        let upstream = node.and_then(|node| node.expected_upstream.as_deref().or_else(|| node.upstream()));
        upstream.is_some_and(|upstream| upstream != name && observed.iter().any(|node| node.node == upstream))
    };
    let missing: Vec<String> = names.into_iter().filter(|name| !is_there(name) && !follows_a_replica(name)).collect();
    let commits_waiting = primary.synchronous.commits_waiting;
    (confirming < wanted || !missing.is_empty()).then_some(Finding::SyncReplicaMissing {
        wanted,
        confirming,
        missing,
        commits_waiting,
    })
}

/// What `synchronous_standby_names` asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// How many replicas have to confirm a commit.
    count: usize,
    /// Which ones are asked, in the order of the setting; `*` is any.
    names: Vec<String>,
}

/// `FIRST 2 (a, b, c)`, `ANY 2 (a, b, c)`, `2 (a, b, c)` or `a, b, c`, which is one; `None` for anything else.
///
/// <https://www.postgresql.org/docs/17/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>
fn parse(setting: &str) -> Option<Wanted> {
    let words = words(setting)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (count, list) = match words.as_slice() {
        [method, count, "(", list @ .., ")"]
            if ["first", "any"].iter().any(|known| known.eq_ignore_ascii_case(method)) =>
        {
            (count.parse().ok()?, list)
        }
        [count, "(", list @ .., ")"] => (count.parse().ok()?, list),
        list => (1, list),
    };
    let is_list = list.iter().enumerate().all(|(at, word)| (*word == ",") == (at % 2 == 1));
    let names = list.iter().step_by(2).map(|name| (*name).to_owned()).collect();
    (is_list && list.len() % 2 == 1).then_some(Wanted { count, names })
}

/// Names, numbers and punctuation; `None` where a quote does not end, or a character belongs to none of them.
fn words(setting: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = setting.chars().peekable();
    while let Some(char) = chars.next() {
        let mut word = String::new();
        match char {
            ' ' | '\t' | '\n' | '\r' | '\x0B' | '\x0C' => continue,
            '(' | ')' | ',' | '*' => word.push(char),
            '"' => loop {
                match chars.next()? {
                    '"' if chars.next_if_eq(&'"').is_none() => break,
                    char => word.push(char),
                }
            },
            char if is_in_a_word(&char) => {
                word.push(char);
                word.extend(std::iter::from_fn(|| chars.next_if(is_in_a_word)));
            }
            _ => return None,
        }
        words.push(word);
    }
    Some(words)
}

fn is_in_a_word(char: &char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '$') || !char.is_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_setting_is_read() {
        for (setting, count, names) in [
            ("*", 1, &["*"][..]),
            ("s1", 1, &["s1"]),
            ("s1, s2", 1, &["s1", "s2"]),
            ("2 (s1, s2, s3)", 2, &["s1", "s2", "s3"]),
            ("first 2 (s1,s2)", 2, &["s1", "s2"]),
            ("ANY 1 (\"demo-2\", \"a \"\"b\"\", c\")", 1, &["demo-2", "a \"b\", c"]),
            ("ANY 2(*)", 2, &["*"]),
        ] {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(parse(setting), Some(Wanted { count, names }), "{setting}");
        }
        for setting in ["", " ", "s1 s2", "s1,", "2 ()", "any x (s1)", "\"s1", "demo-2", "2 (s1", "s1,,s2"] {
            assert_eq!(parse(setting), None, "{setting}");
        }
    }

    proptest! {
        #[test]
        fn quoted_names_come_back(names in proptest::collection::vec("[^,()*]+", 1..4), count in 1..9_usize) {
            let quoted: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
            prop_assert_eq!(parse(&format!("ANY {count} ({})", quoted.join(", "))), Some(Wanted { count, names }));
        }

        #[test]
        fn any_text_is_read_or_not(setting in ".*") {
            let _ = parse(&setting);
        }
    }
}
