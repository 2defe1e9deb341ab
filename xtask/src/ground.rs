//! What benchmarks and drills stand on: an engine, an image, and a name on everything that they make, by which it is removed.

use std::collections::HashMap;

use pgherd_images::{contract::labels, release::PostgresMajor};
use pgherd_orchestrator::{ClusterSpec, Engine, Inventory, Owner, Replicas, stop_cluster};
use tokio::runtime::Runtime;

use crate::{e2e, images::ImageArg};

pub(crate) struct Ground {
    pub(crate) engine: Engine,
    /// The image of nodes.
    pub(crate) image: String,
    pub(crate) owner: Owner,
    /// What the names of clusters begin with.
    purpose: &'static str,
}

impl Ground {
    /// Works, and removes all that was made for it.
    pub(crate) fn work<T>(
        purpose: &'static str,
        image: &ImageArg,
        work: impl AsyncFnOnce(&Ground) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let runtime = Runtime::new()?;
        let engine = runtime.block_on(Engine::connect())?;
        // Some gigabytes may be left of a run that was killed.
        e2e::sweep(&runtime, &engine)?;
        runtime.block_on(async {
            let image = image.ensure(&engine).await?;
            let ground = Ground { engine, image, owner: Owner::of_this_process(), purpose };
            let end = work(&ground).await;
            // Not after each round: ext4 passes over every inode that was deleted in the last minutes, one by one, before it makes a
            // file, and a few thousand deletions would slow down all that is measured after them.
            pgherd_orchestrator::remove_all_of(&ground.engine, &ground.owner).await?;
            end
        })
    }

    /// A cluster of our own.
    pub(crate) fn cluster(&self, name: &str, replicas: u16) -> anyhow::Result<ClusterSpec> {
        let name = format!("{}-{}-{name}", self.purpose, std::process::id()).parse()?;
        Ok(ClusterSpec {
            image: self.image.clone(),
            replicas: Replicas::AtLeast(replicas),
            owner: Some(self.owner.to_string()),
            ..ClusterSpec::new(name, PostgresMajor::DEFAULT.number())
        })
    }

    /// Stops a cluster that was measured: nodes that run would slow down the next one, and there are not many networks.
    pub(crate) async fn put_aside(&self, measured: &Inventory) -> anyhow::Result<()> {
        stop_cluster(&self.engine, measured).await?;
        for network in self.engine.networks_named(&measured.name.network()).await? {
            self.engine.remove_network(&network).await?;
        }
        Ok(())
    }

    /// What everything carries that is made by hand.
    pub(crate) fn labels(&self) -> HashMap<String, String> {
        HashMap::from([(labels::OWNER.to_owned(), self.owner.to_string())])
    }
}
