//! What clients were told is committed, and what of it is there.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pgherd_probe::Lsn;
use tokio_postgres::Client;

/// A row that was written, and whose commit was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Counted by each client for itself.
    pub(super) id: i64,
    /// Where the log was when the row was written, and so a little before the record of the commit.
    pub(super) lsn: Lsn,
}

/// One client's, in the order of its identifiers.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Vec<Acknowledged>>>);

impl Ledger {
    pub(super) fn note(&self, acknowledged: Acknowledged) {
        self.entries().push(acknowledged);
    }

    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }

    /// Of the first `count`, those that are not there. They are struck out, so that nothing is lost twice.
    fn strike_missing(&self, count: usize, there: &[RangeInclusive<i64>]) -> Vec<Acknowledged> {
        let mut seen = 0;
        let mut missing = Vec::new();
        self.entries().retain(|entry| {
            seen += 1;
            // Only the last range that begins before it can have it.
            let before = there.partition_point(|range| *range.start() <= entry.id);
            let is_there = seen > count || before.checked_sub(1).is_some_and(|at| there[at].contains(&entry.id));
            if !is_there {
                missing.push(*entry);
            }
            is_there
        });
        missing
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Acknowledged>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there are of each client's identifiers, in order, as ranges without a gap: one for each connection that it has had.
const THERE: &str = "\
SELECT client, min(id), max(id)
FROM (SELECT client, id, id - row_number() OVER (PARTITION BY client ORDER BY id) AS island FROM writes) AS writes
GROUP BY client, island ORDER BY client, min(id)";

/// Looks on a primary for all that was acknowledged until now, and returns what is missing.
pub(super) async fn audit(ledgers: &[Ledger], primary: &Client) -> anyhow::Result<Vec<Acknowledged>> {
    let counts: Vec<usize> = ledgers.iter().map(Ledger::len).collect();
    let mut there: BTreeMap<i32, Vec<RangeInclusive<i64>>> = BTreeMap::new();
    for row in primary.query(THERE, &[]).await? {
        there.entry(row.try_get(0)?).or_default().push(row.try_get(1)?..=row.try_get(2)?);
    }
    let of_client = |(client, (ledger, count)): (i32, (&Ledger, usize))| {
        ledger.strike_missing(count, there.get(&client).map_or(&[], Vec::as_slice))
    };
    Ok((0..).zip(ledgers.iter().zip(counts)).flat_map(of_client).collect())
}

#[cfg(test)]
mod tests {
    use pgherd_probe::Lsn;

    use super::{Acknowledged, Ledger};

    #[test]
    fn what_is_not_there_is_missing_once() {
        let ledger = Ledger::default();
        for id in [1, 2, 5, 6, 9] {
            ledger.note(Acknowledged { id, lsn: Lsn(0) });
        }
        let ids = |count, there: &[_]| -> Vec<i64> {
            ledger.strike_missing(count, there).iter().map(|entry| entry.id).collect()
        };
        // 3 was written and never acknowledged; 9 was acknowledged after the count.
        assert_eq!(ids(4, &[1..=1, 3..=5]), [2, 6]);
        assert_eq!(ids(2, &[1..=1, 3..=5]), [0_i64; 0]);
        assert_eq!(ids(3, &[]), [1, 5, 9]);
    }
}
