//! Asks a server: two queries at most, a round trip each; facts and no verdicts.

use serde::Deserialize;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use crate::{Disk, History, NodeStatus, TimelineId};

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
/// One statement, and a second one for a role that may read files of the server; both write nothing. Any role may run
/// them; without `pg_monitor` PostgreSQL hides most of what [`Receiver`](crate::Receiver) and
/// [`Downstream`](crate::Downstream) hold, and some more. There is no time limit in here: a server that is frozen keeps
/// the caller waiting until the caller gives up.
///
/// # Errors
///
/// When the connection fails, or when the server is promoted between two parts of the answer; then asking again helps.
pub async fn observe(client: &Client) -> Result<NodeStatus, ObserveError> {
    let row = client.query_typed_one(include_str!("observe.sql"), &[]).await?;
    let mut status: NodeStatus = serde_json::from_str(row.try_get(0)?)?;
    if status.timeline == TimelineId(1) {
        status.history = Some(History::default());
    }
    // The privilege is asked for beforehand, because without it the first statement would fail as a whole.
    if row.try_get(1)? {
        let history_file = format!("pg_wal/{:08X}.history", status.timeline.0);
        let is_alone = status.in_recovery() && status.receiver.is_none();
        let asked = [(&history_file as &(dyn ToSql + Sync), Type::TEXT), (&is_alone, Type::BOOL)];
        let row = client.query_typed(include_str!("files.sql"), &asked).await;
        match row {
            Ok(rows) => rows.first().map(|row| read_files(&mut status, row)).transpose()?.unwrap_or_default(),
            // A file that is there and cannot be read takes nothing from what is known.
            Err(error) if error.as_db_error().is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(status)
}

/// What the agent writes.
#[derive(Deserialize)]
struct DiskFile {
    free_bytes: u64,
    total_bytes: u64,
    at_unix_ms: u64,
}

fn read_files(status: &mut NodeStatus, row: &Row) -> Result<(), tokio_postgres::Error> {
    let (history, disk): (Option<&str>, Option<&str>) = (row.try_get(0)?, row.try_get(1)?);
    let now_ms = u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or(0);
    let newest_segment: Option<&str> = row.try_get(3)?;
    let (stopped, sees_processes): (Option<&str>, bool) = (row.try_get(4)?, row.try_get(5)?);

    status.history = status.history.take().or_else(|| history?.parse().ok());
    status.disk = disk.and_then(|json| serde_json::from_str(json).ok()).map(|file: DiskFile| Disk {
        free_bytes: file.free_bytes,
        total_bytes: file.total_bytes,
        age_ms: now_ms.saturating_sub(file.at_unix_ms),
    });
    if newest_segment.is_some_and(|timeline| u32::from_str_radix(timeline, 16) == Ok(status.timeline.0)) {
        // Nothing of a later timeline was received, so what is replayed is of this one.
        status.timeline_lsn = status.lsn.visible();
    }
    status.postmaster = row.try_get(6)?;
    status.stopped =
        sees_processes.then(|| stopped.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default());
    Ok(())
}
