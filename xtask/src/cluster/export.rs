//! `cluster export`: what a cluster is, written down.

use std::process::ExitCode;

use anyhow::bail;
use pgherd_orchestrator::{ClusterFile, ClusterName, Engine, Inventory, Observer, Refusal};

use crate::output;

pub(super) async fn spec(engine: &Engine, name: &ClusterName) -> anyhow::Result<ExitCode> {
    output::line(ClusterFile::of(&observed(engine, name).await?).to_string().trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn compose(engine: &Engine, name: &ClusterName) -> anyhow::Result<ExitCode> {
    output::line(pgherd_orchestrator::compose(&observed(engine, name).await?).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

async fn observed(engine: &Engine, name: &ClusterName) -> anyhow::Result<Inventory> {
    let observed = Observer::new(engine, name).observe().await?;
    if observed.is_empty() {
        bail!(Refusal::NoSuchCluster(name.clone()));
    }
    // Who may change that server is said each time anew, and in no file.
    observed.refuse_followers("write down what would make it again")?;
    Ok(observed)
}
