//! What `cluster up` does, through the library.

use std::time::Instant;

use pgherd_orchestrator::reconcile;

use super::{LIMIT, REPLICAS};
use crate::ground::Ground;

/// Seconds from nothing to all replicas streaming, as seen from both ends.
pub(super) async fn measure(ground: &Ground, round: u16) -> anyhow::Result<f64> {
    let spec = ground.cluster(&format!("up-r{round}"), REPLICAS)?;
    let start = Instant::now();
    let (inventory, _) = reconcile(&ground.engine, &spec, LIMIT, |_| ()).await?;
    let seconds = start.elapsed().as_secs_f64();
    ground.put_aside(&inventory).await?;
    Ok(seconds)
}
