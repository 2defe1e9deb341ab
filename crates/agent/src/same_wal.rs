//! Whether WAL that two nodes have in common by their histories is the same. Histories name no node: those of two promotions
//! at one place are the same to the byte, as are those of a server and of a copy of its volume.

use std::{fs::File, io::Read, path::Path};

use pgherd_probe::{History, Lsn, TimelineId};
use sha2::{Digest, Sha256};

use crate::{observe::Identity, rejoin::Standing, wal_segment::WalSegment};

/// The last that they have in common, as far back as its segment begins.
///
/// One segment is enough: a promotion, a checkpoint and a commit are all stamped with their time, and a server that goes on
/// alone soon writes one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    timeline: TimelineId,
    end: Lsn,
    segment_size: u64,
}

impl Stretch {
    /// Both have it by their histories, we have read it, and they have written it. `None` where that is known of nothing.
    #[must_use]
    pub(crate) fn in_common(ours: &Standing, upstream: &Identity, history: &History) -> Option<Stretch> {
        let fork = History::fork((&ours.history, ours.timeline), (history, upstream.timeline));
        let (timeline, left) = fork.map_or((ours.timeline, None), |fork| (fork.timeline, Some(fork.at)));
        let end = [ours.read_to?, upstream.position].into_iter().chain(left).min()?;
        (end.0 > 0).then_some(Stretch { timeline, end, segment_size: ours.segment_size })
    }

    /// Where it ends.
    #[must_use]
    pub(crate) fn end(self) -> Lsn {
        self.end
    }

    /// Its digest in words of SQL: 64 hexadecimal digits, or nothing where the file is gone. The role that rewinds may ask.
    ///
    /// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-ADMIN-GENFILE>
    #[must_use]
    pub(crate) fn digest_in_sql(self) -> String {
        format!(
            "encode(sha256(pg_read_binary_file('pg_wal/{}', 0, {}, true)), 'hex')",
            self.file(),
            self.end.0 - self.begin()
        )
    }

    /// Its digest here, in the same digits. `None` where it cannot be read.
    #[must_use]
    pub(crate) fn digest_in(self, pg_wal: &Path) -> Option<String> {
        let mut bytes = Vec::new();
        let length = self.end.0 - self.begin();
        File::open(pg_wal.join(self.file())).ok()?.take(length).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 == length).then(|| digest(&bytes))
    }

    fn begin(self) -> u64 {
        (self.end.0 - 1) / self.segment_size * self.segment_size
    }

    fn file(self) -> String {
        WalSegment::file_at(self.timeline, Lsn(self.begin()), self.segment_size)
    }
}

/// As PostgreSQL writes it.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use pgherd_probe::SystemIdentifier;

    use super::*;
    use crate::observe::Slot;

    const SEGMENT: u64 = 16 << 20;

    fn in_common(ours: (u32, &str, Option<u64>), theirs: (u32, &str, u64)) -> Option<(u32, u64)> {
        let ours = Standing {
            timeline: TimelineId(ours.0),
            recorded: TimelineId(ours.0),
            history: ours.1.parse().unwrap(),
            last_record: Lsn(0),
            read_to: ours.2.map(Lsn),
            standby: true,
            rewindable: true,
            segment_size: SEGMENT,
        };
        let upstream = Identity {
            system_identifier: SystemIdentifier(7301),
            timeline: TimelineId(theirs.0),
            position: Lsn(theirs.2),
            in_recovery: false,
            major: 17,
            slot: Slot::Kept,
        };
        let stretch = Stretch::in_common(&ours, &upstream, &theirs.1.parse().unwrap());
        stretch.map(|stretch| (stretch.timeline.0, stretch.end.0))
    }

    #[test]
    fn it_ends_where_the_first_of_three_ends() {
        let two = "1 0/300";
        for (ours, theirs, expected) in [
            // Our WAL, theirs, and the fork.
            ((2, two, Some(0x400)), (2, two, 0x500), Some((2, 0x400))),
            ((2, two, Some(0x600)), (2, two, 0x500), Some((2, 0x500))),
            ((1, "", Some(0x400)), (2, two, 0x500), Some((1, 0x300))),
            ((2, two, Some(0x800)), (3, "1 0/300\n2 0/700", 0x900), Some((2, 0x700))),
            ((1, "", Some(0x200)), (2, two, 0x500), Some((1, 0x200))),
            ((2, two, None), (2, two, 0x500), None),
            // Histories without a common beginning.
            ((2, two, Some(0x400)), (3, "2 0/500", 0x600), None),
        ] {
            assert_eq!(in_common(ours, theirs), expected, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn it_is_in_the_file_of_its_last_byte() {
        let directory = tempfile::tempdir().unwrap();
        for (end, file, length) in [
            (0x1_0300_0028, "000000020000000100000003", 0x28),
            (0x1_0300_0000, "000000020000000100000002", SEGMENT),
            (1, "000000020000000000000000", 1),
        ] {
            let stretch = Stretch { timeline: TimelineId(2), end: Lsn(end), segment_size: SEGMENT };
            assert_eq!(stretch.file(), file);
            let (timeline, segment) = WalSegment::of_file(file).unwrap();
            assert_eq!((timeline.0, segment.begin(SEGMENT).0), (2, end - length));
            assert_eq!(stretch.digest_in(directory.path()), None, "there is no such file");
            let mut content = vec![7; usize::try_from(length).unwrap()];
            let expected = digest(&content);
            content.extend([8; 3]);
            std::fs::write(directory.path().join(file), &content).unwrap();
            assert_eq!(stretch.digest_in(directory.path()), Some(expected), "what follows does not count");
            std::fs::write(directory.path().join(file), "").unwrap();
            assert_eq!(stretch.digest_in(directory.path()), None, "it is too short");
        }
        let stretch = Stretch { timeline: TimelineId(2), end: Lsn(0x300_0148), segment_size: SEGMENT };
        insta::assert_snapshot!(stretch.digest_in_sql(), @"encode(sha256(pg_read_binary_file('pg_wal/000000020000000000000003', 0, 328, true)), 'hex')");
    }
}
