//! `bench probe`: what it costs to look, over connections that are open, and beside `pg_isready`.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{join_all, try_join_all},
};
use pgherd_orchestrator::{Attendant, Engine, Exec, Observer, reconcile};
use pgherd_probe::Probe;
use tokio::{
    io::AsyncWriteExt,
    time::{MissedTickBehavior, interval},
};

use super::{
    Ground,
    connection::{Connection, Traffic, connect},
    figures::Figures,
    own,
};
use crate::output;

/// Far more than it takes to make all nodes.
const LIMIT: Duration = Duration::from_secs(900);

/// How often each quantity is measured.
const ROUNDS: u32 = 5;

/// Observations between two looks at the clock, of one node or of all at once.
const BATCH: u32 = 50;

/// How many cycles there are, and after how many of them the memory is looked at.
const CYCLES: usize = 10_000;
const CYCLES_BETWEEN_LOOKS: usize = 1_000;

/// How often a node is measured that is left alone, is probed, or is asked by `pg_isready`.
const LOAD_ROUNDS: u32 = 3;

pub(super) async fn measure(ground: &Ground, nodes: u16, seconds: u16) -> anyhow::Result<Figures> {
    let engine = &ground.engine;
    let spec = ground.cluster("probe", nodes - 1)?;
    output::note(format_args!("making {nodes} nodes"));
    let begin = Instant::now();
    reconcile(engine, &spec, LIMIT, |_| ()).await?;
    output::note(format_args!("{nodes} nodes stream after {:.1} s", begin.elapsed().as_secs_f64()));

    let names: Vec<_> = (1..=nodes).map(|number| spec.name.node(number).to_string()).collect();
    let connected = try_join_all(names.iter().map(|name| connect(engine, name, LIMIT))).await?;
    let connections: Vec<Asked> = connected.into_iter().map(Asked::over).collect();
    let all = Nodes { engine, names: &names, connections: &connections };
    let (primary, replica) = (all.one(0), all.one(1));
    let mut figures = Figures::of(format!(
        "one observation of each node, over connections that are open: a primary with {} replicas",
        nodes - 1
    ));
    let of_all = format!("all {nodes} at once");
    for round in 1..=ROUNDS {
        for (name, nodes) in [("primary", &primary), ("replica", &replica), (&of_all, &all)] {
            nodes.measure(name, &mut figures).await?;
        }
        output::note(format_args!("round {round} of {ROUNDS}"));
    }
    let wall_time = |name: &str| format!("{name}: wall time");
    for one in ["primary", "replica"] {
        figures.compare(&wall_time(&of_all), &wall_time(one));
    }
    figures.compare(&wall_time(&of_all), &at_least(&of_all));

    let mut observer = Observer::new(engine, &spec.name);
    observer.observe().await?;
    for _ in 0..ROUNDS {
        let (begin, cpu) = (Instant::now(), own::cpu());
        observer.observe().await?;
        figures.add("cluster status, engine included: wall time", "ms", milliseconds(begin.elapsed()));
        figures.add("cluster status, engine included: our CPU", "ms", milliseconds(own::cpu() - cpu));
    }
    drop(observer);

    output::note(format_args!("{CYCLES} cycles"));
    all.cycles(&mut figures).await?;
    for round in 1..=LOAD_ROUNDS {
        for load in Load::ALL {
            figures.add(load.name(), "ms/s", primary.load(load, seconds).await?);
        }
        output::note(format_args!("load, round {round} of {LOAD_ROUNDS}"));
    }
    for load in [Load::Probe, Load::IsReady] {
        if let (Some(loaded), Some(alone)) = (figures.median(load.name()), figures.median(Load::None.name())) {
            figures.add(load.added(), "ms/s", loaded - alone);
        }
    }
    figures.compare(Load::Probe.added(), Load::IsReady.added());
    Ok(figures)
}

/// However many are asked at once, it takes as long as all cores need for it.
fn at_least(name: &str) -> String {
    format!("{name}: CPU of both ends, over all cores")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Some nodes, each with its connection.
struct Nodes<'a> {
    engine: &'a Engine,
    names: &'a [String],
    connections: &'a [Asked],
}

/// A connection that is asked over, and what goes over it.
struct Asked {
    probe: Probe,
    traffic: Arc<Traffic>,
    /// The connection ends with it.
    _attendant: Attendant,
}

impl Asked {
    fn over(Connection { client, traffic, attendant }: Connection) -> Asked {
        Asked { probe: Probe::new(client), traffic, _attendant: attendant }
    }
}

impl Nodes<'_> {
    fn one(&self, at: usize) -> Nodes<'_> {
        Nodes { engine: self.engine, names: &self.names[at..=at], connections: &self.connections[at..=at] }
    }

    /// Observes each of them once, all at the same time.
    async fn observe(&self) -> anyhow::Result<()> {
        let asked = join_all(self.connections.iter().map(|connection| connection.probe.observe())).await;
        asked.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    /// The processor time of their containers, the ends of the tunnels included.
    async fn cpu(&self) -> anyhow::Result<Duration> {
        let times = try_join_all(self.names.iter().map(|name| self.engine.cpu_time(name))).await?;
        Ok(times.into_iter().sum())
    }

    fn traffic(&self) -> (u64, u64) {
        let each = self.connections.iter().map(|connection| connection.traffic.so_far());
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// What an observation of all of them costs, as a mean of some.
    async fn measure(&self, name: &str, figures: &mut Figures) -> anyhow::Result<()> {
        // The first is not what it always is: statements are prepared for it.
        self.observe().await?;
        let (theirs, traffic) = (self.cpu().await?, self.traffic());
        let (begin, ours) = (Instant::now(), own::cpu());
        for _ in 0..BATCH {
            self.observe().await?;
        }
        let (wall, ours) = (begin.elapsed(), own::cpu() - ours);
        let theirs = self.cpu().await?.saturating_sub(theirs);
        let (round_trips, bytes) = self.traffic();
        let mean = |sum: u64| sum as f64 / f64::from(BATCH);
        figures.add(format!("{name}: wall time"), "ms", milliseconds(wall / BATCH));
        figures.add(format!("{name}: our CPU"), "ms", milliseconds(ours / BATCH));
        figures.add(format!("{name}: the containers' CPU"), "ms", milliseconds(theirs / BATCH));
        let cores = u32::try_from(thread::available_parallelism()?.get())?;
        figures.add(at_least(name), "ms", milliseconds((theirs + ours) / BATCH / cores));
        figures.add(format!("{name}: round trips"), "", mean(round_trips - traffic.0));
        figures.add(format!("{name}: traffic"), "kB", mean(bytes - traffic.1) / 1000.0);
        Ok(())
    }

    /// Whether memory grows on either side, while one node after the other is observed.
    async fn cycles(&self, figures: &mut Figures) -> anyhow::Result<()> {
        for cycle in 0..=CYCLES {
            let Asked { probe, .. } = &self.connections[cycle % self.connections.len()];
            if cycle % CYCLES_BETWEEN_LOOKS == 0 {
                let of_session = "SELECT sum(total_bytes)::float8 / 1024 / 1024 FROM pg_backend_memory_contexts";
                let session: f64 = self.connections[0].probe.client().query_one(of_session, &[]).await?.try_get(0)?;
                figures.add(
                    format!("our memory, every {CYCLES_BETWEEN_LOOKS} cycles"),
                    "MB",
                    own::resident_megabytes()?,
                );
                figures.add(format!("a session's memory, every {CYCLES_BETWEEN_LOOKS} cycles"), "MB", session);
            }
            probe.observe().await?;
        }
        Ok(())
    }

    /// The processor time of the first node's container under a load, in milliseconds a second.
    async fn load(&self, load: Load, seconds: u16) -> anyhow::Result<f64> {
        // The image has no sleep: each line that the loop reads is a second.
        let is_ready = ["sh", "-c", "while read -r second; do pg_isready; done"];
        let mut is_ready = self.engine.exec(&self.names[0], &is_ready, false).await?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let (begin, cpu) = (Instant::now(), self.cpu().await?);
        for _ in 0..seconds {
            match load {
                Load::None => {}
                Load::Probe => self.observe().await?,
                Load::IsReady => is_accepting(&mut is_ready).await?,
            }
            ticks.tick().await;
        }
        let cpu = self.cpu().await?.saturating_sub(cpu);
        is_ready.input.shutdown().await?;
        Ok(milliseconds(cpu) / begin.elapsed().as_secs_f64())
    }
}

/// Lets the loop go round once, and reads what it says.
async fn is_accepting(is_ready: &mut Exec) -> anyhow::Result<()> {
    is_ready.input.write_all(b"\n").await?;
    is_ready.input.flush().await?;
    let said = is_ready.output.next().await.context("the loop of pg_isready has ended")??;
    let said = String::from_utf8_lossy(&Bytes::from(said)).into_owned();
    ensure!(said.contains("accepting connections"), "pg_isready says: {said}");
    Ok(())
}

/// What is done to a node once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    None,
    Probe,
    IsReady,
}

impl Load {
    const ALL: [Load; 3] = [Load::None, Load::Probe, Load::IsReady];

    fn name(self) -> &'static str {
        match self {
            Load::None => "the primary, left alone",
            Load::Probe => "the primary, with a probe a second",
            Load::IsReady => "the primary, with a pg_isready a second",
        }
    }

    fn added(self) -> &'static str {
        match self {
            Load::None => "nothing",
            Load::Probe => "a probe a second",
            Load::IsReady => "a pg_isready a second",
        }
    }
}
