//! New secrets in the place of old ones, while PostgreSQL runs and nobody is disconnected.
//!
//! What is new is kept on the secrets volume before it is used, as pending, and takes the place of the old at the end. Whoever
//! is cut off in between says the same again: it goes on with what is pending, and every step may be done twice.

use std::{fmt::Write, fs, io, path::Path};

use pgherd_images::contract::secrets::{AUTHORITY_CERTIFICATES, AUTHORITY_KEY, PASSWORDS, PENDING};
use time::OffsetDateTime;

use crate::{
    certificate::Key,
    durable,
    error::Error,
    layout::Layout,
    local::sql,
    log::log,
    secrets::{self, Password},
    supervise::Supervisor,
};

/// Gives every role a new password. To be called on the primary; sessions that are open stay so.
///
/// # Errors
/// Where PostgreSQL refuses, as it does on a replica, and whatever the file system says.
pub fn rotate_passwords(layout: &Layout, supervisor: &mut Supervisor) -> Result<(), Error> {
    // Not even the verifiers are for a log. And nobody has to wait here for a replica that may be away.
    let mut statements = String::from(
        "SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1;\n\
         SET synchronous_commit = local;\nBEGIN;\n",
    );
    for (file, role) in PASSWORDS {
        let password = pending_password(&layout.secrets, file).map_err(Error::doing("draw a password"))?;
        // The verifier is computed here: PostgreSQL is never told the password itself.
        let _ = writeln!(statements, "ALTER ROLE {role} PASSWORD '{}';", password.scram_verifier());
    }
    sql(layout, supervisor, &(statements + "COMMIT;\n"))?;
    for (file, _) in PASSWORDS {
        adopt(&layout.secrets, file).map_err(Error::doing("put the new password in place"))?;
    }
    log("the roles have new passwords");
    Ok(())
}

/// Puts a new certificate authority in the place of the old one, which stays trusted until [`retire_authorities`]. Nodes
/// issue their certificates from the new one when they are told to [`reload`](crate::reload).
///
/// # Errors
/// Whatever the file system says.
pub fn rotate_authority(layout: &Layout) -> Result<(), Error> {
    replace_authority(&layout.secrets).map_err(Error::doing("put the new certificate authority in place"))?;
    log("there is a new certificate authority; the old one is still trusted");
    Ok(())
}

/// Ends the trust in all certificate authorities but the newest.
///
/// # Errors
/// Whatever the file system says.
pub fn retire_authorities(layout: &Layout) -> Result<(), Error> {
    let directory = &layout.secrets;
    let newest = secrets::authority_key(directory, AUTHORITY_KEY)
        .and_then(|key| key.authority_certificate(OffsetDateTime::now_utc()))
        .and_then(|certificate| durable::replace(&layout.authority_certificates(), certificate.as_bytes()));
    newest.map_err(Error::doing("retire the old certificate authority"))?;
    log("only the newest certificate authority is trusted");
    Ok(())
}

/// The password that is about to be that of `file`: the one of a rotation that was cut off, else a new one.
fn pending_password(directory: &Path, file: &str) -> io::Result<Password> {
    let pending = format!("{file}{PENDING}");
    durable::write_once(&directory.join(&pending), Password::generate().as_bytes())?;
    let password = Password::read(directory, &pending)?;
    password.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("\"{pending}\" is gone")))
}

/// The new key is pending until its certificate is trusted: nobody may be shown a certificate that nobody believes yet.
fn replace_authority(directory: &Path) -> io::Result<()> {
    let pending = format!("{AUTHORITY_KEY}{PENDING}");
    durable::write_once(&directory.join(&pending), Key::generate().to_pem()?.as_bytes())?;
    let certificate = secrets::authority_key(directory, &pending)?.authority_certificate(OffsetDateTime::now_utc())?;
    let certificates = directory.join(AUTHORITY_CERTIFICATES);
    let trusted = fs::read_to_string(&certificates)?;
    durable::replace(&certificates, (certificate + &trusted).as_bytes())?;
    adopt(directory, AUTHORITY_KEY)
}

/// What is pending takes the place of `name`.
fn adopt(directory: &Path, name: &str) -> io::Result<()> {
    let path = directory.join(name);
    fs::rename(directory.join(format!("{name}{PENDING}")), &path)?;
    durable::sync_directory_of(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_that_was_cut_off_goes_on_with_what_is_pending() {
        let volume = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(volume.path().join(name)).unwrap();
        secrets::generate(volume.path()).unwrap();
        let old = read("app-password");
        let drawn = pending_password(volume.path(), "app-password").unwrap();
        let again = pending_password(volume.path(), "app-password").unwrap();
        assert_eq!(drawn.as_bytes(), again.as_bytes());
        assert_eq!(read("app-password"), old);
        adopt(volume.path(), "app-password").unwrap();
        assert_eq!(read("app-password").as_bytes(), drawn.as_bytes());
        assert_ne!(read("app-password"), old);
    }

    #[test]
    fn an_authority_is_trusted_before_it_signs_and_the_old_one_until_it_is_retired() {
        let volume = tempfile::tempdir().unwrap();
        let layout = Layout { secrets: volume.path().to_owned(), ..Layout::of_image(17) };
        let read = |name: &str| fs::read_to_string(volume.path().join(name)).unwrap();
        secrets::generate(volume.path()).unwrap();
        let (key, trusted) = (read("ca.key"), read("ca.crt"));

        // Cut off as early as can be: the key is drawn, and the next one goes on with it.
        let pending = Key::generate().to_pem().unwrap();
        fs::write(volume.path().join("ca.key.next"), &pending).unwrap();
        rotate_authority(&layout).unwrap();
        assert!(read("ca.key") == pending && pending != key);
        assert!(read("ca.crt").ends_with(&trusted) && read("ca.crt").len() > trusted.len());

        retire_authorities(&layout).unwrap();
        assert!(!read("ca.crt").contains(&trusted));
        assert_eq!(read("ca.crt").matches("BEGIN CERTIFICATE").count(), 1);
        assert_eq!(fs::read_dir(volume.path()).unwrap().count(), PASSWORDS.len() + 2, "something was left");
    }
}
