//! What a package asks of others: `Depends` and `Provides`.
//!
//! <https://www.debian.org/doc/debian-policy/ch-relationships.html>

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::version::Version;

/// A package by name, with or without a constraint on its version: `libc6 (>= 2.38)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// A package, or something that packages provide.
    pub name: String,
    /// Which versions will do, where not all of them.
    pub constraint: Option<Constraint>,
}

/// A bound on a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    operator: Operator,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Earlier,
    AtMost,
    Exactly,
    AtLeast,
    Later,
}

const OPERATORS: [(&str, Operator); 5] = [
    ("<<", Operator::Earlier),
    ("<=", Operator::AtMost),
    ("=", Operator::Exactly),
    (">=", Operator::AtLeast),
    (">>", Operator::Later),
];

impl Relation {
    /// Whether a package of this version will do.
    #[must_use]
    pub fn admits(&self, version: &Version) -> bool {
        self.constraint.as_ref().is_none_or(|constraint| {
            let order = version.cmp(&constraint.version);
            match constraint.operator {
                Operator::Earlier => order == Ordering::Less,
                Operator::AtMost => order != Ordering::Greater,
                Operator::Exactly => order == Ordering::Equal,
                Operator::AtLeast => order != Ordering::Less,
                Operator::Later => order == Ordering::Greater,
            }
        })
    }

    /// The version of a `Provides` entry, which policy lets be exact or absent.
    #[must_use]
    pub fn provided_version(&self) -> Option<&Version> {
        self.constraint.as_ref().map(|constraint| &constraint.version)
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Constraint { operator, version }) = &self.constraint else { return f.write_str(&self.name) };
        let sign = OPERATORS.iter().find(|(_, known)| known == operator).map_or("", |(sign, _)| sign);
        write!(f, "{} ({sign} {version})", self.name)
    }
}

/// A relation that is not written as policy says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid relation \"{0}\": expected a package's name, as in libc6, or one with versions, as in libc6 (>= 2.38)"
)]
pub struct ParseRelationError(String);

impl FromStr for Relation {
    type Err = ParseRelationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseRelationError(text.to_owned());
        let (name, constraint) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let bound = rest.trim().strip_suffix(')').ok_or_else(error)?;
                let parse = |(sign, operator): &(&str, Operator)| Some((*operator, bound.strip_prefix(sign)?.trim()));
                let (operator, version) = OPERATORS.iter().find_map(parse).ok_or_else(error)?;
                (name, Some(Constraint { operator, version: version.into() }))
            }
        };
        // All packages of an image are of one architecture, so `perl:any` asks no more than `perl` does.
        let name = name.trim().split(':').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if name.is_empty() || !name.chars().all(plain) || constraint.as_ref().is_some_and(|c| c.version.0.is_empty()) {
            return Err(error());
        }
        Ok(Relation { name: name.to_owned(), constraint })
    }
}

/// Parses a field such as `Depends`: groups, each met by any one of its alternatives.
///
/// # Errors
///
/// When a relation is not written as policy says.
pub fn parse_groups(field: &str) -> Result<Vec<Vec<Relation>>, ParseRelationError> {
    field
        .split(',')
        .filter(|group| !group.trim().is_empty())
        .map(|group| group.split('|').map(|relation| relation.trim().parse()).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Relation, parse_groups};

    #[test]
    fn fields_are_groups_of_alternatives() {
        let groups =
            parse_groups("libc6 (>= 2.38), locales | locales-all, perl:any (<<6),\nlibpq5 (= 17.6-1)").unwrap();
        let text: Vec<Vec<String>> = groups.iter().map(|g| g.iter().map(Relation::to_string).collect()).collect();
        insta::assert_compact_debug_snapshot!(text, @r#"[["libc6 (>= 2.38)"], ["locales", "locales-all"], ["perl (<< 6)"], ["libpq5 (= 17.6-1)"]]"#);
    }

    #[test]
    fn constraints_admit_what_they_say() {
        for (relation, version, admitted) in [
            ("a", "1", true),
            ("a (<< 1)", "1", false),
            ("a (<< 1)", "1~rc1", true),
            ("a (<= 1)", "1", true),
            ("a (= 1)", "1.0", false),
            ("a (= 1)", "1", true),
            ("a (>= 1)", "1", true),
            ("a (>> 1)", "1", false),
            ("a (>> 1)", "1+b1", true),
        ] {
            assert_eq!(
                relation.parse::<Relation>().unwrap().admits(&version.into()),
                admitted,
                "{relation}, {version}"
            );
        }
    }

    #[test]
    fn malformed_relations_are_refused() {
        for text in ["", "a (1)", "a (>= 1", "a b", "(>= 1)", "a (>=)", "a ()"] {
            assert!(text.parse::<Relation>().is_err(), "{text:?} was taken for a relation");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_field_or_an_error(text in "[a-c(>=<) |,:1]{0,30}") {
            let _ = parse_groups(&text);
        }
    }
}
