//! New secrets in the place of old ones on a running cluster, and no connection lost.
//!
//! Agents make them, inside, on the secrets volume that all nodes share: none passes over the engine's API, or is kept here.

use std::fmt;

use futures_util::future::join_all;
use pgherd_images::contract;

use crate::{
    ClusterName, ClusterSpec, ContainerState, Engine, EngineError, Inventory, NodeInventory, NodeName, Observer,
    ReconcileError, lock::Lock,
};

/// What is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The passwords of replication and of the application.
    Passwords,
    /// The certificate and the key of every node.
    Certificates,
    /// The certificate authority, and with it every node's certificate. Old and new are both trusted in between.
    Authority,
}

/// Something that one node's agent is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationStep {
    /// Whose.
    pub node: NodeName,
    /// Its arguments.
    pub arguments: &'static [&'static str],
    /// What that does.
    pub what: &'static str,
}

impl fmt::Display for RotationStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.what, self.node)
    }
}

/// Why secrets were not replaced, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A node could not be told.
    #[error("cannot replace secrets while \"{node}\" {doing}\nhint: Stop it, or bring it up, first.")]
    NotNow {
        /// Which one.
        node: NodeName,
        /// What it does instead.
        doing: &'static str,
    },
    /// There is nobody to change the roles' passwords, or there is no telling who.
    #[error(
        "cannot replace the secrets of cluster \"{cluster}\": {count} nodes answer as its primary, and one must\n\
         hint: \"cluster status {cluster}\" tells more."
    )]
    NotOnePrimary {
        /// The cluster.
        cluster: ClusterName,
        /// How many do.
        count: usize,
    },
    /// An agent has failed.
    #[error(
        "could not {step}: the agent exited with code {exit_code} and said:\n{said}\n\
         hint: Run the same command again, which goes on from here."
    )]
    Failed {
        /// What it was to do.
        step: RotationStep,
        /// Its exit code.
        exit_code: i64,
        /// All that it said.
        said: String,
    },
    /// The cluster is being changed by somebody else.
    #[error(transparent)]
    Locked(#[from] ReconcileError),
    /// The engine cannot be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// The stages of a rotation: the steps of one are done at once, and all of them before the next one begins. Run again after it
/// was cut off, whatever it has got to, it ends in the same state.
///
/// Nodes that are down take up what they find when they start. One that is between up and down could do neither.
///
/// # Errors
/// [`RotationError::NotNow`] while a node is paused or restarts, and [`RotationError::NotOnePrimary`].
pub fn plan_rotation(rotation: Rotation, observed: &Inventory) -> Result<Vec<Vec<RotationStep>>, RotationError> {
    let refuse = |number: u16, doing| RotationError::NotNow { node: observed.node_name(number), doing };
    let mut running = Vec::new();
    for (number, node) in &observed.nodes {
        match node.container {
            Some(ContainerState::Running) => running.push(*number),
            Some(ContainerState::Paused) => return Err(refuse(*number, "is paused")),
            Some(ContainerState::Restarting { .. }) => return Err(refuse(*number, "restarts")),
            Some(ContainerState::Created | ContainerState::Exited { .. }) | None => {}
        }
    }
    let is_primary = |node: &NodeInventory| node.status().is_some_and(|status| !status.in_recovery());
    let primaries: Vec<u16> = observed.nodes.iter().filter(|(_, node)| is_primary(node)).map(|(n, _)| *n).collect();
    let [primary] = primaries[..] else {
        return Err(RotationError::NotOnePrimary { cluster: observed.name.clone(), count: primaries.len() });
    };
    let step = |number, arguments, what| RotationStep { node: observed.node_name(number), arguments, what };
    let on_primary = |arguments, what| vec![step(primary, arguments, what)];
    let reload: Vec<_> =
        running.into_iter().map(|number| step(number, &["reload"], "take up the new secrets")).collect();
    Ok(match rotation {
        Rotation::Passwords => vec![on_primary(&["rotate", "passwords"], "draw new passwords"), reload],
        Rotation::Certificates => vec![reload],
        Rotation::Authority => vec![
            on_primary(&["rotate", "authority"], "make a new certificate authority beside the old one"),
            reload,
            on_primary(&["rotate", "retire"], "retire the old certificate authority"),
        ],
    })
}

/// Observes, plans and does all of it, under the cluster's lock.
///
/// # Errors
/// See [`RotationError`]. What was done until then stays, and the next call goes on from there.
pub async fn rotate(
    engine: &Engine,
    spec: &ClusterSpec,
    rotation: Rotation,
    progress: impl FnMut(&RotationStep),
) -> Result<Inventory, RotationError> {
    let lock = Lock::take(engine, spec, false).await?;
    let end = rotate_locked(engine, &spec.name, rotation, progress).await;
    lock.release(engine).await?;
    end
}

async fn rotate_locked(
    engine: &Engine,
    cluster: &ClusterName,
    rotation: Rotation,
    mut progress: impl FnMut(&RotationStep),
) -> Result<Inventory, RotationError> {
    let observed = Observer::new(engine, cluster).observe().await?;
    observed.refuse_followers("replace secrets").map_err(ReconcileError::from)?;
    for stage in plan_rotation(rotation, &observed)? {
        stage.iter().for_each(&mut progress);
        // All of them come to their ends, also where one fails.
        join_all(stage.iter().map(|step| run(engine, step))).await.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(observed)
}

async fn run(engine: &Engine, step: &RotationStep) -> Result<(), RotationError> {
    let command: Vec<&str> = [contract::AGENT].iter().chain(step.arguments).copied().collect();
    match engine.run_in(&step.node.to_string(), &command).await? {
        (0, _) => Ok(()),
        (exit_code, said) => Err(RotationError::Failed { step: step.clone(), exit_code, said }),
    }
}
