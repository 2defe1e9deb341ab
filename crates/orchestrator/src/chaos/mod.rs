//! Faults with exact semantics: what is done to a node, what is in force, and how it ends.
//!
//! A fault is real: the kernel drops the packets, freezes the process, refuses the space. Nothing is written down: what is in
//! force is observed, so that any checkout can [`heal`] what another one did. Network faults live in the node's network
//! namespace and end with its container; frozen processes end with theirs.

mod fault;
mod network;

use std::{net::IpAddr, time::Duration};

use futures_util::future::try_join_all;
use pgherd_agent::{Process, Selection};
use pgherd_images::contract::{self, labels};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    ClusterName, ContainerState, ContainerSummary, Engine, EngineError, Helper, HelperError, NodeName, ReconcileError,
    Refusal,
    disk::{self, DiskError},
    helper, require_node,
};

pub use fault::{Direction, Fault, Milliseconds, Percent, Rate};

/// How long the engine may take to know that a container has ended.
const END_NOTICED_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks at a container.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why a fault was not brought about, or not ended.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The node is not there, or not ours.
    #[error(transparent)]
    Node(#[from] ReconcileError),
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The disk's.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The node must run for this.
    #[error("node \"{node}\" does not run: {state}\nhint: \"cluster chaos heal {node}\" brings it back.")]
    NotRunning {
        /// The node.
        node: NodeName,
        /// What it does instead.
        state: &'static str,
    },
    /// The other end of a partition is no other node of the same cluster.
    #[error("cannot cut \"{node}\" off \"{from}\"\nhint: Name another node of the same cluster.")]
    BadPeer {
        /// The node.
        node: NodeName,
        /// The other end.
        from: NodeName,
    },
    /// PostgreSQL cannot shut down as long as a process of it stands still.
    #[error(
        "PostgreSQL of node \"{0}\" cannot shut down: some of its processes are frozen\n\
         hint: \"cluster chaos ls\" shows them, and \"cluster chaos thaw {0} --process all\" lets them go on."
    )]
    Frozen(NodeName),
    /// There is nothing to thaw.
    #[error(
        "nothing of that is frozen on node \"{0}\"\n\
         hint: \"cluster chaos ls\" shows what is: a container goes on by \"thaw {0}\", a process by \"thaw {0} --process …\"."
    )]
    NotFrozen(NodeName),
    /// PostgreSQL has no such process there now.
    #[error(
        "node \"{node}\" has no process \"{process}\" now\n\
         hint: Only a replica has a walreceiver, and only who has a downstream a walsender."
    )]
    NoProcess {
        /// The node.
        node: NodeName,
        /// What was looked for.
        process: Selection,
    },
    /// The kernel of the engine's machine cannot do it.
    #[error(
        "the kernel of the engine's machine has no {feature}, which \"{fault}\" needs\n\
         hint: \"partition\" and \"bandwidth\" work without it; other kernels have it as a module."
    )]
    NotInKernel {
        /// What is missing.
        feature: &'static str,
        /// What was asked for.
        fault: Fault,
    },
    /// A node has one queue to the network.
    #[error(
        "node \"{node}\" has a limit of bandwidth, a delay or a loss already\n\
         hint: \"cluster chaos ls\" shows it, and \"cluster chaos heal {node}\" ends it."
    )]
    QueueTaken {
        /// The node.
        node: NodeName,
    },
    /// A helper's.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// A process in the node did not do what it was asked to.
    #[error("could not {action} (exit code {exit_code}): {output}")]
    Failed {
        /// What it was to do, as an infinitive.
        action: String,
        /// How it ended.
        exit_code: i64,
        /// What it said.
        output: String,
    },
}

/// What is not as it should be with a node, in the words of the commands that bring it about where there are some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultsOfNode {
    /// The node.
    pub node: NodeName,
    /// Sorted; empty if nothing is.
    pub faults: Vec<String>,
}

/// Brings a fault about. It is in force when this returns.
///
/// # Errors
/// See [`ChaosError`]; the node is as it was then.
pub async fn inject(engine: &Engine, fault: &Fault) -> Result<(), ChaosError> {
    let node = fault.node();
    let container = require_node(engine, node).await?;
    let name = node.to_string();
    require_running(node, &container)?;
    match fault {
        Fault::Partition { from: Some(from), .. } => {
            if from.cluster != node.cluster || from == node {
                return Err(ChaosError::BadPeer { node: node.clone(), from: from.clone() });
            }
            let peer = require_node(engine, from).await?;
            require_running(from, &peer)?;
            alter_network(engine, fault, &peer.addresses).await
        }
        Fault::Partition { from: None, .. }
        | Fault::Bandwidth { .. }
        | Fault::Delay { .. }
        | Fault::Loss { .. }
        | Fault::Dns { .. } => alter_network(engine, fault, &[]).await,
        Fault::Stop { postgres_only: false, .. } => Ok(engine.stop_container(&name).await?),
        Fault::Stop { postgres_only: true, .. } => {
            let (_, processes) = engine.run_in(&name, &[contract::AGENT, "processes"]).await?;
            if processes.lines().any(|line| line.contains(FROZEN)) {
                return Err(ChaosError::Frozen(node.clone()));
            }
            signal(engine, node, "INT", Selection::Only(Process::Postmaster)).await.map(drop)
        }
        Fault::Kill { process: None, .. } => Ok(engine.kill_container(&name).await?),
        Fault::Kill { process: Some(process), .. } => signal(engine, node, "KILL", *process).await.map(drop),
        Fault::Freeze { process: None, .. } => Ok(engine.pause_container(&name).await?),
        Fault::Freeze { process: Some(process), .. } => signal(engine, node, "STOP", *process).await.map(drop),
        Fault::DiskFull { .. } => Ok(disk::fill(engine, node).await?),
    }
}

/// Ends a freeze: of the container, or of some processes.
///
/// # Errors
/// See [`ChaosError`].
pub async fn thaw(engine: &Engine, node: &NodeName, process: Option<Selection>) -> Result<(), ChaosError> {
    let container = require_node(engine, node).await?;
    let not_frozen = || ChaosError::NotFrozen(node.clone());
    match process {
        None if container.state != ContainerState::Paused => Err(not_frozen()),
        None => Ok(engine.unpause_container(&node.to_string()).await?),
        Some(process) => {
            require_running(node, &container)?;
            let before = signal(engine, node, "CONT", process).await?;
            before.lines().any(|line| line.contains(FROZEN)).then_some(()).ok_or_else(not_frozen)
        }
    }
}

/// Ends all faults of a node that is there, but for one: a container that has ended stays so. One that the engine keeps
/// restarting is restarted once more, without the pause that the engine has come to make between its tries.
///
/// # Errors
/// See [`ChaosError`]; calling it again goes on with what is left.
pub async fn heal(engine: &Engine, node: &NodeName) -> Result<(), ChaosError> {
    let container = require_node(engine, node).await?;
    let name = node.to_string();
    if container.state == ContainerState::Paused {
        engine.unpause_container(&name).await?;
    }
    if matches!(container.state, ContainerState::Paused | ContainerState::Running) {
        let healed = run_beside(engine, node, "heal the network of", &network::heal()).await.map(drop);
        unless_ended(engine, node, &container, healed).await?;
        let thawed = signal(engine, node, "CONT", Selection::All).await.map(drop);
        unless_ended(engine, node, &container, thawed).await?;
    }
    disk::release(engine, node).await?;
    if let ContainerState::Restarting { .. } = container.state {
        engine.restart_container(&name).await?;
    }
    Ok(())
}

/// Ends all faults of a cluster, of its nodes at once.
///
/// # Errors
/// As [`heal`], and [`Refusal::NoSuchCluster`].
pub async fn heal_all(engine: &Engine, cluster: &ClusterName) -> Result<(), ChaosError> {
    let nodes = nodes(engine, cluster).await?;
    try_join_all(nodes.iter().map(|(node, _)| heal(engine, node))).await.map(drop)
}

/// The faults of all nodes of a cluster, sorted by node.
///
/// # Errors
/// See [`ChaosError`], [`Refusal::NoSuchCluster`] among them.
pub async fn faults(engine: &Engine, cluster: &ClusterName) -> Result<Vec<FaultsOfNode>, ChaosError> {
    let nodes = nodes(engine, cluster).await?;
    try_join_all(nodes.iter().map(|(node, container)| faults_of(engine, node, container.state, &nodes))).await
}

/// The nodes that have a container, sorted.
async fn nodes(engine: &Engine, cluster: &ClusterName) -> Result<Vec<(NodeName, ContainerSummary)>, ChaosError> {
    let containers = engine.list_containers(&format!("{}={cluster}", labels::CLUSTER)).await?;
    let node = |container: ContainerSummary| Some((container.labels.get(labels::NODE)?.parse().ok()?, container));
    let mut nodes: Vec<(NodeName, ContainerSummary)> = containers.into_iter().filter_map(node).collect();
    if nodes.is_empty() {
        Err(ReconcileError::from(Refusal::NoSuchCluster(cluster.clone())))?;
    }
    nodes.sort_by_key(|(node, _)| node.number);
    Ok(nodes)
}

async fn faults_of(
    engine: &Engine,
    node: &NodeName,
    state: ContainerState,
    peers: &[(NodeName, ContainerSummary)],
) -> Result<FaultsOfNode, ChaosError> {
    let mut faults = Vec::new();
    match state {
        ContainerState::Running => {
            let (_, processes) = engine.run_in(&node.to_string(), &[contract::AGENT, "processes"]).await?;
            let frozen = processes.lines().filter_map(|line| line.split_once(FROZEN));
            faults.extend(frozen.map(|(_, process)| format!("freeze {node} --process {process}")));
        }
        ContainerState::Paused => faults.push(format!("freeze {node}")),
        ContainerState::Created => faults.push("was never started".to_owned()),
        ContainerState::Restarting { exit_code } => faults.push(format!("exited with code {exit_code}, is restarted")),
        ContainerState::Exited { exit_code } => faults.push(format!("exited with code {exit_code}")),
    }
    if matches!(state, ContainerState::Running | ContainerState::Paused) {
        let listing = run_beside(engine, node, "list the faults of", &network::list()).await?;
        let addresses = peers.iter().map(|(peer, container)| (peer.to_string(), container.addresses.clone())).collect();
        faults.extend(network::faults(&node.to_string(), &listing, &addresses));
    }
    match disk::is_filled(engine, node).await {
        Ok(true) => faults.push(Fault::DiskFull { node: node.clone() }.to_string()),
        Ok(false) => {}
        // As where its disk is attached to no device any more.
        Err(_) => faults.push("its volume cannot be mounted".to_owned()),
    }
    faults.sort();
    faults.dedup();
    Ok(FaultsOfNode { node: node.clone(), faults })
}

/// With the container its network and processes are gone, and with PostgreSQL its processes: what failed on a node that has ended since
/// `before`, whether or not it has been started again, is done.
async fn unless_ended(
    engine: &Engine,
    node: &NodeName,
    before: &ContainerSummary,
    end: Result<(), ChaosError>,
) -> Result<(), ChaosError> {
    let error = match end {
        Ok(()) | Err(ChaosError::NoProcess { .. }) => return Ok(()),
        Err(error) => error,
    };
    // Whoever runs the container's processes knows of its end a moment before the engine does.
    let deadline = Instant::now() + END_NOTICED_WITHIN;
    while require_node(engine, node).await?.process == before.process {
        if Instant::now() > deadline {
            return Err(error);
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn require_running(node: &NodeName, container: &ContainerSummary) -> Result<(), ChaosError> {
    let state = match container.state {
        ContainerState::Running => return Ok(()),
        ContainerState::Created => "it was never started",
        ContainerState::Paused => "it is frozen",
        ContainerState::Restarting { .. } => "it is between two starts",
        ContainerState::Exited { .. } => "it is stopped",
    };
    Err(ChaosError::NotRunning { node: node.clone(), state })
}

/// Brings a fault of the network about, after which it is there.
async fn alter_network(engine: &Engine, fault: &Fault, peer: &[IpAddr]) -> Result<(), ChaosError> {
    let Some(script) = network::inject(fault, peer) else { return Ok(()) };
    match run_beside(engine, fault.node(), "alter the network of", &script).await {
        Err(ChaosError::Helper(HelperError::Failed { output, .. })) if output.contains("qdisc kind is unknown") => {
            let feature = match fault {
                Fault::Bandwidth { .. } => "tbf queueing discipline",
                _ => "netem queueing discipline",
            };
            Err(ChaosError::NotInKernel { feature, fault: fault.clone() })
        }
        Err(ChaosError::Helper(HelperError::Failed { output, .. })) if output.contains("Exclusivity flag on") => {
            Err(ChaosError::QueueTaken { node: fault.node().clone() })
        }
        end => end.map(drop),
    }
}

/// Runs a script in the node's network namespace, with the right to change it.
async fn run_beside(engine: &Engine, node: &NodeName, action: &str, script: &str) -> Result<String, ChaosError> {
    let container = require_node(engine, node).await?;
    let settings = Helper {
        action: format!("{action} \"{node}\""),
        network_of: Some(node.to_string()),
        capabilities: vec!["NET_ADMIN".to_owned()],
        ..Helper::default()
    };
    Ok(helper::run_script(engine, node, &container.labels, script, settings).await?)
}

/// Between the number and the role of a process that stands still, as the agent lists it.
const FROZEN: &str = " frozen ";

/// The exit code of a process that was ended by SIGKILL.
const KILLED: i64 = 128 + 9;

/// Sends a signal to processes of the node's PostgreSQL, from inside, as their own user.
///
/// Returns the agent's list of those who got it, as they were before.
async fn signal(engine: &Engine, node: &NodeName, name: &str, selection: Selection) -> Result<String, ChaosError> {
    let selected = selection.to_string();
    let (exit_code, output) = engine.run_in(&node.to_string(), &[contract::AGENT, "signal", name, &selected]).await?;
    match exit_code {
        0 => Ok(output),
        // With its PostgreSQL the container has ended, before the sender of the signal could tell.
        KILLED if ["KILL", "INT"].contains(&name) => Ok(output),
        1 if output.is_empty() => Err(ChaosError::NoProcess { node: node.clone(), process: selection }),
        _ => Err(ChaosError::Failed { action: format!("signal \"{selected}\" of \"{node}\""), exit_code, output }),
    }
}
