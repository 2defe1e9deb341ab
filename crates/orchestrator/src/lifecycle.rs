//! Verbs that need no plan: list what there is, stop it, remove it.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use pgherd_images::contract::labels;
use serde::Serialize;

use crate::{
    ClusterName, ContainerState, ContainerSummary, Engine, EngineError, Inventory, NodeName, ReconcileError, Refusal,
    disk::remove_volumes, source,
};

/// A cluster as the engine alone knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterListing {
    /// Its name.
    pub name: ClusterName,
    /// The major version of its nodes; `None` where only shared parts are left of it.
    pub major: Option<u16>,
    /// How many nodes have a container or a volume.
    pub nodes: usize,
    /// How many containers run.
    pub running: usize,
}

/// All clusters on the engine, sorted by name, whoever made them.
///
/// # Errors
/// If the engine cannot be asked.
pub async fn list_clusters(engine: &Engine) -> Result<Vec<ClusterListing>, EngineError> {
    let (containers, volumes, networks) = tokio::try_join!(
        engine.list_containers(labels::CLUSTER),
        engine.list_volumes(labels::CLUSTER),
        engine.list_networks(labels::CLUSTER)
    )?;
    let running: Vec<&str> = containers
        .iter()
        .filter(|container| container.state == ContainerState::Running && container.labels.contains_key(labels::NODE))
        .filter_map(|container| container.labels.get(labels::CLUSTER).map(String::as_str))
        .collect();
    let labelled = containers.iter().map(|container| &container.labels);
    let mut clusters: BTreeMap<ClusterName, BTreeMap<&str, Option<u16>>> = BTreeMap::new();
    for labels in labelled.chain(volumes.values()).chain(networks.iter().map(|network| &network.labels)) {
        let Some(name) = labels.get(labels::CLUSTER).and_then(|name| name.parse().ok()) else { continue };
        let nodes = clusters.entry(name).or_default();
        if let Some(node) = labels.get(labels::NODE) {
            nodes.insert(node, labels.get(labels::MAJOR).and_then(|major| major.parse().ok()));
        }
    }
    let listing = |(name, nodes): (ClusterName, BTreeMap<&str, Option<u16>>)| ClusterListing {
        running: running.iter().filter(|cluster| **cluster == name.to_string()).count(),
        major: nodes.values().copied().flatten().next(),
        nodes: nodes.len(),
        name,
    };
    Ok(clusters.into_iter().map(listing).collect())
}

/// Makes sure that the node's container is there and ours, before anything is done to it.
///
/// # Errors
/// [`Refusal::NoSuchNode`], also where somebody else's container has the name; and if the engine cannot be asked.
pub async fn require_node(engine: &Engine, node: &NodeName) -> Result<ContainerSummary, ReconcileError> {
    let container = engine.inspect_container(&node.to_string()).await?;
    let is_ours = |container: &ContainerSummary| container.labels.get(labels::NODE) == Some(&node.to_string());
    Ok(container.filter(is_ours).ok_or_else(|| Refusal::NoSuchNode(node.clone()))?)
}

/// Stops all nodes and keeps everything. The primary goes first: its fast shutdown ends when its replicas have all it wrote.
///
/// # Errors
/// What the engine says.
pub async fn stop_cluster(engine: &Engine, observed: &Inventory) -> Result<(), EngineError> {
    let stop = |number: u16| {
        let node = observed.node_name(number);
        async move { engine.stop_container(&node.to_string()).await }
    };
    let has_container = |number: &u16| observed.nodes.get(number).is_some_and(|node| node.container.is_some());
    let primary = observed.primary().filter(has_container);
    if let Some(primary) = primary {
        stop(primary).await?;
    }
    let others = observed.nodes.keys().copied().filter(|number| Some(*number) != primary && has_container(number));
    try_join_all(others.map(stop)).await.map(drop)
}

/// Removes everything that carries the cluster's label, data included, and takes back what it has on a server that is not ours.
/// Returns what is left there for an administrator to remove, in words.
///
/// # Errors
/// [`Refusal::NetworkInUse`] before anything is removed, if somebody else's container is on the cluster's network; and what
/// the engine says. What is left then is removed by the next call.
pub async fn remove_cluster(engine: &Engine, cluster: &ClusterName) -> Result<Option<String>, ReconcileError> {
    let label = format!("{}={cluster}", labels::CLUSTER);
    let networks = engine.list_networks(&label).await?;
    for network in &networks {
        let is_ours = |c: &ContainerSummary| c.labels.get(labels::CLUSTER) == Some(&cluster.to_string());
        let others = engine.containers_on(network).await?.into_iter().filter(|container| !is_ours(container));
        let others: Vec<String> = others.map(|container| container.name).collect();
        if !others.is_empty() {
            Err(Refusal::NetworkInUse { network: network.name.clone(), by: others.join(", ") })?;
        }
    }
    let containers = engine.list_containers(&label).await?;
    try_join_all(containers.iter().map(|container| engine.remove_container(&container.name))).await?;
    let volumes = engine.list_volumes(&label).await?;
    let left = match source::recorded(volumes.get(&cluster.secrets_volume())) {
        Some(origin) => {
            let nodes = containers.iter().filter(|container| container.labels.contains_key(labels::NODE));
            let image = nodes.map(|node| node.image_id.as_str()).next();
            source::withdraw(engine, cluster, origin, &volumes, image).await?
        }
        None => None,
    };
    remove_volumes(engine, &volumes).await?;
    try_join_all(networks.iter().map(|network| engine.remove_network(network))).await?;
    Ok(left)
}
