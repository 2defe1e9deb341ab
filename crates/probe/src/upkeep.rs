//! Judges what somebody has to see to, on any node: what is full, failing, stale or running out.

use crate::{Archiver, Disk, Finding, NodeStatus, Policy, Process};

/// A look of the agent's that is older than this says nothing about now.
const MAX_DISK_AGE_MS: u64 = 60_000;

pub(crate) fn assess(policy: &Policy, status: &NodeStatus) -> Vec<Finding> {
    [
        shutting_down(status),
        stopped(status, |process| !is_of_stream(status, process)),
        disk(policy, status),
        checksums(policy, status),
        collations(status),
        archiver(status),
        transactions(policy, status),
        pending_restart(status),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is free on the volume, as far as is known.
pub(crate) fn known_disk(status: &NodeStatus) -> Option<Disk> {
    status.disk.filter(|disk| disk.age_ms <= MAX_DISK_AGE_MS)
}

fn shutting_down(status: &NodeStatus) -> Option<Finding> {
    (status.postmaster.as_deref() == Some("stopping")).then_some(Finding::ShuttingDown)
}

/// Without these a replica does not stream.
pub(crate) fn is_of_stream(status: &NodeStatus, process: &Process) -> bool {
    status.in_recovery() && matches!(process.backend_type.as_str(), "startup" | "walreceiver")
}

pub(crate) fn stopped(status: &NodeStatus, concerns: impl Fn(&Process) -> bool) -> Option<Finding> {
    let processes: Vec<Process> =
        status.stopped.iter().flatten().filter(|process| concerns(process)).cloned().collect();
    (!processes.is_empty()).then_some(Finding::StoppedProcesses { processes })
}

fn disk(policy: &Policy, status: &NodeStatus) -> Option<Finding> {
    let Disk { free_bytes, total_bytes, .. } = known_disk(status)?;
    let min_bytes = policy.min_free_bytes.min(total_bytes / 100 * policy.min_free_percent);
    (free_bytes < min_bytes).then_some(Finding::DiskNearlyFull { free_bytes, total_bytes, min_bytes })
}

fn checksums(policy: &Policy, status: &NodeStatus) -> Option<Finding> {
    let failures = status.upkeep.checksum_failures.filter(|failures| *failures > 0)?;
    let (age_ms, max_ms) = (status.upkeep.last_checksum_failure_age_ms, policy.max_checksum_failure_age_ms);
    Some(Finding::ChecksumFailures { failures, age_ms, max_ms })
}

fn collations(status: &NodeStatus) -> Option<Finding> {
    let mismatches = status.upkeep.collation_mismatches.clone().filter(|mismatches| !mismatches.is_empty())?;
    Some(Finding::CollationMismatch { mismatches })
}

/// It tries again for as long as it has not succeeded, so that the later of the two tells how it is now. What counters
/// of a replica say may be from when it was a primary.
fn archiver(status: &NodeStatus) -> Option<Finding> {
    let Archiver { mode, failed_count, last_failed_wal, last_archived_age_ms, last_failed_age_ms, .. } =
        status.upkeep.archiver.as_ref()?;
    let archives = mode == "always" || (mode == "on" && !status.in_recovery());
    let failed_age_ms = last_failed_age_ms.filter(|failed_age_ms| {
        archives && last_archived_age_ms.is_none_or(|archived_age_ms| *failed_age_ms < archived_age_ms)
    })?;
    let (failed_count, wal) = (*failed_count, last_failed_wal.clone());
    Some(Finding::ArchiverFailing { wal, failed_count, failed_age_ms })
}

/// A replica has the ids of its primary, where alone something can be done about them.
fn transactions(policy: &Policy, status: &NodeStatus) -> Option<Finding> {
    let age = status.upkeep.transaction_age.filter(|_| !status.in_recovery())?;
    // As `vacuum_failsafe_age` does: who lets autovacuum begin later means it.
    let begins = status.upkeep.autovacuum_freeze_max_age.unwrap_or(0);
    let max_age = policy.max_transaction_age.max(begins.saturating_add(begins / 20));
    (age > max_age).then_some(Finding::TransactionAge { age, max_age })
}

fn pending_restart(status: &NodeStatus) -> Option<Finding> {
    let settings = status.upkeep.pending_restart.clone().filter(|settings| !settings.is_empty())?;
    Some(Finding::PendingRestart { settings })
}
