//! Removes what dead test runs left behind, and nothing else.

use std::collections::HashMap;

use pgherd_images::contract::labels;

use crate::{Engine, EngineError, Owner};

/// Removes all containers, volumes and networks that carry the label of an owner who is dead, and names them.
///
/// What has no owner is a user's own; an owner who is alive, or of whom that cannot be known, keeps his.
///
/// # Errors
/// What the engine says.
pub async fn sweep(engine: &Engine) -> Result<Vec<String>, EngineError> {
    remove_owned(engine, |owner| owner.parse::<Owner>().is_ok_and(|owner| !owner.is_alive())).await
}

/// Removes all containers, volumes and networks of this owner, and names them.
///
/// # Errors
/// What the engine says.
pub async fn remove_all_of(engine: &Engine, owner: &Owner) -> Result<Vec<String>, EngineError> {
    let owner = owner.to_string();
    remove_owned(engine, |found| found == owner).await
}

/// Containers first: volumes and networks cannot go while one uses them.
async fn remove_owned(engine: &Engine, doomed: impl Fn(&str) -> bool) -> Result<Vec<String>, EngineError> {
    let mut removed = Vec::new();
    let is_doomed = |labels: &HashMap<String, String>| labels.get(labels::OWNER).is_some_and(|owner| doomed(owner));
    for container in engine.list_containers(labels::OWNER).await? {
        if is_doomed(&container.labels) {
            engine.remove_container(&container.name).await?;
            removed.push(format!("container {}", container.name));
        }
    }
    for (name, labels) in engine.list_volumes(labels::OWNER).await? {
        if is_doomed(&labels) {
            engine.remove_volume(&name).await?;
            removed.push(format!("volume {name}"));
        }
    }
    for network in engine.list_networks(labels::OWNER).await? {
        if is_doomed(&network.labels) {
            engine.remove_network(&network).await?;
            removed.push(format!("network {}", network.name));
        }
    }
    removed.sort();
    Ok(removed)
}
