//! Reads an [`Inventory`] off the engine and its nodes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::TcpListener,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use pgherd_agent::{Answer, NodeSpec};
use pgherd_images::contract::{self, environment, labels};
use pgherd_probe::{Probe, Reach};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, NoTls,
    error::SqlState,
    types::{ToSql, Type},
};

use crate::{
    Attendant, ClusterName, ContainerState, ContainerSummary, Engine, EngineError, Guest, Inventory, NodeName, Source,
    SourceInventory, SourcePlace, SourceRefusal, Storage, VolumeSize,
    causes::with_causes,
    disk::disk_of,
    inventory::{Disk, NodeInventory, Presence},
    source,
};

/// How long a node that is on its way up may take to answer before it is reported as it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a node that does accept connections may take to answer one question. One that takes longer counts as hung, and is killed in a
/// failover: a busy machine needs more than a second to start a process in a container.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at one cluster, again and again, over connections that it keeps open.
pub struct Observer {
    engine: Engine,
    cluster: ClusterName,
    patience: Duration,
    connections: Mutex<HashMap<u16, Arc<Connection>>>,
    specs: HashMap<u16, NodeSpec>,
    /// The server that is not ours, as it was found last.
    source: Option<Source>,
    /// The same with somebody who may change it.
    guest: Option<Guest>,
}

/// A connection to a node as superuser. With it comes an ear of the node's agent.
pub struct Connection {
    probe: Probe,
    attendant: Attendant,
}

impl Connection {
    /// Has the agent of the node carry out a command, and returns how that ended: `None` where nobody says so any more.
    pub(crate) async fn order(&self, arguments: &[&str], input: &str) -> Option<Answer> {
        self.attendant.order(arguments, input).await
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.probe.client()
    }
}

impl Observer {
    /// An observer that reports nodes as it finds them.
    #[must_use]
    pub fn new(engine: &Engine, cluster: &ClusterName) -> Self {
        Observer {
            engine: engine.clone(),
            cluster: cluster.clone(),
            patience: Duration::ZERO,
            connections: Mutex::default(),
            specs: HashMap::new(),
            source: None,
            guest: None,
        }
    }

    /// Has the cluster follow a server that is not ours.
    #[must_use]
    pub fn following(self, guest: Guest) -> Self {
        Observer { guest: Some(guest), ..self }
    }

    /// The server that is not ours, and somebody who may change it.
    pub(crate) fn guest(&mut self) -> Option<&mut Guest> {
        self.guest.as_mut()
    }

    /// Refuses to follow another server than the one that a cluster follows.
    pub(crate) fn refuse_another(&self, observed: &Inventory) -> Result<(), SourceRefusal> {
        match (&self.guest, &observed.source) {
            (Some(guest), Some(found)) if guest.source.place != found.source.place => Err(SourceRefusal::Another {
                cluster: self.cluster.clone(),
                wanted: guest.source.place.to_string(),
                found: found.source.place.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The same for a look.
    pub(crate) fn source(&self) -> Option<(&Source, Option<&Guest>)> {
        Some((self.source.as_ref()?, self.guest.as_ref()))
    }

    /// The engine that it looks through.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Gives nodes on their way up some time to answer, which costs less than asking often; never longer than `left`.
    pub fn be_patient(&mut self, left: Duration) {
        self.patience = PATIENCE.min(left);
    }

    /// Reads anew what a node is asked to be.
    pub(crate) fn forget_spec(&mut self, number: u16) {
        self.specs.remove(&number);
    }

    /// Spares the next look a question whose answer is known.
    pub(crate) fn remember_spec(&mut self, number: u16, spec: NodeSpec) {
        self.specs.insert(number, spec);
    }

    /// Reads everything. A node that cannot be asked is part of the answer; an engine that cannot be asked is an error.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn observe(&mut self) -> Result<Inventory, EngineError> {
        let label = format!("{}={}", labels::CLUSTER, self.cluster);
        let (containers, volumes) =
            tokio::try_join!(self.engine.list_containers(&label), self.engine.list_volumes(&label))?;
        let mut found: BTreeMap<u16, Option<ContainerSummary>> = BTreeMap::new();
        let mut majors = HashMap::new();
        let number = |labels: &HashMap<String, String>| -> Option<u16> {
            labels.get(labels::NODE)?.parse::<NodeName>().ok().map(|node| node.number)
        };
        for labels in volumes.values() {
            if let Some(number) = number(labels) {
                found.insert(number, None);
                majors.insert(number, major(labels));
            }
        }
        for container in containers {
            if let Some(number) = number(&container.labels) {
                majors.insert(number, major(&container.labels));
                found.insert(number, Some(container));
            }
        }
        self.forget_ended(&found);
        let disks: HashMap<u16, VolumeSize> =
            volumes.iter().filter_map(|(name, l)| disk_of(name, l)).map(|(node, size)| (node.number, size)).collect();

        let asked = join_all(found.iter().map(|(number, container)| self.ask(*number, container.as_ref())));
        let network = self.cluster.network();
        let (asked, networks) = tokio::join!(asked, self.engine.networks_named(&network));
        let networks = networks?;
        let mut nodes = BTreeMap::new();
        for ((number, container), asked) in found.into_iter().zip(asked) {
            let Asked { spec, unreadable_spec, is_detached, reach } = asked?;
            if let Some(spec) = &spec {
                self.specs.insert(number, spec.clone());
            }
            let node = NodeInventory {
                container: container.as_ref().map(|container| container.state),
                volume: volumes.contains_key(&self.cluster.node(number).volume()),
                disk: disks.get(&number).map(|size| Disk { size: *size, is_detached }),
                storage: volumes.get(&self.cluster.node(number).volume()).map(Storage::of).unwrap_or_default(),
                limits: container.as_ref().map(|container| container.limits).unwrap_or_default(),
                major: majors.get(&number).copied().flatten(),
                published: container.and_then(|container| container.published),
                spec,
                unreadable_spec,
                reach,
            };
            nodes.insert(number, node);
        }
        let secrets = volumes.get(&self.cluster.secrets_volume());
        let source = self.observe_source(source::recorded(secrets), &nodes).await?;
        self.source = source.as_ref().map(|found| found.source.clone());
        let ours = networks.iter().find(|network| presence(&self.cluster, Some(&network.labels)) == Presence::Ours);
        Ok(Inventory {
            name: self.cluster.clone(),
            network: presence(&self.cluster, ours.or(networks.first()).map(|network| &network.labels)),
            secrets: presence(&self.cluster, secrets),
            origin: secrets.and_then(|labels| labels.get(labels::ORIGIN)?.parse().ok()),
            source,
            nodes,
            strangers: Vec::new(),
            free_ports: Vec::new(),
        })
    }

    /// The server that is not ours: where labels say, or where it is said for the first time.
    async fn observe_source(
        &self,
        recorded: Option<SourcePlace>,
        nodes: &BTreeMap<u16, NodeInventory>,
    ) -> Result<Option<SourceInventory>, EngineError> {
        let guest = self.guest.as_ref();
        let Some(origin) = recorded else {
            return Ok(guest.map(Guest::unrecorded));
        };
        let specs = nodes.values().filter_map(|node| node.spec.as_ref()?.source.as_ref());
        let known = specs.map(|source| source.address.clone()).next();
        let runs = |(_, node): &(&u16, &NodeInventory)| node.container == Some(ContainerState::Running);
        let running: Vec<NodeName> = nodes.iter().filter(runs).map(|(number, _)| self.cluster.node(*number)).collect();
        let found = source::observe(&self.engine, &self.cluster, origin, known, &running).await?;
        Ok(Some(SourceInventory { facts: guest.map(|guest| guest.facts.clone()), ..found }))
    }

    /// Adds what only the making of nodes asks for: names that are taken by others, among them those of the nodes
    /// up to `count`, and as many free ports.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn observe_for_making(&mut self, count: u16) -> Result<Inventory, EngineError> {
        let mut inventory = self.observe().await?;
        if inventory.secrets == Presence::Absent {
            let volume = self.engine.inspect_volume(&self.cluster.secrets_volume()).await?;
            inventory.secrets = presence(&self.cluster, volume.as_ref());
        }
        let (engine, cluster) = (&self.engine, &self.cluster);
        let numbers: BTreeSet<u16> = (1..=count).chain(inventory.nodes.keys().copied()).collect();
        // What carries our labels was found by them, or somebody has made it since. All else of these names is a stranger's.
        let strangers = numbers.iter().map(|number| {
            let (node, found) = (cluster.node(*number), inventory.nodes.get(number));
            async move {
                let is_strange =
                    |labels: &HashMap<String, String>| presence(cluster, Some(labels)) == Presence::Strange;
                let mut strangers = Vec::new();
                if found.is_none_or(|found| found.container.is_none()) {
                    let container = engine.inspect_container(&node.to_string()).await?;
                    strangers.extend(container.filter(|c| is_strange(&c.labels)).map(|c| ("container", c.name)));
                }
                if found.is_none_or(|found| !found.volume) {
                    let labels = engine.inspect_volume(&node.volume()).await?;
                    strangers.extend(labels.filter(is_strange).map(|_| ("volume", node.volume())));
                }
                if found.is_none_or(|found| found.disk.is_none()) {
                    let labels = engine.inspect_volume(&node.disk_volume()).await?;
                    strangers.extend(labels.filter(is_strange).map(|_| ("volume", node.disk_volume())));
                }
                Ok::<_, EngineError>(strangers)
            }
        });
        inventory.strangers = try_join_all(strangers).await?.into_iter().flatten().collect();
        let has_container = |number: &u16| inventory.nodes.get(number).is_some_and(|node| node.container.is_some());
        inventory.free_ports = free_ports(numbers.iter().filter(|number| !has_container(number)).count());
        Ok(inventory)
    }

    /// A connection to a node as superuser, kept from an earlier look or made now.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub async fn client(&self, number: u16) -> Result<Arc<Connection>, String> {
        let connected = self.connection(number).await;
        connected.map_err(|reach| match reach {
            Reach::Starting { reason } | Reach::Unreachable { reason } => reason,
            _ => "it is not there".to_owned(),
        })
    }

    async fn connection(&self, number: u16) -> Result<Arc<Connection>, Reach> {
        let kept = self.connections().get(&number).filter(|kept| !kept.is_closed()).cloned();
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let made = Arc::new(self.connect(&self.cluster.node(number).to_string()).await?);
        self.connections().insert(number, Arc::clone(&made));
        Ok(made)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u16, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_ended(&mut self, found: &BTreeMap<u16, Option<ContainerSummary>>) {
        let runs = |number: &u16| {
            found.get(number).and_then(Option::as_ref).is_some_and(|c| c.state == ContainerState::Running)
        };
        self.connections().retain(|number, connection| runs(number) && !connection.is_closed());
        // A specification is placed before the first start and stays: only what has none yet is worth another look.
        self.specs.retain(|number, _| found.contains_key(number));
    }

    async fn ask(&self, number: u16, container: Option<&ContainerSummary>) -> Result<Asked, EngineError> {
        let Some(container) = container else {
            return Ok(Asked::nothing(Reach::Missing));
        };
        let (reach, told) = self.ask_container(number, container).await;
        let asked_to_be = match (self.specs.get(&number), told) {
            (Some(spec), _) => Ok(Some(Ok(spec.clone()))),
            (None, Some(json)) => Ok(Some(parse_spec(container, &json))),
            (None, None) => read_spec(&self.engine, container).await,
        };
        let (spec, unreadable_spec) = match asked_to_be.map(Option::transpose) {
            Ok(Ok(spec)) => (spec, None),
            Ok(Err(reason)) => (None, Some(reason)),
            // The engine mounts a container's volumes to look into it, and says which device it has not found.
            Err(error) if error.names(&self.cluster.node(number).disk_device()) => {
                let reason = "its disk is not attached".to_owned();
                return Ok(Asked { is_detached: true, ..Asked::nothing(Reach::Stopped { reason }) });
            }
            Err(error) => return Err(error),
        };
        Ok(Asked { spec, unreadable_spec, is_detached: false, reach })
    }

    /// What its PostgreSQL says; and the node's specification, where that could be learned on the way and was not known.
    async fn ask_container(&self, number: u16, container: &ContainerSummary) -> (Reach, Option<String>) {
        let reach = match container.state {
            ContainerState::Running => match self.connection(number).await {
                Ok(connection) => {
                    let is_known = self.specs.contains_key(&number);
                    let path = spec_path(container).filter(|_| !is_known);
                    return tokio::join!(Self::ask_server(&connection.probe), read_file(&connection, path));
                }
                Err(reach) => reach,
            },
            ContainerState::Created => Reach::Stopped { reason: "its container was never started".to_owned() },
            ContainerState::Paused => Reach::Unreachable { reason: "its container is paused".to_owned() },
            ContainerState::Restarting { exit_code } => {
                Reach::Unreachable { reason: format!("its container exited with code {exit_code} and is restarted") }
            }
            ContainerState::Exited { exit_code } => {
                Reach::Stopped { reason: format!("its container exited with code {exit_code}") }
            }
        };
        (reach, None)
    }

    async fn ask_server(probe: &Probe) -> Reach {
        match timeout(ANSWER_TIMEOUT, probe.observe()).await {
            Ok(Ok(status)) => Reach::Answered(Box::new(status)),
            Ok(Err(error)) => Reach::Unreachable { reason: with_causes(&error) },
            Err(_) => no_answer(ANSWER_TIMEOUT),
        }
    }

    /// Connects as superuser through the node's unix socket, or says what the node is doing instead.
    async fn connect(&self, container: &str) -> Result<Connection, Reach> {
        let attempt = async {
            let complaint = Arc::default();
            let attended = self.engine.attend(container, self.patience, &complaint).await;
            let (tunnel, attendant) = attended.map_err(|error| Reach::Unreachable { reason: with_causes(&error) })?;
            let mut config = Config::new();
            config.user(contract::SUPERUSER).dbname("postgres").application_name("pgherd");
            let connected = config.connect_raw(tunnel, NoTls).await;
            let (client, connection) = connected.map_err(|error| why_not(&error, &complaint))?;
            // The connection's own error reaches the client's next question, too.
            tokio::spawn(async move { drop(connection.await) });
            Ok(Connection { probe: Probe::new(client), attendant })
        };
        let limit = self.patience + ANSWER_TIMEOUT;
        timeout(limit, attempt).await.unwrap_or_else(|_| Err(no_answer(limit)))
    }
}

struct Asked {
    spec: Option<NodeSpec>,
    unreadable_spec: Option<String>,
    is_detached: bool,
    reach: Reach,
}

impl Asked {
    fn nothing(reach: Reach) -> Asked {
        Asked { spec: None, unreadable_spec: None, is_detached: false, reach }
    }
}

fn major(labels: &HashMap<String, String>) -> Option<u16> {
    labels.get(labels::MAJOR)?.parse().ok()
}

fn presence(cluster: &ClusterName, labels: Option<&HashMap<String, String>>) -> Presence {
    match labels {
        None => Presence::Absent,
        Some(labels) if labels.get(labels::CLUSTER) == Some(&cluster.to_string()) => Presence::Ours,
        Some(_) => Presence::Strange,
    }
}

/// The specification of a node, if there is one, or why it makes no sense. For a node that does not answer: the engine mounts its
/// volumes and executes itself anew to look into a container.
async fn read_spec(
    engine: &Engine,
    container: &ContainerSummary,
) -> Result<Option<Result<NodeSpec, String>>, EngineError> {
    let Some(path) = spec_path(container) else { return Ok(None) };
    let file = engine.read_file(&container.name, &path).await?;
    let born_as = || container.environment.get(environment::SPEC).map(|json| json.clone().into_bytes());
    Ok(file.or_else(born_as).map(|json| parse_spec(container, &String::from_utf8_lossy(&json))))
}

fn spec_path(container: &ContainerSummary) -> Option<String> {
    let major = major(&container.labels)?;
    Some(format!("{}/{}", contract::control_directory(major), contract::SPEC_FILE))
}

fn parse_spec(container: &ContainerSummary, json: &str) -> Result<NodeSpec, String> {
    let path = || spec_path(container).unwrap_or_default();
    serde_json::from_str(json).map_err(|error| format!("\"{}\": {error}", path()))
}

/// A file of a server's, through the server, which costs no more than a question. `None` where it is not there, or there is no answer.
async fn read_file(client: &Client, path: Option<String>) -> Option<String> {
    const MOST_BYTES: i64 = 1 << 20;
    let path = path?;
    let asked = [(&path as &(dyn ToSql + Sync), Type::TEXT), (&MOST_BYTES, Type::INT8)];
    let read = client.query_typed_one("SELECT pg_read_file($1, 0, $2, true)", &asked);
    timeout(ANSWER_TIMEOUT, read).await.ok()?.ok()?.try_get(0).ok()?
}

/// Asks the kernel for free ports and gives them back at once; somebody else may be faster, and the start says so then.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).filter_map(|_| TcpListener::bind(("127.0.0.1", 0)).ok()).collect();
    held.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.port()).collect()
}

fn no_answer(limit: Duration) -> Reach {
    Reach::Unreachable { reason: format!("no answer within {} s", limit.as_secs()) }
}

/// A node whose agent or server tells what it is at is on its way up; all else is trouble.
fn why_not(error: &tokio_postgres::Error, complaint: &Mutex<String>) -> Reach {
    let complaint = complaint.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, phase)) = complaint.trim().rsplit_once("the node is at: ") {
        Reach::Starting { reason: phase.to_owned() }
    } else if error.code() == Some(&SqlState::CANNOT_CONNECT_NOW) {
        // One SQLSTATE for both ends of a server's life.
        match with_causes(error) {
            reason if reason.contains("shutting down") => Reach::Unreachable { reason },
            reason => Reach::Starting { reason },
        }
    } else {
        Reach::Unreachable { reason: with_causes(error) }
    }
}
