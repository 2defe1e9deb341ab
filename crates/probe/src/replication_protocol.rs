//! The replication protocol, without IO: bytes in, events and bytes out.
//!
//! A walsender tells what SQL does not, and tells it to a role that may read no table: who it is
//! ([`IdentifySystem`]), where its timelines parted ([`TimelineHistory`]), what a slot keeps ([`ReadReplicationSlot`]).
//! `tokio-postgres` cannot open such a connection.
//!
//! ```
//! use pgherd_probe::replication_protocol::{Event, IdentifySystem, Login, ServerVersion, Session};
//!
//! // What a server says that trusts everybody. The answer to each is sent as it comes.
//! let greeting = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x18server_version\x0017.5\0Z\0\0\0\x05I";
//! let mut session = Session::begin(Login::new("replicator"), "example");
//! assert!(session.take_outgoing().starts_with(b"\0\0\0"));
//!
//! session.receive(greeting);
//! assert_eq!(session.next_event()?, Some(Event::Ready));
//! assert_eq!(session.server_version().map(ServerVersion::major), Some(17));
//! session.ask(&IdentifySystem)?;
//! assert_eq!(&session.take_outgoing()[..], b"Q\0\0\0\x14IDENTIFY_SYSTEM\0");
//! # Ok::<(), pgherd_probe::replication_protocol::ProtocolError>(())
//! ```
//!
//! Nothing that a server sends makes it hold more than [`MAX_MESSAGE_BYTES`], besides what it is handed at once.
//!
//! <https://www.postgresql.org/docs/17/protocol-replication.html>

mod command;
mod error;
mod incoming;
mod login;
mod session;
mod version;

pub use command::{
    Command, IdentifySystem, PhysicalSlot, ReadReplicationSlot, Row, Show, SystemIdentity, TimelineHistory,
};
pub use error::{ProtocolError, ServerError};
#[cfg(feature = "connect")]
pub(crate) use incoming::said;
pub use incoming::{MAX_MESSAGE_BYTES, can_be_a_greeting};
pub use login::{ChannelBinding, Login};
pub use session::{Event, Session};
pub use version::ServerVersion;
