//! The program as its tests have had it mended: it remembers how far it has written, and looks for the primary where that has gone.

use std::time::Duration;

use sqlx::{Error, PgPool, postgres::PgPoolOptions};
use tokio::time::{Instant, sleep};

use crate::PATIENCE;

pub(crate) struct Shop {
    nodes: Vec<String>,
    primary: PgPool,
    replica: PgPool,
    /// The primary's position behind the last order, once there was one. A program that serves many keeps it in each one's session.
    written: Option<String>,
}

/// How long a node may take to say what it is, before the next one is asked.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two rounds of asking.
const INTERVAL: Duration = Duration::from_millis(100);

impl Shop {
    pub(crate) async fn open(nodes: &[String], replica: &str) -> sqlx::Result<Shop> {
        let primary = find_primary(nodes, Instant::now() + PATIENCE).await?;
        let replica = PgPoolOptions::new().acquire_timeout(GREETING_TIMEOUT).connect(replica).await?;
        let table = "CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY)";
        sqlx::query(table).execute(&primary).await?;
        Ok(Shop { nodes: nodes.to_vec(), primary, replica, written: None })
    }

    /// Whether queries on the replica see all that was written here.
    ///
    /// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL>
    pub(crate) async fn replica_is_up_to_date(&self) -> sqlx::Result<bool> {
        let replayed = sqlx::query_scalar("SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)");
        match &self.written {
            Some(written) => replayed.bind(written).fetch_one(&self.replica).await,
            None => Ok(true),
        }
    }

    /// Does something on the primary, and where that has become another node, there.
    ///
    /// What was sent over a connection that then broke may have been done or not: it has to bear being done twice.
    async fn on_primary<T>(&mut self, work: impl AsyncFn(&PgPool) -> sqlx::Result<T>) -> sqlx::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match work(&self.primary).await {
                Err(error) if is_elsewhere(&error) && Instant::now() < deadline => {
                    self.primary = find_primary(&self.nodes, deadline).await?;
                }
                end => return end,
            }
        }
    }
}

impl crate::Shop for Shop {
    async fn order(&mut self, id: i32) -> sqlx::Result<()> {
        let insert = async |primary: &PgPool| {
            let insert = sqlx::query("INSERT INTO orders VALUES ($1) ON CONFLICT DO NOTHING");
            insert.bind(id).execute(primary).await?;
            // Behind the commit, which has its place in the write-ahead log now.
            sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(primary).await
        };
        self.written = Some(self.on_primary(insert).await?);
        Ok(())
    }

    async fn has(&mut self, id: i32) -> sqlx::Result<bool> {
        let find = async |pool: &PgPool| {
            let found = sqlx::query_scalar("SELECT EXISTS (SELECT FROM orders WHERE id = $1)").bind(id);
            found.fetch_one(pool).await
        };
        // A replica that does not say has not, for all that we know.
        if self.replica_is_up_to_date().await.unwrap_or(false) {
            find(&self.replica).await
        } else {
            self.on_primary(find).await
        }
    }
}

/// A pool for the node that takes writes. Connection strings of sqlx name one host, so it does what libpq does by
/// `target_session_attrs`.
async fn find_primary(nodes: &[String], deadline: Instant) -> sqlx::Result<PgPool> {
    loop {
        let mut last_seen = Error::PoolTimedOut;
        for node in nodes {
            match PgPoolOptions::new().acquire_timeout(GREETING_TIMEOUT).connect(node).await {
                Ok(pool) => match sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&pool).await {
                    Ok(false) => return Ok(pool),
                    Ok(true) => pool.close().await,
                    Err(error) => last_seen = error,
                },
                Err(error) => last_seen = error,
            }
        }
        if Instant::now() >= deadline {
            return Err(last_seen);
        }
        sleep(INTERVAL).await;
    }
}

/// Whether the primary is another node by now, or will be: nobody answers, or who answers shuts down or starts, or is a replica.
///
/// <https://www.postgresql.org/docs/17/errcodes-appendix.html>
fn is_elsewhere(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::PoolTimedOut => true,
        Error::Database(error) => matches!(error.code().as_deref(), Some("25006" | "57P01" | "57P02" | "57P03")),
        _ => false,
    }
}
