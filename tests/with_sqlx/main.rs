//! What a program's own test suite looks like that has a cluster of [`pgherd_orchestrator`]: an example, and a test of the library.
//!
//! The program takes orders. It writes them to the primary and reads them from a replica, by [sqlx], whose connection strings name
//! one host. In `first.rs` it is as one writes it on a laptop with a single server, and works there. Each test here brings about
//! what a cluster does sooner or later, holds against that what the program then does, and holds that `mended.rs` bears it:
//!
//! - A replica is late. An order that was just acknowledged is not found.
//! - Another node becomes the primary. The pool still leads to the old one, and takes no order any more, until somebody restarts it.
//!
//! Nothing is left to chance: `pause_replay` makes the replica late for exactly as long as the test says, and `switchover` and
//! `failover` return when the other node is the primary. Each test has a cluster of its own, so that they run side by side.
//!
//! Run it by `cargo test -p e2e --test with_sqlx`; `cargo xtask images` builds the image that it needs.

mod first;
mod mended;

use std::{error::Error, time::Duration};

use pgherd_orchestrator::{Cluster, NodeName};

type TestResult = Result<(), Box<dyn Error>>;

/// For how long the program goes on looking for a primary. Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both versions of the program.
trait Shop {
    /// Places an order. Once this has returned, the customer is told that it was taken.
    async fn order(&mut self, id: i32) -> sqlx::Result<()>;

    /// Whether there is such an order.
    async fn has(&mut self, id: i32) -> sqlx::Result<bool>;
}

/// The connection strings of all nodes, the primary's first.
async fn urls(cluster: &Cluster, replicas: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut urls = vec![cluster.url_of(&cluster.primary().await?).await?];
    for index in 0..replicas {
        urls.push(cluster.url_of(&cluster.replica(index).await?).await?);
    }
    Ok(urls)
}

/// Whether a customer finds the order that he has just placed, when he asks a replica that has not replayed it.
async fn finds_own_order(
    shop: &mut impl Shop,
    cluster: &Cluster,
    replica: &NodeName,
    id: i32,
) -> Result<bool, Box<dyn Error>> {
    cluster.pause_replay(replica).await?;
    shop.order(id).await?;
    let found = shop.has(id).await?;
    cluster.resume_replay(replica).await?;
    cluster.wait_replayed(replica, cluster.commit_lsn().await?).await?;
    Ok(found)
}

#[tokio::test]
async fn a_customer_finds_the_order_that_he_has_just_placed() -> TestResult {
    let cluster = Cluster::builder().replicas(1).start().await?;
    let (urls, replica) = (urls(&cluster, 1).await?, cluster.replica(0).await?);
    let mut first = first::Shop::open(&urls[0], &urls[1]).await?;
    let mut mended = mended::Shop::open(&urls, &urls[1]).await?;
    cluster.wait_replayed(&replica, cluster.commit_lsn().await?).await?;

    let found = finds_own_order(&mut first, &cluster, &replica, 1).await?;
    assert!(!found, "the first version reads from a replica whatever that has");
    assert!(first.has(1).await?, "it is there, but it comes late");

    assert!(finds_own_order(&mut mended, &cluster, &replica, 2).await?);
    // Not by reading everything from the primary.
    assert!(mended.replica_is_up_to_date().await?);
    cluster.pause_replay(&replica).await?;
    mended.order(3).await?;
    assert!(!mended.replica_is_up_to_date().await?);

    cluster.remove().await?;
    Ok(())
}

/// The SQLSTATE of `read_only_sql_transaction`, by which a replica answers to whoever wants to write.
const READ_ONLY: &str = "25006";

fn sqlstate(end: sqlx::Result<()>) -> Option<String> {
    Some(end.err()?.as_database_error()?.code()?.into_owned())
}

#[tokio::test]
async fn orders_are_taken_whoever_is_the_primary() -> TestResult {
    let cluster = Cluster::builder().replicas(2).quorum(1).start().await?;
    let urls = urls(&cluster, 2).await?;
    let mut first = first::Shop::open(&urls[0], &urls[1]).await?;
    let mut mended = mended::Shop::open(&urls, &urls[1]).await?;
    first.order(1).await?;
    mended.order(2).await?;

    // In good order: the old primary comes back as a replica, and on its address it takes no writes.
    let second = cluster.switchover().await?;
    for id in [3, 3] {
        assert_eq!(sqlstate(first.order(id).await).as_deref(), Some(READ_ONLY), "its pool leads to the old primary");
    }
    mended.order(4).await?;

    // Restarted, it is told the new address, and works until the next time.
    let mut first = first::Shop::open(&cluster.url_of(&second).await?, &urls[1]).await?;
    first.order(5).await?;
    cluster.kill(&second).await?;
    let error = first.order(6).await.expect_err("nobody listens at the address of a dead node");
    assert!(matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)), "{error}");
    // An order that comes while nobody is the primary is taken by who becomes it.
    let (third, taken) = tokio::join!(cluster.failover(), mended.order(7));
    assert_ne!(third?, second);
    taken?;
    cluster.bring_up().await?;
    assert_eq!(sqlstate(first.order(6).await).as_deref(), Some(READ_ONLY), "the node has come back, as a replica");

    // Whatever was acknowledged is there, and nothing else.
    for (id, was_taken) in [(1, true), (2, true), (3, false), (4, true), (5, true), (6, false), (7, true)] {
        assert_eq!(mended.has(id).await?, was_taken, "order {id}");
    }

    cluster.remove().await?;
    Ok(())
}
