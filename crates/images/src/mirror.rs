//! Which archives packages come from: those that were named, else those of the host's own apt that are Debian's.

use std::path::Path;

use crate::{
    apt::{self, Source},
    fetch::{FetchError, Fetcher},
    release_file::{ReleaseFile, ReleaseFileError, Trust},
};

/// The suite of an archive, with what it says about itself.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The archive's URL, without a slash at its end.
    pub url: String,
    /// The directory of the suite below `dists`.
    pub suite: String,
    /// What it says about itself.
    pub release: ReleaseFile,
}

/// Why there is no archive to take packages from.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Nobody has named one.
    #[error(
        "no Debian mirror is known: name one with --mirror URL or in PGHERD_MIRROR, as in http://mirror.example/debian, \
         since the host's apt configuration has none whose Release says \"Origin: Debian\""
    )]
    Unknown,
    /// None of those that were named has the suite.
    #[error("could not find {suite} on any mirror\n{}\nhint: name {another} mirror with --mirror URL or in PGHERD_MIRROR", tried.join("\n"))]
    NotFound {
        /// The suite.
        suite: String,
        /// Whether one mirror was good for something else already.
        another: &'static str,
        /// What was tried, and what came of it.
        tried: Vec<String>,
    },
    /// A mirror has the suite, but it is not to be trusted.
    #[error("refusing {url}")]
    Untrusted {
        /// The release file.
        url: String,
        /// Why.
        source: ReleaseFileError,
    },
}

/// The URLs to look at, from the first of these that names any: `flags`, then `variable`, then apt below `root`.
///
/// # Errors
///
/// When there are none.
pub fn candidates(
    flags: &[String],
    variable: Option<&str>,
    root: &Path,
    fetcher: &Fetcher<'_>,
) -> Result<Vec<String>, MirrorError> {
    let mut urls: Vec<String> = flags.to_vec();
    if urls.is_empty() {
        urls.extend(variable.unwrap_or_default().split_whitespace().map(str::to_owned));
    }
    if urls.is_empty() {
        urls.extend(apt::sources(root).into_iter().filter(|source| is_debian(root, source, fetcher)).map(|s| s.url));
    }
    let mut distinct: Vec<String> = Vec::new();
    for url in urls.iter().map(|url| url.trim_end_matches('/').to_owned()) {
        if !distinct.contains(&url) {
            distinct.push(url);
        }
    }
    if distinct.is_empty() { Err(MirrorError::Unknown) } else { Ok(distinct) }
}

fn is_debian(root: &Path, source: &Source, fetcher: &Fetcher<'_>) -> bool {
    let ask = || fetcher.text(&release_url(&source.url, &source.suite)).ok();
    apt::known_release(root, source).or_else(ask).as_deref().and_then(apt::origin) == Some("Debian")
}

/// Finds the archives of a Debian release and of its security updates, which are mirrored apart from one another.
///
/// # Errors
///
/// When one of the two is nowhere, or is not to be trusted.
pub fn find(
    candidates: &[String],
    codename: &str,
    trust: &Trust,
    fetcher: &Fetcher<'_>,
) -> Result<[Archive; 2], MirrorError> {
    let security = format!("{codename}-security");
    // Where there is `…/debian`, there mostly is `…/debian-security` too.
    let siblings = candidates.iter().map(|url| format!("{url}-security"));
    let with_siblings: Vec<String> = candidates.iter().cloned().chain(siblings).collect();
    Ok([
        find_suite(candidates, codename, "another", trust, fetcher)?,
        find_suite(&with_siblings, &security, "a second", trust, fetcher)?,
    ])
}

fn find_suite(
    urls: &[String],
    suite: &str,
    another: &'static str,
    trust: &Trust,
    fetcher: &Fetcher<'_>,
) -> Result<Archive, MirrorError> {
    let mut tried = Vec::new();
    for base in urls {
        let url = release_url(base, suite);
        match fetcher.text(&url) {
            Ok(text) => {
                let release =
                    ReleaseFile::read(&text, suite, trust).map_err(|source| MirrorError::Untrusted { url, source })?;
                return Ok(Archive { url: base.clone(), suite: suite.to_owned(), release });
            }
            Err(FetchError::Failed { url, source }) => tried.push(format!("  {url}: {source}")),
            Err(error) => tried.push(format!("  {error}")),
        }
    }
    Err(MirrorError::NotFound { suite: suite.to_owned(), another, tried })
}

fn release_url(base: &str, suite: &str) -> String {
    format!("{base}/dists/{suite}/InRelease")
}
