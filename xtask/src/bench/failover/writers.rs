//! Who tries to write, on every node at once and without an end, and tells when it was done.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use pgherd_orchestrator::{Engine, Inventory};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_postgres::Client;

use super::LIMIT;
use crate::application::Application;

/// Between two tries. What is measured is known this well.
const INTERVAL: Duration = Duration::from_millis(2);

/// One connection to each node, made before anything is done to it, so that neither a name nor a password is looked up in what is
/// measured. They end with this.
pub(super) struct Writers {
    tasks: JoinSet<()>,
    commits: UnboundedReceiver<Commit>,
    /// The last one that the former primary has acknowledged.
    last: Commit,
}

/// A commit that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Commit {
    node: u16,
    at: Instant,
}

impl Writers {
    /// Connects to every node, and returns when `primary` has committed something.
    pub(super) async fn begin(engine: &Engine, observed: &Inventory, primary: u16) -> anyhow::Result<Writers> {
        let application = Application::of(engine, observed).await?;
        let ports = observed.nodes.iter().filter_map(|(number, node)| Some((*number, node.published?)));
        let connect = |(node, port)| {
            let application = &application;
            async move { Ok::<_, tokio_postgres::Error>((node, application.connect_to(port).await?)) }
        };
        let clients = try_join_all(ports.map(connect)).await?;
        for (_, client) in clients.iter().filter(|(node, _)| *node == primary) {
            client.batch_execute("CREATE TABLE IF NOT EXISTS commits (at timestamptz)").await?;
        }
        let (sender, mut commits) = unbounded_channel();
        let tasks = clients.into_iter().map(|(node, client)| write(node, client, sender.clone())).collect();
        let last = next(&mut commits).await?;
        Ok(Writers { tasks, commits, last })
    }

    /// Waits for the first commit on another node than the one that has written until now; returns when it was, and when the last one
    /// on that node was.
    pub(super) async fn moved(&mut self) -> anyhow::Result<(Instant, Instant)> {
        loop {
            let commit = next(&mut self.commits).await?;
            if commit.node != self.last.node {
                self.tasks.abort_all();
                return Ok((commit.at, self.last.at));
            }
            self.last = commit;
        }
    }
}

async fn next(commits: &mut UnboundedReceiver<Commit>) -> anyhow::Result<Commit> {
    let commit = timeout(LIMIT, commits.recv()).await;
    let commit = commit.with_context(|| format!("nobody has committed anything for {} s", LIMIT.as_secs()))?;
    commit.context("no node has a connection any more")
}

/// Commits whenever the node takes writes, until the connection breaks. A replica is asked first, because it would write every refusal to
/// its log.
async fn write(node: u16, client: Client, commits: UnboundedSender<Commit>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match commit(&client).await {
            Ok(true) if commits.send(Commit { node, at: Instant::now() }).is_err() => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Whether it was done.
async fn commit(client: &Client) -> Result<bool, tokio_postgres::Error> {
    if client.query_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)? {
        return Ok(false);
    }
    client.batch_execute("INSERT INTO commits VALUES (now())").await?;
    Ok(true)
}
