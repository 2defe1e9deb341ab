//! A PostgreSQL that is not ours, which a cluster follows in the place of a primary: where it is, and what is known of it.
//!
//! Nothing is kept of it but a label on the secrets volume that says where it is, and the password of our role on that volume.

mod administrator;
mod apply;
mod facts;
mod observe;
mod plan;
mod refusal;

use std::{fmt, net::IpAddr, str::FromStr};

use pgherd_agent::Upstream;
use pgherd_images::contract;
use pgherd_probe::{Observed, Reach};
use serde::Serialize;

pub use administrator::{Administrator, Guest};
pub(crate) use apply::{apply, undo, withdraw};
pub use facts::SourceFacts;
pub(crate) use observe::{observe, recorded};
pub(crate) use plan::{introduction, settings, turn};
pub use refusal::SourceRefusal;

use crate::{ClusterName, EngineError, HelperError, Step};

/// Its number, where nodes have theirs from 1.
pub(crate) const SOURCE: u16 = 0;

/// What nodes call the engine's host, <https://docs.docker.com/reference/cli/dockerd/#configure-host-gateway-ip>.
const ENGINE_HOST: &str = "host.docker.internal";

/// Where a server is that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum SourcePlace {
    /// In a container of the same engine.
    Container {
        /// Its name.
        name: String,
        /// The port that it listens on there.
        port: u16,
    },
    /// Where nodes reach it by a name or an address of the world.
    Server(Upstream),
}

impl fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourcePlace::Container { name, port } => write!(f, "container:{name}:{port}"),
            SourcePlace::Server(address) => write!(f, "server:{address}"),
        }
    }
}

impl From<SourcePlace> for String {
    fn from(origin: SourcePlace) -> String {
        origin.to_string()
    }
}

impl FromStr for SourcePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<SourcePlace, String> {
        let strange = || format!("\"{text}\" does not say where a server is");
        let (kind, place) = text.split_once(':').ok_or_else(strange)?;
        let Upstream { host: name, port } = place.parse()?;
        match kind {
            "container" => Ok(SourcePlace::Container { name, port }),
            "server" => Ok(SourcePlace::Server(Upstream { host: name, port })),
            _ => Err(strange()),
        }
    }
}

/// A server that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Where it is.
    pub place: SourcePlace,
    /// How nodes reach it.
    pub address: Upstream,
    /// The network that nodes join for that, beside their own.
    pub network: Option<String>,
    /// The role that the cluster has there.
    pub role: String,
}

impl Source {
    /// What nodes are told of it.
    pub(crate) fn for_nodes(&self) -> pgherd_agent::Source {
        pgherd_agent::Source { address: self.address.clone(), replication_role: self.role.clone() }
    }

    /// The names that containers have to be given to reach it.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let is_engine_host = self.address.host == ENGINE_HOST;
        is_engine_host.then(|| format!("{ENGINE_HOST}:host-gateway")).into_iter().collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The role that a cluster has there.
pub(crate) fn role_name(cluster: &ClusterName) -> String {
    format!("pgherd_{}", contract::slot_name(&cluster.to_string()))
}

/// How other containers reach one that listens on this port, and the network that they have to join for it. A network with a name
/// server is better than the engine's default one, where addresses are all there is, and change.
fn way_to(name: &str, port: u16, attachments: &[(String, Option<IpAddr>)]) -> Option<(Upstream, Option<String>)> {
    let of = |wanted: &str| attachments.iter().find(|(network, _)| network == wanted);
    let has_names = |(network, _): &&(String, Option<IpAddr>)| !["bridge", "host", "none"].contains(&network.as_str());
    let upstream = |host: String| Upstream { host, port };
    if let Some((network, _)) = attachments.iter().find(has_names) {
        return Some((upstream(name.to_owned()), Some(network.clone())));
    }
    if of("host").is_some() {
        return Some((upstream(ENGINE_HOST.to_owned()), None));
    }
    let (network, address) = of("bridge")?;
    Some((upstream((*address)?.to_string()), Some(network.clone())))
}

/// What is known of it now.
#[derive(Debug, Clone)]
pub struct SourceInventory {
    /// Where it is, and who we are there.
    pub source: Source,
    /// Whether the cluster follows it already.
    pub is_recorded: bool,
    /// What it says to our role, or why it says nothing.
    pub reach: Reach,
    /// What it says to an administrator, where there is one.
    pub facts: Option<SourceFacts>,
}

impl SourceInventory {
    /// What the probe's verdict needs to know. It has the name by which replicas reach it; what it calls itself is its own affair.
    pub(crate) fn observed(&self) -> Observed {
        let mut reach = self.reach.clone();
        if let Reach::Answered(status) = &mut reach {
            status.cluster_name.clear();
            // Nodes have the settings of nodes. What they have too little of, they say by standing still.
            status.settings = None;
        }
        Observed { node: self.source.address.host.clone(), expected_upstream: None, reach }
    }
}

/// A change of the server that is not ours, or beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceStep {
    /// Makes the cluster's secrets, and our role on the server, with the rights to replicate and to see what is going on.
    MakeRole {
        /// The role.
        role: String,
        /// The server.
        at: String,
    },
    /// Appends the line by which our role is let in to the server's `pg_hba.conf`, and has it read its configuration again.
    LetIn {
        /// The line.
        line: String,
        /// The file.
        file: String,
        /// The server.
        at: String,
    },
    /// Tries from where nodes will be whether the server lets our role in, and whether it is the one that was meant. Changes nothing.
    Knock {
        /// The server.
        at: String,
    },
    /// Drops the slot of a node that is gone, or follows another one.
    DropSlot {
        /// The slot.
        slot: String,
        /// The server.
        at: String,
    },
}

impl fmt::Display for SourceStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceStep::MakeRole { role, at } => {
                write!(f, "make role {role} on {at}, LOGIN REPLICATION, a member of pg_monitor")
            }
            SourceStep::LetIn { line, file, at } => {
                write!(f, "append \"{line}\" to {file} on {at}, and have it read its configuration again")
            }
            SourceStep::Knock { at } => write!(f, "try whether {at} lets that role in"),
            SourceStep::DropSlot { slot, at } => write!(f, "drop slot {slot} on {at}"),
        }
    }
}

impl SourceStep {
    /// Why it is part of a plan.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            SourceStep::MakeRole { .. } => {
                "replicas have to log in there, and we have to see both ends of their streams"
            }
            SourceStep::LetIn { .. } => "no such line is there",
            SourceStep::Knock { .. } => "nothing is made before that is known",
            SourceStep::DropSlot { .. } => "its node does not stream from there",
        }
    }

    /// What will be there once it is done.
    pub(crate) fn model(&self, source: &mut SourceInventory) {
        if let Some(facts) = &mut source.facts {
            facts.has_role |= matches!(self, SourceStep::MakeRole { .. });
            facts.has_line |= matches!(self, SourceStep::LetIn { .. });
        }
        if let (SourceStep::DropSlot { slot, .. }, Reach::Answered(status)) = (self, &mut source.reach) {
            status.slots.retain(|found| found.slot_name != *slot);
        }
    }
}

impl From<SourceStep> for Step {
    fn from(step: SourceStep) -> Step {
        Step::AtSource(step)
    }
}

/// Something about the server that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is no server for this, or not as it is.
    #[error(transparent)]
    Refused(#[from] SourceRefusal),
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What a helper said, or why there is none.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// It did not do what it was told.
    #[error("could not {action}: {reason}")]
    Failed {
        /// What it was to do, as an infinitive.
        action: String,
        /// In its own words, or in those of the connection.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_survives_its_label() {
        let address = |text: &str| text.parse::<Upstream>().expect("an address");
        for origin in [
            SourcePlace::Container { name: "their-pg".to_owned(), port: 5433 },
            SourcePlace::Server(address("db.example:5432")),
            SourcePlace::Server(address("[fd00::1]:5432")),
        ] {
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
        for text in ["", "their-pg", "volume:x", "server:", "container:a b"] {
            assert!(text.parse::<SourcePlace>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_better_than_an_address() {
        let address = Some("172.17.0.3".parse().expect("an address"));
        let way = |networks: &[&str]| {
            let attachments: Vec<_> = networks.iter().map(|network| ((*network).to_owned(), address)).collect();
            way_to("theirs", 5432, &attachments).map(|(upstream, network)| (upstream.host, network))
        };
        assert_eq!(way(&["bridge", "shop_default"]), Some(("theirs".to_owned(), Some("shop_default".to_owned()))));
        assert_eq!(way(&["bridge"]), Some(("172.17.0.3".to_owned(), Some("bridge".to_owned()))));
        assert_eq!(way(&["host"]), Some((ENGINE_HOST.to_owned(), None)));
        assert_eq!(way(&["none"]), None);
        assert_eq!(way(&[]), None);
        assert_eq!(way_to("theirs", 5432, &[("bridge".to_owned(), None)]), None);
    }
}
