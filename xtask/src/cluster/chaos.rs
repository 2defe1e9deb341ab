//! `cluster chaos`: faults by hand, in the same words in which scenarios have them.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use pgherd_agent::Selection;
use pgherd_orchestrator::{
    Engine, NodeName, ReconcileError,
    chaos::{self, ChaosError, Direction, Fault, FaultsOfNode, Milliseconds, Percent, Rate},
};

use super::{NodeArg, TargetArg, TimeoutArg, change::ChangeArgs, target::Target, up};
use crate::{
    images,
    output::{self, Format, FormatArg},
};

/// Does something to a node, and undoes it
///
/// The nodes are unprivileged: a helper container of pgherd/toolbox alters a node's network from beside it. Network faults last
/// until they are healed or the node's container ends. Administration (status, psql) goes through the engine and is never cut.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask cluster chaos partition demo-2\n  cargo xtask cluster chaos freeze demo-2 --process walreceiver\n  cargo xtask cluster chaos heal"
)]
pub(super) struct ChaosArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    #[command(flatten)]
    Inject(FaultVerb),
    /// Lets frozen ones go on
    Thaw {
        #[command(flatten)]
        node: NodeArg,
        #[command(flatten)]
        process: ProcessArg,
    },
    /// Lists the faults that are in force
    Ls {
        #[command(flatten)]
        name: super::NameArg,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Ends all faults of a cluster or one node, starts what is down, and returns when it streams
    ///
    /// Who streams may still have to catch up: the table says how far behind each replica is.
    Heal {
        #[command(flatten)]
        target: TargetArg,
        #[command(flatten)]
        timeout: TimeoutArg,
    },
}

/// What brings a fault about.
#[derive(Subcommand)]
enum FaultVerb {
    /// Drops the node's packets silently: all, or those from and to one other node
    ///
    /// The other node is known by the address that it has now: where it restarts with another one, the partition is not with
    /// it any more, and "ls" says so. The engine's name server is inside the node and goes on answering; see "dns".
    Partition {
        #[command(flatten)]
        node: NodeArg,
        /// Cuts off this node of the same cluster only [default: everybody]
        #[arg(long, value_name = "NODE")]
        from: Option<NodeName>,
        /// Which packets, as the node sees them: in, out or both
        #[arg(long, default_value_t)]
        direction: Direction,
    },
    /// Limits how much the node sends
    Bandwidth {
        #[command(flatten)]
        node: NodeArg,
        /// As in 512kbit, 10mbit or 1gbit
        rate: Rate,
    },
    /// Delays every packet that the node sends, where the engine's kernel has netem
    Delay {
        #[command(flatten)]
        node: NodeArg,
        /// As in 200ms or 1s
        delay: Milliseconds,
    },
    /// Loses packets that the node sends, where the engine's kernel has netem
    Loss {
        #[command(flatten)]
        node: NodeArg,
        /// How many of a hundred, as in 5%
        percent: Percent,
    },
    /// Lets the name server refuse the node's questions
    Dns {
        #[command(flatten)]
        node: NodeArg,
    },
    /// Shuts the node down in an orderly way
    Stop {
        #[command(flatten)]
        node: NodeArg,
        /// Shuts down only its PostgreSQL, behind the agent's back; the container ends with it and is restarted
        #[arg(long)]
        postgres_only: bool,
    },
    /// Ends the node, or some of its processes, by SIGKILL
    ///
    /// A container that is killed stays down. Where PostgreSQL does not survive its process, the container ends and the engine
    /// restarts it.
    Kill {
        #[command(flatten)]
        node: NodeArg,
        #[command(flatten)]
        process: ProcessArg,
    },
    /// Lets the node, or some of its processes, stand still
    Freeze {
        #[command(flatten)]
        node: NodeArg,
        #[command(flatten)]
        process: ProcessArg,
    },
    /// Takes all free space of the node's volume, on a cluster that was made with --volume-size
    DiskFull {
        #[command(flatten)]
        node: NodeArg,
    },
}

#[derive(Args)]
struct ProcessArg {
    /// Only postmaster, startup, walreceiver, walsender, checkpointer, other, or all of PostgreSQL, behind the agent's back
    #[arg(long)]
    process: Option<Selection>,
}

impl FaultVerb {
    fn fault(&self) -> Fault {
        match self {
            FaultVerb::Partition { node: NodeArg { node }, from, direction } => {
                Fault::Partition { node: node.clone(), from: from.clone(), direction: *direction }
            }
            FaultVerb::Bandwidth { node: NodeArg { node }, rate } => {
                Fault::Bandwidth { node: node.clone(), rate: *rate }
            }
            FaultVerb::Delay { node: NodeArg { node }, delay } => Fault::Delay { node: node.clone(), delay: *delay },
            FaultVerb::Loss { node: NodeArg { node }, percent } => {
                Fault::Loss { node: node.clone(), percent: *percent }
            }
            FaultVerb::Dns { node: NodeArg { node } } => Fault::Dns { node: node.clone() },
            FaultVerb::Stop { node: NodeArg { node }, postgres_only } => {
                Fault::Stop { node: node.clone(), postgres_only: *postgres_only }
            }
            FaultVerb::Kill { node: NodeArg { node }, process } => {
                Fault::Kill { node: node.clone(), process: process.process }
            }
            FaultVerb::Freeze { node: NodeArg { node }, process } => {
                Fault::Freeze { node: node.clone(), process: process.process }
            }
            FaultVerb::DiskFull { node: NodeArg { node } } => Fault::DiskFull { node: node.clone() },
        }
    }
}

pub(super) async fn chaos(engine: &Engine, args: &ChaosArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        Verb::Inject(verb) => {
            let fault = verb.fault();
            if fault.needs_toolbox() {
                images::ensure_toolbox(engine).await?;
            }
            chaos::inject(engine, &fault).await?;
            output::note(format_args!("{fault}: done"));
        }
        Verb::Thaw { node: NodeArg { node }, process: ProcessArg { process } } => {
            chaos::thaw(engine, node, *process).await?;
            output::note(format_args!("node \"{node}\" goes on"));
        }
        Verb::Ls { name, format } => {
            images::ensure_toolbox(engine).await?;
            print(&chaos::faults(engine, &name.name).await?, format.format)?;
        }
        Verb::Heal { target: TargetArg { target }, timeout } => {
            images::ensure_toolbox(engine).await?;
            heal(engine, target).await?;
            output::note("the faults are ended");
            let change = ChangeArgs::within(timeout.timeout);
            return match up::start(engine, target, &change, true).await {
                // A node that was on its way down while its fault was ended is started again, as one that was down already.
                Err(error) if matches!(error.downcast_ref(), Some(ReconcileError::NodeFailed { .. })) => {
                    heal(engine, target).await?;
                    up::start(engine, target, &change, true).await
                }
                end => end,
            };
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn heal(engine: &Engine, target: &Target) -> Result<(), ChaosError> {
    match target {
        Target::Node(node) => chaos::heal(engine, node).await,
        Target::Cluster(name) => chaos::heal_all(engine, name).await,
    }
}

fn print(nodes: &[FaultsOfNode], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&nodes);
    }
    let row = |of_node: &FaultsOfNode| {
        let faults = if of_node.faults.is_empty() { "-".to_owned() } else { of_node.faults.join(", ") };
        [of_node.node.to_string(), faults]
    };
    output::table(["NODE", "FAULTS"], nodes.iter().map(row))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{ChaosArgs, Verb};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ChaosArgs,
    }

    #[test]
    fn a_fault_reads_as_it_is_typed() {
        for line in [
            "partition demo-2",
            "partition demo-2 --from demo-1",
            "partition demo-2 --from demo-1 --direction in",
            "bandwidth demo-1 10mbit",
            "delay demo-1 200ms",
            "loss demo-1 5%",
            "dns demo-2",
            "stop demo-2",
            "stop demo-2 --postgres-only",
            "kill demo-2",
            "kill demo-2 --process all",
            "freeze demo-2 --process walreceiver",
            "disk-full demo-2",
        ] {
            let words = std::iter::once("chaos").chain(line.split(' '));
            match Line::try_parse_from(words).map(|line| line.args.verb) {
                Ok(Verb::Inject(verb)) => assert_eq!(verb.fault().to_string(), line),
                Ok(_) => panic!("{line} is no fault"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
