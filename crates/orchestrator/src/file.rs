//! A cluster as a file says it. What a file does not say stays as it is.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    ByteCount, ClusterName, ClusterSpec, Cpus, Inventory, Limits, Origin, Profile, Replicas, Settings, Storage,
    VolumeSize,
};

/// What somebody writes down of a cluster, in TOML.
///
/// ```toml
/// name = "shop"
/// version = 17
/// replicas = 3
/// quorum = 1
/// publish = true
/// memory = "1GB"
/// cpus = 0.5
/// init = ["schema.sql", "rows.sql.gz"]
///
/// # The fourth node follows the second.
/// [upstreams]
/// 4 = 2
///
/// [settings]
/// work_mem = "64MB"
/// max_connections = 300
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
    /// Where the nodes keep their data: `named` for volumes of the engine's, `tmpfs` for memory, or a directory of the engine's host.
    #[serde(deserialize_with = "some_text", serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub volume: Option<Storage>,
    /// How much memory each node may take.
    #[serde(deserialize_with = "some_text", serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteCount>,
    /// How many processors each node may take.
    #[serde(deserialize_with = "some_text", serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// How much the data matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Scripts that fill the database of a new cluster, in this order, by their paths from the file. They are no part of a cluster that is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init: Vec<PathBuf>,
    /// The volume with the data that it begins with, which are copied. A cluster begins but once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_volume: Option<String>,
    /// The same of a directory of the engine's host; a relative path is one of this machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_dir: Option<String>,
    /// Whom replicas follow where that is not the primary, by the numbers of nodes.
    #[serde(deserialize_with = "numbers", serialize_with = "as_numbers", skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<u16, u16>,
    /// Settings of PostgreSQL that every node has.
    #[serde(deserialize_with = "settings", skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: Settings,
}

impl ClusterFile {
    /// What is asked of a cluster by the file, but for its scripts, which are files themselves: [`InitScript::read`](crate::InitScript::read).
    /// `otherwise` says the name and the version where it says neither.
    #[must_use]
    pub fn spec(&self, otherwise: &ClusterSpec) -> ClusterSpec {
        let name = self.name.clone().unwrap_or_else(|| otherwise.name.clone());
        let mut spec = ClusterSpec {
            replicas: self.replicas.map_or(Replicas::AsFound, Replicas::Exactly),
            quorum: self.quorum,
            publish: self.publish.unwrap_or(false),
            volume_size: self.volume_size,
            upstreams: self.upstreams.clone(),
            storage: self.volume.clone(),
            limits: Limits { memory: self.memory, cpus: self.cpus },
            common: self.settings.clone(),
            origin: self.origin(),
            owner: otherwise.owner.clone(),
            ..ClusterSpec::new(name, self.version.unwrap_or(otherwise.major))
        };
        if let Some(profile) = self.profile {
            profile.apply_to(&mut spec);
        }
        spec
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
            replicas: u16::try_from(observed.nodes.len().saturating_sub(usize::from(observed.source.is_none()))).ok(),
            quorum,
            publish: Some(observed.nodes.values().any(|node| node.published.is_some())),
            volume_size: observed.volume_size(),
            volume: observed.storage().filter(|storage| **storage != Storage::Volumes).cloned(),
            memory: observed.limits().memory,
            cpus: observed.limits().cpus,
            profile: None,
            init: Vec::new(),
            from_volume: origin.iter().find_map(|it| matches!(it, Origin::Volume(_)).then(|| it.name().to_owned())),
            from_dir: origin.iter().find_map(|it| matches!(it, Origin::Directory(_)).then(|| it.name().to_owned())),
            upstreams: observed.nodes.iter().filter_map(follows).collect(),
            settings: primary
                .and_then(|number| Some(observed.nodes[&number].spec.as_ref()?.settings.clone()))
                .unwrap_or_default(),
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
    Value::deserialize(from)?.to_string().parse().map(Some).map_err(D::Error::custom)
}

/// What somebody writes without quotation marks, or with them.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, a number or a truth value")]
enum Value {
    Truth(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Truth(truth) => f.write_str(if *truth { "on" } else { "off" }),
            Value::Integer(integer) => integer.fmt(f),
            Value::Number(number) => number.fmt(f),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// PostgreSQL takes names in any case.
fn settings<'de, D: Deserializer<'de>>(from: D) -> Result<Settings, D::Error> {
    let settings = BTreeMap::<String, Value>::deserialize(from)?;
    Ok(settings.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_string())).collect())
}

fn as_text<S: Serializer, T: fmt::Display>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
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
