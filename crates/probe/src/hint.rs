//! What to do next about a finding, for somebody who was woken by it.

use crate::Finding;

impl Finding {
    /// The next thing to do: one sentence or two.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Finding::NoPrimary { .. } => {
                "Start the node that was the primary; if it is gone, promote the replica that is furthest."
            }
            Finding::SplitBrain { .. } => {
                "Stop all of them but one at once: what is written to the others has to be thrown away. The highest \
                 timeline is that of the latest promotion."
            }
            Finding::Forked { .. } => {
                "Read nothing from it: what it has after that place is in no other history. Rewind it with pg_rewind, or \
                 clone it again."
            }
            Finding::Circle { .. } => {
                "Nothing new can reach them. Point one of them to the primary: correct primary_conninfo and reload."
            }
            Finding::SystemIdentifiersDiffer { .. } => {
                "The nodes were initialized separately. Take out the stranger, or clone it from the primary."
            }
            Finding::TimelinesDiffer { .. } => {
                "Right after a promotion, wait. If it stays, the node has to be pointed to the new primary, rewound or \
                 cloned again."
            }
            Finding::MajorVersionsDiffer { .. } => {
                "Streaming works within one major version only. Upgrade the primary, and clone its replicas again."
            }
            Finding::CommitStalled { .. } => {
                "Applications hang, too. pg_stat_activity says what backends wait for; look at the disk of the write-ahead log."
            }
            Finding::Missing => "Create the node, or take it out of the cluster.",
            Finding::Stopped { .. } => "Start the node; if it exits again, its log says why.",
            Finding::Starting { .. } => "Wait. If it takes long, the node's log says what it is waiting for.",
            Finding::Unreachable { .. } => "Look at the node's log, and at the network between it and here.",
            Finding::NameDiffers { .. } => {
                "Check that this is the right server, and set cluster_name to the name of the node."
            }
            Finding::UnexpectedPrimary { .. } => {
                "If somebody promoted it, make it the primary everywhere. If nobody did, stop it before it is written \
                 to."
            }
            Finding::ShuttingDown => {
                "If somebody wants it to, wait: a smart shutdown lasts as long as the last session. Else start it again."
            }
            Finding::WrongUpstream { .. } => "Correct primary_conninfo and reload.",
            Finding::NoUpstream => "Set primary_conninfo and reload.",
            Finding::NoReceiver { misled: Some(_), .. } => "Correct primary_conninfo and reload.",
            Finding::NoReceiver { .. } => {
                "The replica's log says why it cannot connect: address, password, slot, or write-ahead log that is \
                 gone."
            }
            Finding::ReceiverHidden | Finding::SenderHidden { .. } => "Grant pg_read_all_stats to the probing role.",
            Finding::ReceiverNotStreaming { .. } => {
                "Wait for wal_retrieve_retry_interval. If it stays, the replica's log says what it is waiting for."
            }
            Finding::StoppedProcesses { .. } => {
                "Find out who stopped them, and send them SIGCONT. Without a postmaster there are no new connections."
            }
            Finding::ReceiveStalled { .. } => {
                "Look for a wal receiver or a wal sender that is stopped, for a network that is cut, and for a disk that \
                 does not keep up."
            }
            Finding::ReplayStalled { .. } => {
                "Look at the startup process: it is stopped, or waits for its disk. If it stays, restart the replica."
            }
            Finding::RecoveryConflict { .. } => {
                "Wait for max_standby_streaming_delay, or end the query: pg_stat_activity on the replica shows it."
            }
            Finding::ReplayPaused { .. } => "Call pg_wal_replay_resume() on the replica.",
            Finding::UpstreamSilent { .. } => {
                "See to the upstream first. If it is none of the cluster's nodes, correct primary_conninfo."
            }
            Finding::NotSeenByUpstream { .. } => {
                "If the replica says that it streams, look at the address that it streams from and at its \
                 application_name; else the replica's log says why it cannot connect."
            }
            Finding::CatchingUp { .. } => {
                "Wait. If the distance grows, the replica or the network is too slow for the load."
            }
            Finding::SenderNotStreaming { .. } => {
                "Wait for wal_sender_timeout. If it stays, the upstream's log says why."
            }
            Finding::SenderUnheard { .. } => {
                "Look at the network between the two, and for a wal receiver that is stopped or waits for its disk. If \
                 it stays, the upstream ends the stream after wal_sender_timeout."
            }
            Finding::SlotMissing { .. } => {
                "Call pg_create_physical_replication_slot() on the upstream; if write-ahead log is gone already, clone \
                 again."
            }
            Finding::SlotInactive { .. } => {
                "Bring the replica back, or drop the slot before it fills the upstream's disk."
            }
            Finding::SlotUnreserved { .. } => {
                "Let the replica catch up before the next checkpoint, or raise max_slot_wal_keep_size on the upstream."
            }
            Finding::SlotLost { .. } => "Clone the replica again: its upstream no longer has what it needs.",
            Finding::SlotOrphaned { .. } => {
                "If a node was lost, bring it back. If nobody misses it, call pg_drop_replication_slot() before it \
                 fills the disk."
            }
            Finding::LogicalSlotLost { .. } => {
                "Drop the slot, and make its subscription anew: the subscriber has missed changes."
            }
            Finding::SlotFilling { .. } => {
                "See to who uses the slot. If nobody will, call pg_drop_replication_slot(); else make room: \
                 max_slot_wal_keep_size, or the disk."
            }
            Finding::ReplayDelayed { .. } => "Set recovery_min_apply_delay to 0 if nobody needs the delay.",
            Finding::SyncReplicaMissing { .. } => {
                "Bring the replica back. If commits hang meanwhile, take it out of synchronous_standby_names and reload."
            }
            Finding::DiskNearlyFull { .. } => {
                "Make room before PostgreSQL stops: see to slots that retain write-ahead log and to what is not archived; \
                 never remove files from pg_wal."
            }
            Finding::ChecksumFailures { .. } => {
                "Data are damaged: pg_stat_database and the log say where. A replica is cloned again; of a primary, \
                 switch to a replica that is sound. pg_stat_reset() in that database ends this."
            }
            Finding::CollationMismatch { .. } => {
                "Indexes on text may be wrong: use the operating system that they were made on, or REINDEX and ALTER … \
                 REFRESH VERSION on the primary."
            }
            Finding::ArchiverFailing { .. } => {
                "The server's log has what archive_command said. Until it succeeds, pg_wal grows."
            }
            Finding::TransactionAge { .. } => {
                "Look for what keeps VACUUM from freezing: long or prepared transactions, idle slots, autovacuum that is \
                 off. Then VACUUM."
            }
            Finding::PendingRestart { .. } => "Restart the node when it suits.",
            Finding::SettingsInsufficient { .. } => {
                "Raise them to what the primary has, and restart the node: replay pauses where it reads of the primary's, and \
                 to resume it would shut the node down."
            }
            Finding::SettingsDiffer { .. } => {
                "Once this node is the primary, what it has holds. Set the same on all nodes; what was set by hand goes with \
                 ALTER SYSTEM RESET, and a reload or a restart."
            }
            Finding::LagBytes { .. } | Finding::LagTime { .. } => {
                "Look for a long query that conflicts with replay, for a slow disk, and for a burst of writes on the \
                 primary."
            }
        }
    }
}
