//! What connection strings say.

use std::time::Duration;

use pgherd_probe::Conninfo;

/// Its servers, or what is wrong with it.
fn read(text: &str) -> String {
    match text.parse::<Conninfo>() {
        Ok(conninfo) => {
            let servers = conninfo.servers().iter().map(|server| match server.address {
                Some(address) => format!("{server} at {address}"),
                None => server.to_string(),
            });
            servers.collect::<Vec<_>>().join("; ")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn servers_are_those_of_libpq() {
    for (text, servers) in [
        ("user=u host=a", r#""a", port 5432"#),
        ("user=u host=a,b port=1", r#""a", port 1; "b", port 1"#),
        ("user=u host=a,b port=1,", r#""a", port 1; "b", port 5432"#),
        ("user=u host=a hostaddr=127.0.0.1", r#""a", port 5432 at 127.0.0.1"#),
        ("user=u hostaddr=::1", r#""::1", port 5432 at ::1"#),
        ("user=u port=1", r#""/var/run/postgresql", port 1"#),
        ("postgresql://u@[::1]:7,b/d", r#""::1", port 7; "b", port 5432"#),
        ("user=u host=a,b port=1,2,3", r#"2 hosts and 3 values of "port" in the connection string"#),
        ("user=u host=a,b hostaddr=::1", r#"2 hosts and 1 values of "hostaddr" in the connection string"#),
    ] {
        assert_eq!(read(text), servers, "{text}");
    }
}

#[test]
fn what_a_node_streams_by_is_understood() {
    let primary_conninfo = "host=demo-1 port=5432 user=replicator passfile=/run/pgherd/replication.pgpass \
        application_name=demo-2 connect_timeout=5 keepalives_idle=15 keepalives_interval=5 keepalives_count=3 \
        sslmode=verify-full sslrootcert=/run/pgherd/secrets/ca.crt ssl_min_protocol_version=TLSv1.3 \
        channel_binding=require";
    let conninfo: Conninfo = primary_conninfo.parse().unwrap();
    assert_eq!((conninfo.user(), conninfo.database()), ("replicator", "replicator"));
    assert_eq!(read(primary_conninfo), r#""demo-1", port 5432"#);
}

#[test]
fn what_is_not_understood_is_refused() {
    for (text, error) in [
        ("hots=a", r#"invalid keyword "hots" in the connection string"#),
        (
            "host=a sslmode=allow",
            r#"invalid value "allow" of "sslmode" in the connection string: expected disable, prefer, require, verify-ca or verify-full"#,
        ),
        ("sslrootcert=system", r#"invalid value "system" of "sslrootcert" in the connection string: expected a file"#),
        (
            "channel_binding=yes",
            r#"invalid value "yes" of "channel_binding" in the connection string: expected disable, prefer or require"#,
        ),
        ("port=0", r#"invalid value "0" of "port" in the connection string: expected 1 to 65535"#),
        (
            "connect_timeout=-1",
            r#"invalid value "-1" of "connect_timeout" in the connection string: expected a number"#,
        ),
        // Left out, the connection would be less safe than it was asked to be.
        ("sslcert=a", r#"keyword "sslcert" of the connection string is not supported"#),
        ("require_auth=scram-sha-256", r#"keyword "require_auth" of the connection string is not supported"#),
    ] {
        assert_eq!(read(text), error);
    }
}

#[test]
fn a_password_shows_nowhere() {
    let conninfo: Conninfo = "host=a user=u password=walrus".parse().unwrap();
    assert!(!format!("{:?}", conninfo.or_timeout(Duration::from_secs(1))).contains("walrus"));
}
