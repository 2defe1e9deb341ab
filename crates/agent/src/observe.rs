//! Everything that a plan rests on, gathered by reading alone.

use std::{fmt, fs, path::Path};

use pgherd_probe::{SystemIdentifier, TimelineId};

use crate::{
    control_data::{ControlData, ParseControlDataError},
    data_directory::{DataDirectory, Misplaced, Partial},
    error::Error,
    grant::GrantFile,
    layout::Layout,
    place::Place,
    secrets::{self, Secrets},
    supervise::{Supervisor, Tool},
};

/// What is, on this node and as far as asked upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Where everything is.
    pub layout: Layout,
    /// What is in place.
    pub data: DataDirectory,
    /// Whether the place is a mount point, which cannot be renamed.
    pub data_is_mount: bool,
    /// Whose the data directory is, and who may look into it; nothing where there is none.
    pub data_place: Option<Place>,
    /// What is unfinished.
    pub partial: Partial,
    /// What is complete and not yet in place.
    pub staged: DataDirectory,
    /// Data where they would be overlooked.
    pub misplaced: Option<Misplaced>,
    /// The permission to write.
    pub grant: GrantFile,
    /// The cluster's secrets.
    pub secrets: Secrets,
    /// The upstream.
    pub upstream: UpstreamFacts,
}

/// What is known of a replica's upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamFacts {
    /// It was not asked yet, or what it said is no longer to be relied on.
    NotAsked,
    /// It gave no answer; what was seen instead.
    Unreachable(String),
    /// It said who it is.
    Identified(Identity),
}

/// What a server says of itself in replication mode.
///
/// <https://www.postgresql.org/docs/17/protocol-replication.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whose data it serves.
    pub system_identifier: SystemIdentifier,
    /// Its current timeline.
    pub timeline: TimelineId,
    /// Its major version.
    pub major: u16,
    /// Whether it holds a slot of our name.
    pub has_slot: bool,
}

/// Looks at everything local, and joins to it what the upstream has said.
///
/// # Errors
/// Where something is there and cannot be read.
pub(crate) fn observe(
    layout: &Layout,
    upstream: UpstreamFacts,
    supervisor: &mut Supervisor,
) -> Result<Observed, Error> {
    let mounts = secrets::mount_points(&fs::read_to_string("/proc/self/mountinfo")?);
    let mut read_control = |path: &Path| read_control(supervisor, path);
    Ok(Observed {
        data: DataDirectory::observe(&layout.data(), layout.major, &mut read_control)?,
        data_is_mount: mounts.contains(&layout.data()),
        data_place: Some(Place::nearest(&layout.data())?).filter(|place| place.path == layout.data()),
        partial: Partial::observe(layout)?,
        staged: DataDirectory::observe(&layout.staged(), layout.major, &mut read_control)?,
        misplaced: Misplaced::observe(layout)?,
        grant: GrantFile::observe(&layout.grant_file())?,
        secrets: Secrets::observe(&layout.secrets, mounts.contains(&layout.secrets))?,
        upstream,
        layout: layout.clone(),
    })
}

/// Runs `pg_controldata`; the inner error is what it has against the directory.
///
/// # Errors
/// Where it cannot be run.
pub(crate) fn read_control(
    supervisor: &mut Supervisor,
    data_directory: &Path,
) -> Result<Result<ControlData, String>, Error> {
    match supervisor.run(Tool::new("pg_controldata").arg(data_directory)) {
        Ok(text) => Ok(text.parse().map_err(|error: ParseControlDataError| error.to_string())),
        Err(Error::Tool { complaint, .. }) => Ok(Err(complaint)),
        Err(error) => Err(error),
    }
}

impl fmt::Display for Observed {
    /// One fact a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "data directory: {}", self.data)?;
        writeln!(f, "staged data directory: {}", self.staged)?;
        writeln!(
            f,
            "grant: {}",
            match &self.grant {
                GrantFile::Missing => "none".to_owned(),
                GrantFile::Granted(it) =>
                    format!("system identifier {}, timeline {}", it.system_identifier, it.timeline),
                GrantFile::Revoked(text) => text.clone(),
            }
        )?;
        writeln!(
            f,
            "secrets: {}",
            match &self.secrets {
                Secrets::NotMounted => "not mounted".to_owned(),
                Secrets::Exposed(exposed) => format!("\"{}\" has mode {:04o}", exposed.path.display(), exposed.mode),
                Secrets::Mounted { system_identifier: Some(identifier), .. } =>
                    format!("of system identifier {identifier}"),
                Secrets::Mounted { .. } => "of no cluster yet".to_owned(),
            }
        )?;
        writeln!(
            f,
            "upstream: {}",
            match &self.upstream {
                UpstreamFacts::NotAsked => "not asked".to_owned(),
                UpstreamFacts::Unreachable(seen) => format!("no answer: {seen}"),
                UpstreamFacts::Identified(it) => {
                    format!(
                        "system identifier {}, timeline {}, PostgreSQL {}",
                        it.system_identifier, it.timeline, it.major
                    )
                }
            }
        )
    }
}
