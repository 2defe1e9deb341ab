//! How far a clone is, as pg_basebackup tells it, and what that means for the room on the node's disk.

use std::fmt;

/// A number of bytes, in PostgreSQL's units, which are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20)];
        match UNITS.into_iter().find(|(_, unit)| self.0 >= *unit) {
            Some((name @ "MB", unit)) => write!(f, "{} {name}", self.0 / unit),
            Some((name, unit)) => write!(f, "{}.{} {name}", self.0 / unit, self.0 % unit * 10 / unit),
            None => write!(f, "{} kB", self.0.div_ceil(1024)),
        }
    }
}

/// A line of `pg_basebackup --progress`, <https://www.postgresql.org/docs/17/app-pgbasebackup.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What has come.
    pub done: Bytes,
    /// What the upstream announced, or what has come where that is more. WAL is not in it.
    pub total: Bytes,
    /// How many tablespaces have come whole; the data directory is the last of them.
    pub tablespaces_done: u32,
    /// How many there are, the data directory among them.
    pub tablespaces: u32,
}

impl Progress {
    /// Reads `  60428/2111661 kB (2%), 2/3 tablespaces`. Other lines are none.
    pub(crate) fn parse(line: &str) -> Option<Progress> {
        let (sizes, rest) = line.trim().split_once(" kB (")?;
        let (done, total) = sizes.split_once('/')?;
        let (_, tablespaces) = rest.split_once("%), ")?;
        let (tablespaces_done, rest) = tablespaces.split_once('/')?;
        let (tablespaces, _) = rest.split_once(" tablespace")?;
        let bytes = |text: &str| Some(Bytes(text.parse::<u64>().ok()?.checked_mul(1024)?));
        Some(Progress {
            done: bytes(done)?,
            total: bytes(total)?,
            tablespaces_done: tablespaces_done.parse().ok()?,
            tablespaces: tablespaces.parse().ok()?,
        })
    }

    /// How much of a hundred has come.
    pub(crate) fn percent(&self) -> u64 {
        let share = u128::from(self.done.0) * 100 / u128::from(self.total.0.max(1));
        u64::try_from(share).unwrap_or(100).min(100)
    }

    /// Whether all files are here, so that only WAL can follow.
    pub(crate) fn has_all_files(&self) -> bool {
        self.tablespaces_done >= self.tablespaces
    }

    /// The room that the rest of the clone takes at least: at its beginning a sixteenth more than what is announced and 64 MB,
    /// for what the upstream writes meanwhile and for the WAL, which comes in segments of 16 MB; later, where part of that
    /// has been used, one segment.
    pub(crate) fn room_needed(&self, begins: bool) -> Bytes {
        let left = self.total.0.saturating_sub(self.done.0);
        Bytes(left.saturating_add(if begins { self.total.0 / 16 + (64 << 20) } else { WAL_SEGMENT }))
    }
}

/// The default size of a WAL segment in bytes, <https://www.postgresql.org/docs/17/app-initdb.html>.
pub(crate) const WAL_SEGMENT: u64 = 16 << 20;

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, {} %", self.done, self.total, self.percent())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read() {
        let read = |line| Progress::parse(line).map(|progress| progress.to_string());
        for (line, told) in [
            ("     67/2111661 kB (0%), 0/3 tablespaces", "67 kB of 2.0 GB, 0 %"),
            ("  60428/2111661 kB (2%), 2/3 tablespaces", "59 MB of 2.0 GB, 2 %"),
            ("2111674/2111674 kB (100%), 1/1 tablespace", "2.0 GB of 2.0 GB, 100 %"),
            ("0/0 kB (0%), 0/1 tablespace", "0 kB of 0 kB, 0 %"),
        ] {
            assert_eq!(read(line).as_deref(), Some(told), "{line}");
        }
        for line in [
            "",
            "waiting for checkpoint",
            "1/2 kB",
            "-1/2 kB (0%), 0/1 tablespace",
            "1/99999999999999999 kB (0%), 0/1 tablespace",
            "pg_basebackup: error: could not read COPY data: server closed the connection unexpectedly",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn wal_needs_room_too() {
        let progress = |done: u64, total: u64| Progress {
            done: Bytes(done << 20),
            total: Bytes(total << 20),
            tablespaces_done: 0,
            tablespaces: 1,
        };
        assert_eq!(progress(0, 1600).room_needed(true), Bytes(1764 << 20));
        assert_eq!(progress(600, 1600).room_needed(false), Bytes(1016 << 20));
        assert_eq!(progress(1600, 1600).room_needed(false), Bytes(16 << 20));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(line in any::<String>(), done: u64, total: u64) {
            let _ = Progress::parse(&line);
            let line = format!("{done}/{total} kB (7%), 1/2 tablespaces");
            if let Some(progress) = Progress::parse(&line) {
                prop_assert!(progress.percent() <= 100);
                let _ = progress.room_needed(true);
            }
        }
    }
}
