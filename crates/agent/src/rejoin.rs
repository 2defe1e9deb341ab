//! How a node that has data comes back to its upstream: the ladder of stream, rewind, re-clone, refuse. Pure.

use std::fmt;

use pgherd_probe::{History, Lsn, Switch, TimelineId};

use crate::{
    observe::{Identity, Lineage, Slot},
    refusal::Refusal,
    spec::Upstream,
};

/// Where a node's own data stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The newest timeline of its WAL.
    pub timeline: TimelineId,
    /// The one that its control data know of, by which `pg_rewind` goes.
    pub recorded: TimelineId,
    /// How that timeline came to be.
    pub history: History,
    /// Where the last record of its WAL begins, replayed or not.
    pub last_record: Lsn,
    /// Up to where the segment that holds it, or a byte of it, is known to be valid. `None` where nothing could be read.
    pub read_to: Option<Lsn>,
    /// Whether they are a replica's, by `standby.signal`.
    pub standby: bool,
    /// Whether `pg_rewind` could tell which pages have changed.
    pub rewindable: bool,
    /// The size of a WAL segment in bytes.
    pub segment_size: u64,
}

/// A way back, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejoin {
    /// All that we have, the upstream has, too.
    Stream {
        /// Ours.
        timeline: TimelineId,
        /// Where our last record begins.
        at: Lsn,
        /// The upstream's.
        theirs: TimelineId,
    },
    /// We have what it has not, and go back to where we parted.
    Rewind {
        /// Ours.
        timeline: TimelineId,
        /// Where our last record begins.
        at: Lsn,
        /// Where we parted.
        fork: Switch,
        /// The upstream's.
        theirs: TimelineId,
    },
    /// What we have is of no use.
    Reclone(RecloneReason),
}

/// Why a data directory cannot be made to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecloneReason {
    /// It has diverged, and nobody wrote down which pages have changed.
    NotRewindable(Switch),
    /// It has diverged, and PostgreSQL was killed before it wrote down which timeline it followed.
    NotRecorded {
        /// Where they parted.
        fork: Switch,
        /// The timeline that was written down.
        recorded: TimelineId,
    },
    /// It has diverged, and the upstream no longer has the WAL from there on.
    ForkRemoved {
        /// Where they parted.
        fork: Switch,
        /// Where the oldest WAL of the upstream begins.
        oldest: Lsn,
    },
    /// Its WAL before this is not the upstream's, though their histories agree, by which `pg_rewind` goes.
    OtherWal(Lsn),
    /// It has diverged, and an attempt to rewind it failed.
    RewindFailed(String),
    /// The slot that kept the WAL for us was invalidated.
    SlotLost,
    /// The upstream no longer has the WAL that comes next.
    WalRemoved {
        /// Where our last record begins.
        at: Lsn,
        /// Where the oldest WAL of the upstream begins.
        oldest: Lsn,
    },
}

impl Rejoin {
    /// Chooses the way of a node with these data back to this upstream.
    ///
    /// A position is behind a fork if the last record begins before it: forks are ends of records.
    ///
    /// # Errors
    /// A refusal, where to follow would discard what only this node has, or would leave no primary.
    pub fn choose(
        ours: &Standing,
        upstream: &Upstream,
        identity: &Identity,
        lineage: &Lineage,
    ) -> Result<Rejoin, Refusal> {
        let (timeline, at, theirs) = (ours.timeline, ours.last_record, identity.timeline);
        let upstream = upstream.clone();
        match lineage.other_wal {
            Some(before) if timeline < theirs => return Ok(Rejoin::Reclone(RecloneReason::OtherWal(before))),
            Some(before) => return Err(Refusal::OtherWal { upstream, ours: timeline, at, theirs, before }),
            None => {}
        }
        let Some(fork) = History::fork((&ours.history, timeline), (&lineage.history, theirs)) else {
            return match ours.standby {
                false => Err(Refusal::SameTimeline { upstream, timeline }),
                true if at >= identity.position && !identity.in_recovery => {
                    Err(Refusal::AheadOfUpstream { upstream, timeline, at, theirs: identity.position })
                }
                true => Ok(ours.stream(identity, lineage)),
            };
        };
        let (we_left, they_left) = (timeline != fork.timeline, theirs != fork.timeline);
        // An upstream that is a replica itself may be on its way to where we are.
        let may_follow_us = !they_left && identity.in_recovery && ours.standby;
        if (we_left && may_follow_us) || (!we_left && at < fork.at) {
            return Ok(ours.stream(identity, lineage));
        }
        if we_left && timeline >= theirs {
            return Err(Refusal::NewerTimeline { upstream, ours: timeline, at, theirs, fork });
        }
        Ok(match lineage.oldest_wal.map(|segment| segment.begin(ours.segment_size)) {
            _ if ours.recorded != timeline => {
                Rejoin::Reclone(RecloneReason::NotRecorded { fork, recorded: ours.recorded })
            }
            _ if !ours.rewindable => Rejoin::Reclone(RecloneReason::NotRewindable(fork)),
            // What is rewound is brought forward again by all that followed the fork.
            Some(oldest) if fork.at < oldest => Rejoin::Reclone(RecloneReason::ForkRemoved { fork, oldest }),
            _ => Rejoin::Rewind { timeline, at, fork, theirs },
        })
    }
}

impl Rejoin {
    /// Whether it would cost this node something that the upstream has not.
    #[must_use]
    pub fn discards(&self) -> bool {
        let diverged = |reason: &RecloneReason| {
            matches!(
                reason,
                RecloneReason::NotRewindable(_)
                    | RecloneReason::NotRecorded { .. }
                    | RecloneReason::ForkRemoved { .. }
                    | RecloneReason::OtherWal(_)
            )
        };
        match self {
            Rejoin::Stream { .. } => false,
            Rejoin::Rewind { .. } => true,
            Rejoin::Reclone(reason) => diverged(reason),
        }
    }
}

impl Standing {
    /// What is left to ask where nothing has diverged: whether the WAL from here on is still to be had.
    fn stream(&self, identity: &Identity, lineage: &Lineage) -> Rejoin {
        let at = self.last_record;
        match (identity.slot, lineage.oldest_wal.map(|segment| segment.begin(self.segment_size))) {
            (Slot::Lost, _) => Rejoin::Reclone(RecloneReason::SlotLost),
            (_, Some(oldest)) if at < oldest => Rejoin::Reclone(RecloneReason::WalRemoved { at, oldest }),
            _ => Rejoin::Stream { timeline: self.timeline, at, theirs: identity.timeline },
        }
    }
}

impl fmt::Display for Rejoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejoin::Stream { timeline, at, theirs } if timeline == theirs => {
                write!(f, "streaming: the upstream is on our timeline {timeline}, on which we are at {at}")
            }
            Rejoin::Stream { timeline, theirs, .. } if timeline > theirs => {
                write!(
                    f,
                    "streaming: the upstream is a replica on timeline {theirs}, which may follow to our timeline {timeline}"
                )
            }
            Rejoin::Stream { timeline, at, theirs } => {
                write!(
                    f,
                    "streaming: timeline {timeline} up to {at} is in the history of the upstream's timeline {theirs}"
                )
            }
            Rejoin::Rewind { timeline, at, fork, theirs } => write!(
                f,
                "rewinding: timeline {timeline} goes on to {at}, and the upstream's timeline {theirs} left timeline {} at {}",
                fork.timeline, fork.at
            ),
            Rejoin::Reclone(reason) => write!(f, "re-cloning: {reason}"),
        }
    }
}

impl fmt::Display for RecloneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecloneReason::NotRewindable(fork) => write!(
                f,
                "diverged from timeline {} after {}, and with neither checksums nor wal_log_hints nobody knows which pages \
                 have changed",
                fork.timeline, fork.at
            ),
            RecloneReason::NotRecorded { fork, recorded } => write!(
                f,
                "diverged from timeline {} after {}, and the control data, by which pg_rewind goes, know only of timeline \
                 {recorded}",
                fork.timeline, fork.at
            ),
            RecloneReason::ForkRemoved { fork, oldest } => write!(
                f,
                "diverged from timeline {} after {}, and the upstream has no WAL from before {oldest} to go on from there",
                fork.timeline, fork.at
            ),
            RecloneReason::OtherWal(before) => write!(
                f,
                "the upstream's history is ours, and its WAL before {before} is not, of which pg_rewind knows nothing"
            ),
            RecloneReason::RewindFailed(failure) => write!(f, "an earlier rewind failed: {failure}"),
            RecloneReason::SlotLost => {
                f.write_str("the upstream has invalidated our slot, and with it removed WAL that we lack")
            }
            RecloneReason::WalRemoved { at, oldest } => {
                write!(f, "we are at {at}, and the upstream has no WAL from before {oldest}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal_segment::WalSegment;

    fn standing(timeline: u32, history: &str, last_record: u64) -> Standing {
        Standing {
            timeline: TimelineId(timeline),
            recorded: TimelineId(timeline),
            history: history.parse().unwrap(),
            last_record: Lsn(last_record),
            read_to: None,
            standby: true,
            rewindable: true,
            segment_size: 16 << 20,
        }
    }

    fn upstream(timeline: u32, history: &str, position: u64) -> (Identity, Lineage) {
        let identity = Identity {
            system_identifier: pgherd_probe::SystemIdentifier(7301),
            timeline: TimelineId(timeline),
            position: Lsn(position),
            in_recovery: false,
            major: 17,
            slot: Slot::Kept,
        };
        (identity, Lineage { history: history.parse().unwrap(), oldest_wal: None, other_wal: None })
    }

    fn choose(ours: &Standing, (identity, lineage): &(Identity, Lineage)) -> String {
        match Rejoin::choose(ours, &"demo-1".parse().unwrap(), identity, lineage) {
            Ok(way) => format!("rejoin: {way}"),
            Err(refusal) => format!("refused: {refusal}"),
        }
    }

    #[test]
    fn the_ladder() {
        let primary = |standing: Standing| Standing { standby: false, ..standing };
        let replica = |(identity, lineage)| (Identity { in_recovery: true, ..identity }, lineage);
        let slot = |slot, (identity, lineage)| (Identity { slot, ..identity }, lineage);
        let kept_from = |number, (identity, lineage): (Identity, Lineage)| {
            (
                Identity { slot: Slot::Missing, ..identity },
                Lineage { oldest_wal: Some(WalSegment { high: 0, number }), ..lineage },
            )
        };
        let other = |before, (identity, lineage)| (identity, Lineage { other_wal: Some(Lsn(before)), ..lineage });
        let killed_on = |recorded, standing| Standing { recorded: TimelineId(recorded), ..standing };
        let two = || upstream(2, "1 0/300", 0x500);
        let ways = [
            choose(&standing(1, "", 0x100), &upstream(1, "", 0x200)),
            choose(&standing(1, "", 0x300), &upstream(1, "", 0x200)),
            choose(&standing(1, "", 0x300), &replica(upstream(1, "", 0x200))),
            choose(&primary(standing(1, "", 0x100)), &upstream(1, "", 0x200)),
            choose(&standing(1, "", 0x2a0), &two()),
            choose(&standing(1, "", 0x300), &two()),
            choose(&primary(standing(1, "", 0x400)), &two()),
            choose(&Standing { rewindable: false, ..standing(1, "", 0x400) }, &two()),
            choose(&standing(2, "1 0/300", 0x400), &upstream(1, "", 0x350)),
            choose(&standing(2, "1 0/300", 0x400), &replica(upstream(1, "", 0x300))),
            choose(&standing(2, "1 0/300", 0x400), &upstream(2, "1 0/310", 0x500)),
            choose(&standing(2, "1 0/300", 0x400), &upstream(3, "1 0/310", 0x500)),
            choose(&standing(1, "", 0x100), &slot(Slot::Lost, upstream(1, "", 0x200))),
            choose(&standing(1, "", 0x100), &kept_from(0, upstream(1, "", 0x200))),
            choose(&standing(1, "", 0x100), &kept_from(2, upstream(1, "", 0x200))),
            choose(&standing(1, "", 0x400), &kept_from(2, two())),
            choose(&standing(2, "1 0/300", 0x400), &other(0x400, two())),
            choose(&primary(standing(2, "1 0/300", 0x400)), &other(0x400, two())),
            choose(&standing(2, "1 0/300", 0x600), &other(0x500, two())),
            choose(&standing(2, "1 0/300", 0x400), &other(0x400, upstream(3, "1 0/300\n2 0/700", 0x800))),
            choose(&standing(2, "1 0/300", 0x900), &other(0x700, upstream(3, "1 0/300\n2 0/700", 0x800))),
            choose(&killed_on(1, standing(2, "1 0/300", 0x400)), &two()),
            choose(&killed_on(1, standing(2, "1 0/300", 0x400)), &upstream(1, "", 0x350)),
            choose(&killed_on(1, standing(2, "1 0/300", 0x400)), &upstream(3, "1 0/310", 0x500)),
            choose(&standing(1, "", 0x100), &other(0x100, replica(upstream(1, "", 0x200)))),
        ];
        insta::assert_snapshot!(ways.join("\n"), @r#"
        rejoin: streaming: the upstream is on our timeline 1, on which we are at 0/100
        refused: data directory is on timeline 1 at 0/300, and its primary "demo-1:5432" only at 0/200
        rejoin: streaming: the upstream is on our timeline 1, on which we are at 0/300
        refused: data directory is a primary's, and upstream "demo-1:5432" is on the same timeline 1: nobody was promoted in its place
        rejoin: streaming: timeline 1 up to 0/2A0 is in the history of the upstream's timeline 2
        rejoin: rewinding: timeline 1 goes on to 0/300, and the upstream's timeline 2 left timeline 1 at 0/300
        rejoin: rewinding: timeline 1 goes on to 0/400, and the upstream's timeline 2 left timeline 1 at 0/300
        rejoin: re-cloning: diverged from timeline 1 after 0/300, and with neither checksums nor wal_log_hints nobody knows which pages have changed
        refused: data directory is on timeline 2 at 0/400, and upstream "demo-1:5432" is on timeline 1: they parted on timeline 1 at 0/300
        rejoin: streaming: the upstream is a replica on timeline 1, which may follow to our timeline 2
        refused: data directory is on timeline 2 at 0/400, and upstream "demo-1:5432" is on timeline 2: they parted on timeline 1 at 0/300
        rejoin: rewinding: timeline 2 goes on to 0/400, and the upstream's timeline 3 left timeline 1 at 0/300
        rejoin: re-cloning: the upstream has invalidated our slot, and with it removed WAL that we lack
        rejoin: streaming: the upstream is on our timeline 1, on which we are at 0/100
        rejoin: re-cloning: we are at 0/100, and the upstream has no WAL from before 0/2000000
        rejoin: re-cloning: diverged from timeline 1 after 0/300, and the upstream has no WAL from before 0/2000000 to go on from there
        refused: data directory is on timeline 2 at 0/400, and upstream "demo-1:5432" is on timeline 2: their histories agree, but their WAL before 0/400 does not
        refused: data directory is on timeline 2 at 0/400, and upstream "demo-1:5432" is on timeline 2: their histories agree, but their WAL before 0/400 does not
        refused: data directory is on timeline 2 at 0/600, and upstream "demo-1:5432" is on timeline 2: their histories agree, but their WAL before 0/500 does not
        rejoin: re-cloning: the upstream's history is ours, and its WAL before 0/400 is not, of which pg_rewind knows nothing
        rejoin: re-cloning: the upstream's history is ours, and its WAL before 0/700 is not, of which pg_rewind knows nothing
        rejoin: streaming: the upstream is on our timeline 2, on which we are at 0/400
        refused: data directory is on timeline 2 at 0/400, and upstream "demo-1:5432" is on timeline 1: they parted on timeline 1 at 0/300
        rejoin: re-cloning: diverged from timeline 1 after 0/300, and the control data, by which pg_rewind goes, know only of timeline 1
        refused: data directory is on timeline 1 at 0/100, and upstream "demo-1:5432" is on timeline 1: their histories agree, but their WAL before 0/100 does not
        "#);
    }
}
