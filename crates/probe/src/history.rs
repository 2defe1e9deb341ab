//! The history of a timeline: which timelines it grew out of, and where each one ended.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Lsn, TimelineId};

/// What a timeline history file says, oldest first. Timeline 1 has no file, and an empty history.
///
/// <https://www.postgresql.org/docs/17/continuous-archiving.html#BACKUP-TIMELINES>
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History(Vec<Switch>);

/// Where a timeline was left for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Switch {
    /// The timeline that was left.
    pub timeline: TimelineId,
    /// Where its last record ends.
    pub at: Lsn,
}

/// A text that is no timeline history file: its first strange line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a line of a timeline history file: \"{0}\"")]
pub struct ParseHistoryError(String);

impl History {
    /// Where `timeline` was left. `None` for one that is not in the history.
    #[must_use]
    pub fn switch_from(&self, timeline: TimelineId) -> Option<Lsn> {
        self.0.iter().find(|switch| switch.timeline == timeline).map(|switch| switch.at)
    }

    /// Where it began itself. `None` for the first one.
    #[must_use]
    pub fn last(&self) -> Option<Switch> {
        self.0.last().copied()
    }

    /// Where two timelines parted, each of which has its own history; `None` if one is the other.
    ///
    /// Histories are compared by content: two promotions can both be called 2.
    #[must_use]
    pub fn fork(ours: (&History, TimelineId), theirs: (&History, TimelineId)) -> Option<Switch> {
        let pairs = ours.0.0.iter().zip(&theirs.0.0);
        let common = pairs.take_while(|(a, b)| a == b).count();
        let next = |(history, timeline): (&History, TimelineId)| match history.0.get(common) {
            Some(switch) => (switch.timeline, Some(switch.at)),
            None => (timeline, None),
        };
        match (next(ours), next(theirs)) {
            ((timeline, None), (other, None)) if timeline == other => None,
            // The shorter stay on the timeline that both know is what they have in common.
            ((timeline, left), (other, also_left)) if timeline == other => {
                left.into_iter().chain(also_left).min().map(|at| Switch { timeline, at })
            }
            // They left the last common timeline at the same place, and went to different ones. Without a common one, nothing
            // is common.
            _ => Some(ours.0.0[..common].last().copied().unwrap_or(Switch { timeline: TimelineId(1), at: Lsn(0) })),
        }
    }
}

impl FromStr for History {
    type Err = ParseHistoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let switch = |line: &str| {
            let mut fields = line.split_whitespace();
            Some(Switch { timeline: fields.next()?.parse().ok()?, at: fields.next()?.parse().ok()? })
        };
        lines
            .map(|line| switch(line).ok_or_else(|| ParseHistoryError(line.to_owned())))
            .collect::<Result<_, _>>()
            .map(History)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn history(text: &str) -> History {
        text.parse().unwrap()
    }

    #[test]
    fn a_file_is_read() {
        let two = history("1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-24\n");
        assert_eq!(two.switch_from(TimelineId(1)), Some(Lsn(0x300_0148)));
        assert_eq!(two.switch_from(TimelineId(2)), Some(Lsn(0x500_0000)));
        assert_eq!(two.switch_from(TimelineId(3)), None);
        assert_eq!(history("# a comment\n"), History::default());
        insta::assert_snapshot!("1\n".parse::<History>().unwrap_err(), @r#"not a line of a timeline history file: "1""#);
    }

    #[test]
    fn the_fork_is_where_content_differs() {
        for (ours, our_timeline, theirs, their_timeline, fork) in [
            ("", 1, "", 1, None),
            ("", 1, "1 0/3", 2, Some((1, 3))),
            ("1 0/3", 2, "", 1, Some((1, 3))),
            ("1 0/3", 2, "1 0/3", 2, None),
            // Two promotions, one number.
            ("1 0/3", 2, "1 0/4", 2, Some((1, 3))),
            ("1 0/3", 2, "1 0/3\n2 0/7", 3, Some((2, 7))),
            ("1 0/3\n2 0/5", 4, "1 0/3\n2 0/7", 3, Some((2, 5))),
            // Two promotions at one place.
            ("1 0/3", 2, "1 0/3", 3, Some((1, 3))),
        ] {
            let (ours, theirs) = (history(ours), history(theirs));
            let found = History::fork((&ours, TimelineId(our_timeline)), (&theirs, TimelineId(their_timeline)));
            assert_eq!(found, fork.map(|(timeline, at)| Switch { timeline: TimelineId(timeline), at: Lsn(at) }));
        }
    }

    proptest! {
        #[test]
        fn the_fork_is_the_same_from_either_side(
            ours in proptest::collection::vec(1..9_u64, 0..4), theirs in proptest::collection::vec(1..9_u64, 0..4),
        ) {
            let history = |places: &[u64]| {
                let switch = |(index, at): (usize, &u64)| Switch { timeline: TimelineId(index as u32 + 1), at: Lsn(*at) };
                (History(places.iter().enumerate().map(switch).collect()), TimelineId(places.len() as u32 + 1))
            };
            let (ours, theirs) = (history(&ours), history(&theirs));
            let (ours, theirs) = ((&ours.0, ours.1), (&theirs.0, theirs.1));
            prop_assert_eq!(History::fork(ours, theirs), History::fork(theirs, ours));
            prop_assert_eq!(History::fork(ours, ours), None);
        }

        #[test]
        fn any_text_is_a_history_or_an_error(text in ".*") {
            let _ = text.parse::<History>();
        }
    }
}
