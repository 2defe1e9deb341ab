//! What one server says about itself: facts in PostgreSQL's own words, none of them judged.

use serde::{Deserialize, Serialize};

use crate::{Lsn, SystemIdentifier, TimelineId};

/// Everything that one server said about itself in one answer.
///
/// Its JSON form is what the query of `observe` returns, so a recorded status can be assessed again later. Ages are
/// taken on the server's own clock. A name that ends in `_ms` is in milliseconds, rounded up so that a delay never
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
    /// How far the server has come.
    pub lsn: NodeLsn,
    /// The process that receives from the upstream; a primary has none, nor has a replica that is not connected.
    pub receiver: Option<Receiver>,
    /// `wal_receiver_status_interval`: how often a receiver replies at least, 0 where it does so only when asked.
    ///
    /// `None` in a status that was recorded without it.
    pub receiver_status_interval_ms: Option<u64>,
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
    /// Everything that streams from this server.
    pub downstreams: Vec<Downstream>,
    /// Every replication slot of this server.
    pub slots: Vec<Slot>,
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
    /// The end of what is received and durable.
    pub flushed_lsn: Option<Lsn>,
    /// The upstream's end when it last spoke.
    pub latest_end_lsn: Option<Lsn>,
    /// The time since the last message of the upstream, of any kind.
    pub last_msg_age_ms: Option<u64>,
    /// How far this server's clock is behind the upstream's, at least: by so much the last message was received before
    /// it was sent. Zero where it was received after, which a clock that is ahead also looks like.
    pub clock_behind_ms: Option<u64>,
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
}
