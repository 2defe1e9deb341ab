//! Observe, plan, apply, until nothing is left to do or to wait for, or the time is over.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    ApplyError, ClusterSpec, ContainerState, Engine, EngineError, Inventory, NodeName, Observer, Plan, Refusal,
    Replicas, Step, WaitingOn, apply, plan,
};

/// What reconciliation is doing, for those who watch.
#[derive(Debug)]
pub enum Progress<'a> {
    /// These changes are being applied.
    Applying(&'a [Step]),
    /// Nothing is left to do but to wait for these.
    Waiting(&'a [WaitingOn]),
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
    /// A step failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
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

/// Between two looks at nodes that answer but do not stream yet.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Far more than any sequence of plans needs; a planner that contradicts itself ends here.
const MOST_PLANS: usize = 16;

/// Makes the cluster what `desired` says, returns when every replica streams, and tells whether anything was changed.
///
/// # Errors
/// See [`ReconcileError`]. Whatever was made until then stays, and the next call goes on from there.
pub async fn reconcile(
    engine: &Engine,
    desired: &ClusterSpec,
    limit: Duration,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<(Inventory, bool), ReconcileError> {
    let deadline = Instant::now() + limit;
    let mut observer = Observer::patient(engine, &desired.name);
    let mut started: HashSet<NodeName> = HashSet::new();
    let mut plans = 0;
    loop {
        let observed = observer.observe_for_making(nodes_to_check(desired)).await?;
        fail_if_a_node_gave_up(engine, &observed, &started).await?;
        let Plan { steps, waiting_on } = plan(desired, &observed)?;
        if steps.is_empty() && waiting_on.is_empty() {
            return Ok((observed, plans > 0));
        }
        if Instant::now() > deadline || plans == MOST_PLANS {
            let last_seen = waiting_on.iter().map(|w| format!("{}: {}", w.node, w.doing));
            let left = steps.iter().map(|step| format!("a chance to {step}"));
            let last_seen = last_seen.chain(left).collect::<Vec<_>>().join(", ");
            return Err(ReconcileError::TimedOut { seconds: limit.as_secs(), last_seen });
        }
        if steps.is_empty() {
            progress(Progress::Waiting(&waiting_on));
            sleep(POLL_INTERVAL).await;
        } else {
            progress(Progress::Applying(&steps));
            apply(engine, desired, &steps).await?;
            plans += 1;
            for step in steps {
                match step {
                    Step::Start(node) => drop(started.insert(node)),
                    Step::PlaceSpec(node, spec) => observer.remember_spec(node.number, spec),
                    _ => {}
                }
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

/// A node that we started and that has ended by itself has said why; to wait for it would hide that.
async fn fail_if_a_node_gave_up(
    engine: &Engine,
    observed: &Inventory,
    started: &HashSet<NodeName>,
) -> Result<(), ReconcileError> {
    for (number, found) in &observed.nodes {
        let node = observed.node_name(*number);
        let exit_code = match found.container {
            Some(ContainerState::Restarting { exit_code }) => exit_code,
            Some(ContainerState::Exited { exit_code }) if started.contains(&node) => exit_code,
            _ => continue,
        };
        let log = engine.log_tail(&node.to_string(), 15).await?;
        return Err(ReconcileError::NodeFailed { node, exit_code, log });
    }
    Ok(())
}
