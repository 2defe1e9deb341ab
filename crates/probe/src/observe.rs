//! Asks a server: two queries at most; facts and no verdicts.

use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio_postgres::{
    Client, Row, Statement,
    error::SqlState,
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

/// The statement whose first column is the JSON form of [`NodeStatus`], for those who have it run by other means than [`observe`],
/// such as psql, and read the answer by [`parse_status`].
pub const STATUS: &str = include_str!("observe.sql");
const FILES: &str = include_str!("files.sql");

/// Returns what the server says about itself, on PostgreSQL 15 to 18.
///
/// One statement, and a second one for a role that may read files of the server; both write nothing. Any role may run
/// them; without `pg_monitor` PostgreSQL hides most of what [`Receiver`](crate::Receiver) and
/// [`Downstream`](crate::Downstream) hold, and some more. There is no time limit in here: a server that is frozen keeps
/// the caller waiting until the caller gives up. Whoever asks more than once does so by a [`Probe`].
///
/// # Errors
///
/// When the connection fails, or when the server is promoted between two parts of the answer; then asking again helps.
pub async fn observe(client: &Client) -> Result<NodeStatus, ObserveError> {
    let (mut status, may_read_files) = read_status(&client.query_typed_one(STATUS, &[]).await?)?;
    if may_read_files {
        let (history_file, is_alone) = of_files(&status);
        let asked = [(&history_file as &(dyn ToSql + Sync), Type::TEXT), (&is_alone, Type::BOOL)];
        add_files(&mut status, client.query_typed(FILES, &asked).await)?;
    }
    Ok(status)
}

/// A connection over which a server is asked again and again.
///
/// Planning the statements costs PostgreSQL more than running them, so that they are prepared when it is asked first. Where they are not
/// there any more, as behind a pooler that knows nothing of them, it is asked as by [`observe`].
pub struct Probe {
    client: Client,
    prepared: OnceCell<(Statement, Statement)>,
}

impl Probe {
    /// Takes a connection.
    #[must_use]
    pub fn new(client: Client) -> Probe {
        Probe { client, prepared: OnceCell::new() }
    }

    /// The connection, for other questions.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What [`observe`] returns.
    ///
    /// # Errors
    ///
    /// Those of [`observe`].
    pub async fn observe(&self) -> Result<NodeStatus, ObserveError> {
        match self.observe_prepared().await {
            Err(ObserveError::Query(error)) if is_about_a_prepared_statement(&error) => observe(&self.client).await,
            end => end,
        }
    }

    async fn observe_prepared(&self) -> Result<NodeStatus, ObserveError> {
        let prepare = || async { tokio::try_join!(self.client.prepare(STATUS), self.client.prepare(FILES)) };
        let (of_status, of_its_files) = self.prepared.get_or_try_init(prepare).await?;
        let (mut status, may_read_files) = read_status(&self.client.query_one(of_status, &[]).await?)?;
        if may_read_files {
            let (history_file, is_alone) = of_files(&status);
            add_files(&mut status, self.client.query(of_its_files, &[&history_file, &is_alone]).await)?;
        }
        Ok(status)
    }
}

/// Whether a statement of that name is not there, or is there already, as in a session that another client has had.
fn is_about_a_prepared_statement(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&SqlState::INVALID_SQL_STATEMENT_NAME | &SqlState::DUPLICATE_PSTATEMENT))
}

/// Reads the first column of what [`STATUS`] returns.
///
/// # Errors
///
/// [`ObserveError::Answer`].
pub fn parse_status(json: &str) -> Result<NodeStatus, ObserveError> {
    let mut status: NodeStatus = serde_json::from_str(json)?;
    if status.timeline == TimelineId(1) {
        status.history = Some(History::default());
    }
    Ok(status)
}

/// The status, and whether this role may read files of the server. That is asked for beforehand, because without it the statement that
/// reads them would fail as a whole.
fn read_status(row: &Row) -> Result<(NodeStatus, bool), ObserveError> {
    Ok((parse_status(row.try_get(0)?)?, row.try_get(1)?))
}

/// Which files are worth reading: the history of this timeline, and whether the names of the segments are.
fn of_files(status: &NodeStatus) -> (String, bool) {
    (format!("pg_wal/{:08X}.history", status.timeline.0), status.in_recovery() && status.receiver.is_none())
}

fn add_files(status: &mut NodeStatus, rows: Result<Vec<Row>, tokio_postgres::Error>) -> Result<(), ObserveError> {
    match rows {
        Ok(rows) => {
            if let Some(row) = rows.first() {
                read_files(status, row)?;
            }
            Ok(())
        }
        // A file that is there and cannot be read takes nothing from what is known.
        Err(error) if error.as_db_error().is_some() => Ok(()),
        Err(error) => Err(error.into()),
    }
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
    status.newest_wal = newest_segment.and_then(|timeline| u32::from_str_radix(timeline, 16).ok()).map(TimelineId);
    if status.newest_wal == Some(status.timeline) {
        // Nothing of a later timeline was received, so what is replayed is of this one.
        status.timeline_lsn = status.lsn.visible();
    }
    status.postmaster = row.try_get(6)?;
    status.stopped =
        sees_processes.then(|| stopped.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default());
    Ok(())
}
