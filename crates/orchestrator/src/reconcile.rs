//! Observe, plan, apply, until nothing is left to do or to wait for, or the time is over.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    ApplyError, ClusterName, ClusterSpec, ContainerState, DiskError, Engine, EngineError, Foreseen, Guarantee,
    Inventory, LossBound, NodeName, Observer, OriginError, Plan, Primacy, Refusal, Replicas, Step, Storage, WaitingOn,
    apply, lock::Lock, loss::loss_bound, model::after, origin, plan, source,
};

/// What reconciliation is doing, for those who watch.
#[derive(Debug)]
pub enum Progress<'a> {
    /// These changes are being applied.
    Applying(&'a [Step]),
    /// Nothing is left to do but to wait for these.
    Waiting(&'a [WaitingOn]),
    /// This node is about to be promoted without a guarantee, which loses no more than this.
    MayLose(&'a NodeName, &'a LossBound),
    /// This node takes writes now.
    Promoted(&'a NodeName),
}

/// How long a cluster may take to become what is asked, and whose word counts.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The longest time until every replica streams.
    pub limit: Duration,
    /// Whether the lock is taken from whoever has it.
    pub steal_lock: bool,
}

impl From<Duration> for Terms {
    fn from(limit: Duration) -> Terms {
        Terms { limit, steal_lock: false }
    }
}

/// Why a cluster did not become what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The planner found no way.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine cannot be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A disk could not be detached.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What speaks against data that the cluster was to begin with.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A step failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A server that is not ours has something left of us.
    #[error("{failure}\nand what was done at the server could not be undone: {undo}")]
    NotUndone {
        /// What had failed.
        failure: Box<ReconcileError>,
        /// And then.
        undo: Box<ReconcileError>,
    },
    /// A node gave up.
    #[error("node \"{node}\" exited with code {exit_code}; its log ends:\n{log}")]
    NodeFailed {
        /// Which one.
        node: NodeName,
        /// With what.
        exit_code: i64,
        /// Its last lines.
        log: String,
    },
    /// A node was frozen from outside.
    #[error("the container of \"{0}\" is paused\nhint: \"docker unpause {0}\" lets it go on.")]
    Paused(NodeName),
    /// Another process is changing the cluster.
    #[error(
        "cluster \"{cluster}\" is being changed by another process since {since} ({holder})\n\
         hint: Wait for it. If it is gone for good, \"--steal-lock\" takes its lock."
    )]
    Locked {
        /// The cluster.
        cluster: ClusterName,
        /// Boot, process and start time of who holds it.
        holder: String,
        /// Since when.
        since: String,
    },
    /// Another process was told to take the lock.
    #[error(
        "the lock was taken by another process ({holder}), and nothing more is changed here\nhint: Let that one finish."
    )]
    LockStolen {
        /// Boot, process and start time of who has it now.
        holder: String,
    },
    /// The planner goes in circles.
    #[error("gave up after {MOST_PLANS} plans; the next one would {0}")]
    TooManyPlans(String),
    /// Time is over.
    #[error(
        "timed out after {seconds} s, waiting for {last_seen}\nhint: \"cluster logs NODE\" tells more, and running the same command again goes on waiting."
    )]
    TimedOut {
        /// How long it was.
        seconds: u64,
        /// What was waited for, as last seen.
        last_seen: String,
    },
}

/// Between two looks at nodes that answer but do not stream yet, for each node: to look at many shall not take from them what they need to
/// get on.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Between two looks, however many nodes there are.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Far more than any sequence of plans needs; a planner that contradicts itself ends here.
const MOST_PLANS: usize = 16;

/// Makes the cluster what `desired` says, returns when every replica streams, and tells whether there was anything to do.
///
/// # Errors
/// See [`ReconcileError`]. Whatever was made until then stays, and the next call goes on from there.
pub async fn reconcile(
    engine: &Engine,
    desired: &ClusterSpec,
    terms: impl Into<Terms>,
    progress: impl FnMut(Progress<'_>),
) -> Result<(Inventory, bool), ReconcileError> {
    reconcile_by(&mut Observer::new(engine, &desired.name), desired, terms, progress).await
}

/// The same by an observer that has looked at the cluster before: to connect to the nodes is most of what a failover takes.
///
/// # Errors
/// As of [`reconcile`].
pub async fn reconcile_by(
    observer: &mut Observer,
    desired: &ClusterSpec,
    terms: impl Into<Terms>,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<(Inventory, bool), ReconcileError> {
    let mut lock = None;
    let end = converge(observer, desired.clone(), terms.into(), &mut lock, &mut progress).await;
    // Of a server that is not ours, whatever came of it: it is as it was, if nothing of ours follows it.
    let is_still_ours = match (&end, &lock) {
        (Err(ReconcileError::LockStolen { .. }), _) => false,
        (Err(_), Some(lock)) => lock.check(observer.engine()).await.is_ok(),
        _ => false,
    };
    let undone = if is_still_ours { withdraw(observer).await } else { Ok(()) };
    if let Some(lock) = lock {
        lock.release(observer.engine()).await?;
    }
    match (end, undone) {
        (Err(failure), Err(undo)) => {
            Err(ReconcileError::NotUndone { failure: Box::new(failure), undo: Box::new(undo) })
        }
        (end, _) => end,
    }
}

/// Takes back what was done at a server for a cluster that has come to nothing.
async fn withdraw(observer: &mut Observer) -> Result<(), ReconcileError> {
    if observer.guest().is_none() {
        return Ok(());
    }
    let observed = observer.observe().await?;
    let is_ours = observed.source.as_ref().is_some_and(|found| found.is_recorded) && observed.nodes.is_empty();
    if let Some(guest) = observer.guest().filter(|_| is_ours) {
        source::undo(guest).await.map_err(ApplyError::from)?;
        let engine = observer.engine();
        engine.remove_volume(&observed.name.secrets_volume()).await?;
        for network in engine.networks_named(&observed.name.network()).await? {
            engine.remove_network(&network).await?;
        }
    }
    Ok(())
}

/// What [`reconcile`] would do, plan after plan, as far as that can be told: each is made for what is expected to be there
/// after those before it. Changes nothing.
///
/// # Errors
/// A refusal, and if the engine cannot be asked.
pub async fn foresee(engine: &Engine, desired: &ClusterSpec) -> Result<Vec<Foreseen>, ReconcileError> {
    foresee_by(&mut Observer::new(engine, &desired.name), desired).await
}

/// The same by an observer that knows of a server that is not ours.
///
/// # Errors
/// As of [`foresee`].
pub async fn foresee_by(observer: &mut Observer, desired: &ClusterSpec) -> Result<Vec<Foreseen>, ReconcileError> {
    let mut desired = desired.clone();
    let mut expected = observer.observe_for_making(nodes_to_check(&desired)).await?;
    observer.refuse_another(&expected).map_err(Refusal::from)?;
    let mut foreseen = Vec::new();
    let mut examined = None;
    for _ in 0..MOST_PLANS {
        let mut steps = match plan(&desired, &expected) {
            // That is told when all else is done.
            Err(Refusal::Parted { .. }) if !foreseen.is_empty() => break,
            planned => planned?.steps,
        };
        if examined.is_none() {
            examined = origin::examine(observer.engine(), &mut desired, &steps).await?;
            // What was found may ask for settings.
            steps = plan(&desired, &expected)?.steps;
        }
        if steps.is_empty() {
            break;
        }
        let next = after(&steps, &expected);
        settle(&mut desired, &steps);
        foreseen.extend(steps.into_iter().map(|step| Foreseen::new(step, &desired, &expected, examined.as_ref())));
        expected = next;
    }
    Ok(foreseen)
}

/// What has been done is not asked for again.
fn settle(desired: &mut ClusterSpec, done: &[Step]) {
    for step in done {
        match step {
            Step::SwitchOver { .. } | Step::Promote { .. } => desired.primacy = Primacy::AsFound,
            Step::Start(node) => drop(desired.restarts.remove(&node.number)),
            Step::PlaceSpec(node, _) if desired.rewind == Some(node.number) => desired.rewind = None,
            _ => {}
        }
    }
}

async fn converge(
    observer: &mut Observer,
    mut desired: ClusterSpec,
    Terms { limit, steal_lock }: Terms,
    lock: &mut Option<Lock>,
    progress: &mut impl FnMut(Progress<'_>),
) -> Result<(Inventory, bool), ReconcileError> {
    let mut deadline = Instant::now() + limit;
    let engine = &observer.engine().clone();
    let mut started: HashSet<NodeName> = HashSet::new();
    let (mut plans, mut waited, mut is_examined) = (0, false, false);
    if desired.primacy != Primacy::AsFound {
        // Nobody can write meanwhile, and there is something to change: one look has to do.
        *lock = Some(Lock::take(engine, &desired, steal_lock).await?);
    }
    loop {
        // Of a failover, the dead are the reason.
        let is_failover = matches!(desired.primacy, Primacy::Failover { .. });
        let left = deadline.saturating_duration_since(Instant::now());
        observer.be_patient(if is_failover { Duration::ZERO } else { left });
        let observed = observer.observe_for_making(nodes_to_check(&desired)).await?;
        observer.refuse_another(&observed).map_err(Refusal::from)?;
        fail_if_a_node_gave_up(engine, &desired, &observed, &started).await?;
        let Plan { steps, waiting_on } = match plan(&desired, &observed) {
            // It was made ready for it by the plan before, which takes a moment to show.
            Err(Refusal::UnfitCandidate { node, reason, .. }) if plans > 0 && Instant::now() < deadline => {
                let waiting_on = vec![WaitingOn { node: node.to_string(), doing: reason }];
                Plan { steps: Vec::new(), waiting_on }
            }
            planned => planned?,
        };
        if steps.is_empty() && waiting_on.is_empty() {
            return Ok((observed, waited || plans > 0));
        }
        let left = steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if plans == MOST_PLANS {
            return Err(ReconcileError::TooManyPlans(left));
        }
        if Instant::now() > deadline {
            let last_seen =
                waiting_on.iter().map(|w| format!("{}: {}", w.node, w.doing)).collect::<Vec<_>>().join(", ");
            let last_seen = if last_seen.is_empty() { format!("time to {left}") } else { last_seen };
            return Err(ReconcileError::TimedOut { seconds: limit.as_secs(), last_seen });
        }
        if steps.is_empty() {
            progress(Progress::Waiting(&waiting_on));
            waited = true;
            let nodes = u32::try_from(observed.nodes.len()).unwrap_or(u32::MAX);
            sleep(POLL_INTERVAL.saturating_mul(nodes).min(LONGEST_POLL_INTERVAL)).await;
            continue;
        }
        let brings = steps.iter().any(|step| matches!(step, Step::BringData { .. }));
        if brings && !is_examined {
            origin::examine(observer.engine(), &mut desired, &steps).await?;
            is_examined = true;
            continue;
        }
        let Some(lock) = lock else {
            // Whoever had it before may have changed everything: look again.
            *lock = Some(Lock::take(engine, &desired, steal_lock).await?);
            continue;
        };
        lock.check(engine).await?;
        for step in &steps {
            let Step::Promote { node, guarantee } = step else { continue };
            let primary = observed.primary().map(|number| observed.node_name(number));
            match guarantee {
                Guarantee::Quorum { .. } => {}
                Guarantee::None => {
                    let bound = loss_bound(engine, &desired, &observed, primary.as_ref(), node).await;
                    progress(Progress::MayLose(node, &bound));
                }
                // The agent sees that there was a shutdown, and not that it was the last one: a replica that was cut off may have
                // slept through another.
                Guarantee::CleanShutdown => {
                    let bound = loss_bound(engine, &desired, &observed, primary.as_ref(), node).await;
                    if bound != LossBound::Bytes(0) {
                        let why = format!("by what is on the volume of the old one, it {bound}");
                        return Err(Refusal::MayLoseData { candidate: node.clone(), why }.into());
                    }
                }
            }
        }
        progress(Progress::Applying(&steps));
        apply(observer, &desired, &steps).await?;
        if let Some(guest) = observer.guest().filter(|_| steps.iter().any(|step| matches!(step, Step::AtSource(_)))) {
            guest.look_again().await.map_err(ApplyError::from)?;
        }
        plans += 1;
        if brings {
            // How long a copy takes says nothing about how long the cluster may take.
            deadline = Instant::now() + limit;
        }
        settle(&mut desired, &steps);
        // What a directory holds of an earlier node is what the new one is.
        let may_be_old = |node: &NodeName| {
            let has_directory = |step: &Step| matches!(step, Step::CreateVolumeAs { node: made, storage: Storage::Directory(_) } if made == node);
            steps.iter().any(has_directory)
        };
        let old: Vec<NodeName> = steps.iter().filter_map(Step::node).filter(|node| may_be_old(node)).cloned().collect();
        for step in steps {
            match step {
                Step::CreateContainer { node, .. } if old.contains(&node) => {}
                Step::Start(node) => drop(started.insert(node)),
                Step::PlaceSpec(node, spec)
                | Step::Specify(node, spec)
                | Step::CreateContainer { node, born_as: Some(spec), .. } => {
                    observer.remember_spec(node.number, spec);
                }
                // Its agent has written down what it is now.
                Step::SwitchOver { to: node, .. } | Step::Promote { node, .. } => {
                    observer.forget_spec(node.number);
                    progress(Progress::Promoted(&node));
                }
                _ => {}
            }
        }
    }
}

/// How many nodes may have to be made, so that their names and ports are looked at.
fn nodes_to_check(desired: &ClusterSpec) -> u16 {
    match desired.replicas {
        Replicas::AsFound => Replicas::DEFAULT + 1,
        Replicas::AtLeast(count) | Replicas::Exactly(count) => count.min(Replicas::MAX) + 1,
    }
}

/// A node that ends by itself has said why; to wait for it would hide that. A frozen one waits for a person.
async fn fail_if_a_node_gave_up(
    engine: &Engine,
    desired: &ClusterSpec,
    observed: &Inventory,
    started: &HashSet<NodeName>,
) -> Result<(), ReconcileError> {
    for (number, found) in observed.nodes.iter().filter(|(number, _)| desired.only.is_none_or(|only| only == **number))
    {
        let node = observed.node_name(*number);
        let exit_code = match found.container {
            // It is what has failed, or is started with something else.
            _ if matches!(desired.primacy, Primacy::Failover { .. }) || desired.restarts.contains(number) => continue,
            Some(ContainerState::Restarting { exit_code }) => exit_code,
            Some(ContainerState::Exited { exit_code }) if started.contains(&node) => exit_code,
            Some(ContainerState::Paused) => return Err(ReconcileError::Paused(node)),
            _ => continue,
        };
        let log = engine.log_tail(&node.to_string(), 15).await?;
        return Err(ReconcileError::NodeFailed { node, exit_code, log });
    }
    Ok(())
}
