//! The one connection string to an upstream, for preflight, clone and walreceiver alike.

use std::path::Path;

use pgherd_images::contract;

use crate::spec::Upstream;

/// How `upstream` is reached. It names a password file and never a password: `SHOW primary_conninfo` is readable.
///
/// A walreceiver presents itself by its node's name and everything else does not, so that whoever reads
/// `pg_stat_replication` cannot take the WAL stream of an unfinished clone for a replica.
#[must_use]
pub(crate) fn conninfo(upstream: &Upstream, application_name: &str, password_file: &Path) -> String {
    [
        ("host", upstream.host.as_str()),
        ("port", &upstream.port.to_string()),
        ("user", contract::REPLICATION_ROLE),
        ("passfile", &password_file.to_string_lossy()),
        ("application_name", application_name),
        // A host that swallows packets must not hold a preflight for the kernel's two minutes.
        ("connect_timeout", "5"),
        // One that swallows them later is noticed after half a minute, where the kernel's defaults take two hours.
        ("keepalives_idle", "15"),
        ("keepalives_interval", "5"),
        ("keepalives_count", "3"),
    ]
    .map(|(keyword, value)| format!("{keyword}={}", quote(value)))
    .join(" ")
}

/// Quotes a value of a connection string, where that is needed.
///
/// <https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE>
fn quote(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_conninfo_reads_as_one_would_write_it() {
        let upstream = "pg-primary".parse().unwrap();
        insta::assert_snapshot!(conninfo(&upstream, "demo-2", Path::new("/run/pgherd/replication.pgpass")),
            @"host=pg-primary port=5432 user=replicator passfile=/run/pgherd/replication.pgpass application_name=demo-2 connect_timeout=5 keepalives_idle=15 keepalives_interval=5 keepalives_count=3");
    }

    #[test]
    fn strange_values_are_quoted() {
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote(r"it's\"), r"'it\'s\\'");
    }

    /// libpq's own rule, the other way round.
    fn unquote(quoted: &str) -> String {
        let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(quoted);
        let mut characters = inner.chars();
        let mut value = String::new();
        while let Some(c) = characters.next() {
            value.extend(if c == '\\' { characters.next() } else { Some(c) });
        }
        value
    }

    proptest! {
        #[test]
        fn every_value_survives_its_quoting(value in any::<String>()) {
            prop_assert_eq!(unquote(&quote(&value)), value);
        }
    }
}
