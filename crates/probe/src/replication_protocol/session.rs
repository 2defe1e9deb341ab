//! One session with a walsender, from its first message to its last.

use std::{fmt, io, mem};

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::{
    backend::{DataRowBody, Message, RowDescriptionBody},
    frontend,
};

use super::{
    Command, Login, ProtocolError, Row, ServerError, ServerVersion,
    incoming::Incoming,
    login::{Authentication, Next},
};

/// More columns than any answer has.
const MAX_COLUMNS: usize = 16;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server knows who this is, and takes commands.
    Ready,
    /// It answered the command. [`Command::read`] says what.
    Answered(Row),
    /// It refused the command, and takes the next one.
    Refused(ServerError),
    /// It told something beside.
    Notice(ServerError),
}

/// A session with a server: what it sends goes in by [`receive`](Session::receive), what it is sent comes out by
/// [`take_outgoing`](Session::take_outgoing), and [`next_event`](Session::next_event) tells what happened.
///
/// After an error it is over.
#[derive(Debug)]
pub struct Session {
    incoming: Incoming,
    outgoing: BytesMut,
    state: State,
    server_version: Option<ServerVersion>,
}

enum State {
    LoggingIn(Authentication),
    /// The server knows who this is, and tells about itself.
    Starting,
    Idle,
    Asked(Reply),
    Ended,
}

/// The answer to a command, as far as it is there.
#[derive(Default)]
struct Reply {
    columns: Option<Vec<String>>,
    row: Option<Row>,
    refused: Option<ServerError>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.when())
    }
}

impl State {
    fn when(&self) -> &'static str {
        match self {
            State::LoggingIn(_) => "during authentication",
            State::Starting => "before the session was ready",
            State::Idle => "between two commands",
            State::Asked(_) => "before a command was answered",
            State::Ended => "after the session's end",
        }
    }
}

impl Session {
    /// Begins a session of physical replication, under a name that the server shows. Both that and the user end at a zero
    /// byte, which no server has in a name.
    #[must_use]
    pub fn begin(login: Login, application_name: &str) -> Session {
        let mut outgoing = BytesMut::new();
        let until_zero = |text: &str| text.split('\0').next().unwrap_or_default().to_owned();
        let (user, name) = (until_zero(login.user()), until_zero(application_name));
        let parameters = [("user", &*user), ("replication", "true"), ("application_name", &*name)];
        frontend::startup_message(parameters, &mut outgoing).expect("no zero byte in any of them");
        Session {
            incoming: Incoming::default(),
            outgoing,
            state: State::LoggingIn(Authentication::Unasked(login)),
            server_version: None,
        }
    }

    /// Takes bytes of the server, as many as there are. Ask for all events before there are more.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.incoming.push(bytes);
    }

    /// Returns what has to be sent, which is nothing most of the time.
    pub fn take_outgoing(&mut self) -> Bytes {
        self.outgoing.split().freeze()
    }

    /// How many bytes are held until the rest of their message is there: never more than
    /// [`MAX_MESSAGE_BYTES`](super::MAX_MESSAGE_BYTES) once all events are asked for.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.incoming.len()
    }

    /// What the server says it is, once the session is ready.
    #[must_use]
    pub fn server_version(&self) -> Option<&ServerVersion> {
        self.server_version.as_ref()
    }

    /// Sends a command.
    ///
    /// # Errors
    /// Where the session is not ready for one, or where its text cannot be sent.
    pub fn ask<C: Command>(&mut self, command: &C) -> Result<(), ProtocolError> {
        if !matches!(self.state, State::Idle) {
            return Err(ProtocolError::NotReady(self.state.when()));
        }
        let text = command.text();
        frontend::query(&text, &mut self.outgoing).map_err(|_| ProtocolError::ZeroByte(text))?;
        self.state = State::Asked(Reply::default());
        Ok(())
    }

    /// Ends the session in good order.
    pub fn end(&mut self) {
        self.state = State::Ended;
        frontend::terminate(&mut self.outgoing);
    }

    /// What it means that the server has closed the connection.
    #[must_use]
    pub fn closed(&mut self) -> ProtocolError {
        ProtocolError::Closed(mem::replace(&mut self.state, State::Ended).when())
    }

    /// The next event, or `None` until there are more bytes.
    ///
    /// # Errors
    /// Where the server ends the session, or sends what it should not. Then the session is over.
    pub fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        loop {
            let state = mem::replace(&mut self.state, State::Ended);
            if let State::Ended = state {
                return Err(ProtocolError::NotReady(state.when()));
            }
            let Some((tag, message)) = self.incoming.next_message()? else {
                self.state = state;
                return Ok(None);
            };
            let (state, event) = self.take(state, tag, &message)?;
            self.state = state;
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn take(&mut self, state: State, tag: u8, message: &Message) -> Result<(State, Option<Event>), ProtocolError> {
        match message {
            Message::NoticeResponse(body) => {
                return Ok((state, Some(Event::Notice(ServerError::read(tag, body.fields())?))));
            }
            // Settings that change, and who listens, are of no interest here.
            Message::ParameterStatus(body) => {
                let malformed = |error: io::Error| ProtocolError::malformed(tag, &error);
                if body.name().map_err(malformed)? == "server_version" {
                    self.server_version = Some(ServerVersion::parse(body.value().map_err(malformed)?)?);
                }
                return Ok((state, None));
            }
            Message::NotificationResponse(_) => return Ok((state, None)),
            _ => {}
        }
        let during = state.when();
        match (state, message) {
            (State::Asked(mut reply), Message::ErrorResponse(body)) => {
                let error = ServerError::read(tag, body.fields())?;
                if error.is_fatal() {
                    return Err(ProtocolError::Server(Box::new(error)));
                }
                reply.refused = Some(error);
                Ok((State::Asked(reply), None))
            }
            (_, Message::ErrorResponse(body)) => {
                Err(ProtocolError::Server(Box::new(ServerError::read(tag, body.fields())?)))
            }
            (State::LoggingIn(authentication), message) => {
                match authentication.take(tag, message, &mut self.outgoing)? {
                    Next::Goes(authentication) => Ok((State::LoggingIn(authentication), None)),
                    Next::Done => Ok((State::Starting, None)),
                }
            }
            (State::Starting, Message::BackendKeyData(_)) => Ok((State::Starting, None)),
            (State::Starting, Message::ReadyForQuery(_)) => match self.server_version {
                Some(_) => Ok((State::Idle, Some(Event::Ready))),
                None => Err(ProtocolError::Version("\"\"".to_owned())),
            },
            (State::Asked(reply), message) => reply.take(tag, message),
            _ => Err(ProtocolError::Unexpected { tag, during }),
        }
    }
}

impl Reply {
    /// One description, one row, its end, and the server is ready; or an error, and the server is ready.
    fn take(mut self, tag: u8, message: &Message) -> Result<(State, Option<Event>), ProtocolError> {
        let unexpected = ProtocolError::Unexpected { tag, during: "in the answer to a command" };
        match (message, &self) {
            (Message::RowDescription(body), Reply { columns: None, refused: None, .. }) => {
                self.columns = Some(names(tag, body)?);
            }
            (Message::DataRow(body), Reply { columns: Some(columns), row: None, refused: None }) => {
                self.row = Some(row(tag, columns, body)?);
            }
            (Message::CommandComplete(_), Reply { row: Some(_), refused: None, .. }) => {}
            (Message::ReadyForQuery(_), _) => {
                return match self {
                    Reply { refused: Some(error), .. } => Ok((State::Idle, Some(Event::Refused(error)))),
                    Reply { row: Some(row), .. } => Ok((State::Idle, Some(Event::Answered(row)))),
                    Reply { .. } => Err(unexpected),
                };
            }
            _ => return Err(unexpected),
        }
        Ok((State::Asked(self), None))
    }
}

fn names(tag: u8, body: &RowDescriptionBody) -> Result<Vec<String>, ProtocolError> {
    let malformed = |error: io::Error| ProtocolError::malformed(tag, &error);
    let mut fields = body.fields();
    if fields.size_hint().0 > MAX_COLUMNS {
        return Err(ProtocolError::malformed(tag, &format!("{} columns", fields.size_hint().0)));
    }
    let mut names = Vec::new();
    while let Some(field) = fields.next().map_err(malformed)? {
        names.push(field.name().to_owned());
    }
    Ok(names)
}

fn row(tag: u8, columns: &[String], body: &DataRowBody) -> Result<Row, ProtocolError> {
    let malformed = |error: io::Error| ProtocolError::malformed(tag, &error);
    let mut ranges = body.ranges();
    if ranges.size_hint().0 != columns.len() {
        let reason = format!("{} values in {} columns", ranges.size_hint().0, columns.len());
        return Err(ProtocolError::malformed(tag, &reason));
    }
    let mut values = Vec::new();
    while let Some(range) = ranges.next().map_err(malformed)? {
        // Copied, so that a row that is kept does not keep the whole buffer.
        values.push(range.map(|range| body.buffer()[range].to_vec()));
    }
    Ok(Row(columns.iter().cloned().zip(values).collect()))
}
