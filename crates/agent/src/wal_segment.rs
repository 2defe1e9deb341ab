//! The names of WAL segment files.

use pgherd_probe::{Lsn, TimelineId};

/// Which segment of the WAL, whatever the timeline: the last 16 digits of a file's name, in two numbers.
///
/// <https://www.postgresql.org/docs/17/wal-internals.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalSegment {
    /// The upper half of every position in it.
    pub high: u32,
    /// Which of the segments with that half.
    pub number: u32,
}

impl WalSegment {
    /// The timeline and the segment of a file in `pg_wal`, also of one that a promotion left as `.partial`.
    #[must_use]
    pub fn of_file(name: &str) -> Option<(TimelineId, WalSegment)> {
        let digits = name.strip_suffix(".partial").unwrap_or(name);
        if digits.len() != 24 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let number = |at: usize| u32::from_str_radix(&digits[at..at + 8], 16).ok();
        Some((TimelineId(number(0)?), WalSegment { high: number(8)?, number: number(16)? }))
    }

    /// The name of the file that holds the byte at `position`, where segments have `size` bytes.
    #[must_use]
    pub fn file_at(timeline: TimelineId, position: Lsn, size: u64) -> String {
        format!("{:08X}{:08X}{:08X}", timeline.0, position.0 >> 32, (position.0 & 0xFFFF_FFFF) / size)
    }

    /// Where segments of `size` bytes begin.
    #[must_use]
    pub fn begin(self, size: u64) -> Lsn {
        Lsn((u64::from(self.high) << 32) + u64::from(self.number) * size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_a_segment_begins() {
        let begin = |name| WalSegment::of_file(name).map(|(timeline, segment)| (timeline.0, segment.begin(16 << 20)));
        assert_eq!(begin("000000020000000100000003"), Some((2, Lsn(0x1_0300_0000))));
        assert_eq!(begin("0000000A0000000000000001.partial"), Some((10, Lsn(0x100_0000))));
        for (position, file) in [(0x1_03ff_ffff, "000000020000000100000003"), (0x300_0000, "000000020000000000000003")]
        {
            assert_eq!(WalSegment::file_at(TimelineId(2), Lsn(position), 16 << 20), file);
        }
        for other in ["00000002.history", "archive_status", "", "000000020000000100000003.00000028.backup"] {
            assert_eq!(begin(other), None, "{other}");
        }
    }
}
