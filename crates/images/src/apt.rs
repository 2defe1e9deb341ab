//! Which archives the host's own apt uses, and whether it takes expired ones.
//!
//! <https://manpages.debian.org/trixie/apt/sources.list.5.en.html>

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::deb822::stanzas;

/// A suite of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The archive's URL, without a slash at its end.
    pub url: String,
    /// The directory below `dists`.
    pub suite: String,
}

/// The sources of apt's configuration below a root directory, in its order. What cannot be read has none.
#[must_use]
pub fn sources(root: &Path) -> Vec<Source> {
    let configuration = root.join("etc/apt");
    let parts = files(&configuration.join("sources.list.d"));
    let mut sources = Vec::new();
    for file in [configuration.join("sources.list")].into_iter().chain(parts) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_sources(&text)),
            _ => {}
        }
    }
    sources
}

/// Whether apt is told to take what has expired, below a root directory: `Acquire::Check-Valid-Until`, of which the last one counts.
///
/// <https://manpages.debian.org/trixie/apt/apt.conf.5.en.html>
#[must_use]
pub fn takes_expired(root: &Path) -> bool {
    let configuration = root.join("etc/apt");
    let parts = files(&configuration.join("apt.conf.d"));
    let has_known_ending = |path: &PathBuf| path.extension().is_none_or(|ending| ending == "conf");
    let texts =
        parts.into_iter().filter(has_known_ending).chain([configuration.join("apt.conf")]).map(fs::read_to_string);
    let options = texts.flat_map(|text| options(&text.unwrap_or_default()));
    let mut checks = options.filter(|(name, _)| name.eq_ignore_ascii_case("Acquire::Check-Valid-Until"));
    checks.next_back().is_some_and(|(_, value)| is_no(&value))
}

/// What apt itself last saw as the release file of a source, if it keeps one.
#[must_use]
pub fn known_release(root: &Path, source: &Source) -> Option<String> {
    let (_, location) = source.url.split_once("://")?;
    // Apt names its copies after the URL: <https://manpages.debian.org/trixie/apt/apt-get.8.en.html#FILES>.
    let stem = format!("{location}/dists/{}", source.suite).replace('_', "%5f").replace('/', "_");
    let lists = root.join("var/lib/apt/lists");
    ["InRelease", "Release"].iter().find_map(|name| fs::read_to_string(lists.join(format!("{stem}_{name}"))).ok())
}

/// The value of `Origin` in a release file, signed or not.
#[must_use]
pub fn origin(release: &str) -> Option<&str> {
    release.lines().find_map(|line| line.strip_prefix("Origin:")).map(str::trim)
}

/// The files of a directory, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    files
}

/// The options of an `apt.conf` by their full names: `Scope::Name "value";`, or the same in braces, `Scope { Name "value"; };`.
fn options(text: &str) -> Vec<(String, String)> {
    let is_no_remark = |line: &&str| !line.trim_start().starts_with("//") && !line.trim_start().starts_with('#');
    let text = text.lines().filter(is_no_remark).collect::<Vec<_>>().join("\n");
    let mut scopes: Vec<String> = Vec::new();
    let mut options = Vec::new();
    for statement in text.split_inclusive([';', '{', '}']) {
        // What nothing ends is no option.
        let Some((words, end)) = statement.split_at_checked(statement.len() - 1) else { continue };
        let (name, value) = words.trim().split_once(char::is_whitespace).unwrap_or((words.trim(), ""));
        match end {
            "{" => scopes.push(format!("{name}::")),
            "}" => drop(scopes.pop()),
            ";" => options.push((scopes.concat() + name, value.trim().trim_matches('"').to_owned())),
            _ => {}
        }
    }
    options
}

/// The ways to say no in apt's configuration.
fn is_no(value: &str) -> bool {
    ["0", "no", "false", "without", "off", "disable"].contains(&value)
}

/// One source a line: `deb [options] URL suite component…`.
fn parse_list(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let line = line.split('#').next()?.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim();
        let line = if line.starts_with('[') { line.split_once(']')?.1 } else { line };
        let mut words = line.split_whitespace();
        source(words.next()?, words.next()?)
    };
    text.lines().filter_map(parse).collect()
}

/// Stanzas with `Types`, `URIs` and `Suites`.
fn parse_sources(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in stanzas(text) {
        let words = |field| {
            let value = stanza.get(field).unwrap_or_default();
            value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let enabled = !words("Enabled").first().is_some_and(|word| is_no(word));
        if enabled && words("Types").iter().any(|kind| kind == "deb") {
            for url in words("URIs") {
                sources.extend(words("Suites").iter().filter_map(|suite| source(&url, suite)));
            }
        }
    }
    sources
}

/// Archives on CDs or in directories are none that another machine could have, and flat ones have no suites.
fn source(url: &str, suite: &str) -> Option<Source> {
    let over_http = url.starts_with("http://") || url.starts_with("https://");
    let source = || Source { url: url.trim_end_matches('/').to_owned(), suite: suite.to_owned() };
    (over_http && !suite.ends_with('/')).then(source)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Source, known_release, origin, parse_list, parse_sources, sources, takes_expired};

    fn text(sources: &[Source]) -> Vec<String> {
        sources.iter().map(|source| format!("{} {}", source.url, source.suite)).collect()
    }

    #[test]
    fn one_line_sources_are_read() {
        let sources = parse_list(
            "# deb http://no.example/debian a main\n\
             deb http://mirror.example/debian/ trixie main # the main one\n\
             deb\t[arch=amd64 signed-by=/k.gpg] https://mirror.example/security trixie-security main\n\
             deb-src http://mirror.example/debian trixie main\n\
             deb http://flat.example/packages ./\n\
             deb cdrom:[Debian]/ trixie main\n\
             deb [broken http://mirror.example/debian trixie\n\
             deb http://mirror.example/debian\n",
        );
        insta::assert_debug_snapshot!(text(&sources), @r#"
        [
            "http://mirror.example/debian trixie",
            "https://mirror.example/security trixie-security",
        ]
        "#);
    }

    #[test]
    fn deb822_sources_are_read() {
        let sources = parse_sources(
            "Types: deb deb-src\n\
             URIs: http://mirror.example/debian\n\
             # a remark\n\
             Suites: trixie\n trixie-updates\n\
             Components: main\n\
             Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n\n\
             Types: deb\nURIs: http://off.example/debian\nSuites: trixie\nEnabled: no\n\n\
             Types: deb-src\nURIs: http://sources.example/debian\nSuites: trixie\n",
        );
        insta::assert_debug_snapshot!(text(&sources), @r#"
        [
            "http://mirror.example/debian trixie",
            "http://mirror.example/debian trixie-updates",
        ]
        "#);
    }

    #[test]
    fn what_has_expired_is_taken_where_apt_takes_it() {
        for (part, last, expected) in [
            ("", "", false),
            ("Acquire::Check-Valid-Until \"false\";\nAcquire::Check-Date \"true\";", "", true),
            ("Acquire::Check-Valid-Until \"true\";", "", false),
            ("// Acquire::Check-Valid-Until \"false\";", "", false),
            ("APT { A \"1\"; };\nAcquire {\n  # a remark\n  check-valid-until off;\n};", "", true),
            ("Acquire { http { Check-Valid-Until \"no\"; }; };", "", false),
            ("Acquire::Check-Valid-Until \"false\";", "Acquire::Check-Valid-Until \"yes\";", false),
            ("no option at all", "}}}{", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let parts = root.path().join("etc/apt/apt.conf.d");
            fs::create_dir_all(&parts).unwrap();
            fs::write(parts.join("99mirror"), part).unwrap();
            fs::write(parts.join("99mirror.dpkg-old"), "Acquire::Check-Valid-Until \"false\";").unwrap();
            fs::write(root.path().join("etc/apt/apt.conf"), last).unwrap();
            assert_eq!(takes_expired(root.path()), expected, "{part} {last}");
        }
        assert!(!takes_expired(std::path::Path::new("/nonexistent")));
    }

    #[test]
    fn the_host_is_read_where_apt_keeps_things() {
        let root = tempfile::tempdir().unwrap();
        let (etc, lists) = (root.path().join("etc/apt/sources.list.d"), root.path().join("var/lib/apt/lists"));
        fs::create_dir_all(&etc).unwrap();
        fs::create_dir_all(&lists).unwrap();
        fs::write(etc.join("a.list"), "deb http://mirror.example/my_debian trixie main").unwrap();
        fs::write(etc.join("b.list.disabled"), "deb http://off.example/debian trixie main").unwrap();
        fs::write(lists.join("mirror.example_my%5fdebian_dists_trixie_InRelease"), "Origin: Debian\n").unwrap();
        let found = sources(root.path());
        assert_eq!(text(&found), ["http://mirror.example/my_debian trixie"]);
        assert_eq!(known_release(root.path(), &found[0]).as_deref().and_then(origin), Some("Debian"));
    }
}
