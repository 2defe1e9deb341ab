//! The same, and more, by one command.

use e2e::{Entry, Scenario, entry};

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(up_and_down, 4, "a cluster by one command, scaled, stopped, started and removed"),
    entry!(published, 3, "connection lines work from the host"),
    entry!(by_file, 3, "a cluster as a file says it, and what another file changes"),
];

/// Runs psql beside the cluster, as an application would: in a container of its own on the cluster's network.
fn psql_inside(s: &Scenario, network: &str, url: &str, query: &str) -> String {
    let command = format!("docker run --rm --network {network} pgherd/postgres:17 psql -X \"{url}\" -Atc \"{query}\"");
    s.aside(&command).output.trim().to_owned()
}

fn up_and_down() {
    let mut s = Scenario::new("up_and_down", ["herd"]);
    s.run("cargo xtask cluster up herd --replicas 1");
    s.run("cargo xtask cluster status herd");

    // Of all clusters on the engine, ours.
    let listed = s.aside("cargo xtask cluster ls").output;
    let ours =
        listed.lines().find(|line| line.split_whitespace().next() == Some(&s.real("herd"))).expect("our cluster");
    let ours: Vec<&str> = ours.split_whitespace().skip(1).collect();
    s.claim("\"ls\" has its version, two nodes, and two that run", ours == [&*s.major().to_string(), "2", "2"]);

    let json = s.aside("cargo xtask cluster status herd --format json 2>/dev/null").output;
    let status: serde_json::Value = serde_json::from_str(&json).expect("JSON alone on standard output");
    let states = [0, 1].map(|node| (status["nodes"][node]["role"].as_str(), status["nodes"][node]["state"].as_str()));
    let expected = [(Some("primary"), Some("running")), (Some("replica"), Some("streaming"))];
    s.claim("\"status --format json\" says the same", states == expected);

    s.note("up again: there is nothing to do");
    s.run("cargo xtask cluster up herd");

    s.run(r#"cargo xtask cluster psql herd-1 -- -c "CREATE TABLE t AS SELECT generate_series(1, 3) AS x""#);
    s.sql_until("herd-2", "SELECT count(*) FROM t", "3", PATIENCE);
    s.sql_fails("herd-2", "25006", "DELETE FROM t");

    s.note("the connection line finds the node that writes, from inside the network");
    let url = s.run("cargo xtask cluster url herd").trim().to_owned();
    let answer = psql_inside(&s, "pgherd-herd", &url, "SELECT current_user, pg_is_in_recovery()");
    s.claim("it is the application's role on the primary", answer == "app|f");

    s.run("cargo xtask cluster scale herd 3");
    s.sql("herd-1", crate::STREAMING);
    s.sql("herd-4", "SELECT count(*) FROM t");
    s.run("cargo xtask cluster scale herd 1");
    s.sql("herd-1", "SELECT slot_name, active FROM pg_replication_slots ORDER BY 1");

    s.note("stopped, it keeps its data");
    s.run("cargo xtask cluster stop herd");
    s.exits(3, "cargo xtask cluster status herd");
    s.run("cargo xtask cluster start herd");
    s.sql("herd-2", "SELECT count(*) FROM t");

    s.note("where nobody can be asked, nothing is removed");
    s.exits(1, "cargo xtask cluster rm herd");
    s.sql("herd-1", "SELECT count(*) FROM t");
    s.run("cargo xtask cluster rm herd --force");
    s.exits(1, "cargo xtask cluster status herd");
    let left = ["ps -a", "volume ls", "network ls"]
        .map(|list| s.aside(&format!("docker {list} -q --filter name={}", s.real("herd"))).output);
    s.claim("nothing is left of the cluster", left == ["", "", ""]);
    s.finish();
}

fn published() {
    let mut s = Scenario::new("published", ["shop"]);
    s.run("cargo xtask cluster up shop --replicas 1 --publish");
    let url = s.run("cargo xtask cluster url shop").trim().to_owned();

    s.note("the line works as it is, from the host");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let in_recovery: bool = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("a connection");
        let connection = tokio::spawn(connection);
        client.batch_execute("CREATE TABLE orders (id int)").await.expect("a table");
        let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await.expect("an answer");
        drop(client);
        connection.await.expect("a task").expect("an orderly end");
        row.get(0)
    });
    s.claim("it leads to the primary", !in_recovery);

    s.note("a node that is added is published, too");
    s.run("cargo xtask cluster scale shop 2");
    let hosts = s.aside("cargo xtask cluster url shop").output.matches("127.0.0.1:").count();
    s.claim("the connection line has three hosts", hosts == 3);

    s.note("no superuser comes over the network, whatever the password");
    let as_superuser = url.replace("://app:", "://postgres:").replace("/app?", "/postgres?");
    let refused = runtime.block_on(tokio_postgres::connect(&as_superuser, tokio_postgres::NoTls));
    let error = refused.err().expect("a superuser was let in over the network");
    s.claim("it is refused with 28000", error.code().map(tokio_postgres::error::SqlState::code) == Some("28000"));
    s.finish();
}

fn by_file() {
    let mut s = Scenario::new("by_file", ["shop"]);
    s.note("what a file cannot say is told with its place, and a file says all or nothing");
    s.exits(1, "cargo xtask cluster up shop --file tests/files/typo.toml");
    s.exits(1, "cargo xtask cluster up shop --file tests/files/none.toml");
    s.exits(2, "cargo xtask cluster up shop --file tests/files/two.toml --replicas 3 2>/dev/null");
    s.run("cargo xtask cluster up shop --file tests/files/two.toml");
    s.expect("shop-2", "SELECT string_agg(application_name, ' ') FROM pg_stat_replication", "shop-3");
    s.run("cargo xtask cluster export spec shop");

    s.note("the same again changes nothing; another file, just what differs");
    s.run("cargo xtask cluster up shop --file tests/files/two.toml --dry-run");
    s.run("cargo xtask cluster up shop --file tests/files/one.toml --dry-run");
    s.run("cargo xtask cluster up shop --file tests/files/one.toml");
    s.run("cargo xtask cluster export spec shop");
    s.finish();
}
