//! Removes what dead test runs left behind, and nothing else.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use backon::{ConstantBuilder, Retryable};
use pgherd_images::{contract::labels, date::Timestamp};

use crate::{DiskError, Engine, EngineError, Fate, HelperError, Labelled, Owner, disk::remove_volumes, helper};

/// How long the things of an owner stay of whom cannot be known whether he lives: longer than any test run.
const TIME_TO_LIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes all containers, volumes and networks that carry the label of an owner who is dead, and names them.
///
/// What has no owner is a user's own; an owner who is alive keeps his. Of an owner who cannot be judged from here, on another
/// boot, machine or PID namespace, goes what is older than 24 hours.
///
/// # Errors
/// What the engine says.
pub async fn sweep(engine: &Engine) -> Result<Vec<String>, DiskError> {
    let now = Timestamp::from(SystemTime::now());
    remove_owned(engine, |owner, created| {
        let fate = owner.parse::<Owner>().map_or(Fate::Unknown, |owner| owner.fate());
        is_left_behind(fate, created.map(|created| Duration::from_secs(now.0.saturating_sub(created.0))))
    })
    .await
}

/// Removes all containers, volumes and networks of this owner, and names them.
///
/// # Errors
/// What the engine says.
pub async fn remove_all_of(engine: &Engine, owner: &Owner) -> Result<Vec<String>, DiskError> {
    let owner = owner.to_string();
    remove_owned(engine, |found, _| found == owner).await
}

/// Whether nobody is going to remove what an owner of this fate made so long ago.
fn is_left_behind(fate: Fate, age: Option<Duration>) -> bool {
    match fate {
        Fate::Alive => false,
        Fate::Dead => true,
        Fate::Unknown => age.is_some_and(|age| age > TIME_TO_LIVE),
    }
}

/// Two who remove the same things, as the sweeps of two runs do, meet: what one of them is removing, the engine denies to the
/// other, or has no more by then. It is over when one of them is through.
async fn remove_owned(
    engine: &Engine,
    doomed: impl Fn(&str, Option<Timestamp>) -> bool,
) -> Result<Vec<String>, DiskError> {
    let patience = ConstantBuilder::new().with_delay(Duration::from_millis(200)).with_max_times(100);
    let may_be_over_soon = |error: &DiskError| {
        !matches!(
            error,
            DiskError::Engine(EngineError::Unreachable { .. }) | DiskError::Helper(HelperError::NoToolbox { .. })
        )
    };
    (|| remove_owned_once(engine, &doomed)).retry(patience).when(may_be_over_soon).await
}

/// Containers first: volumes and networks cannot go while one uses them.
async fn remove_owned_once(
    engine: &Engine,
    doomed: impl Fn(&str, Option<Timestamp>) -> bool,
) -> Result<Vec<String>, DiskError> {
    let mut removed = Vec::new();
    let is_doomed = |labels: &HashMap<String, String>, created: Option<Timestamp>| {
        labels.get(labels::OWNER).is_some_and(|owner| doomed(owner, created))
    };
    for container in engine.list_containers(labels::OWNER).await? {
        if is_doomed(&container.labels, container.created) && !helper::is_at_work(&container.labels) {
            engine.remove_container(&container.name).await?;
            removed.push(format!("container {}", container.name));
        }
    }
    let volumes = engine.volumes(labels::OWNER).await?.into_iter();
    let volumes = volumes.filter(|volume| is_doomed(&volume.labels, volume.created));
    let volumes: Labelled = volumes.map(|volume| (volume.name, volume.labels)).collect();
    remove_volumes(engine, &volumes).await?;
    removed.extend(volumes.keys().map(|name| format!("volume {name}")));
    for network in engine.list_networks(labels::OWNER).await? {
        if is_doomed(&network.labels, network.created) {
            engine.remove_network(&network).await?;
            removed.push(format!("network {}", network.name));
        }
    }
    removed.sort();
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{TIME_TO_LIVE, is_left_behind};
    use crate::Fate::{Alive, Dead, Unknown};

    #[test]
    fn the_dead_leave_things_behind_and_strangers_do_after_a_day() {
        let (young, old) = (Some(TIME_TO_LIVE), Some(TIME_TO_LIVE + Duration::from_secs(1)));
        for (fate, age, left_behind) in [
            (Dead, young, true),
            (Dead, None, true),
            (Alive, old, false),
            (Unknown, young, false),
            (Unknown, None, false),
            (Unknown, old, true),
        ] {
            assert_eq!(is_left_behind(fate, age), left_behind, "{fate:?} {age:?}");
        }
    }
}
