//! Writes down what servers say about themselves, once a second until it is ended: a line of JSON for each look.
//!
//! ```console
//! $ cargo run --package pgherd-probe --example record -- a="host=a user=postgres" b="host=b user=postgres"
//! ```
//!
//! A line has the milliseconds since the beginning at which the first server was asked and the last had answered, and
//! the nodes as [`assess`](pgherd_probe::assess) takes them: `{"during_ms": {"start": 0, "end": 9}, "observed": […]}`.

use std::{
    env,
    error::Error,
    iter,
    time::{Duration, Instant},
};

use pgherd_probe::{Observed, Probe, Reach};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::NoTls;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut servers = Vec::new();
    for argument in env::args().skip(1) {
        let (node, conninfo) = argument.split_once('=').ok_or("expected NAME=CONNINFO for each server")?;
        let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
        tokio::spawn(connection);
        servers.push((node.to_owned(), Probe::new(client)));
    }
    let start = Instant::now();
    let now_ms = || start.elapsed().as_millis();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        let (began_ms, mut observed) = (now_ms(), Vec::new());
        for (node, probe) in &servers {
            observed.push(Observed { node: node.clone(), expected_upstream: None, reach: ask(probe).await });
        }
        println!("{}", json!({ "during_ms": { "start": began_ms, "end": now_ms() }, "observed": observed }));
    }
}

async fn ask(probe: &Probe) -> Reach {
    match timeout(Duration::from_secs(5), probe.observe()).await {
        Ok(Ok(status)) => Reach::Answered(Box::new(status)),
        Ok(Err(error)) => Reach::Unreachable { reason: with_causes(&error) },
        Err(_) => Reach::Unreachable { reason: "no answer within 5 s".to_owned() },
    }
}

fn with_causes(error: &dyn Error) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
