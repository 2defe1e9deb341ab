//! What `cluster up` does, through the library.

use std::time::Instant;

use pgherd_orchestrator::{reconcile, stop_cluster};

use super::{LIMIT, REPLICAS};
use crate::ground::Ground;

/// Seconds from nothing to all replicas streaming, as seen from both ends.
pub(super) async fn measure(ground: &Ground, round: u16) -> anyhow::Result<f64> {
    let engine = &ground.engine;
    let spec = ground.cluster(&format!("up-r{round}"), REPLICAS)?;
    let start = Instant::now();
    let (inventory, _) = reconcile(engine, &spec, LIMIT, |_| ()).await?;
    let seconds = start.elapsed().as_secs_f64();
    stop_cluster(engine, &inventory).await?;
    for network in engine.networks_named(&spec.name.network()).await? {
        engine.remove_network(&network).await?;
    }
    Ok(seconds)
}
