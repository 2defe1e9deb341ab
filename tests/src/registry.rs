//! The scenarios of a suite, and that none of them, their files and their snapshots is forgotten.

use std::{collections::BTreeSet, env, ffi::OsStr, fs, path::Path};

/// A scenario as the runner knows it. [`crate::entry!`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The path of its module.
    pub module: &'static str,
    /// Its name, which is that of its function and of its snapshot.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// How many PostgreSQL nodes it has at most at once, for the memory budget.
    pub nodes: u16,
    /// Whether it runs with `--all` only.
    pub long: bool,
    /// Whether nothing runs beside it.
    pub alone: bool,
    /// Whether its transcript is compared with a snapshot.
    pub recorded: bool,
    /// The scenario.
    pub run: fn(),
}

/// Registers a function as a scenario: the function, how many PostgreSQL nodes it has at most at once, and what it is about.
#[macro_export]
macro_rules! entry {
    ($run:ident, $nodes:expr, $about:expr) => {
        $crate::Entry {
            module: module_path!(),
            name: stringify!($run),
            about: $about,
            nodes: $nodes,
            long: false,
            alone: false,
            recorded: true,
            run: $run,
        }
    };
}

impl Entry {
    /// Runs with `--all` only.
    #[must_use]
    pub const fn long(self) -> Entry {
        Entry { long: true, ..self }
    }

    /// Runs when nothing else does, because it says how soon something is seen.
    #[must_use]
    pub const fn alone(self) -> Entry {
        Entry { alone: true, ..self }
    }

    /// Has no snapshot, because its transcript depends on the kernel: it ends with [`crate::Scenario::finish_unrecorded`].
    #[must_use]
    pub const fn unrecorded(self) -> Entry {
        Entry { recorded: false, ..self }
    }

    /// The name with its module's, as in `restarts::killed_in_mid_clone`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.group() {
            "" => self.name.to_owned(),
            group => format!("{group}::{}", self.name),
        }
    }

    /// The module without the name of its binary.
    pub(crate) fn group(&self) -> &'static str {
        self.module.split_once("::").map_or("", |(_, module)| module)
    }
}

/// Scenarios that run together.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// Its name, which its results in the target directory have, too.
    pub name: &'static str,
    /// The directory of its source files: `main.rs`, and a module for each other file.
    pub sources: &'static str,
    /// The directory of its snapshots, which holds no others.
    pub snapshots: &'static str,
    /// The scenarios of each module.
    pub scenarios: &'static [&'static [Entry]],
}

impl Suite {
    /// All of them, in reading order.
    pub fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        self.scenarios.iter().copied().flatten()
    }

    /// What was forgotten, a line each.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let entries: Vec<&Entry> = self.entries().collect();
        // Asked to write them, insta makes those that are not there yet.
        let writes = env::var("INSTA_UPDATE").is_ok_and(|update| ["always", "new", "unseen"].contains(&&*update));
        let missing = missing(&entries, &stems(self.snapshots, "snap")).into_iter().filter(|_| !writes);
        doubles(&entries)
            .into_iter()
            .chain(forgotten(&entries, &stems(self.sources, "rs")))
            .chain(orphans(&entries, &stems(self.snapshots, "snap")))
            .chain(missing)
            .collect()
    }
}

/// The names of a directory's files with that extension, without it. What cannot be read has none.
fn stems(directory: &str, extension: &str) -> BTreeSet<String> {
    let paths = fs::read_dir(Path::new(directory)).into_iter().flatten().flatten().map(|entry| entry.path());
    let matching = paths.filter(|path| path.extension() == Some(OsStr::new(extension)));
    matching.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
}

fn doubles(entries: &[&Entry]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let doubles = entries.iter().filter(|entry| !seen.insert(entry.name));
    doubles.map(|entry| format!("two scenarios are called \"{}\": rename one", entry.name)).collect()
}

fn forgotten(entries: &[&Entry], files: &BTreeSet<String>) -> Vec<String> {
    let has_scenarios = |file: &str| entries.iter().any(|entry| entry.group().split("::").next() == Some(file));
    let forgotten = files.iter().filter(|file| *file != "main" && !has_scenarios(file));
    forgotten.map(|file| format!("{file}.rs has no scenario in the suite: add it to main.rs")).collect()
}

fn orphans(entries: &[&Entry], snapshots: &BTreeSet<String>) -> Vec<String> {
    let is_written = |name: &str| entries.iter().any(|entry| entry.recorded && entry.name == name);
    let orphans = snapshots.iter().filter(|name| !is_written(name));
    orphans.map(|name| format!("snapshot \"{name}.snap\" is of no scenario: remove it")).collect()
}

fn missing(entries: &[&Entry], snapshots: &BTreeSet<String>) -> Vec<String> {
    let missing = entries.iter().filter(|entry| entry.recorded && !snapshots.contains(entry.name));
    let complaint = |entry: &&Entry| {
        format!(
            "scenario \"{}\" has no snapshot: run it with INSTA_UPDATE=always, and read what was written",
            entry.name
        )
    };
    missing.map(complaint).collect()
}

#[cfg(test)]
impl Entry {
    /// One that does nothing.
    pub(crate) const fn idle(module: &'static str, name: &'static str, nodes: u16) -> Entry {
        Entry { module, name, about: "idles", nodes, long: false, alone: false, recorded: true, run: || {} }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Entry, doubles, forgotten, missing, orphans};

    fn entry(module: &'static str, name: &'static str) -> Entry {
        Entry::idle(module, name, 1)
    }

    #[test]
    fn what_was_forgotten_is_found() {
        let entries = [entry("e2e::walk", "a"), entry("e2e::image", "b"), entry("e2e::image", "a")];
        let entries: Vec<&Entry> = entries.iter().collect();
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(doubles(&entries), ["two scenarios are called \"a\": rename one"]);
        assert_eq!(
            forgotten(&entries, &names(&["main", "walk", "image", "new"])),
            ["new.rs has no scenario in the suite: add it to main.rs"]
        );
        assert_eq!(orphans(&entries, &names(&["a", "c"])), ["snapshot \"c.snap\" is of no scenario: remove it"]);
        assert_eq!(missing(&entries, &names(&["a"])).len(), 1);
        let unrecorded = entry("e2e::walk", "d").unrecorded();
        assert_eq!(missing(&[&unrecorded], &names(&[])), [""; 0]);
        assert_eq!(orphans(&[&unrecorded], &names(&["d"])).len(), 1);
    }

    #[test]
    fn a_path_names_the_module() {
        assert_eq!(entry("e2e::walk", "a").path(), "walk::a");
        assert_eq!(entry("e2e", "a").path(), "a");
    }
}
