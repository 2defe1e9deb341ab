//! Which archives the host's own apt uses.
//!
//! <https://manpages.debian.org/trixie/apt/sources.list.5.en.html>

use std::{fs, path::Path};

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
    let mut files: Vec<_> = fs::read_dir(configuration.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    files.sort();
    files.insert(0, configuration.join("sources.list"));
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_sources(&text)),
            _ => {}
        }
    }
    sources
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
        let enabled = !matches!(words("Enabled").first().map(|word| &**word), Some("no" | "false" | "0" | "off"));
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

    use super::{Source, known_release, origin, parse_list, parse_sources, sources};

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
