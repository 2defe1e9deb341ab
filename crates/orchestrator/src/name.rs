//! Names of clusters and nodes, and of everything on the engine that is derived from them.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// The name of a cluster: a DNS label that leaves room for a node's number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ClusterName(String);

/// The longest name of a cluster, in characters. A host name has 63, a slot name as well.
pub const LONGEST_CLUSTER_NAME: usize = 40;

/// A text that cannot name a cluster or a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not a cluster's.
    #[error(
        "invalid cluster name \"{name}\": {why}\n\
         hint: Use at most {LONGEST_CLUSTER_NAME} lower-case letters, digits and hyphens, beginning with a letter, as in \"demo\"."
    )]
    Cluster {
        /// The text.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a node's.
    #[error("invalid node name \"{0}\"\nhint: A node is named by its cluster and its number, as in \"demo-1\".")]
    Node(String),
}

impl ClusterName {
    /// The name of the cluster's network.
    #[must_use]
    pub fn network(&self) -> String {
        format!("pgherd-{self}")
    }

    /// The name of the volume that holds the cluster's secrets.
    #[must_use]
    pub fn secrets_volume(&self) -> String {
        format!("pgherd-{self}-secrets")
    }

    /// The name of the volume that whoever changes the cluster holds as a lock.
    #[must_use]
    pub fn lock_volume(&self) -> String {
        format!("pgherd-{self}-lock")
    }

    /// The node of this number.
    #[must_use]
    pub fn node(&self, number: u16) -> NodeName {
        NodeName { cluster: self.clone(), number }
    }
}

impl FromStr for ClusterName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let digits_after_hyphen = name.rsplit_once('-').is_some_and(|(_, end)| end.bytes().all(|b| b.is_ascii_digit()));
        let why = if name.is_empty() {
            "it is empty"
        } else if name.len() > LONGEST_CLUSTER_NAME {
            "it is too long"
        } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            "it has other characters than lower-case letters, digits and hyphens"
        } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            "it does not begin with a letter"
        } else if name.ends_with('-') {
            "it ends in a hyphen"
        } else if digits_after_hyphen {
            "it ends in a number, as the names of nodes do"
        } else {
            return Ok(ClusterName(name.to_owned()));
        };
        Err(InvalidName::Cluster { name: name.to_owned(), why })
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a node, free of roles because roles move: `demo-1`. It is the container's name and its host name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct NodeName {
    /// The cluster that it belongs to.
    pub cluster: ClusterName,
    /// Its number, from 1.
    pub number: u16,
}

impl NodeName {
    /// The name of the node's own volume.
    #[must_use]
    pub fn volume(&self) -> String {
        format!("pgherd-{self}")
    }

    /// The name of the volume that holds the node's disk, where its own volume is a file system of limited size.
    #[must_use]
    pub fn disk_volume(&self) -> String {
        format!("pgherd-{self}-disk")
    }

    /// The device on the engine's host that the node's disk is attached as. The kernel gives loop devices other numbers
    /// whenever the host is restarted; this name stays.
    #[must_use]
    pub fn disk_device(&self) -> String {
        format!("/dev/pgherd-{self}")
    }
}

impl FromStr for NodeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidName::Node(text.to_owned());
        let (cluster, digits) = text.rsplit_once('-').ok_or_else(invalid)?;
        let number = digits.parse().map_err(|_| invalid())?;
        let node = NodeName { cluster: cluster.parse()?, number };
        // Rejects zero, and forms of a number that do not come back, such as "+1" and "01".
        if number == 0 || node.to_string() != text { Err(invalid()) } else { Ok(node) }
    }
}

impl From<NodeName> for String {
    fn from(node: NodeName) -> String {
        node.to_string()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.cluster, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterName, NodeName};

    #[test]
    fn names_of_clusters() {
        for good in ["demo", "a", "a1", "my-app", "my-app2", "x-1y"] {
            assert_eq!(good.parse::<ClusterName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(41);
        for bad in ["", "Demo", "1a", "-a", "a-", "a-1", "a_b", "a b", "ä", "a/b", "a.lock", &too_long] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad:?} was taken for a cluster's name");
        }
    }

    #[test]
    fn names_of_nodes() {
        for good in ["demo-1", "my-app-12"] {
            assert_eq!(good.parse::<NodeName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["demo", "demo-", "demo-0", "demo-01", "demo-+1", "demo-70000", "a-1-2", "-1"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?} was taken for a node's name");
        }
    }
}
