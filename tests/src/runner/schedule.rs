//! Which scenario begins next. Pure: memory and cores are passed in.

use crate::registry::Entry;

/// What a run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) mebibytes: u64,
    pub(super) jobs: usize,
}

/// Memory of a node, in MiB. Measured, anonymous and shared, without the page cache: 22 to 27 after a start, and 151 once
/// its 128 MiB of shared buffers have filled up. In between, for few scenarios write that much.
pub(super) const MIB_PER_NODE: u64 = 96;

/// Memory of a scenario beside its nodes: its process, and the command lines that it runs.
pub(super) const MIB_PER_SCENARIO: u64 = 64;

/// Memory of a scenario, in MiB.
pub(super) fn need(entry: &Entry) -> u64 {
    MIB_PER_SCENARIO + MIB_PER_NODE * u64::from(entry.nodes)
}

/// The position of the first one that fits beside those that run. Alone, any fits.
pub(super) fn next(pending: &[u64], running: &[u64], budget: Budget) -> Option<usize> {
    if running.is_empty() {
        return (!pending.is_empty()).then_some(0);
    }
    if running.len() >= budget.jobs {
        return None;
    }
    let left = budget.mebibytes.saturating_sub(running.iter().sum());
    pending.iter().position(|need| *need <= left)
}

#[cfg(test)]
mod tests {
    use super::{Budget, next};

    #[test]
    fn scenarios_share_memory_and_cores() {
        let budget = Budget { mebibytes: 100, jobs: 3 };
        for (pending, running, begins) in [
            (&[][..], &[][..], None),
            (&[500, 10], &[], Some(0)),
            (&[500, 10], &[60], Some(1)),
            (&[50, 40], &[60], Some(1)),
            (&[50], &[60], None),
            (&[10], &[500], None),
            (&[1], &[1, 1, 1], None),
        ] {
            assert_eq!(next(pending, running, budget), begins, "{pending:?} beside {running:?}");
        }
    }
}
