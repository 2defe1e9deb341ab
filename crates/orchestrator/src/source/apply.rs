//! What is done at a server that is not ours, and undone.

use std::{collections::BTreeSet, fmt};

use pgherd_agent::{NodeSpec, Role};
use pgherd_images::contract::{self, environment, labels};

use super::{Administrator, Guest, Source, SourceError, SourcePlace, SourceStep, observe};
use crate::{ClusterName, ClusterSpec, Engine, EngineError, Helper, HelperEnd, HelperError, Labelled, helper};

/// What is about a password is not for the server's log, not even its verifier.
const UNLOGGED: &str = "SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1; \
     SET log_min_duration_sample = -1; SET log_transaction_sample_rate = 0;";

/// Does one of the steps. Only to drop a slot takes no administrator.
///
/// # Errors
/// What the server says, or the helper.
pub(crate) async fn apply(
    engine: &Engine,
    spec: &ClusterSpec,
    source: &Source,
    guest: Option<&Guest>,
    step: &SourceStep,
) -> Result<(), SourceError> {
    let action = step.to_string();
    let beside = Beside { engine, cluster: &spec.name, image: &spec.image, owner: spec.owner.as_deref(), source };
    let nobody = || SourceError::Failed { action: action.clone(), reason: "there is no administrator".to_owned() };
    match step {
        SourceStep::MakeRole { role, .. } => {
            let guest = guest.ok_or_else(nobody)?;
            let identifier = guest.facts.system_identifier.to_string();
            let said = beside.run(&action, &["secrets", &identifier]).await?;
            // What the agent logs comes before.
            let verifier = said.lines().rfind(|line| line.starts_with("SCRAM-SHA-256$")).unwrap_or_default();
            // Of statements that come together, all are logged that one would be, and into a container goes one session a question.
            guest.administrator.ask(&action, UNLOGGED).await?;
            let statements = format!(
                "{UNLOGGED}\nBEGIN; CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{verifier}'; \
                 GRANT pg_monitor TO {role}; COMMIT;"
            );
            guest.administrator.ask(&action, &statements).await.map(drop)
        }
        SourceStep::LetIn { line, file, .. } => {
            let administrator = &guest.ok_or_else(nobody)?.administrator;
            let append = literal(&format!("cat >> {}", shell(file)));
            // The file may lack the end of its last line.
            let statements = format!(
                "COPY (SELECT '' WHERE right(pg_read_file({}), 1) <> E'\\n') TO PROGRAM {append}; \
                 COPY (SELECT {}) TO PROGRAM {append};",
                literal(file),
                literal(line)
            );
            administrator.ask(&action, &statements).await?;
            let check = "SELECT coalesce(string_agg(error, '; '), '') FROM pg_hba_file_rules WHERE error IS NOT NULL";
            let error = administrator.ask(&action, check).await?;
            if !error.is_empty() {
                remove_line(administrator, line, file).await?;
                return Err(SourceError::Failed { action, reason: error });
            }
            administrator.ask(&action, "SELECT pg_reload_conf()").await.map(drop)
        }
        SourceStep::Knock { .. } => {
            let said = beside.run(&action, &["knock"]).await?;
            let meant = guest.ok_or_else(nobody)?.facts.system_identifier;
            let found = said.lines().last().unwrap_or_default();
            if found == meant.to_string() {
                return Ok(());
            }
            let reason = format!("nodes find a server of system identifier {found} there, and {meant} was meant");
            Err(SourceError::Failed { action, reason })
        }
        SourceStep::DropSlot { slot, .. } => beside.run(&action, &["drop-slots", slot]).await.map(drop),
    }
}

async fn remove_line(administrator: &Administrator, line: &str, file: &str) -> Result<(), SourceError> {
    // In place, so that it stays the file that it is; and by nothing that a small system lacks.
    let (words, path) = (shell(line), shell(file));
    let remove = format!(
        "rest=$(mktemp) && {{ grep -vxF -e {words} {path} > $rest || [ $? = 1 ]; }} && cat $rest > {path}; \
         end=$?; rm -f $rest; exit $end"
    );
    let statements = format!("COPY (SELECT '' WHERE false) TO PROGRAM {}; SELECT pg_reload_conf();", literal(&remove));
    administrator.ask(&format!("remove \"{line}\" from {file}"), &statements).await.map(drop)
}

/// Gives the server back what it had before the cluster followed it. A line that was there before there was our role is somebody
/// else's.
///
/// # Errors
/// What the server says.
pub(crate) async fn undo(guest: &mut Guest) -> Result<(), SourceError> {
    guest.look_again().await?;
    let role = &guest.source.role;
    let mut removed = Ok(());
    if guest.facts.has_line && (guest.before.has_role || !guest.before.has_line) {
        removed = remove_line(&guest.administrator, &guest.facts.line(role), &guest.facts.hba_file).await;
    }
    // Without the role nobody is let in, whatever became of the line.
    if guest.facts.has_role {
        let action = format!("drop role {role}");
        guest.administrator.ask(&action, &format!("DROP ROLE {role}")).await?;
    }
    removed
}

/// What is left on a server, for its administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftovers {
    source: String,
    role: String,
    slots: Vec<String>,
    why: String,
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Leftovers { source, role, slots, why } = self;
        write!(f, "on {source} there may be left what a superuser removes there ({why}):")?;
        for slot in slots {
            write!(f, "\n  SELECT pg_drop_replication_slot('{slot}');")?;
        }
        write!(f, "\n  DROP ROLE {role};\n  and the line of \"{role}\" in its pg_hba.conf")
    }
}

/// Takes back from a server all that a cluster has there, once no node runs any more: slots as our role, and the rest where there is a way
/// to a superuser, as there is into a container. `image` is what its nodes were made of. Returns what is left.
///
/// # Errors
/// If the engine cannot be asked.
pub(crate) async fn withdraw(
    engine: &Engine,
    cluster: &ClusterName,
    origin: SourcePlace,
    volumes: &Labelled,
    image: Option<&str>,
) -> Result<Option<String>, EngineError> {
    let nodes = || volumes.values().filter_map(|labels| Some((labels.get(labels::NODE)?, labels.get(labels::MAJOR)?)));
    let slots: BTreeSet<String> = nodes().map(|(node, _)| contract::slot_name(node)).collect();
    let usual = || nodes().find_map(|(_, major)| Some(contract::node_image(major.parse().ok()?)));
    let image = image.map(str::to_owned).or_else(usual).unwrap_or_default();
    let found = observe::observe(engine, cluster, origin, None, &[]).await?;
    let source = &found.source;
    let owner = volumes.values().find_map(|labels| labels.get(labels::OWNER)).map(String::as_str);
    let beside = Beside { engine, cluster, image: &image, owner, source };
    let slots = Vec::from_iter(slots);
    let mut left = Leftovers { source: source.to_string(), role: source.role.clone(), slots, why: String::new() };
    if !left.slots.is_empty() {
        let arguments: Vec<&str> = ["drop-slots"].into_iter().chain(left.slots.iter().map(String::as_str)).collect();
        if let Err(error) = beside.run("drop the slots of its nodes", &arguments).await {
            left.why = error.to_string();
            return Ok(Some(left.to_string()));
        }
        left.slots.clear();
    }
    let SourcePlace::Container { name, port } = &source.place else {
        left.why = "the cluster's own role cannot".to_owned();
        return Ok(Some(left.to_string()));
    };
    let taken_back = async {
        let mut guest = Guest::meet(cluster, Administrator::in_container(engine, name, Some(*port)).await?).await?;
        undo(&mut guest).await
    };
    Ok(taken_back.await.err().map(|error| {
        left.why = error.to_string();
        left.to_string()
    }))
}

/// A container beside the nodes, that reaches what they reach and has what they have.
struct Beside<'a> {
    engine: &'a Engine,
    cluster: &'a ClusterName,
    image: &'a str,
    owner: Option<&'a str>,
    source: &'a Source,
}

impl Beside<'_> {
    async fn run(&self, action: &str, arguments: &[&str]) -> Result<String, SourceError> {
        // It is none of the nodes, and says so where it connects.
        let node = self.cluster.node(super::SOURCE);
        let upstream = self.source.address.clone();
        let spec = NodeSpec {
            source: Some(self.source.for_nodes()),
            ..NodeSpec::new(node.to_string(), Role::Replica { upstream })
        };
        let json = serde_json::to_string(&spec).expect("a specification is serializable");
        let mut of_cluster = std::collections::HashMap::from([(labels::CLUSTER.to_owned(), self.cluster.to_string())]);
        of_cluster.extend(self.owner.map(|owner| (labels::OWNER.to_owned(), owner.to_owned())));
        let command = [contract::AGENT, "source"].iter().chain(arguments).map(|&argument| argument.to_owned());
        let asking = Helper {
            action: action.to_owned(),
            image: self.image.to_owned(),
            command: command.collect(),
            networks: [self.cluster.network()].into_iter().chain(self.source.network.clone()).collect(),
            hosts: self.source.hosts(),
            environment: vec![(environment::SPEC.to_owned(), json)],
            mounts: vec![(self.cluster.secrets_volume(), contract::SECRETS.to_owned())],
            labels: helper::labels_of(&node, &of_cluster),
            ..Helper::default()
        };
        let HelperEnd { exit_code, output } = self.engine.run_helper(asking).await?;
        if exit_code == 0 {
            return Ok(output);
        }
        let output = observe::complaint(&output);
        Err(HelperError::Failed { action: action.to_owned(), exit_code, output }.into())
    }
}

/// A literal of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A word of the shell's.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
