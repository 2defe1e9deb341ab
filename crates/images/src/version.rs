//! The order of Debian's version numbers, which no other order agrees with.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

/// A version of a Debian package, `[epoch:]upstream[-revision]`.
///
/// Ordered as <https://www.debian.org/doc/debian-policy/ch-controlfields.html#version> says: epochs as numbers, then
/// the rest by turns of text and number, where a tilde comes before everything, even the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

impl Version {
    fn parts(&self) -> (u64, &str, &str) {
        // An epoch is a small number by policy. What is not one comes first in the order, as if it were absent.
        let (epoch, rest) = self.0.split_once(':').map_or((0, &*self.0), |(e, rest)| (e.parse().unwrap_or(0), rest));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (epoch, upstream, revision) = self.parts();
        let (other_epoch, other_upstream, other_revision) = other.parts();
        epoch
            .cmp(&other_epoch)
            .then_with(|| compare(upstream, other_upstream))
            .then_with(|| compare(revision, other_revision))
    }
}

fn compare(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (text, other_text) = (take(&mut left, |c| !c.is_ascii_digit()), take(&mut right, |c| !c.is_ascii_digit()));
        let (number, other_number) =
            (take(&mut left, |c| c.is_ascii_digit()), take(&mut right, |c| c.is_ascii_digit()));
        match compare_text(text, other_text).then_with(|| compare_number(number, other_number)) {
            Ordering::Equal => {}
            decided => return decided,
        }
    }
    Ordering::Equal
}

fn take<'a>(text: &mut &'a str, belongs: fn(char) -> bool) -> &'a str {
    let (taken, rest) = text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()));
    *text = rest;
    taken
}

fn compare_text(left: &str, right: &str) -> Ordering {
    let rank = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => c as i64,
        Some(c) => c as i64 + 0x11_0000,
    };
    let (mut left, mut right) = (left.chars(), right.chars());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (l, r) if rank(l) != rank(r) => return rank(l).cmp(&rank(r)),
            _ => {}
        }
    }
}

/// Numbers of any length, such as dates with times: without leading zeros the longer one is the larger.
fn compare_number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        Version(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::Version;

    #[test]
    fn versions_are_ordered_as_the_policy_says() {
        let ascending = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+b1",
            "0.1~rc1-1",
            "0.1-0~bpo1",
            "0.1-1",
            "0.1-1+b1",
            "0.1-1.1",
            "0.1-10",
            "0.1.0",
            "0.9",
            "0.10",
            "17.6-0+deb13u1",
            "17.12-0+deb13u1",
            "20260101000000000000000000000000",
            "1:0.1",
        ];
        for (i, left) in ascending.iter().enumerate() {
            for (j, right) in ascending.iter().enumerate() {
                assert_eq!(Version::from(*left).cmp(&Version::from(*right)), i.cmp(&j), "{left} against {right}");
            }
        }
    }

    #[test]
    fn some_versions_are_equal_in_spite_of_their_text() {
        for (left, right) in [("1.0", "1.00"), ("0:1", "1"), ("1-", "1"), ("1-0", "1")] {
            assert_eq!(Version::from(left), Version::from(right), "{left} against {right}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_have_an_order(left in "[0-9a-c~.+:-]{0,12}", right in "[0-9a-c~.+:-]{0,12}") {
            let (left, right) = (Version::from(&*left), Version::from(&*right));
            prop_assert_eq!(left.cmp(&right), right.cmp(&left).reverse());
            prop_assert_eq!(left.cmp(&left), Ordering::Equal);
        }
    }
}
