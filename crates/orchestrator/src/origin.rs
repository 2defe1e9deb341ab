//! Data of another server's, of which a cluster is made: where they are, and what helpers do with them. They are only read.

use std::{fmt, io, path::Path, str::FromStr, time::Duration};

use pgherd_agent::Examined;
use pgherd_images::contract;
use serde::Serialize;

use crate::{
    ClusterName, ClusterSpec, ContainerState, Engine, EngineError, Helper, NodeName, Step, VolumeSize, helper,
};

/// Where a data directory is, itself or up to two levels below. No server may run on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// On a volume of the engine's, by its name.
    Volume(String),
    /// In a directory of the engine's host, by its absolute path there.
    Directory(String),
}

impl Origin {
    /// A directory by a path that may be relative, where this machine is the engine's host.
    ///
    /// # Errors
    /// Where the path is empty, or there is no working directory.
    pub fn directory(path: impl AsRef<Path>) -> io::Result<Origin> {
        Ok(Origin::Directory(std::path::absolute(path)?.to_string_lossy().into_owned()))
    }

    /// What the engine calls it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Origin::Volume(name) | Origin::Directory(name) => name,
        }
    }

    /// As a label says it.
    pub(crate) fn label(&self) -> String {
        match self {
            Origin::Volume(name) => format!("volume:{name}"),
            Origin::Directory(path) => format!("directory:{path}"),
        }
    }
}

impl FromStr for Origin {
    type Err = ();

    /// Reads what a label says.
    fn from_str(label: &str) -> Result<Self, Self::Err> {
        match label.split_once(':') {
            Some(("volume", name)) => Ok(Origin::Volume(name.to_owned())),
            Some(("directory", path)) => Ok(Origin::Directory(path.to_owned())),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Volume(name) => write!(f, "volume \"{name}\""),
            Origin::Directory(path) => write!(f, "directory \"{path}\""),
        }
    }
}

/// Why no cluster is made of data that are there.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// The engine's word. That a directory is not there is one of these.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// To mount a volume that is not there would make it.
    #[error("there is no volume \"{0}\"\nhint: \"docker volume ls\" lists what there is.")]
    NoSuchVolume(String),
    /// A server may be about to write to it.
    #[error(
        "{origin} is in use by container \"{by}\"\n\
         hint: Stop that first. The data of a running server cannot be copied, but a cluster \"--from\" it is made by a base backup."
    )]
    InUse {
        /// What was to be copied.
        origin: Origin,
        /// The container.
        by: String,
    },
    /// It can never fit.
    #[error(
        "{origin} holds {bytes} bytes, and the volumes of cluster \"{cluster}\" are to have {size}\n\
         hint: Ask for larger ones by \"--volume-size\"."
    )]
    TooLarge {
        /// What was to be copied.
        origin: Origin,
        /// What a copy of it takes.
        bytes: u64,
        /// The cluster.
        cluster: ClusterName,
        /// The size of the volumes.
        size: VolumeSize,
    },
    /// The agent's word. With its hint, it is more than one line.
    #[error("cannot make cluster \"{cluster}\" of {origin}: {said}")]
    Unfit {
        /// What was to be copied.
        origin: Origin,
        /// The cluster.
        cluster: ClusterName,
        /// What the agent says.
        said: String,
    },
}

/// Where helpers find the origin.
const MOUNT: &str = "/origin";

/// How long it may take to look at a data directory. Its catalogs are copied for that, and PostgreSQL is started on them.
const EXAMINATION_LIMIT: Duration = Duration::from_secs(300);

/// How long a copy may take: a terabyte, at twelve megabytes a second.
const COPY_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Before anything is changed: looks at the data that `steps` would copy, and asks for what they need.
///
/// # Errors
/// What speaks against a cluster of them.
pub(crate) async fn examine(
    engine: &Engine,
    desired: &mut ClusterSpec,
    steps: &[Step],
) -> Result<Option<Examined>, OriginError> {
    let brought = steps.iter().find_map(|step| match step {
        Step::BringData { node, origin } => Some((node, origin)),
        _ => None,
    });
    let Some((node, origin)) = brought else { return Ok(None) };
    refuse_used(engine, origin).await?;
    let helper = Helper {
        action: format!("look at {origin}"),
        command: [contract::AGENT, "examine", MOUNT].map(str::to_owned).into(),
        limit: Some(EXAMINATION_LIMIT),
        ..Helper::default()
    };
    let said = run(engine, desired, node, origin, helper).await?;
    let json = said.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let unfit = |said: String| OriginError::Unfit { origin: origin.clone(), cluster: desired.name.clone(), said };
    let examined: Examined = serde_json::from_str(json).map_err(|error| unfit(format!("{error} in: {said}")))?;
    if let Some(size) = desired.volume_size.filter(|size| size.bytes() < examined.bytes) {
        let (origin, cluster) = (origin.clone(), desired.name.clone());
        return Err(OriginError::TooLarge { origin, bytes: examined.bytes, cluster, size });
    }
    let settings = desired.settings.entry(node.number).or_default();
    for (name, needed) in &examined.settings {
        let number = |text: &str| text.parse::<u64>().ok();
        let asked = settings.get(name).or_else(|| desired.common.get(name));
        let is_enough = asked.is_some_and(|asked| number(asked) >= number(needed));
        if !is_enough {
            settings.insert(name.clone(), needed.clone());
        }
    }
    Ok(Some(examined))
}

/// Copies the data to the volume of a node that does not run.
///
/// # Errors
/// What speaks against it; no copy is there then.
pub(crate) async fn bring(
    engine: &Engine,
    spec: &ClusterSpec,
    node: &NodeName,
    origin: &Origin,
) -> Result<(), OriginError> {
    refuse_used(engine, origin).await?;
    let helper = Helper {
        action: format!("copy {origin}"),
        command: [contract::AGENT, "bring", MOUNT].map(str::to_owned).into(),
        mounts: vec![(node.volume(), contract::NODE_VOLUME.to_owned())],
        limit: Some(COPY_LIMIT),
        ..Helper::default()
    };
    run(engine, spec, node, origin, helper).await.map(drop)
}

/// Of containers the engine knows; what else there is, the agent looks for.
async fn refuse_used(engine: &Engine, origin: &Origin) -> Result<(), OriginError> {
    if let Origin::Volume(name) = origin
        && engine.inspect_volume(name).await?.is_none()
    {
        return Err(OriginError::NoSuchVolume(name.clone()));
    }
    let users = engine.containers_using(origin.name()).await?;
    let runs = |state| !matches!(state, ContainerState::Created | ContainerState::Exited { .. });
    match users.into_iter().find(|user| runs(user.state) && !helper::is_at_work(&user.labels)) {
        Some(user) => Err(OriginError::InUse { origin: origin.clone(), by: user.name }),
        None => Ok(()),
    }
}

/// As root, because the data may be anybody's.
async fn run(
    engine: &Engine,
    spec: &ClusterSpec,
    node: &NodeName,
    origin: &Origin,
    settings: Helper,
) -> Result<String, OriginError> {
    helper::remove_left(engine, node).await?;
    let end = engine
        .run_helper(Helper {
            image: spec.image.clone(),
            user: Some("0:0".to_owned()),
            reads: Some((origin.clone(), MOUNT.to_owned())),
            labels: helper::labels_of(node, &spec.node_labels(node)),
            ..settings
        })
        .await?;
    if end.exit_code == 0 {
        return Ok(end.output);
    }
    let said = match end.output.is_empty() {
        true => format!("the helper ended with code {} and said nothing", end.exit_code),
        false => told(&end.output, origin),
    };
    Err(OriginError::Unfit { origin: origin.clone(), cluster: spec.name.clone(), said })
}

/// What an agent has said, for a person who knows the place by its own name.
fn told(output: &str, origin: &Origin) -> String {
    let line = |line: &str| {
        let line = line.strip_prefix("pgherd-agent: ").unwrap_or(line);
        line.strip_prefix("refused: ").or(line.strip_prefix("error: ")).unwrap_or(line).to_owned()
    };
    let text = output.lines().map(line).collect::<Vec<_>>().join("\n");
    match origin {
        Origin::Directory(path) => text.replace(&format!("\"{MOUNT}"), &format!("\"{path}")),
        Origin::Volume(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_comes_back() {
        for origin in [Origin::Volume("pg_data".into()), Origin::Directory("/srv/a:b".into())] {
            assert_eq!(origin.label().parse(), Ok(origin));
        }
        assert_eq!("elsewhere".parse::<Origin>(), Err(()));
        assert!(matches!(Origin::directory("data"), Ok(Origin::Directory(path)) if path.starts_with('/')));
    }

    #[test]
    fn an_agent_is_quoted_without_its_name() {
        let origin = Origin::Directory("/srv/data".into());
        let output = "pgherd-agent: refused: \"pg_wal\" is a link\npgherd-agent: hint: move it";
        assert_eq!(told(output, &origin), "\"pg_wal\" is a link\nhint: move it");
        let output = "pgherd-agent: error: permission denied for 0:0: \"/origin/global\" belongs to 7:7";
        assert_eq!(told(output, &origin), "permission denied for 0:0: \"/srv/data/global\" belongs to 7:7");
    }
}
