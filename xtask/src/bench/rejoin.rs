//! `bench rejoin`: how an old primary comes back to its successor, by rewind and by a new clone, with the same data.
//!
//! Both ways begin at a copy of one volume, that of a primary which was killed with writes that nobody else has. A new clone is
//! what the agent does beside data that an earlier rewind left half changed; so a copy is given the note of that, and is in all
//! else the same, byte for byte. (Data without checksums and hints are cloned anew for another reason and in the same way, but
//! they would be other data.)

mod log;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use pgherd_agent::Layout;
use pgherd_images::{
    contract::{NODE_VOLUME, SECRETS, TOOLBOX_IMAGE, environment},
    release::PostgresMajor,
};
use pgherd_orchestrator::{ContainerConfig, Helper};
use tokio::time::sleep;
use tokio_postgres::Client;

use super::{
    Ground,
    connection::{Connection, connect},
    figures::Figures,
};
use crate::{images, output};

/// Both sides change one row of so many after they have parted, each in pages of its own.
const STRIDE: u64 = 20_000;

/// The bytes that a row takes, in the table and in its index.
const ROW_BYTES: u64 = 157;

/// Far more than either way takes for as much as may be asked for.
const LIMIT: Duration = Duration::from_secs(600);

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(20);

pub(super) async fn measure(ground: &Ground, gigabytes: u16, rounds: u16) -> anyhow::Result<Figures> {
    images::ensure_toolbox(&ground.engine).await?;
    let pair = Pair::part(ground, gigabytes).await?;
    let mut figures =
        Figures::of("from the start of an old primary that has diverged until it streams from its successor");
    for round in 1..=rounds {
        let successor = pair.successor(round).await?;
        for way in Way::BOTH {
            let back = pair.rejoin(way, &successor).await?;
            output::note(format_args!("round {round} of {rounds}: {} {:.2} s", way.name(), back.seconds));
            figures.add(way.name(), "s", back.seconds);
            for (step, seconds) in back.steps {
                figures.add(format!("{}: {step}", way.name()), "s", seconds);
            }
        }
        pair.remove(&successor).await?;
    }
    for (what, volume) in [("old primary", &pair.old), ("new primary", &pair.new)] {
        for (part, directory) in [("data directory", ""), ("of which WAL", "pg_wal")] {
            figures.add(format!("{what}: {part}"), "MB", pair.megabytes(volume, directory).await?);
        }
    }
    figures.compare(Way::Reclone.name(), Way::Rewind.name());
    Ok(figures)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Reclone,
    Rewind,
}

impl Way {
    const BOTH: [Way; 2] = [Way::Rewind, Way::Reclone];

    fn name(self) -> &'static str {
        match self {
            Way::Reclone => "re-clone",
            Way::Rewind => "rewind",
        }
    }

    /// What the agent says when it chooses this way.
    fn word(self) -> &'static str {
        match self {
            Way::Reclone => "rejoin: re-cloning: ",
            Way::Rewind => "rejoin: rewinding: ",
        }
    }
}

/// How a node came back.
struct Return {
    /// From the command that starts its container until both ends have said that it streams.
    seconds: f64,
    /// The agent's steps by the names of their events, in seconds, and the rest.
    steps: Vec<(String, f64)>,
}

/// The volumes of a primary and of its successor, neither of which runs.
struct Pair<'a> {
    ground: &'a Ground,
    layout: Layout,
    /// What all names begin with, and the network's.
    prefix: String,
    old: String,
    new: String,
}

/// A copy of the new primary, which runs.
struct Successor {
    name: String,
    client: Connection,
}

impl Pair<'_> {
    /// Makes both, and lets them part.
    async fn part(ground: &Ground, gigabytes: u16) -> anyhow::Result<Pair<'_>> {
        let engine = &ground.engine;
        let prefix = format!("bench-rejoin-{}", std::process::id());
        let (old, new) = (format!("{prefix}-old"), format!("{prefix}-new"));
        engine.create_network(&prefix, ground.labels()).await?;
        for volume in [&old, &new, &secrets(&prefix)] {
            engine.create_volume(volume, ground.labels()).await?;
        }
        start(ground, &prefix, &old, &[(environment::ROLE, "primary")]).await?;
        let client = connect(engine, &old, LIMIT).await?;
        output::note(format_args!("filling {gigabytes} GB"));
        let rows = u64::from(gigabytes) * 1_000_000_000 / ROW_BYTES;
        // Vacuumed, as pgbench's tables are: otherwise the first to read a page would change it, by a hint.
        for statement in [
            "CREATE TABLE accounts (id int PRIMARY KEY, branch int, balance int, filler char(84))",
            &format!("INSERT INTO accounts SELECT id, id / 100000, 0, '' FROM generate_series(1, {rows}) id"),
            "VACUUM (FREEZE, ANALYZE) accounts",
            "CHECKPOINT",
        ] {
            client.batch_execute(statement).await?;
        }
        start(ground, &prefix, &new, &[(environment::ROLE, "replica"), (environment::PRIMARY_NAME, &old)]).await?;
        wait_until(&client, &streams(&new)).await?;
        engine.stop_container(&new).await?;
        client.batch_execute(&change(rows, STRIDE, 1)).await?;
        engine.kill_container(&old).await?;
        engine.start_container(&new).await?;
        let client = connect(engine, &new, LIMIT).await?;
        let (code, said) = engine.run_in(&new, &["pgherd-agent", "promote"]).await?;
        ensure!(code == 0, "could not promote {new}: {said}");
        client.batch_execute(&change(rows, STRIDE / 2, 2)).await?;
        engine.stop_container(&new).await?;
        let layout = Layout::of_image(PostgresMajor::DEFAULT.number());
        Ok(Pair { ground, layout, prefix, old, new })
    }

    /// Starts a copy of the new primary: every clone makes WAL, and every rewind fetches all WAL that there is.
    async fn successor(&self, round: u16) -> anyhow::Result<Successor> {
        let name = format!("{}-{round}", self.new);
        self.copy(&self.new, &name, "true").await?;
        start(self.ground, &self.prefix, &name, &[(environment::ROLE, "primary")]).await?;
        let client = connect(&self.ground.engine, &name, LIMIT).await?;
        Ok(Successor { name, client })
    }

    /// Starts a copy of the old primary as a replica of the new one, and waits until it streams.
    async fn rejoin(&self, way: Way, successor: &Successor) -> anyhow::Result<Return> {
        let Pair { ground, prefix, old, .. } = self;
        let Successor { name: new, client } = successor;
        let engine = &ground.engine;
        let name = copy_of(new, way);
        let note = match way {
            Way::Reclone => format!("echo it was interrupted > {}", self.layout.rewind_file().display()),
            Way::Rewind => "true".to_owned(),
        };
        self.copy(old, &name, &note).await?;

        let begin = Instant::now();
        let replica = [(environment::ROLE, "replica"), (environment::PRIMARY_NAME, new), (environment::LOG, "json")];
        start(ground, prefix, &name, &replica).await?;
        wait_until(client, &streams(old)).await?;
        let other_end = connect(engine, &name, LIMIT).await?;
        wait_until(&other_end, "(SELECT status = 'streaming' FROM pg_stat_wal_receiver)").await?;
        let seconds = begin.elapsed().as_secs_f64();

        let log = engine.log_tail(&name, u32::MAX).await?;
        ensure!(log.contains(way.word()), "the old primary did not come back by \"{}\":\n{log}", way.word());
        let balance = |id| format!("(SELECT balance FROM accounts WHERE id = {id})");
        let news_win = format!("{} = 0 AND {} = 2", balance(STRIDE), balance(STRIDE / 2));
        wait_until(&other_end, &news_win).await?;
        // A node that ends in good order gives its slot back at once.
        engine.stop_container(&name).await?;
        client.batch_execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").await?;
        Ok(Return { seconds, steps: log::steps(&log, seconds)? })
    }

    /// Removes what a round has made, which is several times the data.
    async fn remove(&self, Successor { name, .. }: &Successor) -> anyhow::Result<()> {
        let engine = &self.ground.engine;
        for name in Way::BOTH.map(|way| copy_of(name, way)).iter().chain([name]) {
            engine.remove_container(name).await?;
            engine.remove_volume(name).await?;
        }
        Ok(())
    }

    /// Copies a volume, runs a command in the copy, and leaves nothing to be written for which the copy's node would wait.
    async fn copy(&self, from: &str, to: &str, command: &str) -> anyhow::Result<()> {
        self.ground.engine.create_volume(to, self.ground.labels()).await?;
        let script = format!("cp -a /from/. {NODE_VOLUME}; {command}; sync");
        self.help("copy a volume", &script, &[(from, "/from"), (to, NODE_VOLUME)]).await.map(drop)
    }

    async fn megabytes(&self, volume: &str, directory: &str) -> anyhow::Result<f64> {
        let script = format!("du -sm {} | cut -f1", self.layout.data().join(directory).display());
        let size = self.help("measure a data directory", &script, &[(volume, NODE_VOLUME)]).await?;
        size.parse().with_context(|| format!("du says \"{size}\""))
    }

    async fn help(&self, action: &str, script: &str, mounts: &[(&str, &str)]) -> anyhow::Result<String> {
        let helper = Helper {
            action: action.to_owned(),
            image: TOOLBOX_IMAGE.to_owned(),
            command: ["sh", "-euc", script].map(str::to_owned).into(),
            mounts: mounts.iter().map(|(volume, path)| ((*volume).to_owned(), (*path).to_owned())).collect(),
            labels: self.ground.labels(),
            ..Helper::default()
        };
        let end = self.ground.engine.run_helper(helper).await?;
        ensure!(end.exit_code == 0, "could not {action}: {}", end.output);
        Ok(end.output)
    }
}

/// The name of the node that comes back to this one.
fn copy_of(successor: &str, way: Way) -> String {
    format!("{successor}-{}", way.name())
}

fn secrets(prefix: &str) -> String {
    format!("{prefix}-secrets")
}

/// Makes a node by hand on the volume of its name, and starts it.
async fn start(ground: &Ground, prefix: &str, name: &str, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    let owned = |(one, other): (&str, &str)| (one.to_owned(), other.to_owned());
    let config = ContainerConfig {
        name: name.to_owned(),
        image: ground.image.clone(),
        network: prefix.to_owned(),
        hosts: Vec::new(),
        volumes: [(name, NODE_VOLUME), (&*secrets(prefix), SECRETS)].map(owned).into(),
        environment: variables.iter().copied().map(owned).collect(),
        labels: ground.labels(),
        ..ContainerConfig::default()
    };
    ground.engine.create_container(config).await?;
    Ok(ground.engine.start_container(name).await?)
}

/// A node's walreceiver bears the node's name, which is on its volume and so is that of every copy. A clone streams, too, but by
/// another name.
fn streams(node: &str) -> String {
    format!("(SELECT state = 'streaming' FROM pg_stat_replication WHERE application_name = '{node}')")
}

/// Asks a server until a condition holds.
async fn wait_until(client: &Client, condition: &str) -> anyhow::Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        let holds: Option<bool> = client.query_one(&format!("SELECT {condition}"), &[]).await?.try_get(0)?;
        if holds == Some(true) {
            return Ok(());
        }
        sleep(INTERVAL).await;
    }
    bail!("waited {} s in vain for: {condition}", LIMIT.as_secs())
}

/// Changes one row in every [`STRIDE`], from `first` on.
fn change(rows: u64, first: u64, balance: u32) -> String {
    format!("UPDATE accounts SET balance = {balance} WHERE id IN (SELECT generate_series({first}, {rows}, {STRIDE}))")
}
