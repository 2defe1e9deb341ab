//! The grant: without one that matches, no node starts read-write.

use std::{fs, io, path::Path};

use pgherd_probe::{SystemIdentifier, TimelineId};
use serde::{Deserialize, Serialize};

use crate::durable;

/// The permission to be the primary of one timeline of one cluster. initdb writes the first, for timeline 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The cluster.
    pub system_identifier: SystemIdentifier,
    /// The only timeline that may be written to.
    pub timeline: TimelineId,
}

/// What stands in the place of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantFile {
    /// Nothing.
    Missing,
    /// A grant.
    Granted(Grant),
    /// Anything else, such as a revocation: its first line.
    Revoked(String),
}

impl GrantFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Where a file is there and cannot be read.
    pub fn observe(path: &Path) -> io::Result<GrantFile> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(match serde_json::from_str(&text) {
                Ok(grant) => GrantFile::Granted(grant),
                Err(_) => GrantFile::Revoked(text.lines().next().unwrap_or_default().to_owned()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(GrantFile::Missing),
            Err(error) => Err(error),
        }
    }
}

impl Grant {
    /// Writes the grant to `path`, so that it survives a crash.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        durable::replace(path, serde_json::to_string(self)?.as_bytes())
    }
}

/// Takes the permission back, in words that say why. A file that is no grant grants nothing.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn revoke(path: &Path, why: &str) -> io::Result<()> {
    durable::replace(path, format!("revoked: {why}\n").as_bytes())
}

/// Who was promoted last, and to which timeline. It stands where every node of the cluster sees it, and is written before the
/// promotion: a primary that comes back finds that it is none any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    /// The node.
    pub node: String,
    /// Its timeline. Whoever is on an older one must not write.
    pub timeline: TimelineId,
}

impl Succession {
    /// Reads the file at `path`, if it is there.
    ///
    /// # Errors
    /// Where it cannot be read or understood: then nobody knows who may write.
    pub fn observe(path: &Path) -> io::Result<Option<Succession>> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("cannot read \"{}\": {error}", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it to `path`, so that it survives a crash.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        durable::replace(path, serde_json::to_string(self)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_grant_grants_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grant.json");
        assert_eq!(GrantFile::observe(&path).unwrap(), GrantFile::Missing);

        let grant = Grant { system_identifier: SystemIdentifier(7_711_465_481_869_942_929), timeline: TimelineId(1) };
        grant.write(&path).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"{"system_identifier":"7711465481869942929","timeline":1}"#);
        assert_eq!(GrantFile::observe(&path).unwrap(), GrantFile::Granted(grant));

        revoke(&path, "demo-2 was promoted to timeline 2").unwrap();
        assert_eq!(
            GrantFile::observe(&path).unwrap(),
            GrantFile::Revoked("revoked: demo-2 was promoted to timeline 2".into())
        );

        fs::write(&path, "revoked by demo-2 at timeline 2\n").unwrap();
        assert_eq!(GrantFile::observe(&path).unwrap(), GrantFile::Revoked("revoked by demo-2 at timeline 2".into()));
    }

    #[test]
    fn a_succession_that_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("succession.json");
        assert_eq!(Succession::observe(&path).unwrap(), None);
        let succession = Succession { node: "demo-2".into(), timeline: TimelineId(2) };
        succession.write(&path).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"{"node":"demo-2","timeline":2}"#);
        assert_eq!(Succession::observe(&path).unwrap(), Some(succession));
        fs::write(&path, "{").unwrap();
        assert!(Succession::observe(&path).is_err());
    }
}
