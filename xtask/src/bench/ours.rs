//! What `cluster up` does, through the library.

use std::time::Instant;

use pgherd_images::release::PostgresMajor;
use pgherd_orchestrator::{ClusterSpec, Engine, Owner, Replicas, reconcile, stop_cluster};

use super::{LIMIT, REPLICAS};

/// Seconds from nothing to all replicas streaming, as seen from both ends.
pub(super) async fn measure(engine: &Engine, image: &str, round: u16) -> anyhow::Result<f64> {
    let spec = ClusterSpec {
        name: format!("bench-ours-{}-r{round}", std::process::id()).parse()?,
        major: PostgresMajor::DEFAULT.number(),
        image: image.to_owned(),
        replicas: Replicas::AtLeast(REPLICAS),
        publish: false,
        volume_size: None,
        only: None,
        owner: Some(Owner::of_this_process().to_string()),
    };
    let start = Instant::now();
    let (inventory, _) = reconcile(engine, &spec, LIMIT, |_| ()).await?;
    let seconds = start.elapsed().as_secs_f64();
    stop_cluster(engine, &inventory).await?;
    for network in engine.networks_named(&spec.name.network()).await? {
        engine.remove_network(&network).await?;
    }
    Ok(seconds)
}
