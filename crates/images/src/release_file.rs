//! What an archive says about itself: its `InRelease`, which its signature vouches for.
//!
//! <https://wiki.debian.org/DebianRepository/Format#A.22Release.22_files>

use std::collections::HashMap;

use crate::{
    date::Timestamp,
    deb822::stanzas,
    digest::Digest,
    signature::{Keyring, SignatureError},
};

/// A release file that a trusted key has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Until when it holds, where it says so. After that it may be an old one that someone replays.
    pub valid_until: Option<Timestamp>,
    by_hash: bool,
    sha256: HashMap<String, (Digest, u64)>,
}

/// What a release file has to withstand.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Who may have signed it.
    pub keys: Keyring,
    /// The time by which it may have expired.
    pub now: Timestamp,
    /// Whether it may have expired nevertheless, as on a mirror that has stopped. Its packages are Debian's, but may have holes
    /// that are mended by now.
    pub takes_expired: bool,
}

/// A file that a release file vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Its path below the directory of the release file.
    pub path: String,
    /// Its digest.
    pub sha256: Digest,
    /// Its size, in bytes.
    pub size: u64,
}

/// Why a release file is not to be trusted, or of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseFileError {
    /// Its signature is missing or bad.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is of another archive.
    #[error("{field} is \"{found}\", expected \"{expected}\"")]
    Other {
        /// The field that tells.
        field: &'static str,
        /// What it says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// A field is malformed.
    #[error("invalid field {field}: \"{value}\"")]
    Field {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// It does not hold any more.
    #[error(
        "expired: valid until {until}, and it is {now} by the clock of this host\n\
         hint: another mirror may have a newer one; \"cargo xtask images --allow-expired\" takes the packages of this one, without the updates since"
    )]
    Expired {
        /// Until when it was valid.
        until: Timestamp,
        /// What the clock says.
        now: Timestamp,
    },
    /// It has no packages for an architecture.
    #[error("no packages for architecture \"{0}\"")]
    Architecture(String),
}

impl ReleaseFile {
    /// Reads an `InRelease` of Debian and of the suite with that codename.
    ///
    /// # Errors
    ///
    /// When it is not signed by a known key, is of something else, or has expired and must not.
    pub fn read(signed: &str, codename: &str, trust: &Trust) -> Result<ReleaseFile, ReleaseFileError> {
        let text = trust.keys.verify(signed)?;
        let stanza = stanzas(&text).next();
        let get = |field: &str| stanza.and_then(|stanza| stanza.get(field)).unwrap_or_default();
        for (field, expected) in [("Origin", "Debian"), ("Codename", codename)] {
            let found = get(field);
            if found != expected {
                return Err(ReleaseFileError::Other { field, found, expected: expected.to_owned() });
            }
        }
        let valid_until = match get("Valid-Until") {
            value if value.is_empty() => None,
            value => {
                let field = ReleaseFileError::Field { field: "Valid-Until", value: value.clone() };
                Some(Timestamp::parse(&value).ok_or(field)?)
            }
        };
        if let Some(until) = valid_until.filter(|until| *until < trust.now && !trust.takes_expired) {
            return Err(ReleaseFileError::Expired { until, now: trust.now });
        }
        let mut sha256 = HashMap::new();
        for line in get("SHA256").lines().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let parsed = match words[..] {
                [digest, size, path] => digest.parse().ok().zip(size.parse().ok()).map(|sum| (path.to_owned(), sum)),
                _ => None,
            };
            let (path, sum) = parsed.ok_or(ReleaseFileError::Field { field: "SHA256", value: line.to_owned() })?;
            sha256.insert(path, sum);
        }
        Ok(ReleaseFile { valid_until, by_hash: get("Acquire-By-Hash") == "yes", sha256 })
    }

    /// The list of packages of component main, compressed as well as can be read.
    ///
    /// # Errors
    ///
    /// When there is none for that architecture, by Debian's name.
    pub fn packages(&self, architecture: &str) -> Result<IndexFile, ReleaseFileError> {
        let directory = format!("main/binary-{architecture}");
        ["Packages.xz", "Packages.gz", "Packages"]
            .iter()
            .find_map(|name| self.sha256.get_key_value(&format!("{directory}/{name}")))
            .map(|(path, (sha256, size))| IndexFile { path: path.clone(), sha256: *sha256, size: *size })
            .ok_or_else(|| ReleaseFileError::Architecture(architecture.to_owned()))
    }

    /// Where to ask for a file: by its digest where the archive offers that, since a name may mean a newer file already.
    #[must_use]
    pub fn location(&self, file: &IndexFile) -> String {
        match file.path.rsplit_once('/') {
            Some((directory, _)) if self.by_hash => format!("{directory}/by-hash/SHA256/{}", file.sha256),
            _ => file.path.clone(),
        }
    }
}
