//! Everything that a plan rests on, gathered by reading alone.

use std::{fmt, fs, io, path::Path};

use pgherd_probe::{History, Lsn, SystemIdentifier, TimelineId};

use crate::{
    control_data::{ControlData, ParseControlDataError},
    data_directory::{DataDirectory, Misplaced, Partial},
    error::Error,
    grant::{GrantFile, Succession},
    last_record::{WalEnd, wal_end},
    layout::Layout,
    newest_timeline::newest_timeline,
    place::Place,
    rejoin::Standing,
    secrets::{self, Secrets},
    spec::Upstream,
    supervise::{Supervisor, Tool},
    trash,
    wal_segment::WalSegment,
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
    /// A copy of another server's data, to be adopted.
    pub brought: DataDirectory,
    /// Data where they would be overlooked.
    pub misplaced: Option<Misplaced>,
    /// The permission to write.
    pub grant: GrantFile,
    /// Who was promoted last.
    pub succession: Option<Succession>,
    /// The cluster's secrets.
    pub secrets: Secrets,
    /// The upstream that was followed last.
    pub followed: Option<Upstream>,
    /// Why a rewind of the data in place, or of those before them, came to nothing.
    pub failed_rewind: Option<String>,
    /// The upstream.
    pub upstream: UpstreamFacts,
    /// The other nodes of the cluster.
    pub peers: PeerFacts,
    /// What is too old for the trash, or too much.
    pub expired_trash: Vec<String>,
}

impl Observed {
    /// What there is of a new node: nothing, and nobody was asked.
    #[must_use]
    pub fn nothing(layout: Layout, secrets: Secrets) -> Observed {
        Observed {
            layout,
            data: DataDirectory::Missing,
            data_is_mount: false,
            data_place: None,
            partial: Partial::Missing,
            staged: DataDirectory::Missing,
            brought: DataDirectory::Missing,
            misplaced: None,
            grant: GrantFile::Missing,
            succession: None,
            secrets,
            followed: None,
            failed_rewind: None,
            upstream: UpstreamFacts::NotAsked,
            peers: PeerFacts::NotAsked,
            expired_trash: Vec::new(),
        }
    }
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
    /// It said who it is and where it comes from. Where our own data stand matters only then.
    Traced(Identity, Standing, Lineage),
    /// It said who it is, and our data were rewound to it since: they are a copy of what it has.
    Rewound(Identity),
}

impl UpstreamFacts {
    /// What it said of itself.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        match self {
            UpstreamFacts::Identified(identity)
            | UpstreamFacts::Traced(identity, ..)
            | UpstreamFacts::Rewound(identity) => Some(*identity),
            UpstreamFacts::NotAsked | UpstreamFacts::Unreachable(_) => None,
        }
    }
}

/// What is known of the other nodes of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerFacts {
    /// They were not asked yet.
    NotAsked,
    /// They were, and this one of those that answered is on the newest timeline.
    Asked(Option<(Upstream, TimelineId)>),
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
    /// The end of its WAL on disk.
    pub position: Lsn,
    /// Whether it is a replica itself.
    pub in_recovery: bool,
    /// Its major version.
    pub major: u16,
    /// Our slot on it.
    pub slot: Slot,
}

/// What an upstream knows of a node's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// There is none of this name.
    Missing,
    /// It keeps WAL.
    Kept,
    /// It was invalidated, because it kept too much.
    Lost,
}

/// What a node with data has to know of an upstream beyond its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// How its timeline came to be.
    pub history: History,
    /// The oldest WAL that it has. `None` where it does not say.
    pub oldest_wal: Option<WalSegment>,
    /// Before where its WAL is not ours, which by its history it would be. `None` where it is, or where that cannot be told.
    pub other_wal: Option<Lsn>,
}

/// Looks at everything local, and joins to it what the upstream has said.
///
/// # Errors
/// Where something is there and cannot be read.
pub(crate) fn observe(layout: &Layout, heard: Heard, supervisor: &mut Supervisor) -> Result<Observed, Error> {
    let mounts = secrets::mount_points(&fs::read_to_string("/proc/self/mountinfo")?);
    let Heard { upstream, peers } = heard;
    let data = DataDirectory::observe(&layout.data(), layout.major, |path| read_control(supervisor, path))?;
    Ok(Observed {
        data,
        data_is_mount: mounts.contains(&layout.data()),
        data_place: Some(Place::nearest(&layout.data())?).filter(|place| place.path == layout.data()),
        partial: Partial::observe(layout)?,
        staged: DataDirectory::observe(&layout.staged(), layout.major, |path| read_control(supervisor, path))?,
        brought: DataDirectory::observe(&layout.brought(), layout.major, |path| read_control(supervisor, path))?,
        misplaced: Misplaced::observe(layout)?,
        grant: GrantFile::observe(&layout.grant_file())?,
        secrets: Secrets::observe(&layout.secrets, mounts.contains(&layout.secrets))?,
        succession: Succession::observe(&layout.succession_file())?,
        followed: read_if_there(&layout.upstream_file())?.and_then(|text| text.parse().ok()),
        failed_rewind: read_if_there(&layout.rewind_file())?,
        upstream,
        peers,
        expired_trash: trash::expired(layout)?,
        layout: layout.clone(),
    })
}

/// What was said by others. It is observed by asking, and forgotten when the agent ends.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// By the upstream.
    pub upstream: UpstreamFacts,
    /// By the other nodes.
    pub peers: PeerFacts,
}

impl Heard {
    /// Nobody was asked.
    pub(crate) const NOTHING: Heard = Heard { upstream: UpstreamFacts::NotAsked, peers: PeerFacts::NotAsked };
}

/// Looks how far our own WAL goes.
///
/// # Errors
/// Where something is there and cannot be read.
pub(crate) fn standing(
    layout: &Layout,
    control: &ControlData,
    standby: bool,
    supervisor: &mut Supervisor,
) -> Result<Standing, Error> {
    let (newest, history) = newest_timeline(&layout.data().join("pg_wal"), control)?;
    let WalEnd { last_record, read_to } = wal_end(supervisor, &layout.data(), &newest)?;
    Ok(Standing {
        timeline: newest.timeline,
        recorded: control.timeline,
        history,
        last_record,
        read_to,
        standby,
        rewindable: control.rewindable,
        segment_size: control.segment_size,
    })
}

/// The text of a file, without the end of its last line.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::doing(format!("read \"{}\"", path.display()))(error)),
    }
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
        if !self.brought.is_vacant() {
            writeln!(f, "data directory that was brought: {}", self.brought)?;
        }
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
                UpstreamFacts::Identified(it) | UpstreamFacts::Traced(it, ..) | UpstreamFacts::Rewound(it) => format!(
                    "{} of system identifier {}, timeline {} at {}, PostgreSQL {}",
                    if it.in_recovery { "a replica" } else { "the primary" },
                    it.system_identifier,
                    it.timeline,
                    it.position,
                    it.major
                ),
            }
        )
    }
}
