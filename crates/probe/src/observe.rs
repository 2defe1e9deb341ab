//! Asks a server: one query, one round trip, facts and no verdicts.

use tokio_postgres::Client;

use crate::NodeStatus;

/// Why a server that is connected did not say what it is doing.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The connection broke, or the server refused the query.
    #[error("could not query the server's status")]
    Query(#[from] tokio_postgres::Error),
    /// The server answered what a PostgreSQL from 15 to 18 does not.
    #[error("could not understand the server's status")]
    Answer(#[from] serde_json::Error),
}

/// Returns what the server says about itself, on PostgreSQL 15 to 18.
///
/// One statement and one round trip, which write nothing. Any role may run it; without `pg_read_all_stats` PostgreSQL
/// hides most of what [`Receiver`](crate::Receiver) and [`Downstream`](crate::Downstream) hold. There is no time
/// limit in here: a server that is frozen keeps the caller waiting until the caller gives up.
///
/// # Errors
///
/// When the connection fails, or when the server is promoted between two parts of the answer; then asking again helps.
pub async fn observe(client: &Client) -> Result<NodeStatus, ObserveError> {
    let row = client.query_typed_one(include_str!("observe.sql"), &[]).await?;
    Ok(serde_json::from_str(row.try_get(0)?)?)
}
