//! `bench failover`: for how long nothing can be written when another node becomes the primary, beside a bare `pg_promote`.

mod writers;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use pgherd_images::contract::slot_name;
use pgherd_orchestrator::{
    ClusterSpec, Engine, Inventory, Observer, Primacy, Progress, Terms, reconcile, reconcile_by,
};
use pgherd_probe::Lsn;
use tokio::time::sleep;

use super::{
    Ground,
    connection::{Connection, connect},
    figures::Figures,
};
use crate::output;

use writers::Writers;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn measure(ground: &Ground, rounds: u16) -> anyhow::Result<Figures> {
    let engine = &ground.engine;
    let mut figures = Figures::of(
        "from the order to the first commit on another node that its client is told of, with a quorum of 1 of 2 replicas; \
         beside a bare pg_promote in a pair without a quorum, and one with the same quorum, for which the other replica is \
         repointed by SQL at the same time",
    );
    // No commit waits for a second node in the pair, and no third one takes part: nothing is faster.
    let mut pair = Cluster::make(engine, ClusterSpec { publish: true, ..ground.cluster("pair", 1)? }).await?;
    let herd = ClusterSpec { publish: true, quorum: Some(1), ..ground.cluster("herd", 2)? };
    let mut herd = Cluster::make(engine, herd).await?;
    for round in 1..=rounds {
        let mut note = format!("round {round} of {rounds}");
        for (name, cluster) in [(FLOOR, &mut pair), (QUORUM_FLOOR, &mut herd)] {
            let floor = cluster.promote_bare().await?;
            figures.add(name, "ms", floor);
            note += &format!(", {name} {floor:.0} ms");
        }
        for (name, way, by) in SUCCESSIONS {
            let times = herd.succeed(way, by).await?;
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
                figures.add(gap(name), "ms", times.without_commit);
            }
            note += &format!(", {name} {:.0} ms", times.until_commit);
        }
        output::note(note);
    }
    for (name, ..) in SUCCESSIONS {
        figures.compare(name, FLOOR);
        figures.compare(name, QUORUM_FLOOR);
        figures.compare(&gap(name), FLOOR);
        figures.compare(&gap(name), QUORUM_FLOOR);
    }
    Ok(figures)
}

const FLOOR: &str = "bare pg_promote";
const QUORUM_FLOOR: &str = "bare pg_promote with quorum";
const SUCCESSIONS: [(&str, Way, By); 4] = [
    ("failover after a crash", Way::Crash, By::Connected),
    ("failover after a crash, by a command", Way::Crash, By::Command),
    ("switchover", Way::Switchover, By::Connected),
    ("switchover, by a command", Way::Switchover, By::Command),
];

/// Who has another node become the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// An orchestrator that has looked at the cluster before, and is connected to its nodes.
    Connected,
    /// One that begins with the order, as the command line's does.
    Command,
}

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
    async fn succeed(&mut self, way: Way, by: By) -> anyhow::Result<Times> {
        let mut writers = Writers::begin(self.engine, &self.observed, self.primary).await?;
        let mut observer = Observer::new(self.engine, &self.spec.name);
        if by == By::Connected {
            observer.observe().await?;
        }
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
            let end = reconcile_by(&mut observer, &spec, Terms::from(LIMIT), progress).await;
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

    /// Has the replica with the most WAL become the primary by PostgreSQL alone once the primary is killed, and the other one follow it where
    /// there is one, over connections that are open; returns the milliseconds until the first commit there.
    async fn promote_bare(&mut self) -> anyhow::Result<f64> {
        let replicas = self.observed.nodes.keys().copied().filter(|number| *number != self.primary);
        let connected = replicas.map(async |number| {
            Ok::<_, anyhow::Error>((number, connect(self.engine, &self.node(number), LIMIT).await?))
        });
        let replicas = try_join_all(connected).await?;
        let mut writers = Writers::begin(self.engine, &self.observed, self.primary).await?;
        self.engine.kill_container(&self.node(self.primary)).await?;
        // Who is ahead of the new primary could not follow it.
        let mut ends = Vec::new();
        for (number, client) in replicas {
            ends.push((received(&client).await?, number, client));
        }
        ends.sort_by_key(|(end, number, _)| (*end, *number));
        let (_, candidate, superuser) = ends.pop().context("a cluster without replicas")?;
        let follower = match ends.pop() {
            Some((_, other, client)) => Some(Follower::prepare(self, client, other, candidate).await?),
            None => None,
        };
        let order = Instant::now();
        if let Some(follower) = &follower {
            superuser.batch_execute(&follower.create_slot).await?;
        }
        let follow = async {
            match &follower {
                Some(follower) => follower.follow().await,
                None => Ok(()),
            }
        };
        let (promoted, followed, moved) =
            tokio::join!(superuser.batch_execute("SELECT pg_promote(true)"), follow, writers.moved());
        promoted?;
        followed?;
        let (first, _) = moved?;
        if let Some(follower) = follower {
            follower.client.batch_execute("ALTER SYSTEM RESET primary_conninfo").await?;
        }
        let rejoin = ClusterSpec { rewind: Some(self.primary), ..self.spec.clone() };
        let (observed, _) = reconcile(self.engine, &rejoin, LIMIT, |_| ()).await?;
        (self.primary, self.observed) = (primary(&observed)?, observed);
        Ok((first - order).as_secs_f64() * 1000.0)
    }

    fn node(&self, number: u16) -> String {
        self.observed.node_name(number).to_string()
    }
}

/// How far a replica has come whose primary is dead: nothing more comes once its receiver has ended.
async fn received(replica: &Connection) -> anyhow::Result<Lsn> {
    const END: &str =
        "SELECT pg_last_wal_receive_lsn()::text FROM pg_stat_get_wal_receiver() AS receiver WHERE receiver.pid IS NULL";
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(row) = replica.query_opt(END, &[]).await? {
            return Ok(row.try_get::<_, String>(0)?.parse()?);
        }
        anyhow::ensure!(Instant::now() < deadline, "a wal receiver outlived its primary by {} s", LIMIT.as_secs());
        sleep(Duration::from_millis(5)).await;
    }
}

/// A replica that is made to follow another node by SQL.
struct Follower {
    client: Connection,
    create_slot: String,
    set_conninfo: String,
}

impl Follower {
    async fn prepare(cluster: &Cluster<'_>, client: Connection, node: u16, upstream: u16) -> anyhow::Result<Follower> {
        let hosts = [cluster.primary, upstream].map(|number| format!("host={} ", cluster.node(number)));
        let repointed = "SELECT format('ALTER SYSTEM SET primary_conninfo = %L', \
                         replace(current_setting('primary_conninfo'), $1, $2))";
        let set_conninfo = client.query_one(repointed, &[&hosts[0], &hosts[1]]).await?.try_get(0)?;
        let create_slot =
            format!("SELECT pg_create_physical_replication_slot('{}', true)", slot_name(&cluster.node(node)));
        Ok(Follower { client, create_slot, set_conninfo })
    }

    async fn follow(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(&self.set_conninfo).await?;
        self.client.batch_execute("SELECT pg_reload_conf()").await
    }
}

/// The name of the time since the last commit on the old primary.
fn gap(name: &str) -> String {
    format!("{name}: without a commit")
}

fn primary(observed: &Inventory) -> anyhow::Result<u16> {
    observed.primary().ok_or_else(|| anyhow::anyhow!("cluster \"{}\" has no primary", observed.name))
}
