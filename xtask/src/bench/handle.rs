//! `bench handle`: how soon a test can begin: with a cluster by the library, and with a single node by the crate testcontainers.

mod relay;
mod testcontainers;

use std::time::Instant;

use pgherd_orchestrator::{Cluster, ClusterBuilder, Look};
use tokio_postgres::NoTls;

use super::{Ground, figures::Figures};
use crate::output;

const THROWAWAY: &str = "pgherd, a primary and a replica, throwaway";
const DURABLE: &str = "pgherd, a primary and a replica";
const THEIRS: &str = "testcontainers, a single node";

pub(super) async fn measure(ground: &Ground, rounds: u16) -> anyhow::Result<Figures> {
    let mut other = testcontainers::Starter::ready(ground).await?;
    let mut figures = Figures::of("from nothing until every node has answered the first question of a test");
    // They go with the end, and not with their round, see `Ground::work`.
    let mut measured = Vec::new();
    for round in 1..=rounds {
        let theirs = other.measure(ground, round).await?;
        figures.add(THEIRS, "s", theirs);
        output::note(format_args!("round {round} of {rounds}: {THEIRS} {theirs:.2} s"));
        let builder = Cluster::builder().image(&*ground.image).replicas(1);
        for (who, builder) in [(THROWAWAY, builder.clone().throwaway()), (DURABLE, builder)] {
            let (cluster, ours) = start(builder).await?;
            output::note(format_args!("round {round} of {rounds}: {who} {ours:.2} s"));
            figures.add(who, "s", ours);
            let Look { inventory, .. } = cluster.look().await?;
            ground.put_aside(&inventory).await?;
            measured.push(cluster);
        }
    }
    other.end().await?;
    figures.compare(THROWAWAY, THEIRS);
    figures.compare(DURABLE, THEIRS);
    Ok(figures)
}

/// A cluster whose nodes have answered, and how many seconds that took.
async fn start(builder: ClusterBuilder) -> anyhow::Result<(Cluster, f64)> {
    let begin = Instant::now();
    let cluster = builder.start().await?;
    for url in [cluster.url().await?, cluster.url_of(&cluster.replica(0).await?).await?] {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        let connection = tokio::spawn(connection);
        client.simple_query("SELECT 1").await?;
        drop(client);
        connection.await??;
    }
    Ok((cluster, begin.elapsed().as_secs_f64()))
}
