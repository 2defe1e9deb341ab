//! Asks the servers of a cluster what they are doing, and prints the verdict as JSON.
//!
//! ```console
//! $ cargo run --package pgherd-probe --example assess -- a="host=a user=postgres" b="host=b user=postgres"
//! ```

use std::{env, error::Error, iter, time::Duration};

use pgherd_probe::{NodeStatus, Observed, Policy, Reach, assess, observe};
use tokio_postgres::NoTls;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut observed = Vec::new();
    for argument in env::args().skip(1) {
        let (node, conninfo) = argument.split_once('=').ok_or("expected NAME=CONNINFO for each server")?;
        let reach = match tokio::time::timeout(Duration::from_secs(5), ask(conninfo)).await {
            Ok(Ok(status)) => Reach::Answered(Box::new(status)),
            Ok(Err(error)) => Reach::Unreachable { reason: with_causes(&*error) },
            Err(_) => Reach::Unreachable { reason: "no answer within 5 s".to_owned() },
        };
        observed.push(Observed { node: node.to_owned(), expected_upstream: None, reach });
    }
    println!("{}", serde_json::to_string_pretty(&assess(&Policy::default(), &observed))?);
    Ok(())
}

async fn ask(conninfo: &str) -> Result<NodeStatus, Box<dyn Error>> {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
    tokio::spawn(connection);
    Ok(observe(&client).await?)
}

fn with_causes(error: &dyn Error) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
