//! One change of a cluster at a time, whoever makes it and from wherever.
//!
//! The lock is a volume: the engine makes only one of a name, and answers with the labels of the one that is there.

use pgherd_images::contract::labels;

use crate::{ClusterSpec, Engine, EngineError, Owner, ReconcileError};

/// The right to change a cluster, until it is released.
#[must_use = "a lock that nobody releases stays until its holder's process has ended"]
pub(crate) struct Lock {
    volume: String,
}

impl Lock {
    /// Takes the lock, also from a holder whose process has ended.
    ///
    /// # Errors
    /// [`ReconcileError::Locked`] if a living process has it, or one of which that cannot be known.
    pub(crate) async fn take(engine: &Engine, spec: &ClusterSpec) -> Result<Lock, ReconcileError> {
        let volume = spec.name.lock_volume();
        let us = Owner::of_this_process().to_string();
        let mut labels = spec.labels();
        labels.insert(labels::HOLDER.to_owned(), us.clone());
        // Twice: the first may find the lock of somebody who is dead.
        for _ in 0..2 {
            let found = engine.create_volume(&volume, labels.clone()).await?;
            let holder = found.get(labels::HOLDER).cloned().unwrap_or_default();
            if holder == us {
                return Ok(Lock { volume });
            }
            if holder.parse::<Owner>().is_ok_and(|holder| !holder.is_alive()) {
                engine.remove_volume(&volume).await?;
                continue;
            }
            return Err(ReconcileError::Locked { cluster: spec.name.clone(), volume, holder });
        }
        Err(ReconcileError::Locked { cluster: spec.name.clone(), volume, holder: "somebody faster".to_owned() })
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) async fn release(self, engine: &Engine) -> Result<(), EngineError> {
        engine.remove_volume(&self.volume).await
    }
}
