//! What a server that is not ours says to our role: asked by the agents of nodes, who can reach it and have the password.

use std::{collections::HashMap, time::Duration};

use pgherd_agent::Upstream;
use pgherd_images::contract::{self, labels};
use pgherd_probe::{Reach, STATUS, parse_status};
use tokio::time::timeout;

use super::{Source, SourceInventory, SourcePlace, role_name, way_to};
use crate::{ClusterName, ContainerState, Engine, EngineError, NodeName};

/// Longer than an agent waits for a connection, so that it says why there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the server is that a cluster follows, by the labels of its secrets volume.
pub(crate) fn recorded(labels: Option<&HashMap<String, String>>) -> Option<SourcePlace> {
    labels?.get(labels::SOURCE)?.parse().ok()
}

/// Looks where it is now, and what it says. `known` is how nodes reached it until now, and `running` are those that may be asked.
///
/// # Errors
/// If the engine cannot be asked.
pub(crate) async fn observe(
    engine: &Engine,
    cluster: &ClusterName,
    place: SourcePlace,
    known: Option<Upstream>,
    running: &[NodeName],
) -> Result<SourceInventory, EngineError> {
    let (mut way, mut silence) = (None, None);
    if let SourcePlace::Container { name, port } = &place {
        let (attachments, found) = tokio::try_join!(engine.attachments(name), engine.inspect_container(name))?;
        way = way_to(name, *port, &attachments.unwrap_or_default());
        silence = match found.map(|found| found.state) {
            None => Some(Reach::Missing),
            Some(ContainerState::Running) => None,
            Some(ContainerState::Paused) => Some(unreachable("its container is paused")),
            Some(ContainerState::Restarting { .. }) => Some(unreachable("its container is restarted")),
            Some(_) => Some(Reach::Stopped { reason: "its container does not run".to_owned() }),
        };
    }
    let there = match &place {
        SourcePlace::Container { name, port } => Upstream { host: name.clone(), port: *port },
        SourcePlace::Server(address) => address.clone(),
    };
    // Where it is down, what it will come back as is not known: nodes are told of no change.
    let (address, network) = way.unwrap_or_else(|| (known.unwrap_or(there), None));
    let reach = match silence {
        Some(silence) => silence,
        None => ask(engine, running).await?,
    };
    let source = Source { place, address, network, role: role_name(cluster) };
    Ok(SourceInventory { source, is_recorded: true, reach, facts: None })
}

/// Of two nodes, one may be cut off.
async fn ask(engine: &Engine, running: &[NodeName]) -> Result<Reach, EngineError> {
    let mut reach = unreachable("no node runs that could ask it");
    for node in running.iter().take(2) {
        let question = [contract::AGENT, "source", "sql", STATUS];
        let asked = timeout(PATIENCE, engine.run_as(None, &node.to_string(), &question, "")).await;
        reach = match asked {
            Err(_) => unreachable(&format!("no answer within {} s", PATIENCE.as_secs())),
            // The node has ended meanwhile.
            Ok(Err(error)) => unreachable(&error.to_string()),
            Ok(Ok(end)) if end.exit_code != 0 => unreachable(&complaint(&end.stderr)),
            // The second column says whether files may be read, which is not for us to do there.
            Ok(Ok(end)) => match parse_status(end.stdout.rsplit_once('|').unwrap_or_default().0) {
                Ok(status) => return Ok(Reach::Answered(Box::new(status))),
                Err(error) => unreachable(&format!("{error}: {}", end.stdout)),
            },
        };
    }
    Ok(reach)
}

/// What an agent says of a failure, without its own name and without a hint.
pub(super) fn complaint(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("hint: "));
    let text = lines.collect::<Vec<_>>().join(": ");
    text.rsplit_once("error: ").map_or(text.clone(), |(_, error)| error.to_owned())
}

fn unreachable(reason: &str) -> Reach {
    Reach::Unreachable { reason: reason.to_owned() }
}
