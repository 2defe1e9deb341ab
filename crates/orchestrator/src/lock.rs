//! One change of a cluster at a time, whoever makes it and from wherever.
//!
//! The lock is a volume: the engine makes only one of a name, and answers with the labels of the one that is there.

use pgherd_images::contract::labels;

use crate::{ClusterSpec, Engine, EngineError, Owner, ReconcileError};

/// The right to change a cluster, until it is released, or taken away by somebody who was told to.
#[must_use = "a lock that nobody releases stays until its holder's process has ended"]
pub(crate) struct Lock {
    volume: String,
    holder: String,
}

impl Lock {
    /// Takes the lock, also from a holder whose process has ended, and with `steal` from any.
    ///
    /// # Errors
    /// [`ReconcileError::Locked`] if a living process has it, or one of which that cannot be known.
    pub(crate) async fn take(engine: &Engine, spec: &ClusterSpec, steal: bool) -> Result<Lock, ReconcileError> {
        let volume = spec.name.lock_volume();
        let us = Owner::of_this_process().to_string();
        let mut labels = spec.labels();
        labels.insert(labels::HOLDER.to_owned(), us.clone());
        // Twice: the first may find the lock of somebody who is dead.
        for _ in 0..2 {
            let found = engine.create_volume(&volume, labels.clone()).await?;
            let holder = found.get(labels::HOLDER).cloned().unwrap_or_default();
            if holder == us {
                return Ok(Lock { volume, holder });
            }
            if steal || holder.parse::<Owner>().is_ok_and(|holder| !holder.is_alive()) {
                engine.remove_volume(&volume).await?;
                continue;
            }
            return Err(locked(engine, spec, holder).await?);
        }
        Err(locked(engine, spec, "somebody faster".to_owned()).await?)
    }

    /// Makes sure that nobody has taken it away.
    ///
    /// # Errors
    /// [`ReconcileError::LockStolen`], and what the engine says.
    pub(crate) async fn check(&self, engine: &Engine) -> Result<(), ReconcileError> {
        let labels = engine.inspect_volume(&self.volume).await?;
        let holder = labels.and_then(|labels| labels.get(labels::HOLDER).cloned());
        if holder.as_ref() == Some(&self.holder) {
            return Ok(());
        }
        Err(ReconcileError::LockStolen { holder: holder.unwrap_or_else(|| "who is through".to_owned()) })
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// What the engine says.
    pub(crate) async fn release(self, engine: &Engine) -> Result<(), EngineError> {
        match self.check(engine).await {
            Ok(()) => engine.remove_volume(&self.volume).await,
            Err(_) => Ok(()),
        }
    }
}

/// Who has it, and since when.
async fn locked(engine: &Engine, spec: &ClusterSpec, holder: String) -> Result<ReconcileError, EngineError> {
    let volume = spec.name.lock_volume();
    let of_cluster = format!("{}={}", labels::CLUSTER, spec.name);
    let found = engine.volumes(&of_cluster).await?.into_iter().find(|found| found.name == volume);
    let since = found.and_then(|found| found.created).map_or_else(|| "a moment ago".to_owned(), |at| at.to_string());
    Ok(ReconcileError::Locked { cluster: spec.name.clone(), holder, since })
}
