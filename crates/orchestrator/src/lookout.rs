//! Keeps an eye on one cluster: looks at it, and judges what was seen.

use pgherd_probe::{Observed, Policy, Report, assess};

use crate::{ClusterName, Engine, Inventory, Observer, ReconcileError, Refusal};

/// Watches one cluster over connections that stay open from look to look.
pub struct Lookout<'engine> {
    pub(crate) engine: &'engine Engine,
    pub(crate) observer: Observer<'engine>,
    cluster: ClusterName,
    policy: Policy,
}

/// What one look has shown.
#[derive(Debug, Clone)]
pub struct Look {
    /// What is there on the engine.
    pub inventory: Inventory,
    /// What the nodes said.
    pub observed: Vec<Observed>,
    /// The verdict on them.
    pub report: Report,
}

impl<'engine> Lookout<'engine> {
    /// Begins, without a look yet.
    #[must_use]
    pub fn new(engine: &'engine Engine, cluster: &ClusterName) -> Self {
        let (observer, policy) = (Observer::new(engine, cluster), Policy::default());
        Lookout { engine, observer, cluster: cluster.clone(), policy }
    }

    /// Where good ends.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Observes every node and judges. A node that cannot be asked costs some seconds, and is part of the verdict.
    ///
    /// # Errors
    /// [`Refusal::NoSuchCluster`], and if the engine cannot be asked.
    pub async fn look(&mut self) -> Result<Look, ReconcileError> {
        let inventory = self.observer.observe().await?;
        if inventory.is_empty() {
            Err(Refusal::NoSuchCluster(self.cluster.clone()))?;
        }
        let observed = inventory.observed();
        let report = assess(&self.policy, &observed);
        Ok(Look { inventory, observed, report })
    }
}
