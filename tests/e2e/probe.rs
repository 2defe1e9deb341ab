//! What the probe gets to see, on every version and by every kind of role.

use e2e::{Entry, Scenario, entry};
use pgherd_orchestrator::{ClusterName, Engine, Observer};
use pgherd_probe::{Health, NodeStatus, Observed, Policy, Probe, Reach, Watch, assess};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(facts_of_15, 2, "who sees what on PostgreSQL 15"),
    entry!(facts_of_17, 2, "who sees what on PostgreSQL 17"),
    entry!(facts_of_18, 2, "who sees what on PostgreSQL 18"),
];

fn facts_of_15() {
    facts_of("facts_of_15", 15);
}

fn facts_of_17() {
    facts_of("facts_of_17", 17);
}

fn facts_of_18() {
    facts_of("facts_of_18", 18);
}

fn facts_of(name: &'static str, major: u16) {
    let mut s = Scenario::new(name, ["herd"]).with_versions_as_typed();
    let built = s.aside(&format!("cargo xtask images --version {major}"));
    assert_eq!(built.code, Some(0), "{built}");
    s.run(&format!("cargo xtask cluster up herd --version {major} --replicas 1 --publish"));
    s.sql("herd-1", "CREATE ROLE monitor LOGIN PASSWORD 'monitor' IN ROLE app, pg_monitor");
    s.sql("herd-1", "CREATE ROLE somebody LOGIN PASSWORD 'somebody' IN ROLE app");
    s.sql_until("herd-2", "SELECT count(*) FROM pg_roles WHERE rolname IN ('monitor', 'somebody')", "2", PATIENCE);

    let runtime = Runtime::new().expect("a runtime");
    let cluster: ClusterName = s.real("herd").parse().expect("a name");
    let as_superuser = runtime.block_on(async {
        let engine = Engine::connect().await.expect("an engine");
        Observer::new(&engine, &cluster).observe().await.expect("an inventory").observed()
    });
    let as_role = |s: &Scenario, role: &str| -> Vec<Observed> {
        let nodes = as_superuser.iter().zip(["herd-1", "herd-2"]);
        nodes.map(|(node, typed)| runtime.block_on(observe_as(role, &port(s, typed), node))).collect()
    };
    for (role, mut observed) in [
        ("a superuser", as_superuser.clone()),
        ("pg_monitor", as_role(&s, "monitor")),
        ("a plain role", as_role(&s, "somebody")),
    ] {
        Watch::default().look(0..0, &mut observed);
        for (node, kind) in observed.iter().zip(["primary", "replica"]) {
            let status = node.status().unwrap_or_else(|| panic!("{node:?}"));
            s.note(&format!("{role}, on the {kind}, does not know {}", unknown(status).join(", ")));
        }
        let report = assess(&Policy::default(), &observed);
        let findings = || report.nodes.iter().flat_map(|node| &node.findings);
        match role {
            "a plain role" => {
                let typed = |text: String| text.replace(&s.real("herd-1"), "herd-1");
                let found: Vec<String> = findings().map(|finding| typed(finding.to_string())).collect();
                found.iter().for_each(|finding| s.note(&format!("and finds that the replica {finding}")));
            }
            _ => s.claim(&format!("{role} finds nothing"), report.health == Health::Healthy),
        }
    }

    s.note("what waits for a restart is worth a note, and leaves the cluster healthy");
    s.sql("herd-1", "ALTER SYSTEM SET max_worker_processes = 9");
    s.sql("herd-1", "SELECT pg_reload_conf()");
    s.run_until("cargo xtask cluster status herd", "max_worker_processes", PATIENCE);
    s.run("cargo xtask cluster status herd");
    s.finish();
}

fn port(s: &Scenario, node: &str) -> String {
    let published = s.aside(&format!("docker port {node} 5432")).output;
    published.trim().rsplit_once(':').map_or_else(|| panic!("{published}"), |(_, port)| port.to_owned())
}

/// Over the node's published port, as anybody would who is no part of pgherd.
async fn observe_as(role: &str, port: &str, node: &Observed) -> Observed {
    let conninfo = format!("host=127.0.0.1 port={port} user={role} password={role} dbname=app");
    let (client, connection) = tokio_postgres::connect(&conninfo, tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let probe = Probe::new(client);
    probe.observe().await.expect("a status");
    // As a pooler does between two clients.
    probe.client().batch_execute("DISCARD ALL").await.expect("a session like a new one");
    let status = probe.observe().await.expect("the same, without prepared statements");
    Observed { reach: Reach::Answered(Box::new(status)), ..node.clone() }
}

/// The facts that are null, by their paths. Whether something was measured or waited for is of the moment, and the disk
/// is the agent's to tell.
fn unknown(status: &NodeStatus) -> Vec<String> {
    let mut paths = Vec::new();
    collect(&serde_json::to_value(status).expect("plain data"), "", &mut paths);
    let of_the_moment = |path: &String| {
        ["write_lag_ms", "flush_lag_ms", "replay_lag_ms", "wait_event", "wait_event_type"]
            .iter()
            .any(|name| path.ends_with(&format!(".{name}")))
    };
    paths.retain(|path| path != "disk" && !of_the_moment(path));
    paths
}

fn collect(value: &Value, path: &str, paths: &mut Vec<String>) {
    match value {
        Value::Null => paths.push(path.to_owned()),
        Value::Object(fields) => {
            for (name, field) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                collect(field, &format!("{path}{dot}{name}"), paths);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, &format!("{path}[]"), paths)),
        _ => {}
    }
}
