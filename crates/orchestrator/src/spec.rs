//! What a cluster is asked to be.

use std::collections::HashMap;

use pgherd_images::contract::labels;

use crate::{ClusterName, NodeName, VolumeSize};

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
    /// The one node that is to be brought up, or `None` for all.
    pub only: Option<u16>,
    /// The test run that it belongs to, or `None` for a user's own.
    pub owner: Option<String>,
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
