//! Settings that a cluster shall have as a whole, as a file says them: those of a new one are checked before anything is made, and one that is
//! there is given what differs, in the order in which [`set`] does that.

use crate::{
    Changes, ClusterSpec, Engine, Helper, Inventory, Observer, Progress, ReconcileError, SettingsError, Stage, Terms,
    foresee_set, helper::labels_of, set,
};

/// What differs between what all nodes shall have and what the primary has.
fn changes(desired: &ClusterSpec, observed: &Inventory) -> Changes {
    let primary = observed.primary().and_then(|number| observed.nodes.get(&number)?.spec.as_ref());
    let has = |name: &String, value: &String| primary.and_then(|spec| spec.settings.get(name)) == Some(value);
    let differing = desired.common.iter().filter(|(name, value)| !has(name, value));
    differing.map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
}

async fn look(engine: &Engine, desired: &ClusterSpec) -> Result<Option<Changes>, SettingsError> {
    if desired.common.is_empty() {
        return Ok(None);
    }
    let observed = Observer::new(engine, &desired.name).observe().await.map_err(ReconcileError::from)?;
    if observed.nodes.is_empty() {
        check_settings_of_new(engine, desired).await?;
        return Ok(None);
    }
    Ok(Some(changes(desired, &observed)).filter(|changes| !changes.is_empty()))
}

/// Gives the nodes of a cluster that is there the settings that all shall have, and tells whether there was anything to change. Of a cluster
/// that is not there, checks that PostgreSQL would take them.
///
/// # Errors
/// See [`SettingsError`].
pub async fn settle_settings(
    engine: &Engine,
    desired: &ClusterSpec,
    terms: impl Into<Terms>,
    progress: impl FnMut(Progress<'_>),
) -> Result<bool, SettingsError> {
    match look(engine, desired).await? {
        Some(changes) => Ok(set(engine, &as_found(desired), &changes, terms, progress).await?.1),
        None => Ok(false),
    }
}

/// What [`settle_settings`] would do. Changes nothing.
///
/// # Errors
/// Those of [`settle_settings`] that come before anything is changed.
pub async fn foresee_settings(engine: &Engine, desired: &ClusterSpec) -> Result<Vec<Stage>, SettingsError> {
    match look(engine, desired).await? {
        Some(changes) => foresee_set(engine, &as_found(desired), &changes).await,
        None => Ok(Vec::new()),
    }
}

/// All else comes after the settings.
fn as_found(desired: &ClusterSpec) -> ClusterSpec {
    ClusterSpec { owner: desired.owner.clone(), ..ClusterSpec::new(desired.name.clone(), desired.major) }
}

/// Asks the PostgreSQL of the image whether it would take the settings of a cluster that is to be made.
///
/// # Errors
/// [`SettingsError::Reserved`] and [`SettingsError::Invalid`].
pub async fn check_settings_of_new(engine: &Engine, desired: &ClusterSpec) -> Result<(), SettingsError> {
    let reserved = pgherd_agent::RESERVED_SETTINGS;
    if let Some(name) = desired.common.keys().find(|name| reserved.contains(&name.as_str())) {
        return Err(SettingsError::Reserved(name.clone()));
    }
    let node = desired.name.node(1);
    let json = serde_json::to_string(&desired.common).expect("texts are serializable");
    let helper = Helper {
        action: format!("check the settings of cluster \"{}\"", desired.name),
        image: desired.image.clone(),
        command: ["pgherd-agent", "check-settings", &json].map(str::to_owned).into(),
        labels: labels_of(&node, &desired.labels()),
        ..Helper::default()
    };
    let end = engine.run_helper(helper).await.map_err(ReconcileError::from)?;
    if end.exit_code == 0 {
        return Ok(());
    }
    let (_, why) = end.output.split_once("FATAL:  ").unwrap_or(("", &end.output));
    Err(SettingsError::Invalid(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nothing_changes_where_nothing_is_asked() {
        let desired = ClusterSpec::new("demo".parse().expect("a name"), 17);
        let observed = Inventory {
            name: desired.name.clone(),
            network: crate::Presence::Absent,
            secrets: crate::Presence::Absent,
            nodes: BTreeMap::new(),
            source: None,
            origin: None,
            strangers: Vec::new(),
            free_ports: Vec::new(),
        };
        assert!(changes(&desired, &observed).is_empty());
        let common = [("work_mem".to_owned(), "1MB".to_owned())].into();
        let asked = changes(&ClusterSpec { common, ..desired }, &observed);
        assert_eq!(asked, [("work_mem".to_owned(), Some("1MB".to_owned()))].into());
    }
}
