//! A cluster as a file says it. What a file does not say stays as it is.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{ClusterName, ClusterSpec, Inventory, Origin, Replicas, VolumeSize};

/// What somebody writes down of a cluster, in TOML.
///
/// ```toml
/// name = "shop"
/// version = 17
/// replicas = 3
/// quorum = 1
/// publish = true
/// volume-size = "512MB"
///
/// # The fourth node follows the second.
/// [upstreams]
/// 4 = 2
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClusterFile {
    /// Its name.
    #[serde(deserialize_with = "some_text", skip_serializing_if = "Option::is_none")]
    pub name: Option<ClusterName>,
    /// The major version of PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u16>,
    /// How many replicas it has; where there are more, those with the highest numbers go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u16>,
    /// How many replicas must have a commit durably before it is acknowledged, 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u16>,
    /// Whether every node has a port on 127.0.0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<bool>,
    /// The size of every node's own file system.
    #[serde(deserialize_with = "some_text", serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<VolumeSize>,
    /// The volume with the data that it begins with, which are copied. A cluster begins but once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_volume: Option<String>,
    /// The same of a directory of the engine's host; a relative path is one of this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_dir: Option<String>,
    /// Whom replicas follow where that is not the primary, by the numbers of nodes.
    #[serde(deserialize_with = "numbers", serialize_with = "as_numbers", skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<u16, u16>,
}

impl ClusterFile {
    /// What is asked of a cluster by the file; `otherwise` says the name and the version where it says neither.
    #[must_use]
    pub fn spec(&self, otherwise: &ClusterSpec) -> ClusterSpec {
        let name = self.name.clone().unwrap_or_else(|| otherwise.name.clone());
        ClusterSpec {
            replicas: self.replicas.map_or(Replicas::AsFound, Replicas::Exactly),
            quorum: self.quorum,
            publish: self.publish.unwrap_or(false),
            volume_size: self.volume_size,
            upstreams: self.upstreams.clone(),
            origin: self.origin(),
            owner: otherwise.owner.clone(),
            ..ClusterSpec::new(name, self.version.unwrap_or(otherwise.major))
        }
    }

    fn origin(&self) -> Option<Origin> {
        let directory = |path: &String| Origin::directory(path).unwrap_or_else(|_| Origin::Directory(path.clone()));
        self.from_volume.clone().map(Origin::Volume).or_else(|| self.from_dir.as_ref().map(directory))
    }

    /// The file of a cluster that is there: all that such a file can say.
    #[must_use]
    pub fn of(observed: &Inventory) -> ClusterFile {
        let primary = observed.primary();
        let follows = |(number, node): (&u16, &crate::NodeInventory)| {
            let upstream = node.asked_upstream(observed).filter(|upstream| Some(*upstream) != primary)?;
            Some((*number, upstream))
        };
        let quorum = observed.nodes.values().filter_map(|node| Some(node.spec.as_ref()?.quorum)).max();
        let origin = observed.origin.clone();
        ClusterFile {
            name: Some(observed.name.clone()),
            version: observed.nodes.values().find_map(|node| node.major),
            replicas: u16::try_from(observed.nodes.len().saturating_sub(1)).ok(),
            quorum,
            publish: Some(observed.nodes.values().any(|node| node.published.is_some())),
            volume_size: observed.volume_size(),
            from_volume: origin.iter().find_map(|it| matches!(it, Origin::Volume(_)).then(|| it.name().to_owned())),
            from_dir: origin.iter().find_map(|it| matches!(it, Origin::Directory(_)).then(|| it.name().to_owned())),
            upstreams: observed.nodes.iter().filter_map(follows).collect(),
        }
    }
}

impl FromStr for ClusterFile {
    /// Says which line and column, and what may stand there.
    type Err = toml::de::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let file: ClusterFile = toml::from_str(text)?;
        if file.from_volume.is_some() && file.from_dir.is_some() {
            return Err(toml::de::Error::custom("a cluster begins with one thing: \"from-volume\" or \"from-dir\""));
        }
        Ok(file)
    }
}

impl fmt::Display for ClusterFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&toml::to_string(self).map_err(|_| fmt::Error)?)
    }
}

fn some_text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<Option<T>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

fn as_text<S: Serializer>(value: &Option<VolumeSize>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

/// Keys are texts in TOML.
fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u16, u16>, D::Error> {
    let edges = BTreeMap::<String, u16>::deserialize(from)?;
    let number = |text: &str| {
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| D::Error::custom(format!("\"{text}\" is no number of a node, as in \"4 = 2\"")))
    };
    edges.into_iter().map(|(node, upstream)| Ok((number(&node)?, upstream))).collect()
}

fn as_numbers<S: Serializer>(edges: &BTreeMap<u16, u16>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(edges.iter().map(|(node, upstream)| (node.to_string(), upstream)))
}
