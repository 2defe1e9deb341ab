//! Why a node does not start: values that carry both sides, and what to do about it.

use std::path::PathBuf;

use pgherd_images::contract;
use pgherd_probe::{Lsn, Switch, SystemIdentifier, TimelineId};

use crate::{
    control_data::ControlData,
    data_directory::{Misplaced, is_before_12},
    existing::unfit::Unfit,
    grant::GrantFile,
    place::Place,
    rejoin::Rejoin,
    secrets::Exposed,
    spec::Upstream,
};

/// A state in which the agent does nothing, because anything might lose data or lie about them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Two containers, one volume.
    #[error("another container runs on this volume: {} is locked", .0.display())]
    VolumeInUse(PathBuf),
    /// No volume for the secrets.
    #[error("no secrets volume is mounted at {}", .0.display())]
    SecretsNotMounted(PathBuf),
    /// A secret that is not ours alone.
    #[error("\"{}\" has mode {:04o} and owner {}, and only user {} may read it", .0.path.display(), .0.mode, .0.owner,
        contract::UID)]
    SecretExposed(Exposed),
    /// A primary's data, and a secrets volume without the passwords that they were made with.
    #[error("data directory of system identifier {ours} needs its secrets, but the volume has no {}", missing.join(" and no "))]
    SecretsMissing {
        /// The data directory's.
        ours: SystemIdentifier,
        /// The files that are not there.
        missing: Vec<&'static str>,
    },
    /// An empty disk, and secrets of a cluster that has a primary.
    #[error(
        "this would be a second primary: the disk is empty, and the secrets volume belongs to system identifier {0}"
    )]
    SecondPrimary(SystemIdentifier),
    /// Two clusters.
    #[error("system identifier mismatch: {place} has {ours}, {authority} has {theirs}")]
    OtherCluster {
        /// Where ours was read.
        place: &'static str,
        /// The local one.
        ours: SystemIdentifier,
        /// Who says otherwise.
        authority: String,
        /// What it says.
        theirs: SystemIdentifier,
    },
    /// Data of another major version in place.
    #[error("{} holds data of PostgreSQL {found}, and this image is PostgreSQL {image}", path.display())]
    OtherMajor {
        /// The directory.
        path: PathBuf,
        /// Its `PG_VERSION`.
        found: String,
        /// Ours.
        image: u16,
    },
    /// Data in place that were a replica's, or half restored, under PostgreSQL 11 or older.
    #[error("{} holds data of PostgreSQL {found} with a recovery.conf, with which PostgreSQL {image} does not start",
        path.display())]
    RecoveryConf {
        /// The directory.
        path: PathBuf,
        /// Its `PG_VERSION`.
        found: String,
        /// Ours.
        image: u16,
    },
    /// Data where they would be overlooked.
    #[error("{} holds data of PostgreSQL {}{}, and this image keeps data of PostgreSQL {image} in {}",
        found.path.display(), found.version, if found.recovery_conf { " with a recovery.conf" } else { "" }, expected.display())]
    Misplaced {
        /// What was found.
        found: Misplaced,
        /// Our PGDATA.
        expected: PathBuf,
        /// Our major version.
        image: u16,
    },
    /// An upstream of another major version.
    #[error("upstream \"{upstream}\" is PostgreSQL {theirs}, and this image is PostgreSQL {image}")]
    UpstreamMajor {
        /// Which.
        upstream: Upstream,
        /// Its major version.
        theirs: u16,
        /// Ours.
        image: u16,
    },
    /// Files that are not ours to touch.
    #[error("{} is neither empty nor a data directory: it holds \"{}\"", path.display(), entries.join("\", \""))]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Some of what it holds.
        entries: Vec<String>,
    },
    /// A data directory that cannot be understood.
    #[error("{} has a PG_VERSION, but its control data cannot be read: {reason}", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A replica's data under the role of a primary.
    #[error("data directory is a replica's (system identifier {}, timeline {}, {}), but the node is to be primary",
        .0.system_identifier, .0.timeline, .0.state)]
    ReplicaAsPrimary(ControlData),
    /// A primary's data under the role of a replica, and nobody who took its place.
    #[error(
        "data directory is a primary's, and upstream \"{upstream}\" is on the same timeline {timeline}: nobody was \
        promoted in its place"
    )]
    SameTimeline {
        /// Who was to be followed.
        upstream: Upstream,
        /// Its timeline, and ours.
        timeline: TimelineId,
    },
    /// Data that are newer than those of the upstream, by a promotion.
    #[error("data directory is on timeline {ours} at {at}, and upstream \"{upstream}\" is on timeline {theirs}: \
        they parted on timeline {} at {}", fork.timeline, fork.at)]
    NewerTimeline {
        /// Who was to be followed.
        upstream: Upstream,
        /// Our timeline.
        ours: TimelineId,
        /// Where our last record begins.
        at: Lsn,
        /// Its timeline.
        theirs: TimelineId,
        /// Where they parted.
        fork: Switch,
    },
    /// Data that went another way than the upstream, which is on no newer timeline.
    #[error(
        "data directory is on timeline {ours} at {at}, and upstream \"{upstream}\" is on timeline {theirs}: \
        their histories agree, but their WAL before {before} does not"
    )]
    OtherWal {
        /// Who was to be followed.
        upstream: Upstream,
        /// Our timeline.
        ours: TimelineId,
        /// Where our last record begins.
        at: Lsn,
        /// Its timeline.
        theirs: TimelineId,
        /// Where what was compared ends.
        before: Lsn,
    },
    /// A replica that has more than its primary.
    #[error("data directory is on timeline {timeline} at {at}, and its primary \"{upstream}\" only at {theirs}")]
    AheadOfUpstream {
        /// Who was to be followed.
        upstream: Upstream,
        /// The timeline of both.
        timeline: TimelineId,
        /// Where our last record begins.
        at: Lsn,
        /// Where the primary's WAL ends.
        theirs: Lsn,
    },
    /// A replica that is given another upstream, which has not all that it has.
    #[error("data directory followed \"{followed}\" and has what its new upstream \"{upstream}\" has not: {way}")]
    NotAncestor {
        /// Who was followed last.
        followed: Upstream,
        /// Who was to be followed.
        upstream: Upstream,
        /// What would have to be done.
        way: Rejoin,
    },
    /// Another node was promoted.
    #[error("data directory is on timeline {ours}, and node \"{node}\" was promoted to timeline {theirs}")]
    Superseded {
        /// Our timeline.
        ours: TimelineId,
        /// Who, by name or by address.
        node: String,
        /// Its timeline.
        theirs: TimelineId,
    },
    /// A primary's data without the permission to write to them.
    #[error("no grant to write to system identifier {}, timeline {}: {}", control.system_identifier, control.timeline,
        found(grant))]
    NotGranted {
        /// What we have.
        control: ControlData,
        /// What stands in the place of a grant that matches.
        grant: GrantFile,
    },
    /// A data directory that PostgreSQL does not take for its own.
    #[error("data directory \"{}\" belongs to {} and has mode {:04o}; PostgreSQL runs as {} and needs mode 0700 or 0750",
        .0.path.display(), .0.owner, .0.mode, .0.asked_by)]
    UnsuitablePlace(Place),
    /// Data of another server's, of which no cluster can be made.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A place that cannot be exchanged.
    #[error("{} is a mount point, into which no finished data directory can be renamed", .0.display())]
    DataDirectoryIsMount(PathBuf),
}

impl Refusal {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Refusal::VolumeInUse(_) => "give each node a volume of its own, or stop the other container".into(),
            Refusal::SecretsNotMounted(path) => format!(
                "mount the volume that all nodes of the cluster share, as in: docker run -v pg_secrets:{} …; or open the \
                 node to everyone by -e {}=trust",
                path.display(),
                contract::environment::AUTHENTICATION
            ),
            Refusal::SecretExposed(Exposed { path, .. }) => {
                let (uid, path) = (contract::UID, path.display());
                format!("as root on the secrets volume: chown {uid}:{uid} {path} && chmod 0600 {path}; then rotate it")
            }
            Refusal::SecretsMissing { .. } => "mount the secrets volume that this data directory was made with".into(),
            Refusal::SecondPrimary(_) => "mount the volume that holds the data of that system identifier; or, if they are \
                 gone for good, give the new cluster a new secrets volume"
                .into(),
            Refusal::OtherCluster { .. } => {
                "one of the volumes, or the upstream, belongs to another cluster; nothing was touched".into()
            }
            Refusal::OtherMajor { found, .. } if is_before_12(found) => upgrade(found, false),
            Refusal::OtherMajor { found, .. } => format!("run them with the image of PostgreSQL {found}"),
            Refusal::RecoveryConf { found, .. } if is_before_12(found) => upgrade(found, true),
            Refusal::RecoveryConf { .. } => "nothing was touched; move the file away: since PostgreSQL 12 its settings are ordinary ones, and \
                 standby.signal or recovery.signal stands in its place"
                .into(),
            Refusal::Misplaced { found, image, expected } => {
                if is_before_12(&found.version) {
                    upgrade(&found.version, found.recovery_conf)
                } else if found.version == image.to_string() {
                    format!("with no server running on them, move them to {}", expected.display())
                } else {
                    format!("run them with the image of PostgreSQL {}, or mount a volume of its own here", found.version)
                }
            }
            Refusal::UpstreamMajor { theirs, .. } => format!("use the image of PostgreSQL {theirs}"),
            Refusal::Foreign { .. } => "nothing was touched; mount another volume, or move these files away".into(),
            Refusal::Damaged { .. } => "nothing was touched; restore pg_control, or mount another volume".into(),
            Refusal::ReplicaAsPrimary(_) => {
                "run it as a replica; a replica becomes primary by promotion, and never by a new role alone".into()
            }
            Refusal::SameTimeline { .. } => "nothing was touched; run it as the primary; or promote the upstream first, and \
                 this node follows it"
                .into(),
            Refusal::NewerTimeline { .. }
            | Refusal::OtherWal { .. }
            | Refusal::AheadOfUpstream { .. }
            | Refusal::NotAncestor { .. } => {
                "nothing was touched; name an upstream that has all of it; or move this node's data to the trash by \
                 \"pgherd-agent trash put\" in a container on its volume, and it clones anew"
                    .into()
            }
            Refusal::Superseded { node, .. } => {
                format!("nothing was touched; run this node as a replica of \"{node}\", and it rejoins by itself")
            }
            Refusal::NotGranted { .. } => {
                "another node may be primary now; nothing was touched; run this one as a replica of it, and it rejoins by \
                 itself; if you know that there is no other, permit it by \"pgherd-agent grant\" in a container on its volume"
                    .into()
            }
            Refusal::UnsuitablePlace(place) => place.hint(),
            Refusal::Unfit(unfit) => unfit.hint(),
            Refusal::DataDirectoryIsMount(_) => format!("mount the volume at {} instead", contract::NODE_VOLUME),
        }
    }
}

/// What can be done about data of a version that no image of ours runs. <https://www.postgresql.org/docs/17/pgupgrade.html>
pub(crate) fn upgrade(version: &str, recovery_conf: bool) -> String {
    let first =
        if recovery_conf { format!("let PostgreSQL {version} end their recovery first, then ") } else { String::new() };
    let or = if recovery_conf { ", or give this replica an empty volume, to clone an upgraded primary to" } else { "" };
    format!("nothing was touched; {first}bring them over by pg_upgrade or by a dump and restore{or}")
}

fn found(grant: &GrantFile) -> String {
    match grant {
        GrantFile::Missing => "there is none".into(),
        GrantFile::Granted(grant) => {
            format!("there is one for system identifier {}, timeline {}", grant.system_identifier, grant.timeline)
        }
        GrantFile::Revoked(text) => format!("the file says \"{text}\""),
    }
}
