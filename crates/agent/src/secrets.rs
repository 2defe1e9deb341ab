//! The cluster's shared secrets volume: the primary fills it, everyone reads it.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use pgherd_images::contract::secrets::{
    APP_PASSWORD, AUTHORITY_CERTIFICATES, AUTHORITY_KEY, PASSWORDS, REPLICATION_PASSWORD, SUPERUSER_PASSWORD,
    SYSTEM_IDENTIFIER,
};
use pgherd_probe::SystemIdentifier;
use rand::distr::{Alphanumeric, SampleString};
use time::OffsetDateTime;

use crate::{bootstrap::Bootstrap, certificate::Key, durable, place::named};

/// What is known of the secrets without reading any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secrets {
    /// No volume is mounted where they belong.
    NotMounted,
    /// A file is there that others than us may read, or not we.
    Exposed(Exposed),
    /// A volume is there.
    Mounted {
        /// The names of the files that it lacks.
        missing: Vec<&'static str>,
        /// The one cluster that it belongs to, once there is one.
        system_identifier: Option<SystemIdentifier>,
    },
}

/// A secret whose owner or mode is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The file.
    pub path: PathBuf,
    /// The numeric user that owns it.
    pub owner: u32,
    /// Its permissions.
    pub mode: u32,
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
        for name in PASSWORDS.map(|(file, _)| file).into_iter().chain([AUTHORITY_KEY, AUTHORITY_CERTIFICATES]) {
            match fs::metadata(directory.join(name)) {
                // Certificates are for everybody.
                Ok(found) if name != AUTHORITY_CERTIFICATES && !is_ours_alone(&found) => {
                    let (path, owner, mode) = (directory.join(name), found.uid(), found.mode() & 0o7777);
                    return Ok(Secrets::Exposed(Exposed { path, owner, mode }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(name),
                Err(error) => return Err(named(directory, error)),
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

    /// The passwords that are missing, which data that were made with them need. To rewind is none of it: a node that cannot
    /// clones.
    #[must_use]
    pub fn missing_passwords(&self) -> Vec<&'static str> {
        self.missing(&[REPLICATION_PASSWORD, APP_PASSWORD])
    }

    /// The files that are missing and without which no replica can follow an upstream.
    #[must_use]
    pub fn missing_for_a_replica(&self) -> Vec<&'static str> {
        self.missing(&[REPLICATION_PASSWORD, AUTHORITY_KEY, AUTHORITY_CERTIFICATES])
    }

    fn missing(&self, of: &[&str]) -> Vec<&'static str> {
        match self {
            Secrets::Mounted { missing, .. } => missing.iter().copied().filter(|name| of.contains(name)).collect(),
            Secrets::NotMounted | Secrets::Exposed(_) => Vec::new(),
        }
    }

    /// The cluster that the volume belongs to, as far as it says.
    #[must_use]
    pub fn system_identifier(&self) -> Option<SystemIdentifier> {
        match self {
            Secrets::NotMounted | Secrets::Exposed(_) => None,
            Secrets::Mounted { system_identifier, .. } => *system_identifier,
        }
    }
}

/// What PostgreSQL asks of a private key of its own, <https://www.postgresql.org/docs/17/ssl-tcp.html#SSL-SETUP>.
fn is_ours_alone(file: &fs::Metadata) -> bool {
    file.uid() == rustix::process::geteuid().as_raw() && file.mode() & 0o077 == 0
}

/// Keeps the passwords that somebody has chosen for new data: the application's, and one by which the superuser is let in over the network. What
/// an earlier attempt was told is forgotten. Where there are no secrets, as under trust, there are none of these.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn keep_chosen(directory: &Path, chosen: &Bootstrap) -> io::Result<()> {
    if !directory.join(APP_PASSWORD).try_exists()? {
        return Ok(());
    }
    if let Some(password) = chosen.app_password() {
        durable::replace(&directory.join(APP_PASSWORD), password.as_bytes())?;
    }
    let superuser = directory.join(SUPERUSER_PASSWORD);
    match chosen.superuser_password() {
        Some(password) => durable::replace(&superuser, password.as_bytes()),
        None if superuser.try_exists()? => fs::remove_file(superuser),
        None => Ok(()),
    }
}

/// Makes every secret that is not there: passwords of 32 letters and digits each, and a certificate authority.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn generate(directory: &Path) -> io::Result<()> {
    for (name, _) in PASSWORDS {
        durable::write_once(&directory.join(name), Password::generate().as_bytes())?;
    }
    durable::write_once(&directory.join(AUTHORITY_KEY), Key::generate().to_pem()?.as_bytes())?;
    // Of the key that is there: of two that race, one has found the other's.
    let certificate = authority_key(directory, AUTHORITY_KEY)?.authority_certificate(OffsetDateTime::now_utc())?;
    durable::write_once(&directory.join(AUTHORITY_CERTIFICATES), certificate.as_bytes())
}

/// Reads the key of a certificate authority from the file `name`.
///
/// # Errors
/// Where it is not there, or no key.
pub(crate) fn authority_key(directory: &Path, name: &str) -> io::Result<Key> {
    let path = directory.join(name);
    let key = fs::read_to_string(&path).and_then(|text| Key::from_pem(&text));
    key.map_err(|error| io::Error::new(error.kind(), format!("\"{}\": {error}", path.display())))
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
    /// Draws a password of letters and digits, which need no quoting anywhere.
    pub(crate) fn generate() -> Password {
        Password(Alphanumeric.sample_string(&mut rand::rng(), 32))
    }

    /// A password that somebody has chosen.
    pub(crate) fn given(text: String) -> Password {
        Password(text)
    }

    /// What is kept on the secrets volume.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

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

    /// A line of libpq's password file, which names no host: upstreams change.
    ///
    /// <https://www.postgresql.org/docs/17/libpq-pgpass.html>
    #[must_use]
    pub(crate) fn password_file_line(&self, role: &str) -> String {
        format!("*:*:*:{role}:{}\n", self.0)
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
        let observe = || Secrets::observe(volume.path(), true).unwrap();
        let needed = vec!["replication-password", "ca.key", "ca.crt"];
        assert_eq!(
            (observe().missing_passwords(), observe().missing_for_a_replica()),
            (vec!["replication-password", "app-password"], needed)
        );
        generate(volume.path()).unwrap();
        assert_eq!(observe(), Secrets::Mounted { missing: vec![], system_identifier: None });
        let read = || fs::read_to_string(volume.path().join(APP_PASSWORD)).unwrap();
        let password = read();
        assert!(password.len() == 32 && password.bytes().all(|b| b.is_ascii_alphanumeric()));

        generate(volume.path()).unwrap();
        assert_eq!(read(), password);

        // An older agent made no authority; that is none of the data's business.
        fs::remove_file(volume.path().join(AUTHORITY_CERTIFICATES)).unwrap();
        assert_eq!((observe().missing_passwords(), observe().missing_for_a_replica()), (vec![], vec!["ca.crt"]));
        generate(volume.path()).unwrap();

        record(volume.path(), SystemIdentifier(1)).unwrap();
        record(volume.path(), SystemIdentifier(2)).unwrap();
        assert_eq!(observe(), Secrets::Mounted { missing: vec![], system_identifier: Some(SystemIdentifier(1)) });
    }

    #[test]
    fn every_secret_is_ours_alone() {
        let volume = tempfile::tempdir().unwrap();
        generate(volume.path()).unwrap();
        for name in ["replication-password", "app-password", "ca.key"] {
            let path = volume.path().join(name);
            for mode in [0o644, 0o640, 0o606] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let exposed = Exposed { path: path.clone(), owner: rustix::process::geteuid().as_raw(), mode };
                assert_eq!(Secrets::observe(volume.path(), true).unwrap(), Secrets::Exposed(exposed));
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(matches!(Secrets::observe(volume.path(), true).unwrap(), Secrets::Mounted { .. }));
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
