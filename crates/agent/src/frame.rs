//! What an orchestrator and the one process that it has in a node's container say to each other: PostgreSQL's bytes, and words for the
//! agent. On standard input and output each frame is a letter, a length of four bytes, and so many bytes.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Letter and length.
const HEADER_BYTES: usize = 5;

/// More than any frame has; PostgreSQL's bytes come in small pieces.
const MOST_BYTES: usize = 16 << 20;

/// One piece of the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of the connection to PostgreSQL, either way.
    Postgres(Bytes),
    /// To the agent: what it is to do.
    Order(Order),
    /// From the agent: how that ended. Orders are carried out and answered one after the other.
    Answer(Answer),
}

/// A command of `pgherd-agent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its standard input.
    pub input: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its exit code; `None` where a signal ended it.
    pub exit_code: Option<i32>,
    /// All that it wrote, to either stream.
    pub said: String,
}

impl Frame {
    /// The bytes of it.
    ///
    /// # Panics
    /// Never: a command line and its output are JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let json = |value: serde_json::Result<Vec<u8>>| Bytes::from(value.expect("text is JSON"));
        let (letter, content) = match self {
            Frame::Postgres(bytes) => (b'P', bytes.clone()),
            Frame::Order(order) => (b'O', json(serde_json::to_vec(order))),
            Frame::Answer(answer) => (b'A', json(serde_json::to_vec(answer))),
        };
        let mut encoded = BytesMut::with_capacity(HEADER_BYTES + content.len());
        encoded.put_u8(letter);
        encoded.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
        encoded.put(content);
        encoded.freeze()
    }

    /// Takes the first frame off what was received, if it is whole.
    ///
    /// # Errors
    /// Where it is none. Nobody knows where the next one would begin, so that the connection is over.
    pub fn parse(received: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(mut header) = received.get(..HEADER_BYTES) else { return Ok(None) };
        let letter = header.get_u8();
        let length = header.get_u32() as usize;
        if length > MOST_BYTES {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        if received.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        received.advance(HEADER_BYTES);
        let content = received.split_to(length).freeze();
        match letter {
            b'P' => Ok(Frame::Postgres(content)),
            b'O' => json(&content).map(Frame::Order),
            b'A' => json(&content).map(Frame::Answer),
            _ => Err(io::Error::other(format!("a frame of unknown kind {letter:#04x}"))),
        }
        .map(Some)
    }
}

fn json<T: DeserializeOwned>(content: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(content)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Frame::Postgres(bytes.into())),
            (proptest::collection::vec(".*", 0..3), ".*")
                .prop_map(|(arguments, input)| Frame::Order(Order { arguments, input })),
            (any::<Option<i32>>(), ".*").prop_map(|(exit_code, said)| Frame::Answer(Answer { exit_code, said })),
        ]
    }

    proptest! {
        #[test]
        fn frames_are_read_as_they_were_written(frames in proptest::collection::vec(frame(), 0..5), piece in 1_usize..40) {
            let sent: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            let (mut received, mut read) = (BytesMut::new(), Vec::new());
            for bytes in sent.chunks(piece) {
                received.extend_from_slice(bytes);
                while let Some(frame) = Frame::parse(&mut received).unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, frames);
            prop_assert!(received.is_empty());
        }

        #[test]
        fn nothing_makes_it_panic_or_wait_for_gigabytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Frame::parse(&mut BytesMut::from(&bytes[..]));
            let mut endless = BytesMut::from(&b"P\xff\xff\xff\xff"[..]);
            prop_assert!(Frame::parse(&mut endless).is_err());
        }
    }
}
