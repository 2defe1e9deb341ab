//! What a server reports, and what it should not have sent.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::ErrorFields;

use super::{incoming::MAX_MESSAGE_BYTES, version::OLDEST};

/// An error, or a notice, in the server's own words.
///
/// <https://www.postgresql.org/docs/17/protocol-error-fields.html>
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{severity}: {message} (SQLSTATE {sqlstate}){}", .detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}")))]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`; of a notice `WARNING`, `NOTICE` and so on. Never translated.
    pub severity: String,
    /// Five characters, <https://www.postgresql.org/docs/17/errcodes-appendix.html>.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What the server suggests.
    pub hint: Option<String>,
}

impl ServerError {
    /// Whether the server closes the connection after it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// Reads the fields of a message of this type.
    pub(super) fn read(tag: u8, mut fields: ErrorFields<'_>) -> Result<ServerError, ProtocolError> {
        let mut error = ServerError::default();
        while let Some(field) = fields.next().map_err(|source| ProtocolError::malformed(tag, &source))? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'V' => error.severity = value,
                b'C' => error.sqlstate = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                _ => {}
            }
        }
        Ok(error)
    }
}

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The server ended the session.
    #[error(transparent)]
    Server(Box<ServerError>),
    /// Whoever it is speaks another protocol.
    #[error("this is no PostgreSQL server: it says \"{said}\"")]
    NotPostgres {
        /// The beginning of what it said, with all that is not printable escaped.
        said: String,
    },
    /// The server is of another time.
    #[error("the server has version {0}, and {OLDEST} is the oldest that is understood")]
    Version(String),
    /// A message that is longer than any that is asked for.
    #[error("message of type \"{}\" has {length} bytes, more than {MAX_MESSAGE_BYTES}", .tag.escape_ascii())]
    TooLong {
        /// The type of the message.
        tag: u8,
        /// Its length by its header.
        length: usize,
    },
    /// A message that contradicts itself.
    #[error("malformed message of type \"{}\": {reason}", .tag.escape_ascii())]
    Malformed {
        /// The type of the message.
        tag: u8,
        /// What is wrong with it.
        reason: String,
    },
    /// A message that belongs elsewhere.
    #[error("unexpected message of type \"{}\" {during}", .tag.escape_ascii())]
    Unexpected {
        /// The type of the message.
        tag: u8,
        /// At which point.
        during: &'static str,
    },
    /// An answer that is not of the documented form.
    #[error("answer to {command} has {what}")]
    Answer {
        /// What was asked.
        command: &'static str,
        /// What is wrong with the answer.
        what: String,
    },
    /// The server wants to know who this is in a way that is not known here.
    #[error("the server asks for {0} authentication, which is not supported")]
    Authentication(String),
    /// The server asks for a password, and there is none.
    #[error("the server asks for a password, and none is known")]
    NoPassword,
    /// The server asks for the password itself, and anybody could read it on its way.
    #[error("the server asks for the password in clear text, and the connection is not encrypted")]
    ClearText,
    /// Whoever it is might be in between.
    #[error("channel binding is required, and the server did not use it")]
    NoChannelBinding,
    /// The server does not know the password's verifier either, or is broken.
    #[error("the server did not prove that it knows the password: {0}")]
    Unproven(String),
    /// The connection was closed.
    #[error("the server closed the connection {0}")]
    Closed(&'static str),
    /// The caller's fault: a command before [`Event::Ready`](super::Event::Ready), or before the last one was answered, or
    /// after an error that ended the session.
    #[error("the session takes no command {0}")]
    NotReady(&'static str),
    /// A name that the protocol cannot carry.
    #[error("\"{}\" holds a zero byte", .0.escape_debug())]
    ZeroByte(String),
}

impl ProtocolError {
    pub(super) fn malformed(tag: u8, reason: &impl ToString) -> ProtocolError {
        ProtocolError::Malformed { tag, reason: reason.to_string() }
    }
}
