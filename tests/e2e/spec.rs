//! Clusters as a file or flags say them: settings, limits, scripts, and where their data are.

use std::process::Command;

use e2e::{Entry, Scenario, entry};

use crate::{PATIENCE, file_systems::HostDirectory};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(as_its_file_says, 2, "settings, limits and scripts by a file, and what another file changes of them"),
    entry!(without_us, 2, "a Compose file of a cluster makes one like it, by Docker Compose and the images alone"),
    entry!(thrown_away, 2, "data in memory: what is lost with a container, and what is not"),
    entry!(in_directories, 2, "data in directories of the host outlive their cluster, and come back with the next one"),
];

fn as_its_file_says() {
    let mut s = Scenario::new("as_its_file_says", ["shop"]);
    s.note("what PostgreSQL would not take is refused before anything is made");
    s.exits(1, "cargo xtask cluster up shop --file tests/files/unit.toml");
    s.exits(1, "cargo xtask cluster up shop --setting max_connections=300000");
    s.exits(1, "cargo xtask cluster up shop --setting port=5433");
    s.exits(1, "cargo xtask cluster up shop --init tests/files/init/README");
    s.exits(1, "cargo xtask cluster status shop");

    s.run("cargo xtask cluster up shop --file tests/files/full.toml");
    s.run("docker exec shop-2 psql -U app -c \"TABLE items\"");
    const SETTINGS: &str = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings \
                            WHERE name IN ('work_mem', 'max_connections', 'shared_preload_libraries')";
    for node in ["shop-1", "shop-2"] {
        s.expect(node, SETTINGS, "50 pg_stat_statements 8192");
    }
    const LIMITS: &str = "docker inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}' shop-1 shop-2";
    s.run(LIMITS);
    s.run("cargo xtask cluster export spec shop");

    s.note("the same again changes nothing; another file, just what differs");
    s.run("cargo xtask cluster up shop --file tests/files/full.toml --dry-run");
    s.run("cargo xtask cluster up shop --file tests/files/fuller.toml --dry-run");
    s.run("cargo xtask cluster up shop --file tests/files/fuller.toml");
    for node in ["shop-1", "shop-2"] {
        s.expect(node, SETTINGS, "60 pg_stat_statements 9216");
    }
    s.run(LIMITS);
    s.run("docker exec shop-2 psql -U app -c \"SELECT count(*) FROM items\"");
    s.run("cargo xtask cluster up shop --file tests/files/fuller.toml --dry-run");
    s.finish();
}

/// A project of Compose's, which knows nothing of our labels.
struct Project(String);

impl Drop for Project {
    fn drop(&mut self) {
        let arguments = ["down", "--volumes", "--timeout", "0"];
        if let Err(error) = Command::new("docker").args(self.0.split_whitespace().skip(1)).args(arguments).output() {
            eprintln!("could not remove what Compose has made: {error}");
        }
    }
}

fn without_us() {
    let mut s = Scenario::new("without_us", ["shop"]);
    let directory = HostDirectory::new(&s, "shop");
    s.run("cargo xtask cluster up shop --replicas 2 --upstream shop-3=shop-2 --quorum 1 --memory 400MB --setting work_mem=8MB");
    let file = s.run("cargo xtask cluster export compose shop");
    std::fs::write(directory.path().join("compose.yaml"), file).expect("a file");

    s.note("from here on it is Compose, and a cluster of its own");
    const COMPOSE: &str =
        "docker run --rm -v /var/run/docker.sock:/var/run/docker.sock -v /tmp/shop:/shop -w /shop pgherd/compose";
    let _project = Project(s.real(COMPOSE));
    s.run(&format!("{COMPOSE} config --quiet"));
    s.run(&format!("{COMPOSE} up --detach 2>/dev/null"));
    let psql = |node: &str, query: &str| format!("{COMPOSE} exec -T {node} psql -U postgres -Atc \"{query}\"");
    let streams = psql("shop-1", "SELECT application_name, sync_state FROM pg_stat_replication");
    s.run_until(&streams, "shop-2|quorum", PATIENCE);
    s.run_until(&psql("shop-2", "SELECT application_name FROM pg_stat_replication"), "shop-3", PATIENCE);
    s.run(&psql("shop-1", "CREATE TABLE t AS SELECT 7 AS x"));
    s.run_until(&psql("shop-3", "SELECT x, current_setting('work_mem') FROM t"), "7|8MB", PATIENCE);
    s.expect("shop-1", "SELECT to_regclass('t') IS NULL", "t");
    s.finish();
}

fn thrown_away() {
    let mut s = Scenario::new("thrown_away", ["shop"]);
    s.run("cargo xtask cluster up shop --replicas 2 --profile throwaway --init tests/files/broken/mended.sql");
    s.expect("shop-2", "SHOW fsync", "off");
    s.expect("shop-2", "SELECT pg_read_file('/proc/mounts') ~ 'tmpfs /var/lib/postgresql/17 tmpfs'", "t");

    s.note("a replica that is restarted is cloned anew; the primary would lose everything");
    s.exits(1, "cargo xtask cluster stop shop");
    let started = s.sql_aside("shop-2", "SELECT pg_postmaster_start_time()");
    s.exits(1, "cargo xtask cluster restart shop");
    s.claim("no replica was restarted either", s.sql_aside("shop-2", "SELECT pg_postmaster_start_time()") == started);
    s.run("cargo xtask cluster restart shop-2");
    s.run("cargo xtask cluster switchover shop-2");
    s.run("cargo xtask cluster restart shop-1");

    s.note("a primary that has died has nothing left to come back with");
    s.kill("shop-2");
    s.exits(1, "cargo xtask cluster up shop");
    s.run("cargo xtask cluster failover shop-1 --allow-data-loss");
    s.run("docker exec shop-2 psql -U app -c \"SELECT count(*) FROM whole\"");
    s.run("cargo xtask cluster export spec shop");
    s.run("cargo xtask cluster rm shop --force");
    s.finish();
}

fn in_directories() {
    let mut s = Scenario::new("in_directories", ["shop"]);
    let _directory = HostDirectory::new(&s, "shop");
    s.run("cargo xtask cluster up shop --replicas 1 --volume /tmp/shop/data --init tests/files/broken/mended.sql");
    s.sql("shop-1", "CREATE TABLE kept AS SELECT 7 AS x");
    s.exits(1, "cargo xtask cluster up shop --volume tmpfs");
    s.run("cargo xtask cluster switchover shop");
    s.run("cargo xtask cluster rm shop --force");
    let there = s.aside("docker run --rm -v /tmp/shop/data:/data pgherd/toolbox ls /data").output;
    s.claim(
        "its directories are there",
        there.split_whitespace().eq(["shop-1", "shop-2", "shop-secrets"].map(|name| s.real(name))),
    );

    s.note("a cluster that is made there has them, and is what that one was");
    s.run("cargo xtask cluster up shop --replicas 2 --volume /tmp/shop/data");
    s.sql_until("shop-3", "SELECT x FROM kept", "7", PATIENCE);
    s.expect("shop-2", "SELECT pg_is_in_recovery()", "f");
    s.finish();
}
