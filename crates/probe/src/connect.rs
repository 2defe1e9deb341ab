//! Connections by connection string, as libpq has them.
//!
//! `tokio-postgres` has no `verify-ca` and `verify-full`, no password file, no time limit on a server that accepts and
//! says nothing, and no replication connections. The string is libpq's,
//! <https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNSTRING>.

mod channel_binding;
mod conninfo;
mod error;
mod keywords;
mod passfile;
mod replication;
mod sql;
mod tls;
mod wire;

pub use conninfo::{Conninfo, ParseConninfoError, Server, SslMode};
pub use error::{ConnectError, Failure, Stage};
pub use replication::{AskError, Replication};
pub use sql::connect;
