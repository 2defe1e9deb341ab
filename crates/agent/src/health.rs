//! Whether this node serves, asked as a client asks: what the engine's health check runs.
//!
//! Healthy is who answers a query. PostgreSQL refuses one while it starts, recovers or shuts down, and a postmaster that is frozen
//! leaves it without an answer; while the agent initializes, clones or waits, nobody listens. Whether a replica's data are new is
//! told in words and not by the verdict: a primary that is away is no reason to restart those who can still be read from. That
//! verdict takes both ends, and is the probe's.

use std::{
    fmt,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use pgherd_images::contract::{MAINTENANCE_DATABASE, SUPERUSER};
use postgres_protocol::message::{
    backend::{DataRowBody, ErrorResponseBody, Header, Message},
    frontend,
};
use serde::Deserialize;

use crate::{layout::Layout, log::latest_phase, progress::Bytes};

/// More than the answer ever is.
const LONGEST_ANSWER_BYTES: u64 = 1 << 16;

/// One row of one column: [`Service`].
const QUESTION: &str = "\
SELECT row_to_json(service) FROM (
    SELECT pg_is_in_recovery() AS in_recovery, receiver.status AS receiver, receiver.sender_host AS upstream,
        pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint AS unreplayed_bytes,
        CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END AS pause
    FROM (SELECT) AS once LEFT JOIN pg_stat_wal_receiver AS receiver ON true
) AS service";

/// What a node that answers says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Service {
    in_recovery: bool,
    /// What the walreceiver does, if there is one,
    /// <https://www.postgresql.org/docs/17/monitoring-stats.html#MONITORING-PG-STAT-WAL-RECEIVER-VIEW>.
    receiver: Option<String>,
    upstream: Option<String>,
    /// Below zero where a segment is received anew that has been replayed before.
    unreplayed_bytes: Option<i64>,
    /// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL>
    pause: Option<String>,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.in_recovery {
            return f.write_str("primary");
        }
        match (self.receiver.as_deref(), &self.upstream) {
            (Some("streaming"), Some(upstream)) => write!(f, "replica, streams from \"{upstream}\"")?,
            (Some(status), _) => write!(f, "replica, receives nothing: its receiver is {status}")?,
            (None, _) => f.write_str("replica, receives nothing")?,
        }
        if let Some(bytes) =
            self.unreplayed_bytes.and_then(|bytes| u64::try_from(bytes).ok()).filter(|&bytes| bytes > 0)
        {
            write!(f, ", has yet to replay {}", Bytes(bytes))?;
        }
        match self.pause.as_deref() {
            None | Some("not paused") => Ok(()),
            Some(pause) => write!(f, ", replay is {pause}"),
        }
    }
}

/// Asks the PostgreSQL of this node whether it serves, for as long as `bound`.
///
/// # Errors
/// Where it does not: why.
pub fn health(layout: &Layout, bound: Duration) -> Result<Service, String> {
    let socket = layout.socket();
    let (answer, answers) = mpsc::channel();
    // A postmaster that does not accept can hold up the connect as well, for which a socket has no bound.
    thread::spawn(move || answer.send(ask(&socket).map_err(|error| format!("\"{}\": {error}", socket.display()))));
    match answers.recv_timeout(bound) {
        Ok(Ok(answer)) => judge(answer),
        Ok(Err(error)) => Err(format!("could not connect to {error}; the node is at: {}", latest_phase(layout))),
        Err(_) => {
            Err(format!("no answer within {} s: its postmaster accepts nobody, or is very slow", bound.as_secs()))
        }
    }
}

/// Greets, asks and says goodbye, all at once, and returns whatever comes back: there is nothing to wait for in between, because peer
/// authentication asks nothing (<https://www.postgresql.org/docs/17/protocol-flow.html>).
fn ask(socket: &Path) -> io::Result<BytesMut> {
    let mut question = BytesMut::new();
    let who = [("user", SUPERUSER), ("database", MAINTENANCE_DATABASE), ("application_name", "pgherd-agent health")];
    frontend::startup_message(who, &mut question)?;
    frontend::query(QUESTION, &mut question)?;
    frontend::terminate(&mut question);
    let mut socket = UnixStream::connect(socket)?;
    let mut answer = Vec::new();
    let asked = socket.write_all(&question);
    // Who hangs up before the end of the question may have said why.
    let heard = socket.take(LONGEST_ANSWER_BYTES).read_to_end(&mut answer);
    if answer.is_empty() {
        asked?;
        heard?;
    }
    Ok(BytesMut::from(&*answer))
}

fn judge(mut answer: BytesMut) -> Result<Service, String> {
    let strange = |error: &dyn fmt::Display| format!("its answer is none of PostgreSQL's: {error}");
    // Only what is here whole is read: a length may be anything.
    while let Some(header) = Header::parse(&answer).map_err(|error| strange(&error))? {
        if usize::try_from(header.len()).is_ok_and(|length| length >= answer.len()) {
            break;
        }
        match Message::parse(&mut answer).map_err(|error| strange(&error))? {
            Some(Message::DataRow(row)) => return service(&row).map_err(|error| strange(&error)),
            Some(Message::ErrorResponse(error)) => return Err(complaint(&error)),
            _ => {}
        }
    }
    Err("it closes the connection without an answer".to_owned())
}

fn service(row: &DataRowBody) -> io::Result<Service> {
    let column = row.ranges().next()?.flatten().unwrap_or_default();
    Ok(serde_json::from_slice(&row.buffer()[column])?)
}

/// The message and the detail, <https://www.postgresql.org/docs/17/protocol-error-fields.html>.
pub(crate) fn complaint(error: &ErrorResponseBody) -> String {
    let mut said = Vec::new();
    let mut fields = error.fields();
    while let Ok(Some(field)) = fields.next() {
        if matches!(field.type_(), b'M' | b'D') {
            said.push(String::from_utf8_lossy(field.value_bytes()).into_owned());
        }
    }
    said.join(": ")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener, time::Instant};

    use proptest::prelude::*;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag], &length[..], body].concat()
    }

    fn row(json: &str) -> Vec<u8> {
        message(
            b'D',
            &[&1_u16.to_be_bytes()[..], &u32::try_from(json.len()).unwrap().to_be_bytes(), json.as_bytes()].concat(),
        )
    }

    fn told(answer: &[Vec<u8>]) -> String {
        match judge(BytesMut::from(&*answer.concat())) {
            Ok(service) => format!("healthy: {service}"),
            Err(why) => format!("unhealthy: {why}"),
        }
    }

    fn told_of(json: &str) -> String {
        told(&[message(b'R', &[0; 4]), message(b'S', b"server_version\x0017.6\0"), row(json), message(b'Z', b"I")])
    }

    #[test]
    fn who_answers_is_healthy_and_says_what_it_does() {
        for (json, healthy) in [
            (r#"{"in_recovery":false,"receiver":null,"upstream":null,"unreplayed_bytes":70,"pause":null}"#, "primary"),
            (
                r#"{"in_recovery":true,"receiver":"streaming","upstream":"demo-1","unreplayed_bytes":0,"pause":"not paused"}"#,
                "replica, streams from \"demo-1\"",
            ),
            (
                r#"{"in_recovery":true,"receiver":"streaming","upstream":"demo-1","unreplayed_bytes":9000000,"pause":"paused"}"#,
                "replica, streams from \"demo-1\", has yet to replay 8 MB, replay is paused",
            ),
            (
                r#"{"in_recovery":true,"receiver":"waiting","upstream":"demo-1","unreplayed_bytes":-5,"pause":"not paused"}"#,
                "replica, receives nothing: its receiver is waiting",
            ),
            (
                r#"{"in_recovery":true,"receiver":null,"upstream":null,"unreplayed_bytes":null,"pause":"not paused"}"#,
                "replica, receives nothing",
            ),
        ] {
            assert_eq!(told_of(json), format!("healthy: {healthy}"));
        }
    }

    #[test]
    fn who_refuses_says_why() {
        let error = |fields: &[u8]| message(b'E', fields);
        let starting = error(b"SFATAL\0C57P03\0Mthe database system is starting up\0\0");
        insta::assert_snapshot!(told(&[starting]), @"unhealthy: the database system is starting up");
        let inconsistent =
            error(b"Mnot yet accepting connections\0DConsistent recovery state has not been yet reached.\0\0");
        insta::assert_snapshot!(told(&[inconsistent]), @"unhealthy: not yet accepting connections: Consistent recovery state has not been yet reached.");
        let ended = [message(b'R', &[0; 4]), error(b"Mterminating connection due to administrator command\0\0")];
        insta::assert_snapshot!(told(&ended), @"unhealthy: terminating connection due to administrator command");
        insta::assert_snapshot!(told(&[]), @"unhealthy: it closes the connection without an answer");
        insta::assert_snapshot!(told_of("{}"), @"unhealthy: its answer is none of PostgreSQL's: missing field `in_recovery` at line 1 column 2");
    }

    #[test]
    fn nobody_is_waited_for_longer_than_the_bound() {
        let root = tempfile::tempdir().unwrap();
        let layout =
            Layout { run: root.path().to_owned(), socket_directory: root.path().to_owned(), ..Layout::of_image(17) };
        let bound = Duration::from_secs(1);
        fs::write(layout.phase_file(), "cloning \"demo-1:5432\"\n").unwrap();
        let why = health(&layout, bound).unwrap_err().replace(&root.path().display().to_string(), "");
        insta::assert_snapshot!(why, @r#"could not connect to "/.s.PGSQL.5432": No such file or directory (os error 2); the node is at: cloning "demo-1:5432""#);

        // Like a frozen postmaster: its queue takes us, and nobody looks at it.
        let _frozen = UnixListener::bind(layout.socket()).unwrap();
        let begun = Instant::now();
        let why = health(&layout, bound).unwrap_err();
        assert!(why.starts_with("no answer within 1 s") && begun.elapsed() >= bound, "{why}");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes: Vec<u8>, cut in 0..200_usize) {
            let _ = judge(BytesMut::from(&*bytes));
            let whole = [message(b'R', &[0; 4]), row(r#"{"in_recovery":false}"#), bytes].concat();
            let _ = judge(BytesMut::from(&whole[..cut.min(whole.len())]));
        }
    }
}
