//! What others say: `pg_isready` and the plugins of `check_postgres`, from a container in the cluster's network.

use std::thread;

use e2e::{Outcome, Scenario};

/// A role that may see all there is, and comes in by the rule for applications.
pub(super) const ROLE: &str = "CREATE ROLE monitor LOGIN PASSWORD 'monitor' IN ROLE pg_monitor, app";

/// Those that are for replication, with the thresholds of the manual's examples.
const ACTIONS: [&str; 3] = [
    "connection",
    "hot_standby_delay --warning='1048576 and 2 min' --critical='16777216 and 10 min'",
    "replication_slots --warning=32M --critical=64M",
];

/// Puts a monitoring host into the network of a cluster. A name that is not there is given up soon, as by a name server that answers; a
/// server has time to answer even where the machine is busy.
pub(super) fn arrive(cluster: &str) -> String {
    format!(
        "docker run -d --name {cluster}-peers --network pgherd-{cluster} --dns 127.0.0.1 --dns-opt timeout:1 --dns-opt attempts:1 \
         -e PGPASSWORD=monitor -e PGCONNECT_TIMEOUT=10 pgherd/peers:17 sleep infinity 2>/dev/null"
    )
}

/// What they say of a node, and what they said in full.
pub(super) struct Answers {
    pub(super) pg_isready: String,
    pub(super) check_postgres: String,
    pub(super) in_full: String,
}

/// Asks all of them at once.
pub(super) fn ask(s: &Scenario, cluster: &str, node: &str) -> Answers {
    let replica = if node.ends_with("-1") { format!("{cluster}-2") } else { node.to_owned() };
    // Longer than all that they wait for: what they say shall be theirs.
    let exec = format!("docker exec {cluster}-peers timeout 90");
    let commands = [format!("{exec} pg_isready -h {node} -t 10")].into_iter().chain(ACTIONS.map(|action| {
        let host = match action.split(' ').next() {
            Some("connection") => node.to_owned(),
            Some("hot_standby_delay") => format!("{cluster}-1,{replica}"),
            _ => format!("{cluster}-1"),
        };
        format!("{exec} check_postgres --action={action} --host={host} --dbuser=monitor --dbname=postgres")
    }));
    let commands: Vec<String> = commands.collect();
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let asked: Vec<_> = commands.iter().map(|command| scope.spawn(|| s.aside(command))).collect();
        asked.into_iter().map(|asked| asked.join().expect("it ran")).collect()
    });
    let (pg_isready, plugins) = outcomes.split_first().expect("an answer each");
    let said = ACTIONS.iter().zip(plugins).map(|(action, outcome)| {
        format!("{} {}", action.split(' ').next().unwrap_or_default(), plugin_status(outcome))
    });
    Answers {
        pg_isready: readiness(pg_isready).to_owned(),
        check_postgres: said.collect::<Vec<_>>().join(", "),
        in_full: commands
            .iter()
            .zip(&outcomes)
            .map(|(command, outcome)| {
                format!("  {command}\n    {}\n", outcome.to_string().trim().replace('\n', "\n    "))
            })
            .collect(),
    }
}

/// <https://www.postgresql.org/docs/17/app-pg-isready.html>
fn readiness(outcome: &Outcome) -> &'static str {
    match outcome.code {
        Some(0) => "accepting",
        Some(1) => "rejecting",
        Some(2) => "no response",
        _ => "no attempt",
    }
}

/// Nagios' words for what a plugin says. Where one of them cannot connect, it is CRITICAL to `connection`; the others do not know then.
fn plugin_status(outcome: &Outcome) -> &'static str {
    match outcome.code {
        Some(0) => "ok",
        Some(1) => "WARNING",
        Some(2) => "CRITICAL",
        Some(3) => "UNKNOWN",
        _ => "no answer",
    }
}
