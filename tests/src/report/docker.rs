//! What the engine has of a run, and the removal of that.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use pgherd_images::contract::labels;
use pgherd_orchestrator::{Engine, Owner, list_clusters, remove_cluster};
use tokio::{runtime::Runtime, time::timeout};

use crate::{command::Invocation, process};

/// No question takes longer, …
const QUESTION_LIMIT: Duration = Duration::from_secs(20);

/// … and no report.
const REPORT_LIMIT: Duration = Duration::from_secs(120);

/// No removal takes longer.
const REMOVAL_LIMIT: Duration = Duration::from_secs(120);

/// Selects all whose names have the run in them.
pub(crate) fn by_name(run: &str) -> String {
    format!("name={run}")
}

/// Selects all that an owner made.
pub(crate) fn by_owner(owner: &Owner) -> String {
    format!("label={}={owner}", labels::OWNER)
}

/// A container of a run.
pub(super) struct Container {
    pub(super) name: String,
    /// In the engine's words.
    pub(super) state: String,
    /// The cluster that it is a node of, unless it was made by hand.
    pub(super) cluster: Option<String>,
    image: String,
}

impl Container {
    /// Whether the agent is in it.
    pub(super) fn is_node(&self) -> bool {
        ["postgres", "primary", "replica"].iter().any(|name| self.image.starts_with(&format!("pgherd/{name}:")))
    }
}

/// The engine's command line, for as long as a report may take.
pub(super) struct Docker {
    deadline: Instant,
}

impl Docker {
    pub(super) fn new() -> Docker {
        Docker { deadline: Instant::now() + REPORT_LIMIT }
    }

    /// The time that is left for the next question.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).min(QUESTION_LIMIT)
    }

    /// What it says, and how it ended if not well.
    pub(super) fn ask(&self, arguments: &[&str]) -> String {
        let left = self.left();
        if left.is_zero() {
            return format!("not asked: the report has taken {} s already\n", REPORT_LIMIT.as_secs());
        }
        ask(arguments, left).to_string()
    }

    /// The containers that a filter selects, in order.
    pub(super) fn containers(&self, filter: &str) -> Vec<Container> {
        let format = format!("{{{{.Names}}}}\t{{{{.State}}}}\t{{{{.Image}}}}\t{{{{.Label \"{}\"}}}}", labels::CLUSTER);
        let listed = ask(&["ps", "-a", "--filter", filter, "--format", &format], self.left());
        let container = |line: &str| {
            let [name, state, image, cluster] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
            let cluster = Some(cluster.to_owned()).filter(|cluster| !cluster.is_empty());
            Some(Container { name: name.to_owned(), state: state.to_owned(), cluster, image: image.to_owned() })
        };
        let mut containers: Vec<Container> = listed.output.lines().filter_map(container).collect();
        containers.sort_by(|a, b| (&a.cluster, &a.name).cmp(&(&b.cluster, &b.name)));
        containers
    }

    /// All that is there.
    pub(super) fn inventory(&self, filter: &str) -> String {
        let lists = [["ps", "-a"], ["volume", "ls"], ["network", "ls"]].map(|[what, how]| {
            let found = self.ask(&[what, how, "--filter", filter]);
            format!("$ docker {what} {how} --filter {filter}\n{found}")
        });
        lists.concat()
    }
}

fn ask(arguments: &[&str], limit: Duration) -> process::Outcome {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    process::run(&Invocation::plain("docker", arguments), limit)
}

/// Removes whatever an owner has made, loop devices as well, and names it.
pub(crate) fn remove_all_of(owner: &Owner) -> Result<Vec<String>, String> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let engine = Engine::connect().await.map_err(|error| error.to_string())?;
        let removed = timeout(REMOVAL_LIMIT, pgherd_orchestrator::remove_all_of(&engine, owner)).await;
        removed.map_err(|_| format!("not done after {} s", REMOVAL_LIMIT.as_secs()))?.map_err(|error| error.to_string())
    })
}

/// Removes whatever has the run in its name: clusters with all that belongs to them, then what was made by hand, containers
/// with their anonymous volumes first.
pub(crate) fn remove_run(run: &str) -> Result<(), String> {
    remove_clusters(run).map_err(|error| error.to_string())?;
    let filter = by_name(run);
    for (list, remove) in [
        (&["ps", "-a", "--format", "{{.Names}}"][..], &["rm", "--force", "--volumes"][..]),
        (&["volume", "ls", "-q"], &["volume", "rm"]),
        (&["network", "ls", "--format", "{{.Name}}"], &["network", "rm"]),
    ] {
        let listed = ask(&[list, &["--filter", &filter]].concat(), REMOVAL_LIMIT).output;
        let names: Vec<&str> = listed.lines().collect();
        if !names.is_empty() {
            let removed = ask(&[remove, &names].concat(), REMOVAL_LIMIT);
            if removed.code != Some(0) {
                return Err(removed.output);
            }
        }
    }
    Ok(())
}

/// The engine's command line knows nothing of the loop devices of a cluster's disks.
fn remove_clusters(run: &str) -> Result<(), Box<dyn Error>> {
    Runtime::new()?.block_on(async {
        let engine = Engine::connect().await?;
        let clusters = list_clusters(&engine).await?.into_iter().map(|cluster| cluster.name);
        for cluster in clusters.filter(|name| name.to_string().contains(run)) {
            timeout(REMOVAL_LIMIT, remove_cluster(&engine, &cluster)).await??;
        }
        Ok(())
    })
}
