//! What is no server, or not the right one: a clear error, the same for SQL and for replication, and in bounded time.

use std::{fs, os::unix::fs::PermissionsExt};

use tokio::net::TcpSocket;

use crate::fake::{answer, banner, black_hole, error, errors, greeting, message, without_tls};

#[test]
fn nobody_is_there() {
    // Bound, and nobody listens: nobody else gets it meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    insta::assert_snapshot!(error(port, ""), @r#"
    server "127.0.0.1", port [PORT]: could not connect: Connection refused (os error 111)
    hint: Check that PostgreSQL runs there and listens on port [PORT].
    "#);
    let directory = tempfile::tempdir().unwrap();
    let [sql, replication] = errors(&format!("host={}", directory.path().display()));
    assert_eq!(sql, replication);
    insta::assert_snapshot!(sql.replace(&*directory.path().to_string_lossy(), "[DIRECTORY]"), @r#"
    server "[DIRECTORY]", port 5432: could not connect: No such file or directory (os error 2)
    hint: Check that PostgreSQL runs there and listens on port 5432.
    "#);
}

#[test]
fn packets_are_dropped() {
    let (port, _queue) = black_hole();
    insta::assert_snapshot!(error(port, "connect_timeout=1"), @r#"
    server "127.0.0.1", port [PORT]: no answer within 1 s: the connection was not accepted
    hint: Check the address, and what drops packets on the way.
    "#);
}

#[test]
fn half_open_connections() {
    let port = banner(b"");
    insta::assert_snapshot!(error(port, "connect_timeout=1"), @r#"
    server "127.0.0.1", port [PORT]: no answer within 1 s: the connection was accepted, and the request for TLS was not answered
    hint: Check that this is PostgreSQL's port, and that the server is not frozen.
    "#);
    insta::assert_snapshot!(error(port, "connect_timeout=1 sslmode=disable"), @r#"
    server "127.0.0.1", port [PORT]: no answer within 1 s: the connection was accepted, and the startup message was not answered
    hint: Check that this is PostgreSQL's port, and that the server is not frozen.
    "#);
    insta::assert_snapshot!(error(answer(b"S"), "connect_timeout=1"), @r#"
    server "127.0.0.1", port [PORT]: no answer within 1 s: the connection was accepted, and the TLS handshake did not end
    hint: Check that this is PostgreSQL's port, and that the server is not frozen.
    "#);
    insta::assert_snapshot!(error(without_tls(message(b'R', &[0; 4])), "connect_timeout=1"), @r#"
    server "127.0.0.1", port [PORT]: no answer within 1 s: the server answered, and the session did not become ready
    hint: Check that this is PostgreSQL's port, and that the server is not frozen.
    "#);
}

#[test]
fn connections_that_are_closed() {
    let port = crate::fake::listen(|_| Ok(()));
    let [sql, replication] = errors(&format!("host=127.0.0.1 port={port} sslmode=disable"));
    for error in [sql, replication] {
        assert!(error.contains("the server closed the connection") || error.contains("connection lost"), "{error}");
    }
}

#[test]
fn something_else_listens_there() {
    const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nServer: walrus\r\n\r\n";
    insta::assert_snapshot!(error(answer(HTTP), ""), @r#"
    server "127.0.0.1", port [PORT]: this is no PostgreSQL server: it says "HTTP/1.1 400 Bad Request"
    hint: Check host and port: something else listens there.
    "#);
    insta::assert_snapshot!(error(answer(HTTP), "sslmode=disable"), @r#"
    server "127.0.0.1", port [PORT]: this is no PostgreSQL server: it says "HTTP/1.1 400 Bad Request"
    hint: Check host and port: something else listens there.
    "#);
    insta::assert_snapshot!(error(banner(b"SSH-2.0-OpenSSH_9.2p1\r\n"), ""), @r#"
    server "127.0.0.1", port [PORT]: this is no PostgreSQL server: it says "SSH-2.0-OpenSSH_9.2p1"
    hint: Check host and port: something else listens there.
    "#);
    insta::assert_snapshot!(error(banner(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "sslmode=disable"), @r#"
    server "127.0.0.1", port [PORT]: this is no PostgreSQL server: it says "SSH-2.0-OpenSSH_9.2p1"
    hint: Check host and port: something else listens there.
    "#);
    insta::assert_snapshot!(error(banner(b"\x4A\0\0\0\x0A8.0.32\0\x08"), "sslmode=disable"), @r#"
    server "127.0.0.1", port [PORT]: this is no PostgreSQL server: it says "J\x00\x00\x00"
    hint: Check host and port: something else listens there.
    "#);
    insta::assert_snapshot!(error(banner(b"EHLO? It begins like an error.\r\n"), "sslmode=disable"), @r#"
    server "127.0.0.1", port [PORT]: this is no PostgreSQL server: it says "EHLO? It begins like an error."
    hint: Check host and port: something else listens there.
    "#);
}

#[test]
fn a_server_of_another_time() {
    insta::assert_snapshot!(error(without_tls(greeting("12.22 (Debian 12.22-1)")), ""), @r#"
    server "127.0.0.1", port [PORT]: the server has version "12.22 (Debian 12.22-1)", and 15 is the oldest that is understood
    hint: Upgrade the server.
    "#);
    insta::assert_snapshot!(error(without_tls(greeting("9.6.24")), "sslmode=disable"), @r#"
    server "127.0.0.1", port [PORT]: the server has version "9.6.24", and 15 is the oldest that is understood
    hint: Upgrade the server.
    "#);
    insta::assert_snapshot!(error(without_tls(greeting("")), ""), @r#"
    server "127.0.0.1", port [PORT]: the server has version "", and 15 is the oldest that is understood
    hint: Upgrade the server.
    "#);
}

#[test]
fn a_server_that_does_not_want() {
    let fatal = |fields: &[u8]| message(b'E', &[b"SFATAL\0VFATAL\0", fields, b"\0"].concat());
    let starting = fatal(b"C57P03\0Mthe database system is starting up\0");
    insta::assert_snapshot!(error(without_tls(starting), ""), @r#"
    server "127.0.0.1", port [PORT]: FATAL: the database system is starting up (SQLSTATE 57P03)
    hint: Wait.
    "#);
    let full = fatal(b"C53300\0Msorry, too many clients already\0");
    insta::assert_snapshot!(error(without_tls(full), ""), @r#"
    server "127.0.0.1", port [PORT]: FATAL: sorry, too many clients already (SQLSTATE 53300)
    hint: Raise max_connections, or grant pg_use_reserved_connections.
    "#);
}

#[test]
fn a_password_that_is_not_there() {
    let md5 = message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
    let port = without_tls(md5);
    insta::assert_snapshot!(error(port, "passfile=/nowhere/pgpass"), @r#"
    server "127.0.0.1", port [PORT]: the server asks for a password, and none is known
    hint: Set password in the connection string, or add a line for user "u" to "/nowhere/pgpass".
    "#);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgpass");
    fs::write(&file, "*:*:*:*:walrus\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let error = error(port, &format!("passfile={}", file.display()));
    insta::assert_snapshot!(error.replace(&*file.to_string_lossy(), "[FILE]"), @r#"
    server "127.0.0.1", port [PORT]: password file "[FILE]" can be read by group or others
    hint: Call chmod 0600 "[FILE]".
    "#);
}

#[test]
fn the_second_of_two_hosts_is_tried() {
    let (silent, wrong) = (banner(b""), without_tls(greeting("12.0")));
    let [sql, replication] = errors(&format!("host=127.0.0.1,localhost port={silent},{wrong} connect_timeout=1"));
    assert_eq!(sql, replication);
    let shown = sql.replace(&silent.to_string(), "[SILENT]").replace(&wrong.to_string(), "[WRONG]");
    insta::assert_snapshot!(shown, @r#"
    server "127.0.0.1", port [SILENT]: no answer within 1 s: the connection was accepted, and the request for TLS was not answered; server "localhost", port [WRONG]: the server has version "12.0", and 15 is the oldest that is understood
    hint: Upgrade the server.
    "#);
}
