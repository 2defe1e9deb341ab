//! What can be done. A step says everything; [`crate::apply`] decides nothing.

use std::fmt;

use pgherd_probe::{Switch, SystemIdentifier};

use crate::{control_data::ControlData, grant::Grant, observe::Identity, rejoin::Rejoin, spec::Upstream};

/// One action of the agent. Its name, such as `put_in_place`, is an event of the log.
#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// Delete the unfinished work that an earlier run left.
    DiscardPartial,
    /// Draw the cluster's passwords, and make its certificate authority.
    GenerateSecrets,
    /// Wait until the primary has made the secrets that a replica needs.
    WaitForSecrets,
    /// Wait until the upstream says who it is.
    WaitForUpstream(Upstream),
    /// Ask the upstream who it is, once, and what it has of our WAL.
    AskUpstream {
        /// Which.
        upstream: Upstream,
        /// Our data.
        control: ControlData,
        /// Whether they are a replica's.
        standby: bool,
    },
    /// Make a data directory with our roles and the application's database, and stage it.
    Initialize,
    /// Make our roles and the application's database in a copy of a data directory that another server had, and stage it.
    Adopt(ControlData),
    /// Record which cluster the secrets belong to.
    RecordSystemIdentifier(SystemIdentifier),
    /// Permit this node to write.
    WriteGrant(Grant),
    /// Drop the slot of an earlier clone.
    DropSlot(Upstream),
    /// Make the slot that keeps the WAL from before the clone on.
    CreateSlot(Upstream),
    /// Clone the upstream's data directory, and stage it as a replica's.
    Clone {
        /// From where.
        upstream: Upstream,
        /// Who is cloned in its place.
        clone_from: Option<Upstream>,
        /// What the clone must turn out to be.
        system_identifier: SystemIdentifier,
    },
    /// Say how a node with data comes back, and why so. What follows does it.
    Rejoin(Rejoin),
    /// Put what is staged in place.
    PutInPlace,
    /// Move the data directory to the trash.
    ThrowAwayData,
    /// Forget that a rewind failed: the data that it was about are gone.
    ForgetRewind,
    /// Remove what is too old for the trash, or too much.
    ExpireTrash(Vec<String>),
    /// Ask the other nodes whether one of them is on a newer timeline.
    AskPeers(Vec<Upstream>),
    /// Take back the permission to write, before the node becomes a replica.
    RevokeGrant(Upstream),
    /// Make a primary's data a replica's.
    BecomeReplica,
    /// Copy to the trash the WAL that nobody else has.
    KeepDivergentWal {
        /// Where it begins.
        fork: Switch,
        /// The size of a segment in bytes.
        segment_size: u64,
    },
    /// Bring data that were not shut down to the end of their own WAL.
    Recover,
    /// Undo what follows the fork, by what the upstream has in its place.
    Rewind {
        /// Whose.
        upstream: Upstream,
        /// What it said of itself.
        identity: Identity,
    },
    /// Run PostgreSQL as the primary until it ends.
    StartPrimary(Grant),
    /// Run PostgreSQL as a replica until it ends.
    StartReplica(Upstream),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::DiscardPartial => f.write_str("discarding the unfinished work of an earlier start"),
            Step::GenerateSecrets => f.write_str("generating the cluster's secrets"),
            Step::WaitForSecrets => f.write_str("waiting for the primary to fill the secrets volume"),
            Step::WaitForUpstream(upstream) => write!(f, "waiting for upstream \"{upstream}\""),
            Step::AskUpstream { upstream, .. } => write!(f, "asking upstream \"{upstream}\" who it is"),
            Step::Initialize => f.write_str("initializing a new data directory"),
            Step::Adopt(ControlData { system_identifier, timeline, state, .. }) => {
                write!(f, "adopting data of system identifier {system_identifier}, timeline {timeline}, {state}")
            }
            Step::RecordSystemIdentifier(identifier) => {
                write!(f, "recording system identifier {identifier} in the secrets volume")
            }
            Step::WriteGrant(Grant { system_identifier, timeline }) => {
                write!(f, "granting writes to system identifier {system_identifier}, timeline {timeline}")
            }
            Step::DropSlot(upstream) => write!(f, "dropping the slot of an earlier clone on \"{upstream}\""),
            Step::CreateSlot(upstream) => write!(f, "creating a replication slot on \"{upstream}\""),
            Step::Clone { upstream, clone_from, system_identifier } => {
                let from = clone_from.as_ref().unwrap_or(upstream);
                write!(f, "cloning system identifier {system_identifier} from \"{from}\"")
            }
            Step::Rejoin(way) => write!(f, "rejoin: {way}"),
            Step::PutInPlace => f.write_str("putting the data directory in place"),
            Step::ThrowAwayData => f.write_str("moving the old data directory to the trash"),
            Step::ForgetRewind => f.write_str("forgetting the failed rewind"),
            Step::ExpireTrash(names) => write!(f, "removing from the trash for good: \"{}\"", names.join("\", \"")),
            Step::AskPeers(peers) => {
                let peers: Vec<_> = peers.iter().map(ToString::to_string).collect();
                write!(f, "asking \"{}\" for newer timelines", peers.join("\", \""))
            }
            Step::RevokeGrant(upstream) => write!(f, "giving up the permission to write, for \"{upstream}\" has it"),
            Step::BecomeReplica => f.write_str("making the data directory a replica's"),
            Step::KeepDivergentWal { fork, .. } => {
                write!(f, "keeping the WAL that follows {} on timeline {} in the trash", fork.at, fork.timeline)
            }
            Step::Recover => f.write_str("recovering the data directory to the end of its own WAL"),
            Step::Rewind { upstream, .. } => write!(f, "rewinding the data directory to \"{upstream}\""),
            Step::StartPrimary(_) => f.write_str("starting postgresql as primary"),
            Step::StartReplica(upstream) => write!(f, "starting postgresql as a replica of \"{upstream}\""),
        }
    }
}
