//! Everything that can be wrong: the evidence, how bad it is, and what to do next.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{CollationMismatch, Health, Lsn, Process, Switch, SystemIdentifier, TimelineId};

/// One thing that is wrong, or worth a note.
///
/// As text it is a message in PostgreSQL's style; that of a node's finding reads on from the node's name. As JSON it
/// is its `kind` and its evidence, and beside them `health`, `message` and `hint`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum Finding {
    // The cluster as a whole.
    /// No node that answered takes writes.
    #[error("no primary among {answered} answering of {nodes} nodes")]
    NoPrimary { answered: usize, nodes: usize },
    /// More than one node takes writes.
    #[error(
        "{} primaries: {}{}",
        primaries.len(),
        list(primaries),
        fork.map_or_else(String::new, |fork| format!("; they parted at {} on timeline {}", fork.at, fork.timeline))
    )]
    SplitBrain { primaries: Vec<Primary>, fork: Option<Switch> },
    /// A replica has what the node that all should follow will never have, and cannot follow it.
    #[error(
        "\"{node}\" on timeline {timeline} at {} and \"{from}\" parted at {} on timeline {}",
        or_nothing(lsn),
        fork.at,
        fork.timeline
    )]
    Forked { node: String, timeline: TimelineId, lsn: Option<Lsn>, from: String, fork: Switch },
    /// Nothing new can reach these.
    #[error("streaming in a circle: {}", circle(nodes))]
    Circle { nodes: Vec<String> },
    /// Some nodes come from different data directories.
    #[error("different system identifiers: {}", list(nodes))]
    SystemIdentifiersDiffer { nodes: Vec<Value<SystemIdentifier>> },
    /// Some nodes are on other timelines, as during a promotion, and are not known to have parted.
    #[error("different timelines: {}", list(nodes))]
    TimelinesDiffer { nodes: Vec<Value<TimelineId>> },
    /// Some nodes run different major versions.
    #[error("different major versions: {}", list(nodes))]
    MajorVersionsDiffer { nodes: Vec<Value<i32>> },

    // A node that does not answer.
    /// There is no such node.
    #[error("does not exist")]
    Missing,
    /// It was stopped, or has exited.
    #[error("is stopped: {reason}")]
    Stopped { reason: String },
    /// It is on its way up.
    #[error("is starting: {reason}")]
    Starting { reason: String },
    /// It should answer, and does not.
    #[error("could not be reached: {reason}")]
    Unreachable { reason: String },

    // A node that is not what it should be.
    /// The server that answered is another one, or is wrongly configured.
    #[error("has cluster_name \"{cluster_name}\", not the name of the node")]
    NameDiffers { cluster_name: String },
    /// It takes writes and should be a replica.
    #[error("is a primary, but should stream from \"{expected_upstream}\"")]
    UnexpectedPrimary { expected_upstream: String },
    /// It receives from somebody else.
    #[error("receives from \"{sender_host}\", but should receive from \"{expected_upstream}\"")]
    WrongUpstream { sender_host: String, expected_upstream: String },

    /// Nobody new gets in, and soon nobody is answered.
    #[error("is shutting down, and answers whoever is connected")]
    ShuttingDown,

    // A stream, from its receiving end.
    /// Nothing is expected of it, and it receives from nobody.
    #[error("has no wal receiver and no expected upstream")]
    NoUpstream,
    /// No process receives.
    #[error(
        "has no wal receiver for upstream \"{upstream}\"{}",
        misled.as_ref().map_or_else(String::new, |host| format!(": primary_conninfo names \"{host}\""))
    )]
    NoReceiver { upstream: String, misled: Option<String> },
    /// A process receives, or not: the probing role may not see it.
    #[error("has a wal receiver that the probing role may not look into")]
    ReceiverHidden,
    /// A process is there to receive and does not.
    #[error("has a wal receiver that is {status}, not streaming")]
    ReceiverNotStreaming { status: String },
    /// Somebody has sent them SIGSTOP.
    #[error("has processes that are stopped: {}", list(processes))]
    StoppedProcesses { processes: Vec<Process> },
    /// More was to be received, and nothing was.
    #[error(
        "has received nothing for {stalled_ms} ms: it has {} of {} that upstream \"{upstream}\" has",
        or_nothing(receive),
        or_nothing(end)
    )]
    ReceiveStalled { upstream: String, receive: Option<Lsn>, end: Option<Lsn>, stalled_ms: u64, max_ms: u64 },
    /// More was to be replayed, and nothing was.
    #[error(
        "has replayed nothing for {stalled_ms} ms: it is at {}, with {} received",
        or_nothing(replay),
        or_nothing(receive)
    )]
    ReplayStalled {
        replay: Option<Lsn>,
        receive: Option<Lsn>,
        stalled_ms: u64,
        max_ms: u64,
        wait_event: Option<String>,
    },
    /// Queries hold replay up.
    #[error("has waited with replay for a query for {stalled_ms} ms, more than {max_ms} ms: {wait_event}")]
    RecoveryConflict { wait_event: String, stalled_ms: u64, max_ms: u64, max_streaming_delay_ms: Option<i64> },
    /// What is received is not shown.
    #[error("has replay paused at {}, with {} received", or_nothing(replay), or_nothing(receive))]
    ReplayPaused { replay: Option<Lsn>, receive: Option<Lsn> },

    // The same stream, from its sending end.
    /// The other end did not answer, or is not among the observed nodes.
    #[error("has an upstream \"{upstream}\" of which nothing is known")]
    UpstreamSilent { upstream: String },
    /// The upstream sends to nobody of this name.
    #[error("is not in pg_stat_replication of upstream \"{upstream}\"")]
    NotSeenByUpstream { upstream: String },
    /// The upstream sends, or not: the probing role may not see it.
    #[error("has a stream that the probing role may not look into on upstream \"{upstream}\"")]
    SenderHidden { upstream: String },
    /// The upstream still sends what was missed.
    #[error("is catching up: {} sent of {} that upstream \"{upstream}\" has", or_nothing(sent), or_nothing(end))]
    CatchingUp { upstream: String, sent: Option<Lsn>, end: Option<Lsn> },
    /// The upstream has a process for it that does not stream.
    #[error("is in state {state} on upstream \"{upstream}\", not streaming")]
    SenderNotStreaming { upstream: String, state: String },
    /// The upstream believes in a stream from which it hears nothing.
    #[error("was last heard by upstream \"{upstream}\" {reply_age_ms} ms ago, more than {max_ms} ms")]
    SenderUnheard { upstream: String, reply_age_ms: u64, max_ms: u64 },

    // The slot that keeps for it what it has not received.
    /// The upstream has no slot of that name.
    #[error("uses slot \"{slot}\", which upstream \"{upstream}\" does not have")]
    SlotMissing { slot: String, upstream: String },
    /// The slot keeps write-ahead log for nobody.
    #[error(
        "does not use its slot \"{slot}\" on upstream \"{upstream}\": {} retained",
        bytes_or_unknown(retained_bytes)
    )]
    SlotInactive { slot: String, upstream: String, retained_bytes: Option<u64>, inactive_ms: Option<u64> },
    /// What the slot should keep is about to go.
    #[error(
        "is about to lose its slot \"{slot}\" on upstream \"{upstream}\": {} retained",
        bytes_or_unknown(retained_bytes)
    )]
    SlotUnreserved { slot: String, upstream: String, retained_bytes: Option<u64> },
    /// What the slot should keep is gone.
    #[error("has lost its slot \"{slot}\" on upstream \"{upstream}\"")]
    SlotLost { slot: String, upstream: String },

    // A slot on any node that is of no replica.
    /// It keeps write-ahead log for nobody, and may be all that is left of a node.
    #[error(
        "has a slot \"{slot}\" of no known node: {} retained, {}",
        retained_bytes.map_or_else(|| "nothing".to_owned(), |bytes| format!("{bytes} bytes")),
        wal_status.as_deref().unwrap_or("never used")
    )]
    SlotOrphaned { slot: String, retained_bytes: Option<u64>, wal_status: Option<String>, inactive_ms: Option<u64> },
    /// A subscriber cannot go on.
    #[error("has lost its logical slot \"{slot}\"")]
    LogicalSlotLost { slot: String },
    /// It is lost, or the disk full, when as much comes again.
    #[error("has a slot \"{slot}\" with {retained_bytes} bytes retained, and room for {room_bytes} bytes more")]
    SlotFilling { slot: String, retained_bytes: u64, room_bytes: u64 },

    // How far it is behind.
    /// More is not replayed than the policy allows.
    #[error("is {lag_bytes} bytes behind, more than {max_bytes} bytes")]
    LagBytes { lag_bytes: u64, max_bytes: u64 },
    /// Replay is later than the policy allows.
    #[error("is {lag_ms} ms behind, more than {max_ms} ms")]
    LagTime { lag_ms: u64, max_ms: u64 },
    /// It is late because it shall be.
    #[error("replays {delay_ms} ms late, as recovery_min_apply_delay says")]
    ReplayDelayed { delay_ms: u64 },

    // What commits on a primary wait for.
    /// It answers, and a heartbeat's commit came to no end.
    #[error("has committed nothing for {stalled_ms} ms, more than {max_ms} ms, although it was tried")]
    CommitStalled { stalled_ms: u64, max_ms: u64 },
    /// It waits for more replicas than there are, or soon may.
    #[error(
        "has {confirming} of {wanted} synchronous replicas{}{}",
        if missing.is_empty() { String::new() } else { format!(", without {}", quoted(missing)) },
        commits_waiting.filter(|commits| *commits > 0).map_or_else(String::new, |commits| format!(": {commits} commits wait"))
    )]
    SyncReplicaMissing { wanted: usize, confirming: usize, missing: Vec<String>, commits_waiting: Option<u64> },

    // What somebody has to see to, on any node.
    /// The volume of its data.
    #[error("has {free_bytes} of {total_bytes} bytes free on its volume, less than {min_bytes} bytes")]
    DiskNearlyFull { free_bytes: u64, total_bytes: u64, min_bytes: u64 },
    /// Pages were not what was written.
    #[error(
        "has had {failures} checksum failures, the last {} ago",
        age_ms.map_or_else(|| "an unknown time".to_owned(), |age_ms| format!("{age_ms} ms"))
    )]
    ChecksumFailures { failures: u64, age_ms: Option<u64>, max_ms: u64 },
    /// What was sorted by one version is searched by another.
    #[error("has other versions of collations than data were sorted by: {}", list(mismatches))]
    CollationMismatch { mismatches: Vec<CollationMismatch> },
    /// Write-ahead log waits to be archived.
    #[error(
        "could not archive {} {failed_age_ms} ms ago, and nothing since: {failed_count} failures",
        wal.as_ref().map_or_else(|| "a file".to_owned(), |wal| format!("\"{wal}\""))
    )]
    ArchiverFailing { wal: Option<String>, failed_count: u64, failed_age_ms: u64 },
    /// PostgreSQL stops taking writes before ids run out.
    #[error("has transaction ids that are {age} transactions old, more than {max_age}, with {} left", ids_left(*age))]
    TransactionAge { age: u64, max_age: u64 },
    /// Values that are set and not in force.
    #[error("has settings that wait for a restart: {}", settings.join(", "))]
    PendingRestart { settings: Vec<String> },

    // A replica's settings, beside those of its primary.
    /// Replay pauses where it reads of the primary's, and the replica does not start any more.
    #[error("has less than primary \"{primary}\" of what replay needs: {}", list(settings))]
    SettingsInsufficient { primary: String, settings: Vec<Difference> },
    /// The day that it takes over, others hold.
    #[error("has other settings than primary \"{primary}\": {}", list(settings))]
    SettingsDiffer { primary: String, settings: Vec<Difference> },
}

/// A node that takes writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Primary {
    /// Its name.
    pub node: String,
    /// The timeline that it writes.
    pub timeline: TimelineId,
    /// How far it has written.
    pub lsn: Lsn,
}

/// What one node has where all should have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Value<T> {
    /// The node's name.
    pub node: String,
    /// Its value.
    pub value: T,
}

/// A setting that two nodes have differently, as PostgreSQL shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The setting.
    pub name: String,
    /// What the replica has.
    pub value: String,
    /// What the primary has.
    pub primary_value: String,
}

/// Of so many ids before the end PostgreSQL warns at every transaction; it refuses to write when three million are left.
///
/// <https://www.postgresql.org/docs/17/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND>
const WARNED_IDS: u64 = 40_000_000;

fn ids_left(age: u64) -> u64 {
    (1_u64 << 31).saturating_sub(age)
}

impl Finding {
    /// How far this takes the cluster; a mere note leaves it healthy.
    #[must_use]
    pub fn health(&self) -> Health {
        match self {
            Finding::NoPrimary { .. }
            | Finding::SplitBrain { .. }
            | Finding::SystemIdentifiersDiffer { .. }
            | Finding::CommitStalled { .. }
            | Finding::Forked { .. } => Health::Broken,
            Finding::SyncReplicaMissing { wanted, confirming, .. } if confirming < wanted => Health::Broken,
            Finding::ChecksumFailures { age_ms, max_ms, .. } if age_ms.is_some_and(|age_ms| age_ms > *max_ms) => {
                Health::Healthy
            }
            Finding::ChecksumFailures { .. } => Health::Broken,
            Finding::TransactionAge { age, .. } if ids_left(*age) < WARNED_IDS => Health::Broken,
            Finding::ReplayDelayed { .. } | Finding::PendingRestart { .. } | Finding::SettingsDiffer { .. } => {
                Health::Healthy
            }
            _ => Health::Degraded,
        }
    }
}

/// Serializes findings together with what follows from them, for readers that do not know every kind.
pub(crate) fn serialize<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Explained<'a> {
        #[serde(flatten)]
        finding: &'a Finding,
        health: Health,
        message: String,
        hint: &'static str,
    }
    serializer.collect_seq(findings.iter().map(|finding| Explained {
        finding,
        health: finding.health(),
        message: finding.to_string(),
        hint: finding.hint(),
    }))
}

impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" on timeline {} at {}", self.node, self.timeline, self.lsn)
    }
}

impl<T: fmt::Display> fmt::Display for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" has {}", self.node, self.value)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, not {}", self.name, or_empty(&self.value), or_empty(&self.primary_value))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.backend_type, self.pid)
    }
}

impl fmt::Display for CollationMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
        write!(f, "{} \"{}\" by {}, now {}", self.kind, self.name, version(&self.recorded), version(&self.actual))
    }
}

fn or_empty(value: &str) -> &str {
    if value.is_empty() { "\"\"" } else { value }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn circle(nodes: &[String]) -> String {
    let next = nodes.iter().cycle().skip(1);
    let links = nodes.iter().zip(next).map(|(node, upstream)| format!("\"{node}\" from \"{upstream}\""));
    links.collect::<Vec<_>>().join(", ")
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn or_nothing(lsn: &Option<Lsn>) -> String {
    lsn.map_or_else(|| "nothing".to_owned(), |lsn| lsn.to_string())
}

fn bytes_or_unknown(bytes: &Option<u64>) -> String {
    bytes.map_or_else(|| "unknown bytes".to_owned(), |bytes| format!("{bytes} bytes"))
}
