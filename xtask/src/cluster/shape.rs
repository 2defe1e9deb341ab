//! The verbs that change who is there, and who follows whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    str::FromStr,
};

use pgherd_orchestrator::{ClusterName, ClusterSpec, Engine, InvalidName, NodeName, Observer, Refusal, Replicas};

use super::{
    change::{ChangeArgs, change},
    up::spec_of_existing,
};
use crate::images;

/// A replica and its upstream, as in `demo-3=demo-2`.
#[derive(Clone)]
pub(super) struct Edge {
    replica: NodeName,
    upstream: NodeName,
}

impl Edge {
    /// Its numbers, if both are nodes of this cluster.
    pub(super) fn of(&self, cluster: &ClusterName) -> Result<(u16, u16), Refusal> {
        let stranger = [&self.replica, &self.upstream].into_iter().find(|node| node.cluster != *cluster);
        match stranger {
            Some(stranger) => Err(Refusal::OtherCluster { node: stranger.clone(), cluster: cluster.clone() }),
            None => Ok((self.replica.number, self.upstream.number)),
        }
    }
}

impl FromStr for Edge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (replica, upstream) =
            text.split_once('=').ok_or("name a replica and its upstream, as in \"demo-3=demo-2\"")?;
        let node = |name: &str| name.parse().map_err(|error: InvalidName| error.to_string());
        Ok(Edge { replica: node(replica)?, upstream: node(upstream)? })
    }
}

/// One replica more.
pub(super) async fn add(
    engine: &Engine,
    name: &ClusterName,
    upstream: Option<&NodeName>,
    args: &ChangeArgs,
) -> anyhow::Result<ExitCode> {
    let observed = Observer::new(engine, name).observe().await?;
    // Where the primary is not ours, all of them are replicas.
    let follows = usize::from(observed.source.is_some());
    let found: BTreeSet<u16> = observed.nodes.into_keys().collect();
    let replicas = u16::try_from(found.len() + follows)?.max(1);
    let (spec, major) = spec_of_existing(engine, name, Replicas::Exactly(replicas)).await?;
    let mut upstreams = BTreeMap::new();
    if let Some(upstream) = upstream {
        let new = (1..).find(|number| !found.contains(number)).expect("there are more numbers than nodes");
        let edge = Edge { replica: name.node(new), upstream: upstream.clone() };
        upstreams.extend([edge.of(name)?]);
    }
    images::ensure(engine, major).await?;
    change(engine, &ClusterSpec { upstreams, ..spec }, args, false).await
}

pub(super) async fn remove(engine: &Engine, node: &NodeName, args: &ChangeArgs) -> anyhow::Result<ExitCode> {
    let (spec, _) = spec_of_existing(engine, &node.cluster, Replicas::AsFound).await?;
    if !Observer::new(engine, &node.cluster).observe().await?.nodes.contains_key(&node.number) {
        anyhow::bail!(Refusal::NoSuchNode(node.clone()));
    }
    change(engine, &ClusterSpec { without: BTreeSet::from([node.number]), ..spec }, args, false).await
}

pub(super) async fn repoint(
    engine: &Engine,
    node: &NodeName,
    upstream: &NodeName,
    args: &ChangeArgs,
) -> anyhow::Result<ExitCode> {
    let (spec, _) = spec_of_existing(engine, &node.cluster, Replicas::AsFound).await?;
    let edge = Edge { replica: node.clone(), upstream: upstream.clone() }.of(&node.cluster)?;
    change(engine, &ClusterSpec { upstreams: BTreeMap::from([edge]), ..spec }, args, false).await
}
