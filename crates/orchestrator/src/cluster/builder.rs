//! What a cluster of a program's own shall be.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    time::Duration,
};

use pgherd_images::contract;
use tokio::sync::OnceCell;

use super::{Cluster, ClusterError};
use crate::{
    ClusterName, ClusterSpec, Engine, InitScript, InvalidName, Limits, Origin, Owner, Profile, Replicas, Settings,
    Storage, VolumeSize, sweep,
};

/// How long it may take until every replica streams, unless somebody says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// What a cluster shall be, with [`Cluster::builder`].
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    name: Option<ClusterName>,
    major: u16,
    image: Option<String>,
    replicas: u16,
    quorum: u16,
    upstreams: BTreeMap<u16, u16>,
    volume_size: Option<VolumeSize>,
    storage: Option<Storage>,
    limits: Limits,
    settings: Settings,
    scripts: Vec<InitScript>,
    profile: Option<Profile>,
    origin: Option<Origin>,
    limit: Duration,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        ClusterBuilder {
            name: None,
            major: pgherd_images::release::PostgresMajor::DEFAULT.number(),
            image: None,
            replicas: Replicas::DEFAULT,
            quorum: 0,
            upstreams: BTreeMap::new(),
            volume_size: None,
            storage: None,
            limits: Limits::default(),
            settings: Settings::new(),
            scripts: Vec::new(),
            profile: None,
            origin: None,
            limit: LIMIT,
        }
    }
}

impl ClusterBuilder {
    /// The major version of PostgreSQL.
    #[must_use]
    pub fn version(self, major: u16) -> Self {
        ClusterBuilder { major, ..self }
    }

    /// The image of every node, instead of the one that `cargo xtask images` makes of the version.
    #[must_use]
    pub fn image(self, tag: impl Into<String>) -> Self {
        ClusterBuilder { image: Some(tag.into()), ..self }
    }

    /// How many replicas there are.
    #[must_use]
    pub fn replicas(self, count: u16) -> Self {
        ClusterBuilder { replicas: count, ..self }
    }

    /// How many replicas must have a commit on their disks before it is acknowledged. A failover loses nothing then.
    #[must_use]
    pub fn quorum(self, count: u16) -> Self {
        ClusterBuilder { quorum: count, ..self }
    }

    /// Has a replica follow another one instead of the primary. Nodes are counted from 1, which is the primary.
    #[must_use]
    pub fn upstream(mut self, node: u16, upstream: u16) -> Self {
        self.upstreams.insert(node, upstream);
        self
    }

    /// Gives every node a file system of this size.
    #[must_use]
    pub fn volume_size(self, size: VolumeSize) -> Self {
        ClusterBuilder { volume_size: Some(size), ..self }
    }

    /// Keeps the nodes' data elsewhere than on volumes of the engine's.
    #[must_use]
    pub fn storage(self, storage: Storage) -> Self {
        ClusterBuilder { storage: Some(storage), ..self }
    }

    /// How much each node may take of the engine's host.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        ClusterBuilder { limits, ..self }
    }

    /// A setting of PostgreSQL that every node has.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.insert(name.to_ascii_lowercase(), value.into());
        self
    }

    /// A script that fills the application's database, after those that were given before.
    #[must_use]
    pub fn script(mut self, script: InitScript) -> Self {
        self.scripts.push(script);
        self
    }

    /// Keeps the data in memory and never syncs them, so that the cluster is ready sooner. A node that stops has lost them: one that comes
    /// back as a replica is cloned anew.
    #[must_use]
    pub fn throwaway(self) -> Self {
        ClusterBuilder { profile: Some(Profile::Throwaway), ..self }
    }

    /// Begins with the data on a volume, of which a copy is made: no server may run on them.
    #[must_use]
    pub fn from_volume(self, name: impl Into<String>) -> Self {
        ClusterBuilder { origin: Some(Origin::Volume(name.into())), ..self }
    }

    /// Begins with the data in a directory of the engine's host, of which a copy is made: no server may run on them. A relative path is
    /// one of this machine's.
    ///
    /// # Errors
    /// Where the path is empty.
    pub fn from_dir(self, path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(ClusterBuilder { origin: Some(Origin::directory(path)?), ..self })
    }

    /// A name, where the one that nobody else has is not wanted.
    ///
    /// # Errors
    /// Where it cannot be one.
    pub fn name(self, name: &str) -> Result<Self, InvalidName> {
        Ok(ClusterBuilder { name: Some(name.parse()?), ..self })
    }

    /// How long it may take until every replica streams, and how long is waited for anything else: 120 s, unless said otherwise.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        ClusterBuilder { limit, ..self }
    }

    /// What all of that means.
    #[must_use]
    pub fn spec(&self) -> ClusterSpec {
        let name = self.name.clone().unwrap_or_else(random_name);
        let mut spec = ClusterSpec {
            image: self.image.clone().unwrap_or_else(|| contract::node_image(self.major)),
            replicas: Replicas::AtLeast(self.replicas),
            quorum: Some(self.quorum),
            upstreams: self.upstreams.clone(),
            volume_size: self.volume_size,
            origin: self.origin.clone(),
            publish: true,
            storage: self.storage.clone(),
            limits: self.limits,
            common: self.settings.clone(),
            scripts: self.scripts.clone(),
            owner: Some(Owner::of_this_process().to_string()),
            ..ClusterSpec::new(name, self.major)
        };
        if let Some(profile) = self.profile {
            profile.apply_to(&mut spec);
        }
        spec
    }

    /// Makes the cluster, and returns when every replica streams. What dead processes have left goes first.
    ///
    /// # Errors
    /// Whatever keeps it from streaming; nothing is left of it then.
    pub async fn start(self) -> Result<Cluster, ClusterError> {
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let engine = Engine::connect().await?;
        SWEPT
            .get_or_init(|| async {
                // Somebody else's leftovers keep nobody from anything.
                if let Err(error) = sweep(&engine).await {
                    tracing::warn!("{error}");
                }
            })
            .await;
        Cluster::start(engine, self.spec(), self.limit).await
    }
}

/// Of a process that is one of many with the same number, in containers of their own.
fn random_name() -> ClusterName {
    let random = RandomState::new().hash_one(std::process::id());
    format!("test-{random:016x}").parse().expect("letters and digits")
}

#[cfg(test)]
mod tests {
    use super::ClusterBuilder;
    use crate::Replicas;

    #[test]
    fn nobody_else_has_the_name_and_it_goes_with_the_process() {
        let specs = [(); 2].map(|()| ClusterBuilder::default().replicas(1).quorum(1).upstream(3, 2).spec());
        assert_ne!(specs[0].name, specs[1].name);
        assert_eq!(specs[0].owner, Some(crate::Owner::of_this_process().to_string()));
        assert_eq!((specs[0].replicas, specs[0].quorum), (Replicas::AtLeast(1), Some(1)));
        assert_eq!(specs[0].upstreams, [(3, 2)].into());
        assert!(ClusterBuilder::default().name("no name").is_err());
    }
}
