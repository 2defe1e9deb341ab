//! The command, without a server that it could ask. The end-to-end scenarios have some.

use std::process::{Command, Output};

use crate::fake::{banner, greeting, message, without_tls};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgherd-probe"));
    command.env_clear().env("USER", "u").args(arguments).output().expect("the command runs")
}

/// Exit code, output and errors, without the ports.
fn said(output: &Output, ports: &[u16]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let all = format!(
        "{}\n--\n{}\n--\nexits with {}",
        text(&output.stdout),
        text(&output.stderr),
        output.status.code().expect("an end of its own")
    );
    ports.iter().fold(all, |all, port| all.replace(&port.to_string(), "[PORT]"))
}

#[test]
fn who_cannot_be_asked_cannot_be_judged() {
    let port = without_tls(greeting("12.22"));
    let conninfo = format!("host=127.0.0.1 port={port}");
    insta::assert_snapshot!(said(&run(&[&conninfo]), &[port]), @r#"
    NODE       ROLE  STATE        TL  LSN  LAG  TIME  SLOT  UPSTREAM  SENDER  RECEIVER
    127.0.0.1  -     unreachable  -   -    -    -     -     -         -       -
    no primary among 0 answering of 1 nodes
    hint: Start the node that was the primary; if it is gone, promote the replica that is furthest.
    127.0.0.1: could not be reached: server "127.0.0.1", port [PORT]: the server has version "12.22", and 15 is the oldest that is understood
    hint: Look at the node's log, and at the network between it and here.
    --
    server "127.0.0.1", port [PORT]: the server has version "12.22", and 15 is the oldest that is understood
    hint: Upgrade the server.
    --
    exits with 1
    "#);
}

#[test]
fn a_silent_server_is_waited_for_as_long_as_is_said() {
    let port = banner(b"");
    let conninfo = format!("a=host=127.0.0.1 port={port}");
    let output = run(&[&conninfo, "--timeout", "0.2", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON alone on standard output");
    assert_eq!((&report["health"], &report["nodes"][0]["state"]), (&"broken".into(), &"unreachable".into()));
    let message = report["nodes"][0]["findings"][0]["message"].as_str().expect("a message");
    assert!(message.contains("no answer within 0.2 s"), "{message}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_server_on_its_way_up_has_said_something() {
    let port = without_tls(message(b'E', b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"));
    let output = run(&[&format!("a=host=127.0.0.1 port={port}")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("a: is starting: the database system is starting up"), "{text}");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn wrong_usage_is_told_before_anybody_is_asked() {
    insta::assert_snapshot!(said(&run(&["host=a sslmode=maybe"]), &[]), @r#"

    --
    error: invalid value 'host=a sslmode=maybe' for '<[NAME=]CONNINFO>...': invalid value "maybe" of "sslmode" in the connection string: expected disable, prefer, require, verify-ca or verify-full

    For more information, try '--help'.
    --
    exits with 2
    "#);
    insta::assert_snapshot!(said(&run(&["host=a", "host=b"]), &[]), @r#"

    --
    error: several servers need names, as they have in cluster_name
    hint: Write NAME="CONNINFO" for each.
    --
    exits with 2
    "#);
    insta::assert_snapshot!(said(&run(&["host=a", "--watch", "0"]), &[]), @"

    --
    error: invalid value '0' for '--watch <SECONDS>': expected a number of seconds above 0

    For more information, try '--help'.
    --
    exits with 2
    ");
    assert_eq!(run(&[]).status.code(), Some(2));
}
