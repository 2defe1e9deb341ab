//! What a node makes for itself of the cluster's secrets, at every start and whenever it is told that they have changed.

use std::io;

use pgherd_images::contract::{
    APP, REPLICATION_ROLE,
    secrets::{AUTHORITY_KEY, PASSWORDS},
};
use time::OffsetDateTime;

use crate::{
    certificate::Key,
    durable,
    layout::Layout,
    secrets::{self, Password},
    spec::{Authentication, NodeSpec},
};

/// Writes the password file and, where there is TLS, the server's key and certificate, which are new each time.
///
/// # Errors
/// Whatever the file system says, such as that a secret is not there.
pub(crate) fn write(layout: &Layout, spec: &NodeSpec) -> io::Result<()> {
    write_password_file(layout, spec)?;
    match spec.authentication {
        Authentication::Scram => write_certificate(layout, &spec.node),
        Authentication::Trust => Ok(()),
    }
}

/// Writes the passwords with which nodes reach each other. Where there are none, as under trust, the file stays as it is.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn write_password_file(layout: &Layout, spec: &NodeSpec) -> io::Result<()> {
    let mut text = String::new();
    for (file, role) in PASSWORDS.into_iter().filter(|(_, role)| *role != APP) {
        if let Some(password) = Password::read(&layout.secrets, file)? {
            let role = if role == REPLICATION_ROLE { spec.replication_role() } else { role };
            text += &password.password_file_line(role);
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    durable::replace_for_now(&layout.password_file(), text.as_bytes())
}

fn write_certificate(layout: &Layout, node: &str) -> io::Result<()> {
    let authority = secrets::authority_key(&layout.secrets, AUTHORITY_KEY)?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut hosts = vec![node, &hostname, "localhost"];
    hosts.dedup();
    let key = Key::generate();
    let certificate = authority.issue(&key, node, &hosts, OffsetDateTime::now_utc())?;
    durable::replace_for_now(&layout.certificate_file(), (key.to_pem()? + &certificate).as_bytes())
}
