//! Carries out the steps of a plan, those of different nodes at once.

use std::time::Duration;

use futures_util::future::join_all;
use pgherd_agent::{Answer, NodeSpec, Role};
use pgherd_images::contract::{self, environment, labels};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::Type;

use crate::{
    ClusterSpec, ContainerConfig, ContainerState, DiskError, Engine, EngineError, Guarantee, Helper, HelperError,
    LagControl, Limits, NodeName, Observer, OriginError, SourceError, Step, causes::with_causes, control_lag, disk,
    helper::run_script, origin, source,
};

/// A step that failed, with what was wrong.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What a helper container said, or why there is none.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The same, for a directory.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// What speaks against data that are there.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// An agent did not do what it was told.
    #[error("could not {action}: the agent said:\n{said}")]
    Agent {
        /// What it was to do, as an infinitive.
        action: String,
        /// All that it said.
        said: String,
    },
    /// A server did not do what it was told.
    #[error("could not {action}: {reason}")]
    Server {
        /// What it was to do, as an infinitive.
        action: String,
        /// In PostgreSQL's words, or in those of the connection.
        reason: String,
    },
    /// What is said at a server that is not ours, or of it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A slot stayed.
    #[error("could not drop slot \"{slot}\" on {upstream}: {reason}")]
    Slot {
        /// The slot.
        slot: String,
        /// The node that has it.
        upstream: NodeName,
        /// In PostgreSQL's words, or in those of the connection.
        reason: String,
    },
}

/// How long a slot may take. After its receiver's end it counts as active for as long as its walsender takes to notice.
const SLOT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a primary may take to shut down. The engine kills it then, which is no good order, and its successor does not take over.
const SHUTDOWN_MS: &str = "100000";

/// How long what is on its way to a replica may take when its upstream is down already.
const LEFTOVERS_MS: &str = "10000";

/// How long the engine may take to kill a container.
const KILL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a checkpoint may take that is asked for in advance.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(300);

/// Applies `steps` in order: those of one node one after the other, those of different nodes at once.
///
/// # Errors
/// The first failure; the other nodes' steps have been carried out as far as they go.
pub async fn apply(observer: &Observer, spec: &ClusterSpec, steps: &[Step]) -> Result<(), ApplyError> {
    let same_barrier = |a: &Step, b: &Step| a.node().is_some() && b.node().is_some();
    for group in steps.chunk_by(same_barrier) {
        let mut nodes: Vec<Option<&NodeName>> = group.iter().map(Step::node).collect();
        nodes.sort();
        nodes.dedup();
        let of_node = |node: Option<&NodeName>| -> Vec<&Step> { group.iter().filter(|s| s.node() == node).collect() };
        let applied = join_all(nodes.into_iter().map(|node| {
            let steps = of_node(node);
            async move {
                for step in steps {
                    apply_step(observer, spec, step).await?;
                }
                Ok(())
            }
        }));
        applied.await.into_iter().collect::<Result<(), ApplyError>>()?;
    }
    Ok(())
}

async fn apply_step(observer: &Observer, spec: &ClusterSpec, step: &Step) -> Result<(), ApplyError> {
    let (engine, source) = (observer.engine(), observer.source());
    match step {
        Step::CreateNetwork => engine.create_network(&spec.name.network(), spec.labels()).await?,
        Step::CreateSecretsVolume | Step::CreateSecretsVolumeIn(_) => {
            let (name, mut labels) = (spec.name.secrets_volume(), spec.labels());
            labels.extend(source.map(|(source, _)| (labels::SOURCE.to_owned(), source.place.to_string())));
            labels.extend(spec.origin.iter().map(|origin| (labels::ORIGIN.to_owned(), origin.label())));
            if let Step::CreateSecretsVolumeIn(directory) = step {
                make_directory(engine, spec, &spec.name.node(1), directory).await?;
                engine.create_volume_in_directory(&name, directory, labels).await?;
            } else {
                engine.create_volume(&name, labels).await?;
            }
        }
        Step::AtSource(step) => {
            let (source, guest) = source.expect("a plan has such steps where a server was seen");
            source::apply(engine, spec, source, guest, step).await?;
        }
        Step::CreateVolume(node) => drop(engine.create_volume(&node.volume(), spec.node_labels(node)).await?),
        Step::CreateVolumeAs { node, storage } => {
            let mut labels = spec.node_labels(node);
            labels.extend(storage.label());
            match storage.directory_of(&node.to_string()) {
                Some(directory) => {
                    make_directory(engine, spec, node, &directory).await?;
                    engine.create_volume_in_directory(&node.volume(), &directory, labels).await?;
                }
                None => drop(engine.create_volume(&node.volume(), labels).await?),
            }
        }
        Step::CreateDisk { node, size } => {
            let mut labels = spec.node_labels(node);
            labels.insert(labels::VOLUME_SIZE.to_owned(), size.bytes().to_string());
            engine.create_volume(&node.disk_volume(), labels).await?;
        }
        Step::AttachDisk(node) => disk::attach(engine, node).await?,
        Step::CreateVolumeOnDisk(node) => {
            engine.create_volume_on_device(&node.volume(), &node.disk_device(), spec.node_labels(node)).await?;
        }
        Step::BringData { node, origin } => origin::bring(engine, spec, node, origin).await?,
        Step::CreateContainer { node, born_as, port, limits, in_memory } => {
            let hosts = source.map(|(source, _)| source.hosts()).unwrap_or_default();
            let config = container_config(spec, node, born_as.as_ref(), *in_memory);
            let published = port.map(|port| (contract::PORT, port));
            engine.create_container(ContainerConfig { hosts, published, limits: *limits, ..config }).await?;
        }
        Step::PlaceScripts { node, names } => {
            for (name, script) in names.iter().zip(&spec.scripts) {
                engine.write_file(&node.to_string(), contract::INIT_SCRIPTS, name, &script.content).await?;
            }
        }
        Step::Limit { node, limits } => engine.limit_container(&node.to_string(), *limits).await?,
        Step::PlaceSpec(node, node_spec) => {
            let directory = contract::control_directory(spec.major);
            let directory = directory.trim_start_matches(contract::NODE_VOLUME).trim_start_matches('/');
            let path = format!("{directory}/{}", contract::SPEC_FILE);
            engine.write_file(&node.to_string(), contract::NODE_VOLUME, &path, json(node_spec).as_bytes()).await?;
        }
        Step::Specify(node, node_spec) => {
            // Its agent would knock at the upstream's door for it, which takes longer than all else that it does.
            let has_slot = has_slot(observer, node, &node_spec.role).await;
            let specify: &[_] = if has_slot { &["specify", "--has-slot"] } else { &["specify"] };
            tell(observer, step, node, specify, &json(node_spec)).await?;
        }
        Step::Start(node) => {
            if let Some(network) = source.and_then(|(source, _)| source.network.as_ref()) {
                engine.connect_container(network, &node.to_string()).await?;
            }
            engine.start_container(&node.to_string()).await?;
        }
        Step::Stop(node) => engine.stop_container(&node.to_string()).await?,
        Step::Checkpoint(node) => checkpoint(observer, step, node).await?,
        Step::ResumeReplay(node) => {
            let resumed = control_lag(engine, node, LagControl::Resume).await;
            resumed.map_err(|error| ApplyError::Server { action: step.to_string(), reason: error.to_string() })?;
        }
        Step::SwitchOver { from, to } => {
            // At once: the successor sees the end of the shutdown before the engine has cleared the container away.
            let from = from.to_string();
            let promote = ["promote", "--caught-up", "--wait-ms", SHUTDOWN_MS];
            let (stopped, promoted) =
                tokio::join!(engine.stop_container(&from), tell(observer, step, to, &promote, ""));
            promoted?;
            stopped?;
        }
        Step::Fence(node) => fence(engine, spec, node).await?,
        Step::Promote { node, guarantee: Guarantee::CleanShutdown } => {
            tell(observer, step, node, &["promote", "--caught-up", "--wait-ms", LEFTOVERS_MS], "").await?;
        }
        Step::Promote { node, .. } => tell(observer, step, node, &["promote"], "").await?,
        Step::DropSlot { node, upstream } => drop_slot(observer, node, upstream).await?,
        Step::RemoveContainer(node) => engine.remove_container(&node.to_string()).await?,
        Step::DetachDisk(node) => disk::detach(engine, node).await?,
        Step::RemoveVolume(node) => engine.remove_volume(&node.volume()).await?,
        Step::RemoveDisk(node) => engine.remove_volume(&node.disk_volume()).await?,
    }
    Ok(())
}

/// Has the agent of a node that runs do something. Over the connection that looks at the node: while nobody takes writes, the tenth of
/// a second that an exec takes the engine counts.
async fn tell(
    observer: &Observer,
    step: &Step,
    node: &NodeName,
    arguments: &[&str],
    input: &str,
) -> Result<(), ApplyError> {
    let failed = |reason: String| ApplyError::Server { action: step.to_string(), reason };
    let connection = observer.client(node.number).await.map_err(failed)?;
    match connection.order(arguments, input).await {
        Some(Answer { exit_code: Some(0), .. }) => Ok(()),
        Some(Answer { said, .. }) => Err(ApplyError::Agent { action: step.to_string(), said }),
        None => Err(failed("the connection broke, and whether it was done is not known".to_owned())),
    }
}

/// Makes the slot of a replica on its upstream, where there is none, and returns whether there is one now that keeps WAL.
async fn has_slot(observer: &Observer, node: &NodeName, role: &Role) -> bool {
    const HAS_SLOT: &str = "\
        SELECT CASE WHEN EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1) \
            THEN (SELECT restart_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = $1) \
            ELSE (pg_create_physical_replication_slot($1, true)).lsn IS NOT NULL END";
    let Role::Replica { upstream } = role else { return false };
    let slot = contract::slot_name(&node.to_string());
    let ask = async {
        let upstream = upstream.host.parse().ok().filter(|upstream: &NodeName| upstream.cluster == node.cluster)?;
        let connection = observer.client(upstream.number).await.ok()?;
        connection.query_typed_one(HAS_SLOT, &[(&slot, Type::NAME)]).await.ok()?.try_get(0).ok()
    };
    timeout(SLOT_TIMEOUT, ask).await.ok().flatten() == Some(true)
}

async fn checkpoint(observer: &Observer, step: &Step, node: &NodeName) -> Result<(), ApplyError> {
    let failed = |reason: String| ApplyError::Server { action: step.to_string(), reason };
    let client = observer.client(node.number).await.map_err(failed)?;
    let made = timeout(CHECKPOINT_TIMEOUT, client.batch_execute("CHECKPOINT")).await;
    let late = |_| failed(format!("it had not ended after {} s", CHECKPOINT_TIMEOUT.as_secs()));
    made.map_err(late)?.map_err(|error| failed(with_causes(&error)))
}

/// A container that was killed by hand rests, whatever its restart policy. One that cannot be killed is cut off: nobody reaches it, and
/// it reaches nobody.
async fn fence(engine: &Engine, spec: &ClusterSpec, node: &NodeName) -> Result<(), ApplyError> {
    let name = node.to_string();
    let killed = timeout(KILL_TIMEOUT, engine.kill_container(&name)).await;
    let runs = |state| !matches!(state, ContainerState::Exited { .. } | ContainerState::Created);
    match (killed, engine.inspect_container(&name).await?) {
        (_, found) if !found.as_ref().is_some_and(|found| runs(found.state)) => Ok(()),
        (Ok(Err(error)), _) if error.is_not_found() => Ok(()),
        _ => Ok(engine.disconnect(&spec.name.network(), &name).await?),
    }
}

fn json(spec: &NodeSpec) -> String {
    serde_json::to_string(spec).expect("a specification is serializable")
}

/// What is asked of a node in memory stays on its volume, and so does its permission to write.
fn container_config(
    spec: &ClusterSpec,
    node: &NodeName,
    born_as: Option<&NodeSpec>,
    in_memory: bool,
) -> ContainerConfig {
    let volume = contract::NODE_VOLUME.to_owned();
    let kept = if in_memory { contract::control_directory(spec.major) } else { volume };
    ContainerConfig {
        name: node.to_string(),
        image: spec.image.clone(),
        network: spec.name.network(),
        hosts: Vec::new(),
        volumes: vec![(node.volume(), kept), (spec.name.secrets_volume(), contract::SECRETS.to_owned())],
        in_memory: in_memory.then(|| ContainerConfig::data_in_memory(spec.major)).into_iter().collect(),
        limits: Limits::default(),
        environment: born_as.map(|spec| (environment::SPEC.to_owned(), json(spec))).into_iter().collect(),
        published: None,
        labels: spec.node_labels(node),
    }
}

/// Makes a directory on the engine's host, with its parents, for the user of nodes; one that is there stays as it is.
async fn make_directory(
    engine: &Engine,
    spec: &ClusterSpec,
    node: &NodeName,
    directory: &str,
) -> Result<(), HelperError> {
    let (parent, name) = directory.rsplit_once('/').unwrap_or_default();
    let script = format!(
        "[ -d /host/{name} ] || {{ mkdir /host/{name}; chown {0}:{0} /host/{name}; chmod 700 /host/{name}; }}",
        contract::UID
    );
    let settings = Helper {
        action: format!("make the directory \"{directory}\""),
        mounts: vec![(parent.to_owned(), "/host".to_owned())],
        ..Helper::default()
    };
    run_script(engine, node, &spec.node_labels(node), &script, settings).await.map(drop)
}

/// Drops the slot once its walsender has let go of it. A slot that is not there is what was wanted.
async fn drop_slot(observer: &Observer, node: &NodeName, upstream: &NodeName) -> Result<(), ApplyError> {
    let slot = contract::slot_name(&node.to_string());
    let failed = |reason: String| ApplyError::Slot { slot: slot.clone(), upstream: upstream.clone(), reason };
    let drop_if_free = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                        WHERE slot_name = $1 AND NOT active";
    let still_there = "SELECT FROM pg_replication_slots WHERE slot_name = $1";
    let let_go_and_drop = async {
        let client = observer.client(upstream.number).await?;
        loop {
            client.execute(drop_if_free, &[&slot]).await.map_err(|error| with_causes(&error))?;
            if client.query_opt(still_there, &[&slot]).await.map_err(|error| with_causes(&error))?.is_none() {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let late = || Err(format!("it was still there after {} s", SLOT_TIMEOUT.as_secs()));
    timeout(SLOT_TIMEOUT, let_go_and_drop).await.unwrap_or_else(|_| late()).map_err(failed)
}
