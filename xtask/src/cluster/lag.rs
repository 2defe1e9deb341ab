//! `cluster lag`: makes a replica late, on purpose.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use pgherd_orchestrator::{ClusterName, Engine, LagControl, Lookout, NodeName, ReplayDelay, ReplayState, control_lag};
use pgherd_probe::NodeRole;
use serde::Serialize;

use super::NameArg;
use crate::output::{self, Format, FormatArg, or_dash};

/// The version of the JSON form.
const SCHEMA: u32 = 1;

/// Makes a replica late, so that an application can be tried against it
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask cluster lag set demo-2 5s\n  cargo xtask cluster lag set demo-2 0\n  cargo xtask cluster lag pause demo-3\n  cargo xtask cluster lag show"
)]
pub(super) struct LagArgs {
    #[command(subcommand)]
    verb: LagVerb,
}

#[derive(Subcommand)]
enum LagVerb {
    /// Stops replay, and returns when it stands still; the replica goes on receiving, until "resume" or a restart
    Pause {
        /// The replica, as in "demo-2"
        node: NodeName,
    },
    /// Lets replay go on
    Resume {
        /// The replica, as in "demo-2"
        node: NodeName,
    },
    /// Lets every commit be replayed so long after it was made, also after a restart
    Set {
        /// The replica, as in "demo-2"
        node: NodeName,
        /// How long: units are ms, s, min, h and d; 0 takes the delay away
        #[arg(value_name = "SPAN", allow_hyphen_values = true)]
        delay: ReplayDelay,
    },
    /// Shows how every node replays
    Show {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        format: FormatArg,
    },
}

pub(super) async fn lag(engine: &Engine, args: &LagArgs) -> anyhow::Result<ExitCode> {
    let (node, control) = match &args.verb {
        LagVerb::Pause { node } => (node, LagControl::Pause),
        LagVerb::Resume { node } => (node, LagControl::Resume),
        LagVerb::Set { node, delay } => (node, LagControl::Delay(*delay)),
        LagVerb::Show { name, format } => return show(engine, &name.name, format.format).await,
    };
    let replay = control_lag(engine, node, control).await?;
    output::note(format_args!("replay of \"{node}\" is {replay}"));
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct NodeLag {
    node: String,
    role: Option<NodeRole>,
    /// `null` on a primary, and on a node that does not answer.
    replay: Option<ReplayState>,
    replay_lag_bytes: Option<u64>,
    replay_lag_ms: Option<u64>,
}

#[derive(Serialize)]
struct Lags<'a> {
    cluster: &'a ClusterName,
    schema: u32,
    nodes: &'a [NodeLag],
}

async fn show(engine: &Engine, cluster: &ClusterName, format: Format) -> anyhow::Result<ExitCode> {
    let mut lookout = Lookout::new(engine, cluster);
    let look = lookout.look().await?;
    let mut nodes = Vec::new();
    // A server that is not ours comes first, and is none of them.
    let reports = look.report.nodes.into_iter().skip(usize::from(look.inventory.source.is_some()));
    for (number, report) in look.inventory.nodes.keys().zip(reports) {
        let replay = match report.role {
            Some(NodeRole::Replica) => lookout.replay(&look.inventory.node_name(*number)).await?,
            _ => None,
        };
        nodes.push(NodeLag {
            node: report.node,
            role: report.role,
            replay,
            replay_lag_bytes: report.replay_lag_bytes,
            replay_lag_ms: report.replay_lag_ms,
        });
    }
    match format {
        Format::Json => output::json(&Lags { cluster, schema: SCHEMA, nodes: &nodes })?,
        Format::Table => output::table(["NODE", "ROLE", "LAG", "TIME", "REPLAY", "DELAY"], nodes.iter().map(row))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(node: &NodeLag) -> [String; 6] {
    let replay = node.replay.as_ref();
    [
        node.node.clone(),
        or_dash(node.role),
        or_dash(node.replay_lag_bytes.map(|bytes| format!("{bytes} B"))),
        or_dash(node.replay_lag_ms.map(|ms| format!("{ms} ms"))),
        or_dash(replay.map(|replay| &replay.pause_state)),
        or_dash(replay.and_then(ReplayState::delay)),
    ]
}
