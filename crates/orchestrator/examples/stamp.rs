//! Makes a cluster of one primary and two replicas, writes on one end, reads on the other, and removes it again.
//!
//! Run it with `cargo run -p pgherd-orchestrator --example stamp`; `cargo xtask images` builds the image that it needs.

use std::{error::Error, time::Duration};

use pgherd_orchestrator::{ClusterSpec, Engine, Lookout, Observer, Progress, Replicas, reconcile, remove_cluster};
use pgherd_probe::{Policy, assess};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::connect().await?;
    let name = format!("stamp-p{}", std::process::id()).parse()?;
    let spec = ClusterSpec { replicas: Replicas::AtLeast(2), ..ClusterSpec::new(name, 17) };
    let result = stamp_and_look(&engine, &spec).await;
    remove_cluster(&engine, &spec.name).await?;
    result
}

async fn stamp_and_look(engine: &Engine, spec: &ClusterSpec) -> Result<(), Box<dyn Error>> {
    let print = |progress: Progress<'_>| {
        if let Progress::Applying(steps) = progress {
            steps.iter().for_each(|step| println!("{step}"));
        }
    };
    let (inventory, _) = reconcile(engine, spec, Duration::from_secs(120), print).await?;
    for node in assess(&Policy::default(), &inventory.observed()).nodes {
        println!("{} is {}", node.node, node.state);
    }

    let observer = Observer::new(engine, &spec.name);
    observer.client(1).await?.batch_execute("CREATE TABLE herd AS SELECT 'hello' AS word").await?;
    let mut cluster = Lookout::new(engine, &spec.name);
    let token = cluster.commit_lsn().await?;
    cluster.wait_replayed(&spec.name.node(2), token, Duration::from_secs(10)).await?;
    let word: String = observer.client(2).await?.query_one("SELECT word FROM herd", &[]).await?.get(0);
    println!("the replica says {word}");
    Ok(())
}
