//! Judges a replica's settings by those of the primary, whose place it may take one day.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Difference, Finding, NodeStatus, Setting, assess::Answered};

/// Settings that a replica must have no less of than its primary.
///
/// <https://www.postgresql.org/docs/17/hot-standby.html#HOT-STANDBY-ADMIN>
pub const ORDER_BOUND: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_wal_senders",
];

/// By these a node is told apart, and found.
const OF_A_NODE: [&str; 6] =
    ["bonjour_name", "cluster_name", "event_source", "listen_addresses", "port", "syslog_ident"];

/// Where something lies is the host's business.
const PATHS: [&str; 4] = ["_dir", "_directories", "_directory", "_file"];

/// These mean something in one role alone, and replicas may well differ in them.
///
/// <https://www.postgresql.org/docs/17/runtime-config-replication.html>
const OF_A_ROLE: [&str; 4] = [
    "sync_replication_slots",
    "synchronized_standby_slots",
    "synchronous_standby_names",
    "wal_retrieve_retry_interval",
];

/// And so do all that begin with these.
const FAMILIES_OF_A_ROLE: [&str; 5] = ["hot_standby", "max_standby_", "primary_", "recovery_", "wal_receiver_"];

/// A replica beside the one primary that answers. Major versions differ in what they come with, so that nothing is said across them.
pub(crate) fn assess(status: &NodeStatus, answered: &Answered<'_>) -> Vec<Finding> {
    let comparable = |(_, of_primary): &(&str, &NodeStatus)| {
        status.in_recovery() && of_primary.major_version() == status.major_version()
    };
    let Some((primary, of_primary)) = answered.primary().filter(comparable) else { return Vec::new() };
    let (Some(own), Some(of_primary)) = (&status.settings, &of_primary.settings) else { return Vec::new() };
    let (insufficient, others) = differences(own, of_primary);
    let primary = primary.to_owned();
    let found = [
        (!insufficient.is_empty())
            .then(|| Finding::SettingsInsufficient { primary: primary.clone(), settings: insufficient }),
        (!others.is_empty()).then_some(Finding::SettingsDiffer { primary, settings: others }),
    ];
    found.into_iter().flatten().collect()
}

/// What a replica has too little of for replay, and what it has differently otherwise.
fn differences(own: &[Setting], of_primary: &[Setting]) -> (Vec<Difference>, Vec<Difference>) {
    let (own, of_primary) = (by_name(own), by_name(of_primary));
    let (mut insufficient, mut others) = (Vec::new(), Vec::new());
    let names: BTreeSet<&str> = own.keys().chain(of_primary.keys()).copied().collect();
    for name in names.into_iter().filter(|name| is_shared(name)) {
        let (here, there) = (own.get(name), of_primary.get(name));
        let Some(known) = here.or(there) else { continue };
        // Who does not tell of it has what PostgreSQL comes with.
        let value =
            |found: Option<&&Setting>| found.map_or_else(|| known.boot_val.clone(), |found| found.setting.clone());
        let (here, there) = (value(here), value(there));
        if here == there {
            continue;
        }
        let is_less = matches!((here.parse::<i64>(), there.parse::<i64>()), (Ok(here), Ok(there)) if here < there);
        let which = if is_less && ORDER_BOUND.contains(&name) { &mut insufficient } else { &mut others };
        let (value, primary_value) = (shown(&here, &known.unit), shown(&there, &known.unit));
        which.push(Difference { name: name.to_owned(), value, primary_value });
    }
    (insufficient, others)
}

fn by_name(settings: &[Setting]) -> BTreeMap<&str, &Setting> {
    settings.iter().map(|setting| (setting.name.as_str(), setting)).collect()
}

/// Whether all nodes should have it alike.
fn is_shared(name: &str) -> bool {
    !(OF_A_NODE.contains(&name)
        || OF_A_ROLE.contains(&name)
        || PATHS.iter().any(|end| name.ends_with(end))
        || FAMILIES_OF_A_ROLE.iter().any(|start| name.starts_with(start)))
}

/// As `SHOW` has it: in the largest unit in which it is a whole number.
///
/// <https://www.postgresql.org/docs/17/config-setting.html#CONFIG-SETTING-NAMES-VALUES>
fn shown(value: &str, unit: &str) -> String {
    const SIZES: [(&str, i64); 5] = [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];
    const TIMES: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
    let Ok(number) = value.parse::<i64>() else { return format!("{value}{unit}") };
    // A page is one of "8kB".
    let base = unit.trim_start_matches(|c: char| c.is_ascii_digit());
    let pieces: i64 = unit[..unit.len() - base.len()].parse().unwrap_or(1);
    let family = [SIZES, TIMES].into_iter().find(|family| family.iter().any(|(name, _)| *name == base));
    let in_smallest = family.and_then(|family| {
        let (_, factor) = family.into_iter().find(|(name, _)| *name == base)?;
        Some((family, number.checked_mul(pieces)?.checked_mul(factor)?))
    });
    match in_smallest.filter(|_| number > 0) {
        Some((family, amount)) => {
            let (name, factor) = family.into_iter().find(|(_, factor)| amount % factor == 0).unwrap_or((base, 1));
            format!("{}{name}", amount / factor)
        }
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_value_is_shown_as_by_postgresql() {
        for (value, unit, expected) in [
            ("16384", "8kB", "128MB"),
            ("65536", "kB", "64MB"),
            ("4097", "kB", "4097kB"),
            ("1", "8kB", "8kB"),
            ("1024", "MB", "1GB"),
            ("300", "s", "5min"),
            ("1500", "ms", "1500ms"),
            ("10080", "min", "7d"),
            ("-1", "ms", "-1"),
            ("0", "kB", "0"),
            ("0.5", "ms", "0.5ms"),
            ("100", "", "100"),
            ("9223372036854775807", "8kB", "9223372036854775807"),
            ("replica", "", "replica"),
        ] {
            assert_eq!(shown(value, unit), expected, "{value} {unit}");
        }
    }
}
