//! Settings of a whole cluster, changed in the one order in which no replica stands still.
//!
//! A replica must have no less of some settings than its primary, or it stops replaying as soon as it reads of that in the write-ahead
//! log (<https://www.postgresql.org/docs/17/hot-standby.html#HOT-STANDBY-ADMIN>). So what is raised is raised on replicas first, and
//! what is lowered is lowered on the primary first; what only a start takes up takes one start a node, or two. The primary's start can be
//! that of a replica, where one of those that have their settings already takes over before.

use std::collections::{BTreeMap, BTreeSet};

use pgherd_agent::{ORDER_BOUND_SETTINGS, RESERVED_SETTINGS};
use pgherd_probe::{ORDER_BOUND, Policy, Reach, assess};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use crate::{
    ClusterSpec, Engine, Inventory, Lookout, NodeInventory, NodeName, Observer, Primacy, Progress, ReconcileError,
    Refusal, Settings, Storage, Terms, WaitError, causes::with_causes, reconcile_by, succession,
};

/// What is to change: a value, or `None` for what every node has otherwise.
pub type Changes = BTreeMap<String, Option<String>>;

/// What the primary says of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// When it can be changed: `postmaster` for those that only a start takes up.
    ///
    /// <https://www.postgresql.org/docs/17/view-pg-settings.html>
    pub context: String,
    /// What it is, in its own unit.
    pub setting: String,
    /// What it shall be, in the same unit.
    pub wanted: Option<String>,
}

/// Nodes that get their settings at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// By their numbers.
    pub nodes: BTreeMap<u16, Settings>,
    /// Whether they are started anew for that.
    pub restarts: bool,
    /// Whether they have to have replayed all that the primary has written before: they get less of something than they have, and may
    /// not meet its old value in the write-ahead log any more.
    pub after_replay: bool,
    /// Who takes over before from the one node here, the primary: it is started as a replica then.
    pub successor: Option<u16>,
}

/// Why settings were not changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// PostgreSQL does not know them.
    #[error("PostgreSQL {major} has no setting \"{name}\"\nhint: \"SELECT name FROM pg_settings\" lists all.")]
    Unknown {
        /// The version.
        major: u16,
        /// The first of them.
        name: String,
    },
    /// A node would not be what it is, or not be found any more.
    #[error(
        "setting \"{0}\" is not to be changed: by it a node is what it is asked to be, or found where it is looked for\n\
         hint: The verbs of the cluster change what it stands for: \"up\", \"repoint\", \"switchover\"."
    )]
    Reserved(String),
    /// It is what the server was built or initialized with.
    #[error("setting \"{0}\" cannot be changed: it is what the server was built or initialized with")]
    Fixed(String),
    /// PostgreSQL would not take a value.
    #[error("PostgreSQL would not take these settings:\n{0}")]
    Invalid(String),
    /// The primary has to have it first, and cannot get it from anybody.
    #[error(
        "setting \"{name}\" cannot be lowered by a switchover, from {from} to {to}: no replica can have less of it than its primary\n\
         hint: Lower it without \"--switchover\", which starts the primary anew where it is."
    )]
    LoweredBySwitchover {
        /// Which one.
        name: String,
        /// What the primary has.
        from: i64,
        /// What is wanted.
        to: i64,
    },
    /// A node could not be told.
    #[error("cannot change settings while \"{node}\" {doing}\nhint: \"cluster up\" brings it up; or remove it.")]
    NotNow {
        /// Which one.
        node: NodeName,
        /// What it does instead.
        doing: String,
    },
    /// A node did not start with them.
    #[error("{failure}\n\"{node}\" does not start with these settings; all nodes have again what they had")]
    UndoneFor {
        /// Which one.
        node: String,
        /// What it said.
        failure: Box<ReconcileError>,
    },
    /// Neither did it with the old ones.
    #[error("{failure}\nand what it had before could not be brought back: {undo}")]
    NotUndone {
        /// What failed first.
        failure: Box<ReconcileError>,
        /// And then.
        undo: Box<ReconcileError>,
    },
    /// The cluster is being changed by somebody else, or is not whole.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// A replica does not replay.
    #[error(transparent)]
    Wait(#[from] WaitError),
}

/// The stages of a change, one after the other. Those in which nothing is to be done are left out, so that a change that was cut off goes on
/// from where it was.
///
/// With [`Primacy::Switchover`] a replica that has its settings already takes over, where the primary needs a start.
///
/// # Errors
/// Where one of them cannot be changed by anybody, a node does not answer, or nobody can take over.
pub fn plan_settings(
    changes: &Changes,
    known: &[Setting],
    observed: &Inventory,
    primacy: &Primacy,
) -> Result<Vec<Stage>, SettingsError> {
    let primary = primary_of(changes, observed)?;
    if let Some(fixed) = known.iter().find(|setting| setting.context == "internal") {
        return Err(SettingsError::Fixed(fixed.name.clone()));
    }
    let needs_start =
        |name: &String| known.iter().any(|setting| setting.name == *name && setting.context == "postmaster");
    // Whatever replicas have: from the primary comes what they read in the write-ahead log.
    let lowered: BTreeMap<&str, (i64, i64)> = known
        .iter()
        .filter_map(|setting| Some((setting.name.as_str(), (setting.bound_now()?, setting.bound_then()?))))
        .filter(|(_, (now, then))| then < now)
        .collect();
    let waits_for_a_start = |node: &NodeInventory| changes.keys().any(|name| node.waits_for_a_start(name));
    let replicas: Vec<u16> = observed.nodes.keys().copied().filter(|number| *number != primary).collect();
    let with = |number: u16, take: &dyn Fn(&String) -> bool| {
        let mut settings = observed.nodes[&number].spec.as_ref().map(|spec| spec.settings.clone()).unwrap_or_default();
        for (name, value) in changes.iter().filter(|(name, _)| take(name)) {
            match value {
                Some(value) => settings.insert(name.clone(), value.clone()),
                None => settings.remove(name),
            };
        }
        BTreeMap::from([(number, settings)])
    };
    let stage = |number: u16, take: &dyn Fn(&String) -> bool| Stage {
        nodes: with(number, take),
        restarts: changes.keys().any(|name| take(name) && needs_start(name)),
        after_replay: number != primary
            && known.iter().any(|setting| take(&setting.name) && setting.is_less_than_of(&observed.nodes[&number])),
        successor: None,
    };
    let mut stages = Vec::new();
    if changes.keys().any(needs_start) {
        stages.extend(replicas.iter().map(|number| stage(*number, &|name| !lowered.contains_key(name.as_str()))));
        stages.push(stage(primary, &|_| true));
        if !lowered.is_empty() {
            stages.extend(replicas.iter().map(|number| stage(*number, &|_| true)));
        }
    } else {
        let all = observed.nodes.keys().flat_map(|number| with(*number, &|_| true));
        stages.push(Stage { nodes: all.collect(), restarts: false, after_replay: false, successor: None });
    }
    // What a later stage asks of a node is not done yet where an earlier one has not come to it.
    let mut has: BTreeMap<u16, Settings> = BTreeMap::new();
    stages.retain(|stage| {
        let is_new = stage.nodes.iter().any(|(number, settings)| {
            let found = &observed.nodes[number];
            let now = has.get(number).or_else(|| found.spec.as_ref().map(|spec| &spec.settings));
            now != Some(settings) || (stage.restarts && !has.contains_key(number) && waits_for_a_start(found))
        });
        if is_new {
            has.extend(stage.nodes.clone());
        }
        is_new
    });
    let of_primary = stages.iter_mut().find(|stage| stage.restarts && stage.nodes.contains_key(&primary));
    if let (Primacy::Switchover { to }, Some(stage)) = (primacy, of_primary) {
        if let Some((name, (from, to))) = lowered.first_key_value() {
            return Err(SettingsError::LoweredBySwitchover { name: (*name).to_owned(), from: *from, to: *to });
        }
        stage.successor = Some(successor(*to, primary, known, observed).map_err(ReconcileError::from)?);
    }
    let restarts_primary =
        |stage: &Stage| stage.restarts && stage.successor.is_none() && stage.nodes.contains_key(&primary);
    if observed.nodes[&primary].storage == Storage::Memory && stages.iter().any(restarts_primary) {
        return Err(ReconcileError::from(Refusal::InMemory(observed.node_name(primary))).into());
    }
    Ok(stages)
}

/// Who can take over once all replicas have their settings.
fn successor(to: Option<u16>, primary: u16, known: &[Setting], observed: &Inventory) -> Result<u16, Refusal> {
    let mut then = observed.clone();
    for node in then.nodes.values_mut() {
        let Reach::Answered(status) = &mut node.reach else { continue };
        for in_force in status.settings.iter_mut().flatten() {
            let wanted = known.iter().find(|setting| setting.name == in_force.name);
            in_force.setting =
                wanted.and_then(|setting| setting.wanted.clone()).unwrap_or_else(|| in_force.setting.clone());
        }
    }
    succession::candidate(to, primary, &then, &assess(&Policy::default(), &then.observed()))
}

/// The primary, where every node can be told.
fn primary_of(changes: &Changes, observed: &Inventory) -> Result<u16, SettingsError> {
    observed.refuse_followers("change settings").map_err(ReconcileError::from)?;
    if let Some(name) = changes.keys().find(|name| RESERVED_SETTINGS.contains(&name.as_str())) {
        return Err(SettingsError::Reserved(name.clone()));
    }
    for (number, node) in &observed.nodes {
        if node.status().is_none() {
            let doing = crate::succession::what_it_does(&node.reach);
            return Err(SettingsError::NotNow { node: observed.node_name(*number), doing });
        }
    }
    let is_primary = |number: &u16| observed.nodes.get(number).is_some_and(NodeInventory::is_primary);
    observed
        .primary()
        .filter(is_primary)
        .ok_or_else(|| ReconcileError::from(crate::Refusal::NoPrimary(observed.name.clone())).into())
}

impl Setting {
    /// What the primary has, of what a replica must have no less of.
    fn bound_now(&self) -> Option<i64> {
        self.setting.parse().ok().filter(|_| ORDER_BOUND.contains(&self.name.as_str()))
    }

    /// What it shall have.
    fn bound_then(&self) -> Option<i64> {
        self.wanted.as_ref()?.parse().ok()
    }

    /// Whether a replica would have less of it than it has; one that does not say what it has has what the primary has.
    fn is_less_than_of(&self, replica: &NodeInventory) -> bool {
        let now = self.bound_now().map(|now| replica.in_force(&self.name).unwrap_or(now));
        matches!((now, self.bound_then()), (Some(now), Some(then)) if then < now)
    }
}

/// Changes settings on every node, and returns when all replicas stream with them. A value that PostgreSQL does not take changes nothing;
/// where it turns out at a start alone, all nodes get back what they had.
///
/// Where the primary needs a start, and `cluster` asks for a [`Primacy::Switchover`], another node becomes the primary instead: one that has
/// its settings already.
///
/// # Errors
/// See [`SettingsError`].
pub async fn set(
    engine: &Engine,
    cluster: &ClusterSpec,
    changes: &Changes,
    terms: impl Into<Terms>,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<(Inventory, bool), SettingsError> {
    let terms = terms.into();
    let mut lookout = Lookout::new(engine, &cluster.name);
    let (observed, stages) = look_and_plan(&mut lookout.observer, cluster, changes).await?;
    let mut touched = BTreeMap::new();
    let mut last = observed.clone();
    for stage in &stages {
        if stage.after_replay {
            let token = lookout.commit_lsn().await?;
            for number in stage.nodes.keys() {
                lookout.wait_replayed(&observed.node_name(*number), token, terms.limit).await?;
            }
        }
        let had = |number: &u16| observed.nodes[number].spec.as_ref().map(|spec| (*number, spec.settings.clone()));
        touched.extend(stage.nodes.keys().filter_map(had));
        for asked in asked_by(cluster, stage) {
            match reconcile_by(&mut lookout.observer, &asked, terms, &mut progress).await {
                Ok((now, _)) => last = now,
                Err(failure @ ReconcileError::NodeFailed { .. }) => {
                    return Err(undo(&mut lookout.observer, cluster, stage, &touched, terms, failure).await);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((last, !stages.is_empty()))
}

/// What [`set`] would do. Changes nothing.
///
/// # Errors
/// Those of [`set`] that come before anything is changed.
pub async fn foresee_set(
    engine: &Engine,
    cluster: &ClusterSpec,
    changes: &Changes,
) -> Result<Vec<Stage>, SettingsError> {
    let mut observer = Observer::new(engine, &cluster.name);
    Ok(look_and_plan(&mut observer, cluster, changes).await?.1)
}

async fn look_and_plan(
    observer: &mut Observer,
    cluster: &ClusterSpec,
    changes: &Changes,
) -> Result<(Inventory, Vec<Stage>), SettingsError> {
    let observed = observer.observe().await.map_err(ReconcileError::from)?;
    let known = ask(observer, cluster, changes, &observed).await?;
    let stages = plan_settings(changes, &known, &observed, &cluster.primacy)?;
    Ok((observed, stages))
}

/// Gives back what nodes had: first to those that do not start, without whom the others cannot stream.
async fn undo(
    observer: &mut Observer,
    cluster: &ClusterSpec,
    stage: &Stage,
    touched: &BTreeMap<u16, Settings>,
    terms: Terms,
    failure: ReconcileError,
) -> SettingsError {
    let failure = Box::new(failure);
    let (first, then): (BTreeMap<_, _>, BTreeMap<_, _>) =
        touched.clone().into_iter().partition(|(number, _)| stage.nodes.contains_key(number));
    for nodes in [first, then] {
        if let Err(error) = reconcile_by(observer, &told(cluster, &nodes, true), terms, |_| ()).await {
            return SettingsError::NotUndone { failure, undo: Box::new(error) };
        }
    }
    let node = stage.nodes.keys().map(|number| cluster.name.node(*number).to_string()).collect::<Vec<_>>().join(", ");
    SettingsError::UndoneFor { node, failure }
}

/// What a stage asks for, one after the other.
fn asked_by(cluster: &ClusterSpec, stage: &Stage) -> Vec<ClusterSpec> {
    let Some(to) = stage.successor else { return vec![told(cluster, &stage.nodes, stage.restarts)] };
    // The primary knows what it comes back with before it goes: wherever this is cut off, it has no less than whoever takes over.
    let primacy = Primacy::Switchover { to: Some(to) };
    vec![told(cluster, &stage.nodes, false), ClusterSpec { primacy, ..cluster.clone() }]
}

fn told(cluster: &ClusterSpec, nodes: &BTreeMap<u16, Settings>, restarts: bool) -> ClusterSpec {
    let restarts = if restarts { nodes.keys().copied().collect() } else { BTreeSet::new() };
    ClusterSpec { settings: nodes.clone(), restarts, primacy: Primacy::AsFound, ..cluster.clone() }
}

/// What the primary knows of these settings, and what it would make of them.
async fn ask(
    observer: &Observer,
    cluster: &ClusterSpec,
    changes: &Changes,
    observed: &Inventory,
) -> Result<Vec<Setting>, SettingsError> {
    const KNOWN: &str = "SELECT coalesce(json_agg(json_build_object('name', lower(name), 'context', context, 'setting', setting, 'wanted', \
                         NULL)), '[]')::text FROM pg_settings WHERE lower(name) = ANY ($1)";
    let primary = primary_of(changes, observed)?;
    let failed = |doing: String| SettingsError::NotNow { node: observed.node_name(primary), doing };
    let connection = observer.client(primary).await.map_err(failed)?;
    let names: Vec<&String> = changes.keys().collect();
    let row = connection.query_typed_one(KNOWN, &[(&names, Type::TEXT_ARRAY)]).await;
    let json: String = row.and_then(|row| row.try_get(0)).map_err(|error| failed(with_causes(&error)))?;
    let mut known: Vec<Setting> = serde_json::from_str(&json).map_err(|error| failed(error.to_string()))?;
    let is_known = |name: &&String| known.iter().any(|setting| setting.name == **name) || name.contains('.');
    if let Some(name) = changes.keys().find(|name| !is_known(name)) {
        return Err(SettingsError::Unknown { major: cluster.major, name: name.clone() });
    }
    // PostgreSQL is not asked about what nobody can change.
    if known.iter().any(|setting| setting.context == "internal") {
        return Ok(known);
    }
    let wanted: BTreeMap<&String, &String> =
        changes.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    let input = serde_json::to_string(&wanted).map_err(|error| failed(error.to_string()))?;
    let answer = connection.order(&["check-settings"], &input).await;
    let answer = answer.ok_or_else(|| failed("does not answer any more".to_owned()))?;
    if answer.exit_code != Some(0) {
        // Before it stand the time and the process, as in the server's log.
        let (_, why) = answer.said.split_once("FATAL:  ").unwrap_or(("", &answer.said));
        return Err(SettingsError::Invalid(why.to_owned()));
    }
    let json = answer.said.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let taken: BTreeMap<String, String> = serde_json::from_str(json).map_err(|error| failed(error.to_string()))?;
    for setting in &mut known {
        let usual = ORDER_BOUND_SETTINGS.iter().find(|(name, _)| *name == setting.name);
        setting.wanted = taken.get(&setting.name).cloned().or_else(|| usual.map(|(_, value)| value.to_string()));
    }
    Ok(known)
}
