//! The program as it was first written: a pool for the primary, and a pool for the replica.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgPoolOptions};

/// How long a customer waits for a connection.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Shop {
    primary: PgPool,
    replica: PgPool,
}

impl Shop {
    pub(crate) async fn open(primary: &str, replica: &str) -> sqlx::Result<Shop> {
        let pool = || PgPoolOptions::new().acquire_timeout(PATIENCE);
        let shop = Shop { primary: pool().connect(primary).await?, replica: pool().connect(replica).await? };
        let table = "CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY)";
        sqlx::query(table).execute(&shop.primary).await?;
        Ok(shop)
    }
}

impl crate::Shop for Shop {
    async fn order(&mut self, id: i32) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO orders VALUES ($1)").bind(id).execute(&self.primary).await.map(drop)
    }

    async fn has(&mut self, id: i32) -> sqlx::Result<bool> {
        let found = sqlx::query_scalar("SELECT EXISTS (SELECT FROM orders WHERE id = $1)").bind(id);
        found.fetch_one(&self.replica).await
    }
}
