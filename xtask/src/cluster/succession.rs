//! The verbs that make another node the primary, and bring an old one back.

use std::process::ExitCode;

use clap::Args;
use pgherd_orchestrator::{ClusterSpec, Engine, NodeName, Observer, Primacy, Replicas, require_node};

use super::{
    NodeArg, TargetArg,
    change::{ChangeArgs, change},
    target::Target,
    up::spec_of_existing,
};

/// What may happen where the primary does not hand over by itself.
#[derive(Args)]
pub(super) struct FailoverArgs {
    /// Promotes a replica also where commits may be lost that were acknowledged, and says how much that is at most
    #[arg(long)]
    allow_data_loss: bool,
    /// Kills a primary that answers
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

impl FailoverArgs {
    fn primacy(&self, to: Option<u16>) -> Primacy {
        Primacy::Failover { to, allow_data_loss: self.allow_data_loss, force: self.force }
    }
}

pub(super) async fn switchover(
    engine: &Engine,
    TargetArg { target }: &TargetArg,
    args: &ChangeArgs,
) -> anyhow::Result<ExitCode> {
    take_over(engine, target, |to| Primacy::Switchover { to }, args).await
}

pub(super) async fn failover(
    engine: &Engine,
    TargetArg { target }: &TargetArg,
    args: &FailoverArgs,
) -> anyhow::Result<ExitCode> {
    take_over(engine, target, |to| args.primacy(to), &args.change).await
}

/// In good order where the primary answers, without it where not.
pub(super) async fn promote(
    engine: &Engine,
    NodeArg { node }: &NodeArg,
    args: &FailoverArgs,
) -> anyhow::Result<ExitCode> {
    let observed = Observer::new(engine, &node.cluster).observe().await?;
    let answers = observed.nodes.values().any(|node| node.status().is_some_and(|status| !status.in_recovery()));
    let primacy = |to| if answers && !args.force { Primacy::Switchover { to } } else { args.primacy(to) };
    take_over(engine, &Target::Node(node.clone()), primacy, &args.change).await
}

async fn take_over(
    engine: &Engine,
    target: &Target,
    primacy: impl FnOnce(Option<u16>) -> Primacy,
    args: &ChangeArgs,
) -> anyhow::Result<ExitCode> {
    let (cluster, to) = match target {
        Target::Cluster(name) => (name, None),
        Target::Node(node) => {
            require_node(engine, node).await?;
            (&node.cluster, Some(node.number))
        }
    };
    let (spec, _) = spec_of_existing(engine, cluster, Replicas::AsFound).await?;
    change(engine, &ClusterSpec { primacy: primacy(to), ..spec }, args, false).await
}

/// Lets a node lose what its upstream has not, and follow it.
pub(super) async fn rejoin(engine: &Engine, node: &NodeName, args: &ChangeArgs) -> anyhow::Result<ExitCode> {
    require_node(engine, node).await?;
    let (spec, _) = spec_of_existing(engine, &node.cluster, Replicas::AsFound).await?;
    change(engine, &ClusterSpec { rewind: Some(node.number), ..spec }, args, false).await
}
