//! A cluster of a program's own, such as of a test: made by a builder, and gone when it is dropped.

pub mod blocking;
mod builder;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use pgherd_images::contract::APP;
use pgherd_probe::{Lsn, NodeRole};
use tokio::{runtime::Runtime, sync::Mutex as AsyncMutex};

pub use builder::ClusterBuilder;

use crate::{
    ClusterName, ClusterSpec, Engine, EngineError, Inventory, LagControl, LagError, Look, Lookout, NodeName, Primacy,
    ReconcileError, Refusal, Terms, WaitError,
    chaos::{self, ChaosError, Direction, Fault},
    connection_urls, control_lag, reconcile_by, remove_cluster, require_node,
};

/// A primary and its replicas, on ports of 127.0.0.1.
///
/// It belongs to this process and to this value: when that is dropped, also by a panic, everything is removed. What a process
/// leaves that was killed is removed by the next one that makes a cluster, and by `cargo xtask cluster prune`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use pgherd_orchestrator::Cluster;
///
/// let cluster = Cluster::builder().version(17).replicas(2).start().await?;
/// let (primary, replica) = (cluster.primary().await?, cluster.replica(0).await?);
/// // … connect to `cluster.url_of(&primary)`, and commit something …
/// let token = cluster.commit_lsn().await?;
/// cluster.wait_replayed(&replica, token).await?;
/// // … connect to `cluster.url_of(&replica)`, and read it.
/// cluster.remove().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it is removed when it is dropped"]
pub struct Cluster {
    engine: Engine,
    spec: ClusterSpec,
    limit: Duration,
    lookout: AsyncMutex<Lookout>,
    /// The read-write line, once it was asked for: neither ports nor password change.
    urls: Mutex<Option<Urls>>,
    is_removed: bool,
}

/// How applications reach the nodes.
#[derive(Debug, Clone)]
struct Urls {
    all: String,
    password: String,
}

/// Why a cluster did not do what a program wants of it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It did not become what it shall be, or there is no such node.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was waited for did not come.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A replica does not replay as it was told.
    #[error(transparent)]
    Lag(#[from] LagError),
    /// A fault was not brought about.
    #[error(transparent)]
    Chaos(#[from] ChaosError),
    /// There is nobody of that role, or one too many.
    #[error("cluster \"{cluster}\" has {found} that answer as {role}, and {wanted} asked for")]
    NoSuchRole {
        /// The cluster.
        cluster: ClusterName,
        /// How many nodes do.
        found: usize,
        /// In which role.
        role: NodeRole,
        /// What is lacking.
        wanted: &'static str,
    },
    /// A node has no port.
    #[error("node \"{0}\" has no published port: it is not there, or it was stopped")]
    NoPort(NodeName),
}

impl Cluster {
    /// Begins with a primary and two replicas of the default version.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// The same, for programs that are not asynchronous.
    #[must_use]
    pub fn blocking() -> blocking::ClusterBuilder {
        blocking::ClusterBuilder::default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        &self.spec.name
    }

    /// Looks at every node, and judges.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn look(&self) -> Result<Look, ClusterError> {
        Ok(self.lookout.lock().await.look().await?)
    }

    /// The node that takes writes.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchRole`] where none does, or more than one.
    pub async fn primary(&self) -> Result<NodeName, ClusterError> {
        let primaries = self.nodes(NodeRole::Primary).await?;
        match &primaries[..] {
            [primary] => Ok(primary.clone()),
            _ => Err(self.no_such_role(primaries.len(), NodeRole::Primary, "one is")),
        }
    }

    /// One of the nodes that answer as replicas, which are counted from 0 in the order of their numbers.
    ///
    /// # Errors
    /// [`ClusterError::NoSuchRole`] where there are not so many.
    pub async fn replica(&self, index: usize) -> Result<NodeName, ClusterError> {
        let replicas = self.nodes(NodeRole::Replica).await?;
        let found = replicas.len();
        replicas.into_iter().nth(index).ok_or_else(|| self.no_such_role(found, NodeRole::Replica, "more are"))
    }

    /// The connection line of an application that writes: all nodes, of which its driver finds the primary.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn url(&self) -> Result<String, ClusterError> {
        Ok(self.urls().await?.all)
    }

    /// The connection line that leads to one node, whatever that is.
    ///
    /// # Errors
    /// [`ClusterError::NoPort`], and if the engine cannot be asked.
    pub async fn url_of(&self, node: &NodeName) -> Result<String, ClusterError> {
        let password = self.urls().await?.password;
        let found = require_node(&self.engine, node).await?;
        let port = found.published.ok_or_else(|| ClusterError::NoPort(node.clone()))?;
        Ok(format!("postgresql://{APP}:{password}@127.0.0.1:{port}/{APP}"))
    }

    /// A position that everything lies before which was committed until now, see [`Lookout::commit_lsn`].
    ///
    /// # Errors
    /// Where there is not one primary, or it does not answer.
    pub async fn commit_lsn(&self) -> Result<Lsn, ClusterError> {
        Ok(self.lookout.lock().await.commit_lsn().await?)
    }

    /// Waits until queries on a node see everything up to a position.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] after the limit of the builder.
    pub async fn wait_replayed(&self, node: &NodeName, position: Lsn) -> Result<(), ClusterError> {
        Ok(self.lookout.lock().await.wait_replayed(node, position, self.limit).await?)
    }

    /// Lets a replica receive and not replay, so that whoever reads on it reads what was.
    ///
    /// # Errors
    /// See [`LagError`].
    pub async fn pause_replay(&self, node: &NodeName) -> Result<(), ClusterError> {
        control_lag(&self.engine, node, LagControl::Pause).await?;
        Ok(())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// See [`LagError`].
    pub async fn resume_replay(&self, node: &NodeName) -> Result<(), ClusterError> {
        control_lag(&self.engine, node, LagControl::Resume).await?;
        Ok(())
    }

    /// Cuts a node off everybody, this process included; [`Cluster::heal`] ends it. This needs the toolbox image, `cargo xtask images
    /// toolbox`.
    ///
    /// # Errors
    /// See [`ChaosError`].
    pub async fn partition(&self, node: &NodeName) -> Result<(), ClusterError> {
        let fault = Fault::Partition { node: node.clone(), from: None, direction: Direction::Both };
        Ok(chaos::inject(&self.engine, &fault).await?)
    }

    /// Ends all faults of a node, but for one: a node that was killed is started by [`Cluster::bring_up`].
    ///
    /// # Errors
    /// See [`ChaosError`].
    pub async fn heal(&self, node: &NodeName) -> Result<(), ClusterError> {
        Ok(chaos::heal(&self.engine, node).await?)
    }

    /// Kills a node: none of its processes can prepare for it.
    ///
    /// # Errors
    /// See [`ChaosError`].
    pub async fn kill(&self, node: &NodeName) -> Result<(), ClusterError> {
        let fault = Fault::Kill { node: node.clone(), process: None };
        Ok(chaos::inject(&self.engine, &fault).await?)
    }

    /// Starts whatever does not run, and returns when every replica streams.
    ///
    /// # Errors
    /// See [`ReconcileError`].
    pub async fn bring_up(&self) -> Result<(), ClusterError> {
        self.reconcile(Primacy::AsFound).await.map(drop)
    }

    /// Has another node become the primary in good order, and returns which when all stream from it.
    ///
    /// # Errors
    /// See [`ReconcileError`]; a refusal has changed nothing.
    pub async fn switchover(&self) -> Result<NodeName, ClusterError> {
        self.reconcile(Primacy::Switchover { to: None }).await?;
        self.primary().await
    }

    /// Has another node become the primary instead of one that was killed, hangs or is cut off; which takes a quorum, or loses what
    /// nobody else has.
    ///
    /// # Errors
    /// See [`ReconcileError`]; a refusal has changed nothing.
    pub async fn failover(&self) -> Result<NodeName, ClusterError> {
        let allow_data_loss = self.spec.quorum.unwrap_or(0) == 0;
        self.reconcile(Primacy::Failover { to: None, allow_data_loss, force: false }).await?;
        self.primary().await
    }

    /// Removes everything. Dropping it does the same, holds up its thread meanwhile, and tells nobody if it fails.
    ///
    /// # Errors
    /// If the engine cannot be asked: what is left goes with this process.
    pub async fn remove(mut self) -> Result<(), ClusterError> {
        remove_cluster(&self.engine, &self.spec.name).await?;
        self.is_removed = true;
        Ok(())
    }

    async fn start(engine: Engine, spec: ClusterSpec, limit: Duration) -> Result<Cluster, ClusterError> {
        let lookout = AsyncMutex::new(Lookout::new(&engine, &spec.name));
        // From here on it is removed, whatever comes.
        let mut cluster = Cluster { engine, spec, limit, lookout, urls: Mutex::default(), is_removed: false };
        cluster.reconcile(Primacy::AsFound).await?;
        // They are as they were asked for, and whoever becomes the primary follows nobody.
        cluster.spec.upstreams.clear();
        Ok(cluster)
    }

    async fn reconcile(&self, primacy: Primacy) -> Result<Inventory, ClusterError> {
        let spec = ClusterSpec { primacy, ..self.spec.clone() };
        let observer = &mut self.lookout.lock().await.observer;
        let (observed, _) = reconcile_by(observer, &spec, Terms::from(self.limit), |_| ()).await?;
        Ok(observed)
    }

    async fn nodes(&self, role: NodeRole) -> Result<Vec<NodeName>, ClusterError> {
        let Look { inventory, .. } = self.look().await?;
        let has_role = |number: &u16| {
            let in_recovery = inventory.nodes[number].status().map(|status| status.in_recovery());
            in_recovery == Some(role == NodeRole::Replica)
        };
        Ok(inventory.nodes.keys().copied().filter(has_role).map(|number| inventory.node_name(number)).collect())
    }

    fn no_such_role(&self, found: usize, role: NodeRole, wanted: &'static str) -> ClusterError {
        ClusterError::NoSuchRole { cluster: self.spec.name.clone(), found, role, wanted }
    }

    async fn urls(&self) -> Result<Urls, ClusterError> {
        let known = self.urls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let Look { inventory, .. } = self.look().await?;
        let all = connection_urls(&self.engine, &inventory).await?.outside;
        let all = all.ok_or_else(|| ClusterError::NoPort(inventory.node_name(1)))?;
        let password = password(&all).to_owned();
        let urls = Urls { all, password };
        *self.urls.lock().unwrap_or_else(PoisonError::into_inner) = Some(urls.clone());
        Ok(urls)
    }
}

fn runtime() -> Result<Runtime, EngineError> {
    Runtime::new().map_err(|error| EngineError::Broken {
        action: "begin to talk to the engine".to_owned(),
        message: error.to_string(),
    })
}

/// What stands between the role and the first host.
fn password(url: &str) -> &str {
    let credentials = url.split('@').next().unwrap_or_default();
    credentials.rsplit(':').next().unwrap_or_default()
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_removed {
            return;
        }
        let name = self.spec.name.clone();
        // The runtime that this may be dropped in cannot be waited for in here.
        let removal = thread::spawn(move || -> Result<(), ClusterError> {
            runtime()?.block_on(async { Ok(remove_cluster(&Engine::connect().await?, &name).await.map(drop)?) })
        });
        match removal.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(_) => tracing::warn!("cluster \"{}\" was not removed", self.spec.name),
        }
    }
}

impl From<Refusal> for ClusterError {
    fn from(refusal: Refusal) -> ClusterError {
        ClusterError::Reconcile(refusal.into())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_password_is_found_in_its_line() {
        let url = "postgresql://app:secret@127.0.0.1:1,127.0.0.1:2/app?target_session_attrs=read-write";
        assert_eq!(super::password(url), "secret");
    }
}
