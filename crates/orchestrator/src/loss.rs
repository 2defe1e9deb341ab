//! What is lost at most where a replica is promoted that may lack commits: read from the volume of the primary that is gone.

use std::fmt;

use pgherd_images::contract;
use pgherd_probe::{Lsn, TimelineId};
use serde::{Deserialize, Serialize};

use crate::{ClusterSpec, Engine, Helper, HelperEnd, HelperError, Inventory, NodeName, helper, succession::received};

/// An upper bound of what a promotion loses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LossBound {
    /// So many bytes of write-ahead log, which is nothing where it is 0.
    Bytes(u64),
    /// It is not known, and why.
    Unknown(String),
}

impl fmt::Display for LossBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossBound::Bytes(0) => write!(f, "loses nothing"),
            LossBound::Bytes(bytes) => write!(f, "loses at most {bytes} bytes of WAL"),
            LossBound::Unknown(why) => write!(f, "loses nobody knows how much: {why}"),
        }
    }
}

/// What the agent prints.
#[derive(Deserialize)]
struct WalEnd {
    timeline: TimelineId,
    end: Lsn,
}

/// Compares the end of the write-ahead log on the volume of a primary that does not run with what its successor has received.
pub(crate) async fn loss_bound(
    engine: &Engine,
    spec: &ClusterSpec,
    observed: &Inventory,
    primary: Option<&NodeName>,
    successor: &NodeName,
) -> LossBound {
    let Some(primary) = primary else {
        return LossBound::Unknown("nothing is left of the old primary".to_owned());
    };
    let Some((Some(its_timeline), Some(received))) = observed.nodes.get(&successor.number).map(received) else {
        return LossBound::Unknown(format!("\"{successor}\" does not say what it has received"));
    };
    match wal_end(engine, spec, primary).await {
        Ok(WalEnd { timeline, end }) if timeline == its_timeline => LossBound::Bytes(end.0.saturating_sub(received.0)),
        Ok(WalEnd { timeline, .. }) => LossBound::Unknown(format!(
            "\"{primary}\" was on timeline {timeline}, and \"{successor}\" is on {its_timeline}"
        )),
        Err(why) => LossBound::Unknown(why),
    }
}

/// The end of the write-ahead log on a volume, read by the agent in a container that cannot write to it.
async fn wal_end(engine: &Engine, spec: &ClusterSpec, node: &NodeName) -> Result<WalEnd, String> {
    let action = format!("read the end of the WAL of \"{node}\"");
    let reading = Helper {
        action: action.clone(),
        image: spec.image.clone(),
        command: [contract::AGENT, "wal-end"].map(str::to_owned).into(),
        mounts: vec![(node.volume(), format!("{}:ro", contract::NODE_VOLUME))],
        labels: helper::labels_of(node, &spec.node_labels(node)),
        ..Helper::default()
    };
    let HelperEnd { exit_code, output } = engine.run_helper(reading).await.map_err(|error| error.to_string())?;
    if exit_code != 0 {
        let output = output.lines().next().unwrap_or_default().to_owned();
        return Err(HelperError::Failed { action, exit_code, output }.to_string());
    }
    // What the agent logs comes before, and is for people.
    let json = output.lines().rfind(|line| line.starts_with('{')).unwrap_or(&output);
    serde_json::from_str(json).map_err(|error| format!("could not {action}: \"{output}\": {error}"))
}
