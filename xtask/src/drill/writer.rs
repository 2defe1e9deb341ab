//! A client that writes without an end, to whoever is the primary.

use std::time::Duration;

use pgherd_probe::Lsn;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use super::ledger::{Acknowledged, Ledger};
use crate::application::Application;

/// How long a commit may take before the connection is given up. With a quorum it waits until a replica follows.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two searches for the primary.
const INTERVAL: Duration = Duration::from_millis(20);

/// The position is told before the commit, in whose answer it comes.
const WRITE: &str = "INSERT INTO writes VALUES ($1, $2) RETURNING pg_current_wal_insert_lsn()::text";

/// Writes one row after the other, each in a transaction of its own, and connects anew whenever that fails.
///
/// Nobody knows whether a commit without an answer was made, and so it counts as neither: its identifier is not used again.
pub(super) async fn write(number: i32, application: Application, ledger: Ledger) {
    let mut id = 0;
    loop {
        if let Ok(client) = application.connect().await {
            write_until_it_fails(number, &mut id, &client, &ledger).await;
        }
        sleep(INTERVAL).await;
    }
}

async fn write_until_it_fails(number: i32, id: &mut i64, client: &Client, ledger: &Ledger) {
    let Ok(Ok(statement)) = timeout(PATIENCE, client.prepare(WRITE)).await else { return };
    loop {
        *id += 1;
        // An answer is complete when the server is ready for the next question, which it is after the commit.
        let Ok(Ok(row)) = timeout(PATIENCE, client.query_one(&statement, &[&number, &*id])).await else { return };
        let lsn = row.try_get::<_, &str>(0).ok().and_then(|lsn| lsn.parse::<Lsn>().ok());
        let Some(lsn) = lsn else { return };
        ledger.note(Acknowledged { id: *id, lsn });
    }
}
