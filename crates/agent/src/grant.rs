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

        fs::write(&path, "revoked by demo-2 at timeline 2\n").unwrap();
        assert_eq!(GrantFile::observe(&path).unwrap(), GrantFile::Revoked("revoked by demo-2 at timeline 2".into()));
    }
}
