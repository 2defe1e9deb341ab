//! A session with this node's own server, as superuser, through its unix socket: where milliseconds count, a psql for every
//! question would cost more than the answer.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use bytes::BytesMut;
use pgherd_images::contract::{MAINTENANCE_DATABASE, SUPERUSER};
use postgres_protocol::message::{backend::Message, frontend};
use serde::de::DeserializeOwned;

use crate::{error::Error, health::complaint, layout::Layout, supervise::Supervisor};

/// How long an answer may take. No question here waits for anything but the server.
const PATIENCE: Duration = Duration::from_secs(20);

const HUNG_UP: &str = "it closes the connection without an answer";

/// An open session.
pub(crate) struct Session {
    socket: UnixStream,
    received: BytesMut,
}

impl Session {
    /// Logs in.
    ///
    /// # Errors
    /// [`Error::Local`] where the server does not let us in, or a signal asks the agent to end.
    pub(crate) fn open(layout: &Layout, supervisor: &mut Supervisor) -> Result<Session, Error> {
        let path = layout.socket();
        // In a thread of its own, because a postmaster that does not accept can hold up the connect, for which a socket has no bound.
        let session = supervisor.call(PATIENCE, move || Session::log_in(&path))?;
        session.unwrap_or_else(|| Err(Error::Local(no_answer())))
    }

    /// Asks for one row, and reads its columns by their names.
    ///
    /// # Errors
    /// [`Error::Local`] where the server refuses, or there is no such row.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, question: &str) -> Result<T, Error> {
        let row = self.run(&format!("SELECT row_to_json(answer) FROM ({question}) AS answer"))?;
        serde_json::from_str(&row).map_err(|error| Error::Local(format!("a strange answer: {error}: {row}")))
    }

    /// Runs a statement, and returns the first column of its last row.
    ///
    /// # Errors
    /// [`Error::Local`] where the server refuses.
    pub(crate) fn run(&mut self, statement: &str) -> Result<String, Error> {
        let mut message = BytesMut::new();
        frontend::query(statement, &mut message)?;
        self.converse(&message)
    }

    /// Peer authentication asks nothing (<https://www.postgresql.org/docs/17/protocol-flow.html>).
    fn log_in(path: &Path) -> Result<Session, Error> {
        let connected = UnixStream::connect(path);
        let socket = connected.map_err(|error| Error::Local(format!("\"{}\": {error}", path.display())))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut session = Session { socket, received: BytesMut::new() };
        let who = [("user", SUPERUSER), ("database", MAINTENANCE_DATABASE), ("application_name", "pgherd-agent")];
        let mut message = BytesMut::new();
        frontend::startup_message(who, &mut message)?;
        session.converse(&message)?;
        Ok(session)
    }

    /// Who hangs up before the end of the question may have said why.
    fn converse(&mut self, message: &[u8]) -> Result<String, Error> {
        let asked = self.socket.write_all(message);
        match self.hear() {
            Ok(answer) => answer.map_err(Error::Local),
            Err(error) => Err(unheard(&asked.err().unwrap_or(error))),
        }
    }

    /// Reads until the server is ready for the next question. The inner error is its complaint.
    fn hear(&mut self) -> io::Result<Result<String, String>> {
        let mut answer = Ok(String::new());
        loop {
            match Message::parse(&mut self.received)? {
                Some(Message::ReadyForQuery(_)) => return Ok(answer),
                Some(Message::DataRow(row)) => {
                    let column = fallible_iterator::FallibleIterator::next(&mut row.ranges())?.flatten();
                    answer = Ok(String::from_utf8_lossy(&row.buffer()[column.unwrap_or_default()]).into_owned());
                }
                Some(Message::ErrorResponse(error)) => answer = Err(complaint(&error)),
                Some(_) => {}
                None => {
                    let mut bytes = [0; 4096];
                    match self.socket.read(&mut bytes)? {
                        // Whoever ends the session has said why, or not.
                        0 => return Ok(answer.and(Err(HUNG_UP.to_owned()))),
                        length => self.received.extend_from_slice(&bytes[..length]),
                    }
                }
            }
        }
    }
}

fn unheard(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Local(no_answer()),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Local(HUNG_UP.to_owned()),
        _ => Error::Local(error.to_string()),
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use serde::Deserialize;

    use super::*;

    const HELLO: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

    /// What a session says of a server that says this, in pieces.
    fn told(answers: &'static [&'static [u8]]) -> String {
        #[derive(Deserialize)]
        struct Answer {
            x: u32,
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            for answer in answers {
                let _ = socket.read(&mut [0; 4096]);
                for piece in answer.chunks(3) {
                    let _ = socket.write_all(piece);
                }
            }
        });
        let answer = Session::log_in(&path).and_then(|mut session| session.ask::<Answer>("SELECT 7 AS x"));
        server.join().unwrap();
        answer.map_or_else(|error| error.to_string(), |answer| answer.x.to_string())
    }

    #[test]
    fn an_answer_is_read_and_a_refusal_told() {
        const ROW: &[u8] = b"D\0\0\0\x11\0\x01\0\0\0\x07{\"x\":7}Z\0\0\0\x05I";
        assert_eq!(told(&[HELLO, ROW]), "7");
        insta::assert_snapshot!(told(&[HELLO, b"E\0\0\0\x0fMsome why\0\0Z\0\0\0\x05I"]),
            @"could not ask the postgresql of this node: some why");
        insta::assert_snapshot!(told(&[b"E\0\0\0\x12Mstarting up\0\0"]),
            @"could not ask the postgresql of this node: starting up");
        insta::assert_snapshot!(told(&[HELLO]), @"could not ask the postgresql of this node: it closes the connection without an answer");
        insta::assert_snapshot!(told(&[HELLO, b"Z\0\0\0\x05I"]),
            @"could not ask the postgresql of this node: a strange answer: EOF while parsing a value at line 1 column 0: ");
    }
}
