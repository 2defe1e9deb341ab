//! Whole messages out of bytes, with a bound on every one.

use bytes::BytesMut;
use postgres_protocol::message::backend::{
    AUTHENTICATION_TAG, ERROR_RESPONSE_TAG, Header, Message, NOTICE_RESPONSE_TAG,
};

use super::ProtocolError;

/// The longest message that is taken. That is a timeline history of several thousand promotions; all else has some hundred
/// bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// How much of what a stranger says is shown.
const SHOWN_BYTES: usize = 60;

/// The type and the length of a message.
const HEADER_BYTES: usize = 5;

/// The messages of a server.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    buffer: BytesMut,
    greeted: bool,
}

impl Incoming {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What waits for its rest, in bytes.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The next message with its type, if all of it is there.
    pub(super) fn next_message(&mut self) -> Result<Option<(u8, Message)>, ProtocolError> {
        if !self.greeted && !can_be_a_greeting(&self.buffer) {
            return Err(ProtocolError::NotPostgres { said: said(&self.buffer) });
        }
        let Some(&tag) = self.buffer.first() else { return Ok(None) };
        let header = Header::parse(&self.buffer).map_err(|error| ProtocolError::malformed(tag, &error))?;
        let Some(header) = header else { return Ok(None) };
        // Not negative: `parse` has seen to it.
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE_BYTES {
            return Err(ProtocolError::TooLong { tag, length });
        }
        // Asked only for what is there, `Message::parse` allocates nothing.
        if self.buffer.len() < length + 1 {
            return Ok(None);
        }
        self.greeted = true;
        match Message::parse(&mut self.buffer) {
            Ok(Some(message)) => Ok(Some((tag, message))),
            Ok(None) => Ok(None),
            Err(error) => Err(ProtocolError::malformed(tag, &error)),
        }
    }
}

/// Whether a PostgreSQL server's answer to a startup message may begin like this: an authentication request, an error or
/// a notice, of a length that makes sense. Too few bytes may.
#[must_use]
pub fn can_be_a_greeting(bytes: &[u8]) -> bool {
    let tag = |tag: &u8| [AUTHENTICATION_TAG, ERROR_RESPONSE_TAG, NOTICE_RESPONSE_TAG].contains(tag);
    let length = |length: &[u8; 4]| (4..=MAX_MESSAGE_BYTES).contains(&(u32::from_be_bytes(*length) as usize));
    bytes.first().is_none_or(tag) && bytes.get(1..HEADER_BYTES).and_then(<[u8]>::first_chunk).is_none_or(length)
}

/// The beginning of what somebody said, for a message.
pub(crate) fn said(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    line[..line.len().min(SHOWN_BYTES)].escape_ascii().to_string()
}
