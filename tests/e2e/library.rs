//! Clusters of other people's tests, through the library.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use e2e::{Entry, Scenario, entry};
use pgherd_images::contract::labels;
use pgherd_orchestrator::{
    Cluster, ClusterError, ClusterName, Engine, NodeName, Owner, ReconcileError, Refusal, list_clusters,
};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(bugs_of_a_program, 3, "a test by the library finds a stale read, and a failure to reconnect"),
    entry!(gone_with_its_test, 4, "clusters of the library are gone after a panic, side by side and by both its ways"),
    entry!(gone_after_its_test, 4, "clusters of a test that was killed are gone after a prune"),
    entry!(thirty_side_by_side, 60, "thirty tests of one process, each with a cluster of its own; some panic").long(),
];

/// What a program keeps in its database.
const TABLE: &str = "CREATE TABLE orders (id int PRIMARY KEY)";

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = url.parse::<Config>()?.connect(NoTls).await?;
    // Its own error reaches the client's next question, too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// A program that writes to the primary, and reads from a replica what it has written.
struct Shop {
    writer: Client,
    reader: Client,
}

impl Shop {
    async fn open(cluster: &Cluster, replica: &NodeName) -> Shop {
        let writer = connect(&cluster.url().await.expect("a line")).await.expect("a connection");
        let reader = connect(&cluster.url_of(replica).await.expect("a line")).await.expect("a connection");
        Shop { writer, reader }
    }

    async fn order(&self, id: i32) -> Result<(), tokio_postgres::Error> {
        self.writer.execute("INSERT INTO orders VALUES ($1)", &[&id]).await.map(drop)
    }

    async fn has(&self, id: i32) -> bool {
        let found = self.reader.query_opt("SELECT FROM orders WHERE id = $1", &[&id]).await;
        found.expect("an answer").is_some()
    }
}

fn bugs_of_a_program() {
    let mut s = Scenario::new("bugs_of_a_program", [""; 0]);
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let builder = Cluster::builder().version(s.major()).replicas(2).quorum(1);
        let cluster = builder.start().await.expect("a cluster");
        let (primary, replica) = (cluster.primary().await.expect("one"), cluster.replica(0).await.expect("one"));
        let shop = Shop::open(&cluster, &replica).await;
        shop.writer.batch_execute(TABLE).await.expect("a table");
        let created = cluster.commit_lsn().await.expect("a position");
        cluster.wait_replayed(&replica, created).await.expect("a replica that replays");

        s.note("whoever reads on a replica what he has just written does not find it where that is late");
        cluster.pause_replay(&replica).await.expect("a pause");
        shop.order(1).await.expect("an order");
        s.claim("the order is not seen", !shop.has(1).await);
        cluster.resume_replay(&replica).await.expect("no pause");
        let token = cluster.commit_lsn().await.expect("a position");
        cluster.wait_replayed(&replica, token).await.expect("a replica that replays");
        s.claim("with a token it is", shop.has(1).await);

        s.note("another node becomes the primary");
        let other = cluster.switchover().await.expect("another primary");
        s.claim("it is another one", other != primary);
        s.claim("a program that keeps its connection writes no more", shop.order(2).await.is_err());
        let shop = Shop::open(&cluster, &primary).await;
        shop.order(3).await.expect("an order");
        s.claim("one that connects anew by the same line does", true);

        s.note("the primary is killed; what was acknowledged is there");
        cluster.kill(&other).await.expect("a dead node");
        let third = cluster.failover().await.expect("a primary");
        let shop = Shop::open(&cluster, &third).await;
        s.claim("the order is", shop.has(3).await);
        cluster.bring_up().await.expect("all of it");

        s.note("what cannot be is refused");
        let error = cluster.replica(2).await.expect_err("there are two");
        s.claim("there is no third replica", matches!(error, ClusterError::NoSuchRole { found: 2, .. }));
        let stranger: NodeName = "stranger-1".parse().expect("a name");
        let error = cluster.kill(&stranger).await.expect_err("it is not there");
        s.claim("nor a stranger", error.to_string().contains("stranger-1"));
        let cycle = Cluster::builder().replicas(2).upstream(2, 3).upstream(3, 2).start().await;
        let is_circle = matches!(cycle, Err(ClusterError::Reconcile(ReconcileError::Refused(Refusal::Circle(_)))));
        s.claim("nor replicas of each other", is_circle);

        let name = cluster.name().clone();
        cluster.remove().await.expect("nothing");
        s.claim("nothing is left of it", !is_there(&name).await);
    });
    s.finish();
}

async fn is_there(name: &ClusterName) -> bool {
    let engine = Engine::connect().await.expect("an engine");
    list_clusters(&engine).await.expect("a list").iter().any(|cluster| cluster.name == *name)
}

/// A test that has a cluster of its own, by one of the two ways of the library; returns its name, and whether it panicked.
fn play_a_test(major: u16, is_async: bool, panics: bool) -> (ClusterName, bool) {
    let (sender, name) = channel();
    let test = move || {
        let end = |name: &ClusterName, primary: NodeName| {
            sender.send(name.clone()).expect("somebody who listens");
            assert!(!panics, "on purpose, with {primary}");
        };
        if is_async {
            Runtime::new().expect("a runtime").block_on(async {
                let cluster = Cluster::builder().version(major).replicas(1).start().await.expect("a cluster");
                end(cluster.name(), cluster.primary().await.expect("a primary"));
            });
        } else {
            let cluster = Cluster::blocking().version(major).replicas(1).start().expect("a cluster");
            end(cluster.name(), cluster.primary().expect("a primary"));
        }
    };
    let has_panicked = catch_unwind(AssertUnwindSafe(test)).is_err();
    (name.recv().expect("a name"), has_panicked)
}

/// Which of those are still there.
fn left_of(names: &[ClusterName]) -> usize {
    let is_there = |name: &&ClusterName| Runtime::new().expect("a runtime").block_on(is_there(name));
    names.iter().filter(is_there).count()
}

fn side_by_side(s: &mut Scenario, tests: &[(bool, bool)]) {
    let major = s.major();
    let started: Vec<_> =
        tests.iter().map(|&(is_async, panics)| thread::spawn(move || play_a_test(major, is_async, panics))).collect();
    let ends: Vec<_> = started.into_iter().map(|test| test.join().expect("an end")).collect();
    let panicked: Vec<bool> = ends.iter().map(|(_, panicked)| *panicked).collect();
    s.claim("those have panicked that were to", panicked == tests.iter().map(|test| test.1).collect::<Vec<_>>());
    let mut names: Vec<ClusterName> = ends.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    s.claim("each had a cluster of its own", names.len() == tests.len());
    s.claim("nothing is left of them", left_of(&names) == 0);
}

fn gone_with_its_test() {
    let mut s = Scenario::new("gone_with_its_test", [""; 0]);
    side_by_side(&mut s, &[(false, true), (true, true)]);
    s.finish();
}

fn thirty_side_by_side() {
    let mut s = Scenario::new("thirty_side_by_side", [""; 0]);
    let tests: Vec<(bool, bool)> = (0..30).map(|number| (number % 2 == 0, number % 3 == 0)).collect();
    side_by_side(&mut s, &tests);
    s.finish();
}

/// How many containers a process has.
fn containers_of(owner: &Owner) -> usize {
    let is_its = |found: &Option<&String>| found.is_some_and(|found| *found == owner.to_string());
    Runtime::new().expect("a runtime").block_on(async {
        let engine = Engine::connect().await.expect("an engine");
        let found = engine.list_containers(labels::OWNER).await.expect("a list");
        found.iter().map(|container| container.labels.get(labels::OWNER)).filter(is_its).count()
    })
}

fn gone_after_its_test() {
    let mut s = Scenario::new("gone_after_its_test", [""; 0]);
    let results = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env::current_exe().expect("a program"));
    command.args(["--exact", "gone_with_its_test", "--output"]).arg(results.path());
    let mut test = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process");
    let owner = Owner::of_process(test.id());
    let begin = Instant::now();
    while containers_of(&owner) == 0 {
        assert!(begin.elapsed() < PATIENCE, "it makes no container");
        thread::sleep(Duration::from_millis(50));
    }
    test.kill().expect("a signal");
    test.wait().expect("an end");
    // What the engine was asked for before may come afterwards.
    s.run_until("cargo xtask cluster prune", "", PATIENCE);
    while containers_of(&owner) > 0 && begin.elapsed() < PATIENCE {
        drop(s.aside("cargo xtask cluster prune"));
    }
    s.claim("after a prune nothing is left of a test that was killed", containers_of(&owner) == 0);
    s.finish();
}
