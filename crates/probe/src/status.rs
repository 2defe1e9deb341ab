//! What one server says about itself: facts in PostgreSQL's own words, none of them judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{History, Lsn, Past, SystemIdentifier, TimelineId};

/// Everything that one server said about itself.
///
/// Its JSON form is what the query of `observe` returns, so a recorded status can be assessed again later, also one
/// that was recorded when there were fewer facts. What is unknown is `None`, whatever the reason: no privilege, no
/// such thing in that release. Ages are taken on the server's own clock. A name that ends in `_ms` is in milliseconds, rounded up so that a delay never
/// reads as none; one that ends in `_bytes` is in bytes of write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The release as a number, 170012 for 17.12.
    pub server_version_num: i32,
    /// Which family of data directories this one belongs to.
    pub system_identifier: SystemIdentifier,
    /// `cluster_name`, the name that the server gives itself; empty where none is set.
    pub cluster_name: String,
    /// The timeline that a primary writes, or that a replica receives.
    ///
    /// A replica without a receiver tells the timeline of its minimum recovery point or last restartpoint.
    pub timeline: TimelineId,
    /// A position that is sure to be on that timeline: the server's own, or, of a replica without a receiver, that of
    /// its minimum recovery point or last restartpoint, after which it may have gone on to another timeline.
    #[serde(default)]
    pub timeline_lsn: Option<Lsn>,
    /// The newest timeline of which a replica without a receiver has write-ahead log, which its control data may not know yet: a
    /// later one than [`timeline`](Self::timeline) is the one that it goes on with. Only for those who may list `pg_wal`.
    #[serde(default)]
    pub newest_wal: Option<TimelineId>,
    /// How far the server has come.
    pub lsn: NodeLsn,
    /// The process that receives from the upstream; a primary has none, nor has a replica that is not connected.
    pub receiver: Option<Receiver>,
    /// `wal_receiver_status_interval`: how often a receiver replies at least, 0 where it does so only when asked.
    ///
    /// `None` in a status that was recorded without it.
    pub receiver_status_interval_ms: Option<u64>,
    /// The `host` in `primary_conninfo`: whom a replica is told to receive from. `None` where it names none, and for all
    /// but `pg_read_all_settings`.
    #[serde(default)]
    pub primary_host: Option<String>,
    /// `primary_slot_name`: the slot that a replica uses on its upstream, `None` where none is set.
    pub primary_slot_name: Option<String>,
    /// Whether replay stands still, or soon will, because somebody called `pg_wal_replay_pause()`.
    ///
    /// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL>
    pub replay_paused: bool,
    /// The time since the upstream committed the transaction that was replayed last, `None` where none was.
    ///
    /// It grows while the upstream is idle, so by itself it is no lag, and it compares the clocks of two hosts.
    pub last_replay_age_ms: Option<u64>,
    /// How a replica replays; `None` on a primary.
    #[serde(default)]
    pub replay: Option<Replay>,
    /// Everything that streams from this server.
    pub downstreams: Vec<Downstream>,
    /// Every replication slot of this server.
    pub slots: Vec<Slot>,
    /// For whom a commit waits.
    #[serde(default)]
    pub synchronous: Synchronous,
    /// What somebody has to see to sooner or later.
    #[serde(default)]
    pub upkeep: Upkeep,
    /// What is in force of settings that somebody has set otherwise than PostgreSQL comes with, by file or command line, and of those of
    /// which a replica must not have less than its primary. Only for `pg_read_all_settings`, and without texts that may hold a
    /// password: commands, connection strings, and those of extensions.
    #[serde(default)]
    pub settings: Option<Vec<Setting>>,
    /// Which timelines `timeline` grew out of. Timeline 1 has an empty history, known to everybody; the others' is in a
    /// file that a superuser may read, or who was granted `pg_read_file(text, bigint, bigint, boolean)`.
    #[serde(default)]
    pub history: Option<History>,
    /// The volume of the data directory, of which PostgreSQL knows nothing: told by pgherd's agent, to superusers.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// What the postmaster is about: `ready`, `standby`, or `stopping`, when it lets nobody new in and those who are
    /// connected notice nothing. Only for those who may read `postmaster.pid`.
    #[serde(default)]
    pub postmaster: Option<String>,
    /// Processes that are stopped, as by SIGSTOP: PostgreSQL does not notice. Of those that serve clients, nothing is
    /// said. Only on Linux, to superusers or `pg_read_server_files`.
    #[serde(default)]
    pub stopped: Option<Vec<Process>>,
    /// What cannot be seen in one look; filled by [`Watch`](crate::Watch).
    #[serde(default)]
    pub past: Past,
}

impl NodeStatus {
    /// Whether this is a replica (or a server in archive recovery) rather than a primary.
    #[must_use]
    pub fn in_recovery(&self) -> bool {
        matches!(self.lsn, NodeLsn::Replica { .. })
    }

    /// The major version, 17 for 17.12.
    #[must_use]
    pub fn major_version(&self) -> i32 {
        self.server_version_num / 10_000
    }
}

/// How far a server has come, which is a different question for a primary and for a replica.
///
/// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-ADMIN-BACKUP>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum NodeLsn {
    /// The server writes.
    Primary {
        /// `pg_current_wal_lsn()`: handed to the operating system.
        write: Lsn,
        /// `pg_current_wal_flush_lsn()`: durable, and from then on sent.
        flush: Lsn,
    },
    /// The server is in recovery.
    Replica {
        /// `pg_last_wal_receive_lsn()`: received and durable, `None` where nothing was streamed since the start.
        ///
        /// A receiver begins at the start of a segment, so after a restart this can be less than `replay`.
        receive: Option<Lsn>,
        /// `pg_last_wal_replay_lsn()`: visible to queries.
        replay: Option<Lsn>,
    },
}

impl NodeLsn {
    /// The end of what this server has, and can hand on to a downstream.
    #[must_use]
    pub fn end(self) -> Option<Lsn> {
        match self {
            NodeLsn::Primary { write, .. } => Some(write),
            NodeLsn::Replica { receive, replay } => receive.max(replay),
        }
    }

    /// The end of what queries on this server can see.
    #[must_use]
    pub fn visible(self) -> Option<Lsn> {
        match self {
            NodeLsn::Primary { write, .. } => Some(write),
            NodeLsn::Replica { replay, .. } => replay,
        }
    }
}

/// The row of `pg_stat_wal_receiver`.
///
/// Without the privileges of `pg_read_all_stats` PostgreSQL shows that a receiver exists, and nothing else of it:
/// every field is `None`.
///
/// <https://www.postgresql.org/docs/17/monitoring-stats.html#MONITORING-PG-STAT-WAL-RECEIVER-VIEW>
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// `starting`, `streaming`, `waiting`, `restarting`, `stopping` or `stopped`.
    pub status: Option<String>,
    /// The upstream as `primary_conninfo` names it: a host name, an address or the directory of a unix socket.
    pub sender_host: Option<String>,
    /// The upstream's port.
    pub sender_port: Option<u16>,
    /// The slot that the receiver holds on its upstream.
    pub slot_name: Option<String>,
    /// The timeline of what was received last.
    pub received_tli: Option<TimelineId>,
    /// The end of what is received and handed to the operating system.
    #[serde(default)]
    pub written_lsn: Option<Lsn>,
    /// The end of what is received and durable.
    pub flushed_lsn: Option<Lsn>,
    /// The upstream's end when it last spoke.
    pub latest_end_lsn: Option<Lsn>,
    /// The time since the last message of the upstream, of any kind.
    pub last_msg_age_ms: Option<u64>,
    /// How far this server's clock is behind the upstream's, at least: by so much the last message was received before
    /// it was sent. Zero where it was received after, which a clock that is ahead also looks like.
    pub clock_behind_ms: Option<u64>,
    /// What kind of thing the process waits for, `None` while it works: `Activity` is for more to do, `IO` for the disk.
    ///
    /// <https://www.postgresql.org/docs/17/monitoring-stats.html#WAIT-EVENT-TABLE>
    #[serde(default)]
    pub wait_event_type: Option<String>,
    /// What exactly it waits for: `WalReceiverMain` is for more to receive.
    #[serde(default)]
    pub wait_event: Option<String>,
}

/// How a replica replays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// What kind of thing the startup process waits for, `None` while it works. Only for `pg_read_all_stats`.
    ///
    /// <https://www.postgresql.org/docs/17/monitoring-stats.html#WAIT-EVENT-TABLE>
    pub wait_event_type: Option<String>,
    /// What exactly it waits for: `RecoveryWalStream` is for more to replay, `RecoveryConflictSnapshot` for a query.
    pub wait_event: Option<String>,
    /// `recovery_min_apply_delay`: so much later than the primary it shall be.
    pub min_apply_delay_ms: Option<u64>,
    /// `max_standby_streaming_delay`: so long queries may hold replay up; -1 is for ever.
    pub max_streaming_delay_ms: Option<i64>,
    /// How many queries were canceled for replay, by kind: `lock`, `snapshot`, `bufferpin`, … in all databases.
    ///
    /// <https://www.postgresql.org/docs/17/monitoring-stats.html#MONITORING-PG-STAT-DATABASE-CONFLICTS-VIEW>
    pub conflicts: Option<BTreeMap<String, u64>>,
}

impl Receiver {
    /// Whether it is at work or waits for its disk, rather than for more to receive; also where that is unknown.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.wait_event_type.as_deref() != Some("Activity")
    }
}

impl Replay {
    /// Whether it is at work or waits for its disk, rather than for more to replay; also where that is unknown.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.wait_event_type.as_deref() != Some("Activity")
    }

    /// What the startup process waits for, if that is a query that is in its way.
    ///
    /// A conflict over a lock or a buffer pin is waited for as any process does.
    #[must_use]
    pub fn conflict(&self) -> Option<&str> {
        let event = self.wait_event.as_deref()?;
        let is_conflict = event.starts_with("RecoveryConflict")
            || matches!(self.wait_event_type.as_deref(), Some("Lock" | "BufferPin"));
        is_conflict.then_some(event)
    }
}

/// Synchronous replication, as the sending end has it.
///
/// <https://www.postgresql.org/docs/17/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synchronous {
    /// `synchronous_standby_names`, empty where nobody is waited for.
    pub standby_names: Option<String>,
    /// How many commits wait now. Only for `pg_read_all_stats`.
    pub commits_waiting: Option<u64>,
}

/// What somebody has to see to sooner or later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkeep {
    /// Settings whose new value waits for a restart. Only for `pg_read_all_settings`.
    pub pending_restart: Option<Vec<String>>,
    /// Databases, and collations of the connected database that something depends on, whose version has changed.
    pub collation_mismatches: Option<Vec<CollationMismatch>>,
    /// How many pages had a wrong checksum, in all databases since statistics were reset. `None` without checksums.
    pub checksum_failures: Option<u64>,
    /// The time since the last of them.
    pub last_checksum_failure_age_ms: Option<u64>,
    /// The process that archives write-ahead log.
    pub archiver: Option<Archiver>,
    /// The age of the oldest transaction id that is not frozen, in transactions, in all databases.
    ///
    /// <https://www.postgresql.org/docs/17/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND>
    pub transaction_age: Option<u64>,
    /// `autovacuum_freeze_max_age`: the age, in transactions, at which it should be frozen.
    pub autovacuum_freeze_max_age: Option<u64>,
}

/// One row of `pg_settings`.
///
/// <https://www.postgresql.org/docs/17/view-pg-settings.html>
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// What is in force, in its unit.
    pub setting: String,
    /// What it is where nobody has set it, in its unit.
    pub boot_val: String,
    /// `kB`, `8kB`, `ms`, …; empty where it has none.
    pub unit: String,
}

/// What was sorted by one version of a collation, and is compared by another.
///
/// <https://www.postgresql.org/docs/17/sql-altercollation.html#SQL-ALTERCOLLATION-NOTES>
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CollationMismatch {
    /// `database`, for its default collation, or `collation`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The version that it was made with.
    pub recorded: Option<String>,
    /// The version that is there now.
    pub actual: Option<String>,
}

/// `archive_mode`, and `pg_stat_archiver`.
///
/// <https://www.postgresql.org/docs/17/monitoring-stats.html#MONITORING-PG-STAT-ARCHIVER-VIEW>
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archiver {
    /// `off`, `on`, or `always`, which is on a replica, too.
    pub mode: String,
    /// How many files were archived.
    pub archived_count: u64,
    /// How many attempts failed.
    pub failed_count: u64,
    /// The file of the last attempt that failed.
    pub last_failed_wal: Option<String>,
    /// The time since the last success.
    pub last_archived_age_ms: Option<u64>,
    /// The time since the last failure.
    pub last_failed_age_ms: Option<u64>,
}

/// A process of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// What it is, as in `pg_stat_activity`: `startup`, `walreceiver`, `walsender`, `checkpointer`, …; or `postmaster`.
    pub backend_type: String,
    /// Its number, where the server runs.
    pub pid: i32,
}

/// A file system, from `/run/pgherd/disk.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// What PostgreSQL may still use.
    pub free_bytes: u64,
    /// All that it has.
    pub total_bytes: u64,
    /// The time since the agent looked.
    pub age_ms: u64,
}

/// One row of `pg_stat_replication`: a stream as the sending end sees it.
///
/// Without the privileges of `pg_read_all_stats` all but the name is `None`.
///
/// <https://www.postgresql.org/docs/17/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW>
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downstream {
    /// What the receiver calls itself: its `cluster_name`, unless `primary_conninfo` says otherwise.
    pub application_name: String,
    /// `startup`, `catchup`, `streaming`, `backup` or `stopping`.
    pub state: Option<String>,
    /// Sent to the downstream.
    pub sent_lsn: Option<Lsn>,
    /// Written by the downstream, as it last reported.
    pub write_lsn: Option<Lsn>,
    /// Durable at the downstream, as it last reported.
    pub flush_lsn: Option<Lsn>,
    /// Replayed by the downstream, as it last reported.
    pub replay_lsn: Option<Lsn>,
    /// From flushing here to hearing that it was written there.
    pub write_lag_ms: Option<u64>,
    /// From flushing here to hearing that it was flushed there.
    pub flush_lag_ms: Option<u64>,
    /// From flushing here to hearing that it was replayed there.
    ///
    /// PostgreSQL forgets it some seconds after the downstream has everything, and lets it grow while the downstream
    /// reports that it replays nothing. A downstream that reports nothing at all freezes it.
    pub replay_lag_ms: Option<u64>,
    /// The time since the downstream sent its last reply, `None` before its first.
    ///
    /// The reply carries the time at which the downstream sent it, on the downstream's clock: a clock that is behind
    /// ([`Receiver::clock_behind_ms`]) adds to the age, and one that is ahead takes from it, down to zero.
    pub last_reply_age_ms: Option<u64>,
    /// `async`, `potential`, `sync` or `quorum`.
    pub sync_state: Option<String>,
}

impl Downstream {
    /// Whether it had everything at some time, and is sent what is new as it comes.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.state.as_deref() == Some("streaming")
    }
}

/// One row of `pg_replication_slots`.
///
/// <https://www.postgresql.org/docs/17/view-pg-replication-slots.html>
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The name, unique on its server.
    pub slot_name: String,
    /// `physical` or `logical`.
    pub slot_type: String,
    /// Whether a stream uses it now.
    pub active: bool,
    /// The oldest position that it keeps; `None` before its first use, and once it is lost.
    pub restart_lsn: Option<Lsn>,
    /// From there to the server's end: write-ahead log that cannot be recycled.
    pub retained_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved` (about to be lost) or `lost`; `None` before its first use.
    pub wal_status: Option<String>,
    /// `safe_wal_size`: what can be written before it may be lost, negative once it may be; `None` where it never is, or
    /// is already.
    #[serde(default)]
    pub safe_wal_bytes: Option<i64>,
    /// The time since a stream used it last, `None` while one does, and before PostgreSQL 17.
    #[serde(default)]
    pub inactive_ms: Option<u64>,
}
