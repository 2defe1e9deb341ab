//! Names of one run: what a scenario calls `pg-primary` is `pg-primary-kxqvmz` on the engine.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use crate::version::Version;

/// The names that a scenario declares, and the suffix that sets this run's apart.
#[derive(Debug)]
pub(crate) struct Names {
    declared: Vec<String>,
    run: String,
    version: Version,
    /// What was answered, by the name that the scenario has for it.
    values: BTreeMap<String, String>,
}

impl Names {
    pub(crate) fn new(declared: impl IntoIterator<Item = impl Into<String>>) -> Names {
        let declared = declared.into_iter().map(Into::into).collect();
        Names { declared, run: random_letters(), version: Version::of_this_run(), values: BTreeMap::new() }
    }

    /// From here on, versions of PostgreSQL stay what was typed.
    pub(crate) fn leave_versions_as_typed(&mut self) {
        self.version = Version::AS_TYPED;
    }

    /// What every name of this run ends in.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Calls a value by a name: `:'name'` stands for it.
    pub(crate) fn remember(&mut self, name: &str, value: &str) {
        self.values.insert(format!(":'{name}'"), format!("'{value}'"));
    }

    /// Puts the names and values of this run into a text.
    pub(crate) fn localize(&self, text: &str) -> String {
        let text = self.version.localize(text);
        let text = self.values.iter().fold(text, |text, (name, value)| text.replace(name, value));
        let text = text.as_str();
        let mut localized = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_part_of_a_name(c)).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            localized.push_str(&self.localize_word(word));
            let separators = tail.find(is_part_of_a_name).unwrap_or(tail.len());
            localized.push_str(&tail[..separators]);
            rest = &tail[separators..];
        }
        localized
    }

    /// Takes them out again.
    pub(crate) fn restore(&self, text: &str) -> String {
        // A slot's name has underscores where the node's has hyphens.
        let text = text.replace(&format!("-{}", self.run), "").replace(&format!("_{}", self.run), "");
        self.version.restore(&text)
    }

    /// A cluster's name also begins the names of its nodes, its volumes and its network.
    fn localize_word(&self, word: &str) -> String {
        let (prefix, base) = word.strip_prefix("pgherd-").map_or(("", word), |base| ("pgherd-", base));
        let matching = self.declared.iter().find_map(|name| {
            let tail = base.strip_prefix(name.as_str())?;
            let derived = tail.strip_prefix('-').is_some_and(|t| matches!(t, "secrets" | "lock") || is_number(t));
            (tail.is_empty() || derived).then_some((name, tail))
        });
        matching.map_or(word.to_owned(), |(name, tail)| format!("{prefix}{name}-{}{tail}", self.run))
    }
}

fn is_part_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Six letters: no digits, because a cluster's name must not end in a number, and enough of them that two runs do not meet.
fn random_letters() -> String {
    let mut bits = RandomState::new().build_hasher().finish();
    let mut letter = || {
        let letter = char::from(b'a' + u8::try_from(bits % 26).expect("less than 26"));
        bits /= 26;
        letter
    };
    (0..6).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Names, Version};

    #[test]
    fn names_become_those_of_a_run_and_come_back() {
        let mut names = Names {
            declared: vec!["pg-replica".to_owned(), "walk".to_owned()],
            run: "abcdef".to_owned(),
            version: Version::of_this_run(),
            values: BTreeMap::new(),
        };
        for (typed, on_the_engine) in [
            ("docker logs pg-replica", "docker logs pg-replica-abcdef"),
            ("docker logs pg-replica2", "docker logs pg-replica2"),
            ("-v walk:/x -v pgherd-walk-secrets:/y", "-v walk-abcdef:/x -v pgherd-walk-abcdef-secrets:/y"),
            ("psql walk-12,walk-3", "psql walk-abcdef-12,walk-abcdef-3"),
            ("SELECT 'walk-', walk_1", "SELECT 'walk-', walk_1"),
        ] {
            assert_eq!(names.localize(typed), on_the_engine);
            assert_eq!(names.restore(on_the_engine), typed);
        }
        names.remember("before", "12:00");
        assert_eq!(names.localize("SELECT now() > :'before' - ':before'"), "SELECT now() > '12:00' - ':before'");
        assert_eq!(names.restore("slot pg_replica_abcdef"), "slot pg_replica");
    }

    #[test]
    fn two_runs_have_different_names() {
        assert_ne!(Names::new([""; 0]).run(), Names::new([""; 0]).run());
    }
}
