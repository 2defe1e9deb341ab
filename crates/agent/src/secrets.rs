//! The cluster's shared secrets volume: the primary fills it, everyone reads it.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use pgherd_images::contract::secrets::{APP_PASSWORD, REPLICATION_PASSWORD, SYSTEM_IDENTIFIER};
use pgherd_probe::SystemIdentifier;
use rand::distr::{Alphanumeric, SampleString};

use crate::{durable, place::named};

/// What is known of the secrets without reading any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secrets {
    /// No volume is mounted where they belong.
    NotMounted,
    /// A volume is there.
    Mounted {
        /// The names of the files that it lacks.
        missing: Vec<&'static str>,
        /// The one cluster that it belongs to, once there is one.
        system_identifier: Option<SystemIdentifier>,
    },
}

impl Secrets {
    /// Looks at the volume at `directory`, which `mounted` says is one.
    ///
    /// # Errors
    /// Where a file is there and cannot be read.
    pub fn observe(directory: &Path, mounted: bool) -> io::Result<Secrets> {
        if !mounted {
            return Ok(Secrets::NotMounted);
        }
        let mut missing = Vec::new();
        for name in [REPLICATION_PASSWORD, APP_PASSWORD] {
            if !directory.join(name).try_exists().map_err(|error| named(directory, error))? {
                missing.push(name);
            }
        }
        let system_identifier = match fs::read_to_string(directory.join(SYSTEM_IDENTIFIER)) {
            Ok(text) => Some(text.parse().map_err(|_| {
                let path = directory.join(SYSTEM_IDENTIFIER);
                io::Error::new(io::ErrorKind::InvalidData, format!("\"{}\" holds no number", path.display()))
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(named(&directory.join(SYSTEM_IDENTIFIER), error)),
        };
        Ok(Secrets::Mounted { missing, system_identifier })
    }

    /// The cluster that the volume belongs to, as far as it says.
    #[must_use]
    pub fn system_identifier(&self) -> Option<SystemIdentifier> {
        match self {
            Secrets::NotMounted => None,
            Secrets::Mounted { system_identifier, .. } => *system_identifier,
        }
    }
}

/// Draws both passwords, 32 letters and digits each, and keeps those that are there.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn generate(directory: &Path) -> io::Result<()> {
    for name in [REPLICATION_PASSWORD, APP_PASSWORD] {
        let password = Alphanumeric.sample_string(&mut rand::rng(), 32);
        durable::write_once(&directory.join(name), password.as_bytes())?;
    }
    Ok(())
}

/// Records which cluster the secrets belong to, unless they belong to one.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn record(directory: &Path, system_identifier: SystemIdentifier) -> io::Result<()> {
    durable::write_once(&directory.join(SYSTEM_IDENTIFIER), format!("{system_identifier}\n").as_bytes())
}

/// A secret that shows in no message.
pub(crate) struct Password(String);

impl Password {
    /// Reads the secret called `name`, or nothing where there is none, as under `trust`.
    ///
    /// # Errors
    /// Where it is there and cannot be read.
    pub(crate) fn read(directory: &Path, name: &str) -> io::Result<Option<Password>> {
        match fs::read_to_string(directory.join(name)) {
            Ok(text) => Ok(Some(Password(text.trim_end().to_owned()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(&directory.join(name), error)),
        }
    }

    /// What PostgreSQL stores in the place of the password, so that the password itself reaches none of its logs.
    ///
    /// <https://www.postgresql.org/docs/17/catalog-pg-authid.html>
    #[must_use]
    pub(crate) fn scram_verifier(&self) -> String {
        postgres_protocol::password::scram_sha_256(self.0.as_bytes())
    }

    /// Writes libpq's password file, which names no host: upstreams change.
    ///
    /// <https://www.postgresql.org/docs/17/libpq-pgpass.html>
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(crate) fn write_password_file(&self, path: &Path, user: &str) -> io::Result<()> {
        durable::replace_for_now(path, format!("*:*:*:{user}:{}\n", self.0).as_bytes())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The mount points in the text of `/proc/self/mountinfo`.
///
/// A comparison of device numbers would miss a bind mount from the same file system.
#[must_use]
pub(crate) fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    // The kernel writes space, tab, newline and backslash in octal; a path of the contract holds none of them.
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_volume_is_filled_once() {
        let volume = tempfile::tempdir().unwrap();
        assert_eq!(
            Secrets::observe(volume.path(), true).unwrap(),
            Secrets::Mounted { missing: vec![REPLICATION_PASSWORD, APP_PASSWORD], system_identifier: None }
        );
        generate(volume.path()).unwrap();
        let read = || fs::read_to_string(volume.path().join(APP_PASSWORD)).unwrap();
        let password = read();
        assert!(password.len() == 32 && password.bytes().all(|b| b.is_ascii_alphanumeric()));
        let mode = fs::metadata(volume.path().join(APP_PASSWORD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        generate(volume.path()).unwrap();
        assert_eq!(read(), password);

        record(volume.path(), SystemIdentifier(1)).unwrap();
        record(volume.path(), SystemIdentifier(2)).unwrap();
        assert_eq!(
            Secrets::observe(volume.path(), true).unwrap(),
            Secrets::Mounted { missing: vec![], system_identifier: Some(SystemIdentifier(1)) }
        );
    }

    #[test]
    fn a_password_shows_in_no_message() {
        assert_eq!(format!("{:?}", Password("hunter2".into())), "Password(…)");
        assert!(!Password("hunter2".into()).scram_verifier().contains("hunter2"));
    }

    #[test]
    fn mount_points_are_found() {
        let mountinfo = "36 35 98:0 /mnt1 / rw,noatime shared:1 - ext3 /dev/root rw\n\
                         37 36 98:0 /v /run/pgherd/secrets rw,noatime - ext4 /dev/vda rw\n";
        assert_eq!(mount_points(mountinfo), [PathBuf::from("/"), PathBuf::from("/run/pgherd/secrets")]);
        assert!(mount_points("").is_empty());
    }
}
