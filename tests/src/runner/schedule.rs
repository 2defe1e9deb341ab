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

/// What a scenario needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) mebibytes: u64,
    pub(super) alone: bool,
}

impl Need {
    pub(super) fn of(entry: &Entry) -> Need {
        Need { mebibytes: MIB_PER_SCENARIO + MIB_PER_NODE * u64::from(entry.nodes), alone: entry.alone }
    }
}

/// The position of the first one that fits beside those that run. Alone, any fits.
pub(super) fn next(pending: &[Need], running: &[Need], budget: Budget) -> Option<usize> {
    if running.is_empty() {
        return (!pending.is_empty()).then_some(0);
    }
    if running.len() >= budget.jobs || running.iter().any(|need| need.alone) {
        return None;
    }
    let left = budget.mebibytes.saturating_sub(running.iter().map(|need| need.mebibytes).sum());
    pending.iter().position(|need| !need.alone && need.mebibytes <= left)
}

#[cfg(test)]
mod tests {
    use super::{Budget, Need, next};

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
            assert_eq!(next(&needs(pending), &needs(running), budget), begins, "{pending:?} beside {running:?}");
        }
    }

    #[test]
    fn who_is_to_be_alone_is() {
        let budget = Budget { mebibytes: 100, jobs: 3 };
        let alone = Need { mebibytes: 10, alone: true };
        let other = Need { alone: false, ..alone };
        assert_eq!(next(&[alone, other], &[], budget), Some(0));
        assert_eq!(next(&[alone, other], &[other], budget), Some(1));
        assert_eq!(next(&[alone], &[other], budget), None);
        assert_eq!(next(&[alone, other], &[alone], budget), None);
    }

    fn needs(mebibytes: &[u64]) -> Vec<Need> {
        mebibytes.iter().map(|&mebibytes| Need { mebibytes, alone: false }).collect()
    }
}
