//! What a cluster is asked to be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgherd_images::contract::{self, labels};

use crate::{ClusterName, InitScript, Limits, NodeName, Origin, Storage, VolumeSize};

/// Settings of PostgreSQL, by their names in lower case.
pub type Settings = BTreeMap<String, String>;

/// The desired state of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSpec {
    /// Its name.
    pub name: ClusterName,
    /// The major version of PostgreSQL.
    pub major: u16,
    /// The tag of the image of every node.
    pub image: String,
    /// How many replicas it shall have.
    pub replicas: Replicas,
    /// Whether every node gets a port on the host's loopback interface.
    pub publish: bool,
    /// The size of every node's own volume. `None` for what the nodes that are there have; those of a new cluster share the
    /// engine's own file system then.
    pub volume_size: Option<VolumeSize>,
    /// Where nodes keep their data. `None` for where those do that are there; those of a new cluster, on volumes of the engine's.
    pub storage: Option<Storage>,
    /// How much each node may take. What is not said stays as it is.
    pub limits: Limits,
    /// Scripts that fill the database when the cluster is made, and never again.
    pub scripts: Vec<InitScript>,
    /// Data of another server's that a new cluster begins with, as a copy. `None` for what it began with, which in a new one is nothing.
    pub origin: Option<Origin>,
    /// The one node that is to be brought up, or `None` for all.
    pub only: Option<u16>,
    /// Nodes that shall follow another upstream than they do, by their numbers. A new one that is not named follows the primary.
    pub upstreams: BTreeMap<u16, u16>,
    /// How many replicas must have a commit durably before it is acknowledged, 0 for none. `None`: as it is.
    pub quorum: Option<u16>,
    /// Nodes that shall go, with their data.
    pub without: BTreeSet<u16>,
    /// A node that may lose what its upstream has not, because somebody said so.
    pub rewind: Option<u16>,
    /// Who shall be the primary.
    pub primacy: Primacy,
    /// What the settings of nodes shall be that differ from the usual ones, by the nodes' numbers. Who is not named has those that it has,
    /// and a new one those of the primary. [`set`](crate::set) changes them in an order in which no replica stands still.
    pub settings: BTreeMap<u16, Settings>,
    /// Settings that every node of a new cluster has. One that is there is given them by [`settle_settings`](crate::settle_settings).
    pub common: Settings,
    /// Nodes that are started anew, for settings that only a start takes up.
    pub restarts: BTreeSet<u16>,
    /// The test run that it belongs to, or `None` for a user's own.
    pub owner: Option<String>,
}

/// Who shall be the primary, and what may be done for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Primacy {
    /// Whoever is.
    #[default]
    AsFound,
    /// Another node, to which a primary that runs hands over in good order.
    Switchover {
        /// Which one; `None` for the one that has come furthest.
        to: Option<u16>,
    },
    /// Another node, without a primary that is dead, hung or cut off.
    Failover {
        /// Which one; `None` for the one that has come furthest.
        to: Option<u16>,
        /// Whether commits may be lost that were acknowledged.
        allow_data_loss: bool,
        /// Whether a primary that answers is killed.
        force: bool,
    },
}

/// The number of replicas, and what may be done to reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// As many as there are, or [`Replicas::DEFAULT`] in a new cluster.
    AsFound,
    /// This many; where there are more already, that is refused.
    AtLeast(u16),
    /// This many; those with the highest numbers go, with their data.
    Exactly(u16),
}

impl Replicas {
    /// What a new cluster gets if nobody says otherwise.
    pub const DEFAULT: u16 = 2;

    /// The most that one primary can clone at once: each takes two of its 100 walsenders while it is cloned.
    pub const MAX: u16 = 48;
}

impl ClusterSpec {
    /// A cluster as it is found, or the usual one where there is none: a primary and [`Replicas::DEFAULT`] replicas.
    #[must_use]
    pub fn new(name: ClusterName, major: u16) -> ClusterSpec {
        ClusterSpec {
            name,
            major,
            image: contract::node_image(major),
            replicas: Replicas::AsFound,
            publish: false,
            volume_size: None,
            storage: None,
            limits: Limits::default(),
            scripts: Vec::new(),
            origin: None,
            only: None,
            upstreams: BTreeMap::new(),
            quorum: None,
            without: BTreeSet::new(),
            rewind: None,
            primacy: Primacy::AsFound,
            settings: BTreeMap::new(),
            common: Settings::new(),
            restarts: BTreeSet::new(),
            owner: None,
        }
    }

    /// The labels of everything that belongs to the cluster as a whole.
    #[must_use]
    pub fn labels(&self) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (labels::CLUSTER.to_owned(), self.name.to_string()),
            (labels::SCHEMA.to_owned(), labels::SCHEMA_VERSION.to_owned()),
        ]);
        if let Some(owner) = &self.owner {
            labels.insert(labels::OWNER.to_owned(), owner.clone());
        }
        labels
    }

    /// The labels of everything that belongs to one node.
    #[must_use]
    pub fn node_labels(&self, node: &NodeName) -> HashMap<String, String> {
        let mut labels = self.labels();
        labels.insert(labels::NODE.to_owned(), node.to_string());
        labels.insert(labels::MAJOR.to_owned(), self.major.to_string());
        labels
    }
}
