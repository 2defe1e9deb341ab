//! `bench failover`: for how long nothing can be written when another node becomes the primary, beside a bare `pg_promote`.

mod writers;

use std::time::{Duration, Instant};

use pgherd_orchestrator::{ClusterSpec, Engine, Inventory, Primacy, Progress, Terms, reconcile};
use tokio_postgres::Client;

use super::{Ground, connection::connect, figures::Figures};
use crate::output;

use writers::Writers;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn measure(ground: &Ground, rounds: u16) -> anyhow::Result<Figures> {
    let engine = &ground.engine;
    let mut figures = Figures::of(
        "from the order to the first commit on another node that its client is told of, with a quorum of 1 of 2 replicas; \
         beside a bare pg_promote in a pair without a quorum",
    );
    // No commit waits for a second node in the pair, and no third one takes part: nothing is faster.
    let mut pair = Cluster::make(engine, ClusterSpec { publish: true, ..ground.cluster("pair", 1)? }).await?;
    let herd = ClusterSpec { publish: true, quorum: Some(1), ..ground.cluster("herd", 2)? };
    let mut herd = Cluster::make(engine, herd).await?;
    for round in 1..=rounds {
        let floor = pair.promote_bare().await?;
        figures.add(FLOOR, "ms", floor);
        let mut note = format!("round {round} of {rounds}: {FLOOR} {floor:.0} ms");
        for (way, name) in [(Way::Crash, CRASH), (Way::Switchover, SWITCHOVER)] {
            let times = herd.succeed(way).await?;
            for (what, milliseconds) in [
                ("", times.until_commit),
                (": until all stream again", times.until_whole),
                (": until it is promoted", times.until_promoted),
                (": until it is decided", times.until_decided),
            ] {
                figures.add(format!("{name}{what}"), "ms", milliseconds);
            }
            if way == Way::Switchover {
                // The old primary goes on while its successor is chosen.
                figures.add(format!("{name}: without a commit"), "ms", times.without_commit);
            }
            note += &format!(", {name} {:.0} ms", times.until_commit);
        }
        output::note(note);
    }
    for name in [CRASH, SWITCHOVER] {
        figures.compare(name, FLOOR);
    }
    Ok(figures)
}

const FLOOR: &str = "bare pg_promote";
const CRASH: &str = "failover after a crash";
const SWITCHOVER: &str = "switchover";

/// How another node becomes the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Crash,
    Switchover,
}

impl Way {
    fn primacy(self) -> Primacy {
        match self {
            Way::Crash => Primacy::Failover { to: None, allow_data_loss: false, force: false },
            Way::Switchover => Primacy::Switchover { to: None },
        }
    }
}

/// A cluster that is whole.
struct Cluster<'a> {
    engine: &'a Engine,
    spec: ClusterSpec,
    observed: Inventory,
    primary: u16,
}

/// Milliseconds since the order.
struct Times {
    /// Until the first steps that are more than a fence are begun.
    until_decided: f64,
    until_promoted: f64,
    until_commit: f64,
    until_whole: f64,
    /// Since the last commit on the old primary instead.
    without_commit: f64,
}

impl Cluster<'_> {
    async fn make(engine: &Engine, spec: ClusterSpec) -> anyhow::Result<Cluster<'_>> {
        let (observed, _) = reconcile(engine, &spec, LIMIT, |_| ()).await?;
        let primary = primary(&observed)?;
        Ok(Cluster { engine, spec, observed, primary })
    }

    /// Has another node become the primary by pgherd.
    async fn succeed(&mut self, way: Way) -> anyhow::Result<Times> {
        let mut writers = Writers::begin(self.engine, &self.observed, self.primary).await?;
        if way == Way::Crash {
            self.engine.kill_container(&self.node(self.primary)).await?;
        }
        let order = Instant::now();
        let since = |then: Instant| then.saturating_duration_since(order).as_secs_f64() * 1000.0;
        let spec = ClusterSpec { primacy: way.primacy(), ..self.spec.clone() };
        let (mut decided, mut promoted) = (None, None);
        let progress = |progress: Progress<'_>| match progress {
            Progress::Applying(_) => drop(decided.get_or_insert_with(Instant::now)),
            Progress::Promoted(_) => promoted = Some(Instant::now()),
            _ => {}
        };
        let changed = async {
            let end = reconcile(self.engine, &spec, Terms::from(LIMIT), progress).await;
            (end, Instant::now())
        };
        let ((end, whole), moved) = tokio::join!(changed, writers.moved());
        let (observed, _) = end?;
        let (first, last) = moved?;
        (self.primary, self.observed) = (primary(&observed)?, observed);
        Ok(Times {
            until_decided: since(decided.unwrap_or(order)),
            until_promoted: since(promoted.unwrap_or(order)),
            until_commit: since(first),
            until_whole: since(whole),
            without_commit: first.saturating_duration_since(last).as_secs_f64() * 1000.0,
        })
    }

    /// Has the only replica become the primary by PostgreSQL alone, once the primary is killed, and returns the milliseconds until the
    /// first commit there.
    async fn promote_bare(&mut self) -> anyhow::Result<f64> {
        let replica = self.observed.nodes.keys().copied().find(|number| *number != self.primary);
        let replica = replica.ok_or_else(|| anyhow::anyhow!("the pair has no replica"))?;
        let superuser: Client = connect(self.engine, &self.node(replica), LIMIT).await?.client;
        let mut writers = Writers::begin(self.engine, &self.observed, self.primary).await?;
        self.engine.kill_container(&self.node(self.primary)).await?;
        let order = Instant::now();
        let (promoted, moved) = tokio::join!(superuser.batch_execute("SELECT pg_promote(true)"), writers.moved());
        promoted?;
        let (first, _) = moved?;
        let rejoin = ClusterSpec { rewind: Some(self.primary), ..self.spec.clone() };
        let (observed, _) = reconcile(self.engine, &rejoin, LIMIT, |_| ()).await?;
        (self.primary, self.observed) = (primary(&observed)?, observed);
        Ok((first - order).as_secs_f64() * 1000.0)
    }

    fn node(&self, number: u16) -> String {
        self.observed.node_name(number).to_string()
    }
}

fn primary(observed: &Inventory) -> anyhow::Result<u16> {
    observed.primary().ok_or_else(|| anyhow::anyhow!("cluster \"{}\" has no primary", observed.name))
}
