//! What a node is asked to be: the JSON that an orchestrator leaves on its volume, or the same from the environment.

use std::{collections::BTreeMap, fmt, str::FromStr};

use pgherd_images::contract;
use serde::{Deserialize, Serialize};

/// The desired state of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// The node's name. It becomes `cluster_name`, and with that the `application_name` of its walreceiver, and names its slot.
    pub node: String,
    /// Primary, or replica of an upstream.
    pub role: Role,
    /// How connections over the network prove who they are.
    #[serde(default)]
    pub authentication: Authentication,
    /// The longest wait for an upstream or for secrets that are not there yet, in seconds.
    #[serde(default = "NodeSpec::default_upstream_wait_seconds")]
    pub upstream_wait_seconds: u32,
    /// How a replica makes sure that it talks to its upstream and to nobody else.
    #[serde(default)]
    pub verify: Verify,
    /// How long a clone may stand still, and how often it may fail.
    #[serde(default, skip_serializing_if = "CloneBounds::are_usual")]
    pub clone: CloneBounds,
    /// The other nodes of the cluster: before it writes, a primary asks them whether one of them is on a newer timeline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Upstream>,
    /// How many of [`Self::peers`] must have a commit on their disks before the primary acknowledges it. They are known by their
    /// hosts, which must be their nodes' names then. With 0 the primary waits for nobody.
    ///
    /// <https://www.postgresql.org/docs/17/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quorum: u16,
    /// Whether a replica that is given another upstream may be rewound, and lose what that one has not. Otherwise it is
    /// refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rewind_to_new_upstream: bool,
    /// Settings of PostgreSQL that differ from those that every node has, by their names in lower case; none of
    /// [`RESERVED_SETTINGS`](crate::RESERVED_SETTINGS).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// The server that the cluster follows in the place of a primary, where that is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Another replica of the same upstream, which a new node clones in the upstream's place, if it is there within a third of
    /// [`Self::upstream_wait_seconds`].
    ///
    /// A base backup ends with a new segment of WAL on a primary, and every replica that streams receives the rest of the old one, zeros as it
    /// may be: so many clones at once cost the square of their number. One of a replica ends no segment.
    ///
    /// <https://www.postgresql.org/docs/17/app-pgbasebackup.html>
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_from: Option<Upstream>,
}

/// A PostgreSQL that is not ours: looked at, and followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// How nodes reach it.
    pub address: Upstream,
    /// The role with which replicas clone and stream: from there, and, because they have its catalog, from each other.
    pub replication_role: String,
}

impl NodeSpec {
    /// A node like those that an orchestrator makes, alone so far.
    #[must_use]
    pub fn new(node: impl Into<String>, role: Role) -> NodeSpec {
        NodeSpec {
            node: node.into(),
            role,
            authentication: Authentication::default(),
            upstream_wait_seconds: NodeSpec::default_upstream_wait_seconds(),
            verify: Verify::default(),
            clone: CloneBounds::default(),
            peers: Vec::new(),
            quorum: 0,
            rewind_to_new_upstream: false,
            settings: BTreeMap::new(),
            source: None,
            clone_from: None,
        }
    }

    /// The role with which replicas clone and stream.
    pub(crate) fn replication_role(&self) -> &str {
        self.source.as_ref().map_or(contract::REPLICATION_ROLE, |source| &source.replication_role)
    }

    /// Whether an upstream is a server that is not ours.
    pub(crate) fn is_source(&self, upstream: &Upstream) -> bool {
        self.source.as_ref().is_some_and(|source| source.address == *upstream)
    }

    /// Five minutes: longer than any sane start of a primary, short enough to be noticed.
    #[must_use]
    pub const fn default_upstream_wait_seconds() -> u32 {
        300
    }
}

// By reference, as serde calls it.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// The bounds of a clone that makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloneBounds {
    /// The longest time in which nothing comes, in seconds. The upstream's checkpoint before the first byte counts, too; one
    /// that takes longer has less to write the next time.
    pub stall_seconds: u32,
    /// How often it is tried again.
    pub retries: u32,
}

impl CloneBounds {
    fn are_usual(&self) -> bool {
        *self == CloneBounds::default()
    }
}

impl Default for CloneBounds {
    /// As patient as a walreceiver (`wal_receiver_timeout`), and tried again for longer than an upstream takes to notice that
    /// a clone is gone (`wal_sender_timeout`): until then, it does not give its slot back. Both are 60 s.
    fn default() -> CloneBounds {
        CloneBounds { stall_seconds: 60, retries: 8 }
    }
}

/// The part that a node plays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and writes, on a grant.
    Primary,
    /// Streams from an upstream.
    Replica {
        /// Where from.
        upstream: Upstream,
    },
}

/// How the network side of `pg_hba.conf` authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// Passwords by SCRAM-SHA-256.
    #[default]
    Scram,
    /// None at all. Anyone who reaches the port reads, writes and clones.
    Trust,
}

/// What is asked of the certificate of an upstream, under [`Authentication::Scram`]; under trust there is no TLS.
///
/// <https://www.postgresql.org/docs/17/libpq-ssl.html#LIBPQ-SSL-CERTIFICATE-VERIFICATION>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// That the cluster's authority has issued it to the host that was asked for (`verify-full`).
    #[default]
    Full,
    /// That the cluster's authority has issued it (`verify-ca`): for nodes made by hand, which do not know by which name their
    /// network knows them.
    Authority,
}

/// Another node's address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream {
    /// A host name or address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = match text.rsplit_once(':') {
            // More than one colon is an IPv6 address, which brackets would have to set apart from a port.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let port = match port {
            None => contract::PORT,
            Some(digits) => digits.parse().map_err(|_| format!("\"{text}\" names an invalid port \"{digits}\""))?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || "'\\,/".contains(c)) {
            return Err(format!("\"{text}\" is not a host name, an address, or either with a port"));
        }
        Ok(Upstream { host: host.to_owned(), port })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for Upstream {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> String {
        upstream.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_specification_reads_as_one_would_write_it() {
        let spec: NodeSpec =
            serde_json::from_str(r#"{"node":"demo-2","role":{"replica":{"upstream":"demo-1"}}}"#).unwrap();
        insta::assert_snapshot!(serde_json::to_string(&spec).unwrap(),
            @r#"{"node":"demo-2","role":{"replica":{"upstream":"demo-1:5432"}},"authentication":"scram","upstream_wait_seconds":300,"verify":"full"}"#);
        assert!(serde_json::from_str::<NodeSpec>(r#"{"node":"demo-2","role":"observer"}"#).is_err());
    }

    #[test]
    fn upstreams_are_hosts_with_or_without_a_port() {
        for (text, host, port) in [
            ("demo-1", "demo-1", 5432),
            ("demo-1:6000", "demo-1", 6000),
            ("10.0.0.1:6000", "10.0.0.1", 6000),
            ("fd00::1", "fd00::1", 5432),
            ("[fd00::1]:6000", "fd00::1", 6000),
        ] {
            assert_eq!(text.parse(), Ok(Upstream { host: host.into(), port }));
        }
        for text in ["", ":5432", "a b", "a:port", "a:65536", "it's", "a,b", "/run/postgresql"] {
            assert!(text.parse::<Upstream>().is_err(), "{text:?} was taken for an upstream");
        }
    }

    proptest! {
        #[test]
        fn a_specification_survives_its_json(
            node in "[a-z0-9-]{1,20}",
            upstream in proptest::option::of(("[a-z0-9.-]{1,20}|[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}", any::<u16>())),
            trust: bool,
            by_hand: bool,
            upstream_wait_seconds: u32,
            stall_seconds: u32,
            retries: u32,
            peers in proptest::collection::vec("[a-z0-9.-]{1,20}", 0..3),
            quorum: u16,
            rewind_to_new_upstream: bool,
            settings in proptest::collection::btree_map("[a-z_]{1,20}", ".*", 0..3),
            source in proptest::option::of("[a-z0-9.-]{1,20}"),
            clone_from in proptest::option::of("[a-z0-9.-]{1,20}"),
        ) {
            let role = match upstream {
                None => Role::Primary,
                Some((host, port)) => Role::Replica { upstream: Upstream { host, port } },
            };
            let authentication = if trust { Authentication::Trust } else { Authentication::Scram };
            let clone = CloneBounds { stall_seconds, retries };
            let verify = if by_hand { Verify::Authority } else { Verify::Full };
            let peers = peers.into_iter().map(|host| Upstream { host, port: 5432 }).collect();
            let replication_role = "pgherd_demo".to_owned();
            let source = source.map(|host| Source { address: Upstream { host, port: 5433 }, replication_role });
            let spec = NodeSpec {
                authentication, upstream_wait_seconds, verify, clone, peers, quorum, rewind_to_new_upstream,
                settings, source, clone_from: clone_from.map(|host| Upstream { host, port: 5432 }),
                ..NodeSpec::new(node, role)
            };
            let text = serde_json::to_string(&spec).unwrap();
            prop_assert_eq!(serde_json::from_str::<NodeSpec>(&text).unwrap(), spec);
        }
    }
}
