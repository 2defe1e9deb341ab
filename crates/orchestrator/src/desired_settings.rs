//! Settings that a cluster shall have as a whole, as a file says them: those of a new one are checked before anything is made, and one that is
//! there is given what differs once it is whole, in the order in which [`set`] does that.

use crate::{
    Changes, ClusterSpec, Engine, Helper, Inventory, Observer, Progress, ReconcileError, SettingsError, Stage, Terms,
    foresee_set, helper::labels_of, set,
};

/// What differs between what all nodes shall have and what the primary has, or where that is not ours, any node.
fn changes(desired: &ClusterSpec, observed: &Inventory) -> Changes {
    let node = observed.primary().and_then(|number| observed.nodes.get(&number)).or(observed.nodes.values().next());
    let spec = node.and_then(|node| node.spec.as_ref());
    let has = |name: &String, value: &String| spec.and_then(|spec| spec.settings.get(name)) == Some(value);
    let differing = desired.common.iter().filter(|(name, value)| !has(name, value));
    differing.map(|(name, value)| (name.clone(), Some(value.clone()))).collect()
}

async fn look(engine: &Engine, desired: &ClusterSpec) -> Result<Inventory, SettingsError> {
    Ok(Observer::new(engine, &desired.name).observe().await.map_err(ReconcileError::from)?)
}

/// Makes sure that the PostgreSQL of a cluster that is to be made would take the settings that all its nodes shall have. One that is there is
/// asked by [`settle_settings`].
///
/// # Errors
/// [`SettingsError::Reserved`] and [`SettingsError::Invalid`].
pub async fn check_settings(engine: &Engine, desired: &ClusterSpec) -> Result<(), SettingsError> {
    if desired.common.is_empty() || !look(engine, desired).await?.nodes.is_empty() {
        return Ok(());
    }
    check_settings_of_new(engine, desired).await
}

/// Gives the nodes of a cluster that is there and whole the settings that all shall have, and returns what it is then; `None` where nothing
/// was to change.
///
/// # Errors
/// See [`SettingsError`].
pub async fn settle_settings(
    engine: &Engine,
    desired: &ClusterSpec,
    terms: impl Into<Terms>,
    progress: impl FnMut(Progress<'_>),
) -> Result<Option<Inventory>, SettingsError> {
    let Some(changes) = changes_to(engine, desired).await? else { return Ok(None) };
    let (observed, has_changed) = set(engine, &as_found(desired), &changes, terms, progress).await?;
    Ok(has_changed.then_some(observed))
}

/// What [`settle_settings`] would do. Changes nothing.
///
/// # Errors
/// Those of [`settle_settings`] that come before anything is changed.
pub async fn foresee_settings(engine: &Engine, desired: &ClusterSpec) -> Result<Vec<Stage>, SettingsError> {
    match changes_to(engine, desired).await? {
        Some(changes) => foresee_set(engine, &as_found(desired), &changes).await,
        None => Ok(Vec::new()),
    }
}

/// None of a cluster that is not there: it is born with them.
async fn changes_to(engine: &Engine, desired: &ClusterSpec) -> Result<Option<Changes>, SettingsError> {
    if desired.common.is_empty() {
        return Ok(None);
    }
    let observed = look(engine, desired).await?;
    let changes = if observed.nodes.is_empty() { Changes::new() } else { changes(desired, &observed) };
    Ok((!changes.is_empty()).then_some(changes))
}

/// All else comes after the settings.
fn as_found(desired: &ClusterSpec) -> ClusterSpec {
    ClusterSpec { owner: desired.owner.clone(), ..ClusterSpec::new(desired.name.clone(), desired.major) }
}

async fn check_settings_of_new(engine: &Engine, desired: &ClusterSpec) -> Result<(), SettingsError> {
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
