//! The same for programs that are not asynchronous. Not to be used within an asynchronous one: its calls hold up their thread.

use std::time::Duration;

use pgherd_probe::Lsn;
use tokio::runtime::Runtime;

use super::{ClusterError, builder};
use crate::{ClusterName, InitScript, InvalidName, Limits, Look, NodeName, Storage, VolumeSize};

/// See [`ClusterBuilder`](super::ClusterBuilder).
#[derive(Debug, Clone, Default)]
pub struct ClusterBuilder(builder::ClusterBuilder);

impl ClusterBuilder {
    /// The major version of PostgreSQL.
    #[must_use]
    pub fn version(self, major: u16) -> Self {
        ClusterBuilder(self.0.version(major))
    }

    /// The image of every node.
    #[must_use]
    pub fn image(self, tag: impl Into<String>) -> Self {
        ClusterBuilder(self.0.image(tag))
    }

    /// How many replicas there are.
    #[must_use]
    pub fn replicas(self, count: u16) -> Self {
        ClusterBuilder(self.0.replicas(count))
    }

    /// How many replicas must have a commit before it is acknowledged.
    #[must_use]
    pub fn quorum(self, count: u16) -> Self {
        ClusterBuilder(self.0.quorum(count))
    }

    /// Has a replica follow another one.
    #[must_use]
    pub fn upstream(self, node: u16, upstream: u16) -> Self {
        ClusterBuilder(self.0.upstream(node, upstream))
    }

    /// Gives every node a file system of this size.
    #[must_use]
    pub fn volume_size(self, size: VolumeSize) -> Self {
        ClusterBuilder(self.0.volume_size(size))
    }

    /// Keeps the nodes' data elsewhere.
    #[must_use]
    pub fn storage(self, storage: Storage) -> Self {
        ClusterBuilder(self.0.storage(storage))
    }

    /// How much each node may take.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        ClusterBuilder(self.0.limits(limits))
    }

    /// A setting of PostgreSQL.
    #[must_use]
    pub fn setting(self, name: &str, value: impl Into<String>) -> Self {
        ClusterBuilder(self.0.setting(name, value))
    }

    /// A script that fills the application's database.
    #[must_use]
    pub fn script(self, script: InitScript) -> Self {
        ClusterBuilder(self.0.script(script))
    }

    /// Keeps the data in memory and never syncs them.
    #[must_use]
    pub fn throwaway(self) -> Self {
        ClusterBuilder(self.0.throwaway())
    }

    /// A name.
    ///
    /// # Errors
    /// Where it cannot be one.
    pub fn name(self, name: &str) -> Result<Self, InvalidName> {
        Ok(ClusterBuilder(self.0.name(name)?))
    }

    /// How long anything may take.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        ClusterBuilder(self.0.limit(limit))
    }

    /// Makes the cluster, and returns when every replica streams.
    ///
    /// # Errors
    /// Whatever keeps it from streaming; nothing is left of it then.
    pub fn start(self) -> Result<Cluster, ClusterError> {
        let runtime = super::runtime()?;
        let cluster = runtime.block_on(self.0.start())?;
        Ok(Cluster { cluster, runtime })
    }
}

/// See [`Cluster`](super::Cluster).
#[derive(Debug)]
#[must_use = "it is removed when it is dropped"]
pub struct Cluster {
    /// Dropped first.
    cluster: super::Cluster,
    runtime: Runtime,
}

/// Each of these is documented with the asynchronous one of its name.
macro_rules! calls {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Cluster {
            $(
                #[doc = concat!("See [`Cluster::", stringify!($name), "`](super::Cluster::", stringify!($name), ").")]
                ///
                /// # Errors
                /// Those of the other one.
                pub fn $name(&self, $($argument: $type),*) -> Result<$result, ClusterError> {
                    self.runtime.block_on(self.cluster.$name($($argument),*))
                }
            )*
        }
    };
}

calls! {
    look() -> Look;
    primary() -> NodeName;
    replica(index: usize) -> NodeName;
    url() -> String;
    url_of(node: &NodeName) -> String;
    commit_lsn() -> Lsn;
    wait_replayed(node: &NodeName, position: Lsn) -> ();
    pause_replay(node: &NodeName) -> ();
    resume_replay(node: &NodeName) -> ();
    partition(node: &NodeName) -> ();
    heal(node: &NodeName) -> ();
    kill(node: &NodeName) -> ();
    bring_up() -> ();
    switchover() -> NodeName;
    failover() -> NodeName;
}

impl Cluster {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        self.cluster.name()
    }

    /// Removes everything, as dropping it does.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub fn remove(self) -> Result<(), ClusterError> {
        self.runtime.block_on(self.cluster.remove())
    }
}
