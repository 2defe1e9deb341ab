//! `cargo xtask drill`: another node becomes the primary, again and again, while clients write, and what they were told is counted.

mod ledger;
mod round;
mod writer;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use pgherd_orchestrator::{ClusterSpec, Inventory, LossBound, Replicas, reconcile};
use tokio::{task::JoinSet, time::sleep};

use crate::{application::Application, ground::Ground, images::ImageArg, output};

use ledger::{Ledger, audit};
use round::{Round, Way};

/// Fails a primary over, again and again, while clients write, and counts the acknowledged commits that are lost
///
/// The primary is killed by SIGKILL each time. With a quorum no acknowledged commit may be lost; without one, no more than was said
/// before the promotion. Exit codes: 0 if that is so, 1 if not. What is made for it is removed.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask drill\n  cargo xtask drill --rounds 20 --replicas 3 --quorum 2\n  cargo xtask drill --asynchronous\n  cargo xtask drill --switchover --rounds 10"
)]
pub(crate) struct DrillArgs {
    /// How often another node becomes the primary
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many replicas there are
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(Replicas::MAX)))]
    replicas: u16,
    /// How many replicas have a commit before it is acknowledged
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    quorum: u16,
    /// No commit waits for a replica: some may be lost
    #[arg(long, conflicts_with = "quorum")]
    asynchronous: bool,
    /// Has the primary hand over in good order, and loses nothing even without a quorum
    #[arg(long)]
    switchover: bool,
    /// How many clients write, each over a connection of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    clients: u16,
    #[command(flatten)]
    image: ImageArg,
}

/// Far more than a change of the primary takes.
const LIMIT: Duration = Duration::from_secs(180);

/// What every client commits between two changes at least.
const COMMITS_BETWEEN: usize = 20;

/// Between two looks at what the clients have done.
const INTERVAL: Duration = Duration::from_millis(20);

pub(crate) fn run(args: &DrillArgs) -> anyhow::Result<ExitCode> {
    Ground::work("drill", &args.image, async |ground| drill(ground, args).await)
}

async fn drill(ground: &Ground, args: &DrillArgs) -> anyhow::Result<ExitCode> {
    let engine = &ground.engine;
    let quorum = if args.asynchronous { 0 } else { args.quorum };
    let spec = ground.cluster("herd", args.replicas)?;
    let spec = ClusterSpec { publish: true, quorum: Some(quorum), ..spec };
    let (mut observed, _) = reconcile(engine, &spec, LIMIT, |_| ()).await?;
    let application = Application::of(engine, &observed).await?;
    let table = "CREATE TABLE writes (client int, id bigint, PRIMARY KEY (client, id))";
    application.connect().await?.batch_execute(table).await?;

    let ledgers: Vec<Ledger> = (0..args.clients).map(|_| Ledger::default()).collect();
    let clients = (0..).zip(&ledgers);
    let mut writers: JoinSet<()> =
        clients.map(|(number, ledger)| writer::write(number, application.clone(), ledger.clone())).collect();
    let way = match (args.switchover, args.asynchronous) {
        (true, _) => Way::Switchover,
        (false, asynchronous) => Way::Crash { asynchronous },
    };
    let mut total = Total { may_lose: way == Way::Crash { asynchronous: true }, ..Total::default() };
    for number in 1..=args.rounds {
        all_go_on(&ledgers).await?;
        let round = Round::play(engine, &spec, way, &observed).await?;
        let missing = audit(&ledgers, &connect_to_primary(&application, &round.observed).await?).await?;
        let lost_bytes = round.lost_bytes(&missing);
        output::line(format_args!("{number} of {}: {}", args.rounds, round.verdict(missing.len(), lost_bytes)))?;
        total.add(&round, missing.len(), lost_bytes);
        observed = round.observed;
    }
    all_go_on(&ledgers).await?;
    writers.shutdown().await;
    // Whatever was acknowledged until the end.
    let missing = audit(&ledgers, &connect_to_primary(&application, &observed).await?).await?;
    total.lost += missing.len();
    total.broken += u32::from(!missing.is_empty());
    let acknowledged = ledgers.iter().map(Ledger::len).sum::<usize>() + total.lost;
    output::line(total.text(way, acknowledged))?;
    Ok(if total.broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until every client has committed some more.
async fn all_go_on(ledgers: &[Ledger]) -> anyhow::Result<()> {
    let goals: Vec<usize> = ledgers.iter().map(|ledger| ledger.len() + COMMITS_BETWEEN).collect();
    let begin = Instant::now();
    let behind = || ledgers.iter().zip(&goals).position(|(ledger, goal)| ledger.len() < *goal);
    while let Some(client) = behind() {
        ensure!(begin.elapsed() < LIMIT, "client {client} could not commit for {} s", LIMIT.as_secs());
        sleep(INTERVAL).await;
    }
    Ok(())
}

async fn connect_to_primary(application: &Application, observed: &Inventory) -> anyhow::Result<tokio_postgres::Client> {
    let published = observed.primary().and_then(|number| observed.nodes[&number].published);
    let port = published.with_context(|| format!("cluster \"{}\" has no primary with a port", observed.name))?;
    Ok(application.connect_to(port).await?)
}

/// What all rounds have in common.
#[derive(Default)]
struct Total {
    may_lose: bool,
    rounds: u32,
    lost: usize,
    lost_bytes: u64,
    /// Rounds with a bound that is not known.
    unknown: u32,
    /// Rounds in which more was lost than may be.
    broken: u32,
}

impl Total {
    fn add(&mut self, round: &Round, lost: usize, lost_bytes: Option<u64>) {
        self.rounds += 1;
        self.lost += lost;
        self.lost_bytes += lost_bytes.unwrap_or(0);
        self.unknown += u32::from(matches!(round.bound, Some(LossBound::Unknown(_))));
        self.broken += u32::from(round.breaks_its_word(lost, lost_bytes));
    }

    fn text(&self, way: Way, acknowledged: usize) -> String {
        let Total { rounds, lost, lost_bytes, unknown, broken, may_lose } = self;
        let what = if way == Way::Switchover { "switchovers" } else { "failovers" };
        let begin = format!("{rounds} {what}, {acknowledged} commits acknowledged, {lost} lost");
        if *may_lose {
            format!(
                "{begin} with at least {lost_bytes} bytes of WAL; {broken} lost more than was said, {unknown} bounds unknown"
            )
        } else {
            begin
        }
    }
}
