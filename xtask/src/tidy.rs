//! What text can show of the design: absences, and things that go together. Every message names the mend.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file of the workspace by its path from the root.
struct File {
    path: String,
    text: String,
}

/// The longest source file that is still read from top to bottom.
const LONGEST_FILE_LINES: usize = 500;

/// A rule that forbids: in which files, which words, and what to do instead.
struct Absence {
    applies_to: fn(&str) -> bool,
    words: &'static [&'static str],
    mend: &'static str,
}

// Written in two halves, so that this file does not match itself.
const ABSENCES: [Absence; 6] = [
    Absence {
        applies_to: |path| is_source(path) && !path.starts_with("crates/orchestrator/src/docker"),
        words: &[concat!("boll", "ard")],
        mend: "give `Engine` in crates/orchestrator/src/docker a method for it",
    },
    Absence {
        applies_to: |path| path.contains("/src/") && PURE.iter().any(|name| path.ends_with(name)),
        words: &[
            concat!("std::", "fs"),
            concat!("std::", "net"),
            concat!("std::", "process"),
            concat!("System", "Time"),
            concat!("Inst", "ant"),
            concat!("rand", "::"),
            concat!("sle", "ep("),
            concat!("tok", "io"),
        ],
        mend: "observe it before, and pass the fact in",
    },
    Absence {
        applies_to: |path| path.starts_with("crates/agent/src/"),
        words: &[concat!("pgherd_", "orchestrator"), concat!("docker", ".sock"), concat!("DOCKER", "_HOST")],
        mend: "the agent knows nothing of Docker: put it into the node's specification",
    },
    Absence {
        applies_to: |path| is_source(path) && !path.starts_with("xtask/"),
        words: &[concat!("xsh", "ell")],
        mend: "only xtask runs a shell: use an API, or std::process",
    },
    Absence {
        applies_to: is_source,
        words: &[concat!("to", "do!("), concat!("unimple", "mented!("), concat!("dbg", "!("), concat!("#[ign", "ore")],
        mend: "finish it or take it out",
    },
    Absence {
        applies_to: |path| path.ends_with(".rs") || path.ends_with(".toml") || path.ends_with(".md"),
        words: &[concat!("dl-", "cdn"), concat!("index.", "crates"), concat!("static.", "crates")],
        mend: "name no host of a registry",
    },
];

/// Modules that decide. They do no IO, do not wait, read no clock and draw nothing at random.
const PURE: [&str; 5] = ["/plan.rs", "/assess.rs", "/probe/src/watch.rs", "/resolve.rs", "/layer.rs"];

fn is_source(path: &str) -> bool {
    path.ends_with(".rs")
}

fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).to_owned()
}

/// All text files that belong to the project.
fn files() -> Vec<File> {
    let mut files = Vec::new();
    for top in ["crates", "images", "tests", "xtask"] {
        collect(&root().join(top), top, &mut files);
    }
    for top in ["Cargo.toml", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(top)).unwrap_or_else(|error| panic!("{top} is missing: {error}"));
        files.push(File { path: top.to_owned(), text });
    }
    files
}

fn collect(directory: &Path, path: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{path}: {error}")) {
        let entry = entry.expect("a directory entry");
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &path, files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn what_the_design_excludes_is_absent() {
    let mut found = Vec::new();
    for file in files() {
        for rule in ABSENCES.iter().filter(|rule| (rule.applies_to)(&file.path)) {
            let lines = file.text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
            for (number, line) in lines {
                let words = rule.words.iter().filter(|word| line.contains(**word));
                found.extend(words.map(|word| format!("{}:{}: \"{word}\": {}", file.path, number + 1, rule.mend)));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn pure_modules_are_where_the_rule_looks_for_them() {
    let files = files();
    for name in PURE {
        assert!(files.iter().any(|f| f.path.ends_with(name)), "no {name} is left: mend PURE in xtask/src/tidy.rs");
    }
}

#[test]
fn source_files_are_short() {
    let long = files().into_iter().filter(|f| is_source(&f.path) && f.text.lines().count() > LONGEST_FILE_LINES);
    let found: Vec<String> = long
        .map(|f| format!("{}: {} lines: split it by what its parts answer", f.path, f.text.lines().count()))
        .collect();
    assert_none(&found);
}

#[test]
fn every_crate_has_a_readme_and_an_example() {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("crates") {
        let directory = entry.expect("a directory entry").path();
        if !directory.join("README.md").is_file() {
            found.push(format!("{}: write a README.md: what it answers, for whom", directory.display()));
        }
        let examples = fs::read_dir(directory.join("examples")).into_iter().flatten().flatten();
        if !examples.into_iter().any(|example| example.path().extension().is_some_and(|e| e == "rs")) {
            found.push(format!("{}: write an example in examples/", directory.display()));
        }
    }
    assert_none(&found);
}

#[test]
fn the_changelog_has_this_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md");
    let version = env!("CARGO_PKG_VERSION");
    assert!(changelog.contains(&format!("## {version}")), "CHANGELOG.md: begin a section \"## {version}\"");
}
