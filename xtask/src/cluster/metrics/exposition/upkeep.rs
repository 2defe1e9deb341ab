//! What somebody has to see to sooner or later, as metrics.

use pgherd_probe::{Archiver, NodeStatus};

use super::{Family, Node, amount, seconds};

pub(super) fn families(nodes: &[Node<'_>]) -> Vec<Family> {
    let family = |name, help, value: fn(&NodeStatus) -> Option<f64>| {
        Family::of(name, help, nodes.iter().filter_map(|node| Some((vec![node.label()], value(node.status?)?))))
    };
    let conflicts = nodes.iter().flat_map(|node| {
        let conflicts = node.status.and_then(|status| status.replay.as_ref()?.conflicts.as_ref());
        let sample = |(kind, count): (&String, &u64)| (vec![node.label(), ("kind", kind.clone())], amount(*count));
        conflicts.into_iter().flatten().map(sample).collect::<Vec<_>>()
    });
    vec![
        family("pg_stat_archiver_archived_count", "How many files were archived", |status| {
            Some(amount(archives(status)?.archived_count))
        }),
        family("pg_stat_archiver_failed_count", "How many attempts to archive a file failed", |status| {
            Some(amount(archives(status)?.failed_count))
        }),
        family("pg_stat_archiver_last_archive_age", "The time since a file was archived, in seconds", |status| {
            archives(status)?.last_archived_age_ms.map(seconds)
        }),
        family("pgherd_commits_waiting", "How many commits wait for a synchronous replica", |status| {
            status.synchronous.commits_waiting.map(amount)
        }),
        Family::of("pgherd_conflicts", "How many queries were canceled for replay, in all databases", conflicts),
        family("pgherd_transaction_age", "The age of the oldest transaction id that is not frozen", |status| {
            status.upkeep.transaction_age.map(amount)
        }),
        family("pgherd_checksum_failures", "How many pages had a wrong checksum, in all databases", |status| {
            status.upkeep.checksum_failures.map(amount)
        }),
        family("pgherd_pending_restart", "How many settings wait for a restart", |status| {
            Some(f64::from(u32::try_from(status.upkeep.pending_restart.as_ref()?.len()).ok()?))
        }),
        family("pgherd_disk_free_bytes", "What PostgreSQL may still use of the volume", |status| {
            status.disk.map(|disk| amount(disk.free_bytes))
        }),
        family("pgherd_disk_total_bytes", "How large the volume is", |status| {
            status.disk.map(|disk| amount(disk.total_bytes))
        }),
    ]
}

/// An archiver that has something to do.
fn archives(status: &NodeStatus) -> Option<&Archiver> {
    status.upkeep.archiver.as_ref().filter(|archiver| archiver.mode != "off")
}
