//! `cluster wait`: returns when the cluster is what somebody needs.

use std::{process::ExitCode, str::FromStr};

use anyhow::bail;
use clap::{ArgGroup, Args, ValueEnum};
use pgherd_orchestrator::{Awaited, ByteCount, ClusterName, Engine, Lookout, NodeName, TimeSpan};
use pgherd_probe::{Lsn, NodeRole, ParseLsnError};

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(super) struct WaitArgs {
    /// The cluster [default: that of the node, else demo]
    #[arg(env = "PGHERD_CLUSTER")]
    name: Option<ClusterName>,
    /// Until it streams, as seen from both ends
    #[arg(long, group = "what")]
    streaming: bool,
    /// Until queries see everything up to this position, or all that the primary has committed by now
    #[arg(long, group = "what", value_name = "LSN|now")]
    replayed: Option<Position>,
    /// Until less than this is left to replay
    #[arg(long, group = "what", value_name = "SIZE")]
    lag_below: Option<ByteCount>,
    /// Until the node has this role
    #[arg(long, group = "what", requires = "node", value_enum)]
    role: Option<Role>,
    /// Of one node [default: of all replicas]
    #[arg(long)]
    node: Option<NodeName>,
    /// How long to wait
    #[arg(long, default_value = "30s", value_name = "SPAN")]
    timeout: TimeSpan,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Primary,
    Replica,
}

#[derive(Clone, Copy)]
enum Position {
    Now,
    At(Lsn),
}

impl FromStr for Position {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" { Ok(Position::Now) } else { text.parse().map(Position::At) }
    }
}

pub(super) async fn wait(engine: &Engine, args: &WaitArgs) -> anyhow::Result<ExitCode> {
    let mut lookout = Lookout::new(engine, &cluster(args)?);
    let node = args.node.clone();
    let awaited = match (args.replayed, args.lag_below, args.role, node) {
        (Some(Position::At(lsn)), _, _, node) => Awaited::Replayed(lsn, node),
        (Some(Position::Now), _, _, node) => Awaited::Replayed(lookout.commit_lsn().await?, node),
        (_, Some(limit), _, node) => Awaited::LagBelow(limit, node),
        (_, _, Some(Role::Primary), Some(node)) => Awaited::Role(NodeRole::Primary, node),
        (_, _, Some(Role::Replica), Some(node)) => Awaited::Role(NodeRole::Replica, node),
        (_, _, _, node) => Awaited::Streaming(node),
    };
    lookout.wait_for(&awaited, args.timeout.into()).await?;
    Ok(ExitCode::SUCCESS)
}

/// A node names its cluster, too.
fn cluster(args: &WaitArgs) -> anyhow::Result<ClusterName> {
    match (&args.name, &args.node) {
        (Some(name), Some(node)) if node.cluster != *name => {
            bail!("node \"{node}\" is none of cluster \"{name}\"\nhint: Leave out the name of the cluster.")
        }
        (Some(name), _) => Ok(name.clone()),
        (None, Some(node)) => Ok(node.cluster.clone()),
        (None, None) => Ok("demo".parse()?),
    }
}
