//! `cargo xtask cluster`: the verbs, and what each of them is given.

mod change;
mod chaos;
mod check;
mod env;
mod export;
mod from;
mod lag;
mod lifecycle;
mod metrics;
mod psql;
mod replication;
mod rotate;
mod settings;
mod shape;
mod status;
mod succession;
mod target;
mod top;
mod up;
mod wait;
mod watch;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use pgherd_orchestrator::{ClusterName, Engine, NodeName, Replicas};

use change::ChangeArgs;
use succession::FailoverArgs;
use target::Target;

use crate::output::FormatArg;

/// Makes, shows, uses and removes clusters
#[derive(Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes a cluster, or what is missing of it, and returns when every replica streams
    ///
    /// Builds the images first if they are missing. Run again on a cluster that is complete, it changes nothing.
    #[command(
        after_help = "Examples:\n  cargo xtask cluster up\n  cargo xtask cluster up shop --replicas 4 --publish\n  cargo xtask cluster up tight --volume-size 512MB\n  cargo xtask cluster up fast --profile throwaway --init schema.sql\n  cargo xtask cluster up shop --from-volume pgdata\n  cargo xtask cluster up --file shop.toml --dry-run\n  cargo xtask cluster up army --from-container their-postgres --dry-run"
    )]
    Up(Box<up::UpArgs>),
    /// Lists all clusters on the engine
    Ls {
        #[command(flatten)]
        format: FormatArg,
    },
    /// Shows every node as seen from both ends of its replication; exits with 3 if anything is degraded
    #[command(
        after_help = "Examples:\n  cargo xtask cluster status\n  cargo xtask cluster status shop --watch\n  cargo xtask cluster status shop --watch 1 --format json"
    )]
    Status {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        watch: watch::WatchArgs,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Says in one line whether a cluster is healthy: exits with 0 if so, with 3 if not, with 1 if that could not be told
    #[command(
        after_help = "Examples:\n  cargo xtask cluster check && echo well\n  cargo xtask cluster check shop --nagios --timeout 5s"
    )]
    Check(check::CheckArgs),
    /// Shows every stream as both of its ends see it: pg_stat_replication, and what it cannot know
    #[command(
        after_help = "Examples:\n  cargo xtask cluster replication\n  cargo xtask cluster replication shop --format json"
    )]
    Replication {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Tells Prometheus what is known of a cluster, whenever it asks
    #[command(
        after_help = "Examples:\n  cargo xtask cluster metrics --once\n  cargo xtask cluster metrics shop --listen 127.0.0.1:9187\n  curl http://127.0.0.1:9187/metrics"
    )]
    Metrics(metrics::MetricsArgs),
    /// Shows a cluster on a full screen, as it changes: who streams from whom, lag over time, slots, and what is wrong
    #[command(
        after_help = "Examples:\n  cargo xtask cluster top\n  cargo xtask cluster top shop --every 0.5\n  cargo xtask cluster top shop --once"
    )]
    Top(top::TopArgs),
    /// Waits until a cluster is as it is needed: exits with 0 when it is, with 1 when that takes too long
    #[command(
        after_help = "Examples:\n  cargo xtask cluster wait --streaming\n  cargo xtask cluster wait --replayed now --node demo-2\n  cargo xtask cluster wait shop --lag-below 1MB --timeout 2min\n  cargo xtask cluster wait --node demo-2 --role primary"
    )]
    Wait(wait::WaitArgs),
    Lag(lag::LagArgs),
    /// Runs psql on a node, as superuser
    #[command(
        after_help = "Examples:\n  cargo xtask cluster psql demo-1\n  cargo xtask cluster psql demo-2 -c 'SELECT 1'"
    )]
    Psql {
        /// The node, as in "demo-1"
        node: NodeName,
        /// Arguments of psql
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs one SQL statement, on the primary or on a node, as superuser, and prints what it returns
    #[command(
        after_help = "Examples:\n  cargo xtask cluster sql demo 'SELECT 1'\n  cargo xtask cluster sql demo-2 'TABLE pg_stat_wal_receiver'"
    )]
    Sql {
        /// A cluster, or one node of it
        #[arg(value_name = "NAME|NODE")]
        target: Target,
        /// The statement
        statement: String,
    },
    /// Runs a command in a node's container
    #[command(
        after_help = "Examples:\n  cargo xtask cluster exec demo-1 pgherd-agent plan\n  cargo xtask cluster exec demo-2 sh"
    )]
    Exec {
        #[command(flatten)]
        node: NodeArg,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Prints the log of a node
    Logs {
        /// The node, as in "demo-1"
        node: NodeName,
        /// Goes on printing as the log grows
        #[arg(short, long)]
        follow: bool,
        /// Begins with the last so many lines
        #[arg(long, value_name = "LINES")]
        tail: Option<u32>,
    },
    /// Prints the connection lines for applications, password included
    Url {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Prints the settings of libpq for the application as lines for a shell, password included
    #[command(after_help = "Examples:\n  eval \"$(cargo xtask cluster env)\"; psql -c 'SELECT 1'")]
    Env {
        #[command(flatten)]
        name: NameArg,
    },
    /// Changes settings of PostgreSQL on every node, and returns when all replicas stream with them
    ///
    /// A setting that only a start takes up costs each node one, replicas first, one after the other; what a replica must not have less of
    /// than its primary is raised on replicas first, and lowered on the primary first. A bad value is refused before anything is changed, and
    /// undone where it shows at a start alone.
    #[command(
        after_help = "Examples:\n  cargo xtask cluster set work_mem=64MB\n  cargo xtask cluster set shop max_connections=300 shared_buffers=256MB --switchover\n  cargo xtask cluster set shop --reset work_mem"
    )]
    Set(settings::SetArgs),
    /// Writes down what a cluster is
    #[command(subcommand)]
    Export(Export),
    /// Stops a cluster or one node, and keeps all data
    Stop {
        #[command(flatten)]
        target: TargetArg,
    },
    /// Starts a cluster or one node, and returns when it streams
    Start {
        #[command(flatten)]
        target: TargetArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Restarts a node, or a cluster node by node with its primary last, and returns when all stream
    Restart {
        #[command(flatten)]
        target: TargetArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Removes a cluster with all its data
    Rm {
        #[command(flatten)]
        name: NameArg,
        /// Does not ask
        #[arg(long)]
        force: bool,
    },
    Chaos(chaos::ChaosArgs),
    /// Replaces secrets on a running cluster, and no connection is lost
    ///
    /// A rotation that was cut off is brought to its end by the same command.
    #[command(
        after_help = "Examples:\n  cargo xtask cluster rotate passwords\n  cargo xtask cluster rotate authority shop"
    )]
    Rotate {
        /// What is replaced
        #[arg(value_enum)]
        what: rotate::What,
        #[command(flatten)]
        name: NameArg,
    },
    /// Adds replicas, or removes those with the highest numbers together with their data
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:\n  cargo xtask cluster scale 8\n  cargo xtask cluster scale shop 2 --dry-run"
    )]
    Scale {
        #[command(flatten)]
        name: NameArg,
        /// How many replicas the cluster shall have
        #[arg(value_parser = replica_count())]
        replicas: u16,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Adds one replica, of the primary or of another node
    #[command(after_help = "Examples:\n  cargo xtask cluster add\n  cargo xtask cluster add shop --upstream shop-2")]
    Add {
        #[command(flatten)]
        name: NameArg,
        /// Whom it follows [default: the primary]
        #[arg(long, value_name = "NODE")]
        upstream: Option<NodeName>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Removes one replica with its data; who followed it follows the primary
    #[command(after_help = "Examples:\n  cargo xtask cluster remove demo-3")]
    Remove {
        #[command(flatten)]
        node: NodeArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Has a replica follow another node, without a restart
    #[command(after_help = "Examples:\n  cargo xtask cluster repoint demo-3 demo-2")]
    Repoint {
        #[command(flatten)]
        node: NodeArg,
        /// Whom it is to follow
        #[arg(value_name = "UPSTREAM")]
        upstream: NodeName,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Puts right what is not as it was asked to be: what is down is started, what is missing is made again, slots that nobody
    /// uses go
    Repair {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Makes another node the primary in good order: nothing is lost, and all others follow it
    ///
    /// Without a node, the replica that has come furthest takes over. A switchover that was cut off is finished by the same command.
    #[command(
        after_help = "Examples:\n  cargo xtask cluster switchover\n  cargo xtask cluster switchover demo-2\n  cargo xtask cluster switchover shop --dry-run"
    )]
    Switchover {
        #[command(flatten)]
        target: TargetArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Makes a replica the primary in the place of one that is dead, hung or cut off, which is killed first
    ///
    /// Refused where commits could be lost that were acknowledged, unless that is allowed. With a quorum ("up --quorum") none are,
    /// as long as enough replicas answer. The old primary comes back as a replica.
    #[command(
        after_help = "Examples:\n  cargo xtask cluster failover\n  cargo xtask cluster failover demo-3 --allow-data-loss"
    )]
    Failover {
        #[command(flatten)]
        target: TargetArg,
        #[command(flatten)]
        failover: FailoverArgs,
    },
    /// Makes a node the primary: by a switchover where there is one that answers, by a failover where not
    #[command(after_help = "Examples:\n  cargo xtask cluster promote demo-2")]
    Promote {
        #[command(flatten)]
        node: NodeArg,
        #[command(flatten)]
        failover: FailoverArgs,
    },
    /// Has a node follow its upstream also where it has something of its own, which goes to its trash
    #[command(after_help = "Examples:\n  cargo xtask cluster rejoin demo-1")]
    Rejoin {
        #[command(flatten)]
        node: NodeArg,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Removes what dead test runs and benchmarks have left, and nothing else
    Prune,
}

/// In which form a cluster is written down.
#[derive(Subcommand)]
enum Export {
    /// A Compose file that makes a cluster like this one without pgherd, of its images alone
    #[command(
        after_help = "Examples:\n  cargo xtask cluster export compose shop > compose.yaml\n  docker compose up --wait"
    )]
    Compose {
        #[command(flatten)]
        name: NameArg,
    },
    /// The file of which "up --file" makes the same cluster
    #[command(after_help = "Examples:\n  cargo xtask cluster export spec shop > shop.toml")]
    Spec {
        #[command(flatten)]
        name: NameArg,
    },
}

#[derive(Args)]
struct NameArg {
    /// The cluster
    #[arg(env = "PGHERD_CLUSTER", default_value = "demo")]
    name: ClusterName,
}

#[derive(Args)]
struct TargetArg {
    /// A cluster, or one node of it
    #[arg(env = "PGHERD_CLUSTER", default_value = "demo", value_name = "NAME|NODE")]
    target: Target,
}

#[derive(Args)]
struct NodeArg {
    /// The node, as in "demo-1"
    node: NodeName,
}

#[derive(Args)]
struct TimeoutArg {
    /// How long to wait until every replica streams, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl TimeoutArg {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn replica_count() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=i64::from(Replicas::MAX))
}

/// The test run that everything belongs to which this process makes; unset for a user's own.
fn owner() -> Option<String> {
    std::env::var("PGHERD_OWNER").ok().filter(|owner| !owner.is_empty())
}

pub(crate) fn run(args: &ClusterArgs) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let engine = match (Engine::connect().await, &args.verb) {
            // An engine that cannot be reached is an answer, too.
            (Err(error), Verb::Check(args)) => return check::could_not_tell(args, error.into()),
            (engine, _) => engine?,
        };
        match &args.verb {
            Verb::Up(args) => up::up(&engine, args).await,
            Verb::Ls { format } => status::list(&engine, format.format).await,
            Verb::Status { name, watch, format } => match watch.watch {
                None => status::status(&engine, &name.name, format.format).await,
                Some(every) => watch::watch(&engine, &name.name, format.format, every, watch).await,
            },
            Verb::Check(args) => check::check(&engine, args).await,
            Verb::Replication { name, format } => replication::replication(&engine, &name.name, format.format).await,
            Verb::Metrics(args) => metrics::metrics(&engine, args).await,
            Verb::Top(args) => top::top(&engine, args).await,
            Verb::Wait(args) => wait::wait(&engine, args).await,
            Verb::Lag(args) => lag::lag(&engine, args).await,
            Verb::Psql { node, arguments } => psql::psql(&engine, node, arguments).await,
            Verb::Logs { node, follow, tail } => lifecycle::logs(&engine, node, *follow, *tail).await,
            Verb::Url { name, format } => status::url(&engine, &name.name, format.format).await,
            Verb::Stop { target } => lifecycle::stop(&engine, &target.target).await,
            Verb::Sql { target, statement } => psql::sql(&engine, target, statement).await,
            Verb::Exec { node, command } => psql::exec(&engine, &node.node, command).await,
            Verb::Env { name } => env::env(&engine, &name.name).await,
            Verb::Set(args) => settings::set(&engine, args).await,
            Verb::Export(Export::Spec { name }) => export::spec(&engine, &name.name).await,
            Verb::Export(Export::Compose { name }) => export::compose(&engine, &name.name).await,
            Verb::Start { target, change } => up::start(&engine, &target.target, change, false).await,
            Verb::Restart { target, change } => lifecycle::restart(&engine, &target.target, change).await,
            Verb::Rm { name, force } => lifecycle::remove(&engine, &name.name, *force).await,
            Verb::Chaos(args) => chaos::chaos(&engine, args).await,
            Verb::Rotate { what, name } => rotate::rotate(&engine, &name.name, *what).await,
            Verb::Scale { name, replicas, change } => up::scale(&engine, &name.name, *replicas, change).await,
            Verb::Add { name, upstream, change } => shape::add(&engine, &name.name, upstream.as_ref(), change).await,
            Verb::Remove { node, change } => shape::remove(&engine, &node.node, change).await,
            Verb::Repoint { node, upstream, change } => shape::repoint(&engine, &node.node, upstream, change).await,
            Verb::Repair { name, change } => {
                up::start(&engine, &Target::Cluster(name.name.clone()), change, false).await
            }
            Verb::Switchover { target, change } => succession::switchover(&engine, target, change).await,
            Verb::Failover { target, failover } => succession::failover(&engine, target, failover).await,
            Verb::Promote { node, failover } => succession::promote(&engine, node, failover).await,
            Verb::Rejoin { node, change } => succession::rejoin(&engine, &node.node, change).await,
            Verb::Prune => lifecycle::prune(&engine).await,
        }
    })
}
