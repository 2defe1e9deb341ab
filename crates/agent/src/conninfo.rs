//! The one connection string to an upstream, for preflight, clone and walreceiver alike.

use crate::{
    layout::Layout,
    spec::{Authentication, NodeSpec, Upstream, Verify},
};

/// How `upstream` is reached. It names a password file and never a password: `SHOW primary_conninfo` is readable.
///
/// A walreceiver presents itself by its node's name and everything else does not, so that whoever reads
/// `pg_stat_replication` cannot take the WAL stream of an unfinished clone for a replica.
#[must_use]
pub(crate) fn conninfo(upstream: &Upstream, application_name: &str, spec: &NodeSpec, layout: &Layout) -> String {
    let mut parameters = vec![
        ("host", upstream.host.clone()),
        ("port", upstream.port.to_string()),
        ("user", spec.replication_role().to_owned()),
        ("passfile", layout.password_file().to_string_lossy().into_owned()),
        ("application_name", application_name.to_owned()),
        // A host that swallows packets must not hold a preflight for the kernel's two minutes.
        ("connect_timeout", "5".to_owned()),
        // One that swallows them later is noticed after half a minute, where the kernel's defaults take two hours.
        ("keepalives_idle", "15".to_owned()),
        ("keepalives_interval", "5".to_owned()),
        ("keepalives_count", "3".to_owned()),
    ];
    if spec.is_source(upstream) {
        // Nobody has told us how to know its certificate, if it has one; by SCRAM, it never learns the password itself.
        parameters.extend([("sslmode", "prefer".to_owned()), ("gssencmode", "disable".to_owned())]);
    } else if spec.authentication == Authentication::Scram {
        parameters.extend([
            ("sslmode", sslmode(spec.verify).to_owned()),
            // Read at each connection, so that an authority that is trusted from now on is so at once.
            ("sslrootcert", layout.authority_certificates().to_string_lossy().into_owned()),
            ("ssl_min_protocol_version", "TLSv1.3".to_owned()),
            // Nobody in between, not even one with a node's certificate, who does not know the password's verifier.
            ("channel_binding", "require".to_owned()),
        ]);
    }
    let parameters = parameters.iter().map(|(keyword, value)| format!("{keyword}={}", quote(value)));
    parameters.collect::<Vec<_>>().join(" ")
}

fn sslmode(verify: Verify) -> &'static str {
    match verify {
        Verify::Full => "verify-full",
        Verify::Authority => "verify-ca",
    }
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
    use crate::spec::{Role, Source};

    fn spec(authentication: Authentication, verify: Verify) -> NodeSpec {
        let role = Role::Replica { upstream: "pg-primary".parse().unwrap() };
        NodeSpec { authentication, verify, ..NodeSpec::new("demo-2", role) }
    }

    #[test]
    fn a_conninfo_reads_as_one_would_write_it() {
        let upstream = "pg-primary".parse().unwrap();
        let of = |spec| conninfo(&upstream, "demo-2", &spec, &Layout::of_image(17));
        let trusting = of(spec(Authentication::Trust, Verify::Full));
        insta::assert_snapshot!(trusting,
            @"host=pg-primary port=5432 user=replicator passfile=/run/pgherd/replication.pgpass application_name=demo-2 connect_timeout=5 keepalives_idle=15 keepalives_interval=5 keepalives_count=3");
        let ours = of(spec(Authentication::Scram, Verify::Full));
        insta::assert_snapshot!(ours.strip_prefix(&trusting).expect("the same first"),
            @" sslmode=verify-full sslrootcert=/run/pgherd/secrets/ca.crt ssl_min_protocol_version=TLSv1.3 channel_binding=require");
        let by_hand = of(spec(Authentication::Scram, Verify::Authority));
        assert_eq!(by_hand, ours.replace("verify-full", "verify-ca"));
    }

    #[test]
    fn a_server_that_is_not_ours_is_reached_as_it_is() {
        let source = Source { address: "theirs:5433".parse().unwrap(), replication_role: "pgherd_demo".to_owned() };
        let spec = NodeSpec { source: Some(source), ..spec(Authentication::Scram, Verify::Full) };
        let of = |upstream: &str| conninfo(&upstream.parse().unwrap(), "demo-2", &spec, &Layout::of_image(17));
        insta::assert_snapshot!(of("theirs:5433"),
            @"host=theirs port=5433 user=pgherd_demo passfile=/run/pgherd/replication.pgpass application_name=demo-2 connect_timeout=5 keepalives_idle=15 keepalives_interval=5 keepalives_count=3 sslmode=prefer gssencmode=disable");
        let ours = of("demo-1");
        assert!(ours.contains("user=pgherd_demo ") && ours.contains(" sslmode=verify-full "), "{ours}");
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
