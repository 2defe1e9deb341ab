//! Where the WAL of a data directory ends, which a crashed server's control data do not say.

use std::{fs, io, path::Path};

use pgherd_probe::{Lsn, TimelineId};

use crate::{
    control_data::ControlData,
    error::Error,
    supervise::{Supervisor, Tool},
    wal_segment::WalSegment,
};

/// The end of a timeline's WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalEnd {
    /// Where the last record begins, or a byte of it.
    pub last_record: Lsn,
    /// Up to where all that is in the last segment was read and is valid. `None` where nothing could be read.
    pub read_to: Option<Lsn>,
}

/// What reading on from the control data comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    /// Nothing could be read: why.
    Nothing(String),
    /// This is the last record that is valid: where it begins.
    Record(Lsn),
    /// All segments hold nothing else: where the last of them ends.
    Segments(Lsn),
}

impl WalEnd {
    /// What the control data name counts as read by whoever wrote them.
    fn of(reading: &Reading, control: &ControlData) -> WalEnd {
        let (last_record, read_to) = match reading {
            Reading::Nothing(_) => (Lsn(0), None),
            Reading::Record(at) => (*at, Some(Lsn(at.0 + RECORD_HEADER))),
            Reading::Segments(end) => (before(*end), Some(*end)),
        };
        WalEnd { last_record: last_record.max(before(control.position)), read_to }
    }
}

/// How much of a record is its header, <https://www.postgresql.org/docs/17/wal-internals.html>. Its checksum is of the whole
/// record, and no record is shorter.
const RECORD_HEADER: u64 = 24;

/// How much of a page of WAL is its header: of most, and of the first of a segment.
const PAGE_HEADER: u64 = 24;
const LONG_PAGE_HEADER: u64 = 40;

/// The size of a page of WAL, as Debian and everybody else compiles it.
const PAGE: u64 = 8192;

/// Where the newest timeline's WAL in `data_directory` ends: found by reading on from the segment in which the control data
/// stop until a record is not valid, as recovery would.
///
/// # Errors
/// Where `pg_waldump` cannot be run, or a signal asks the agent to end.
pub(crate) fn wal_end(
    supervisor: &mut Supervisor,
    data_directory: &Path,
    control: &ControlData,
) -> Result<WalEnd, Error> {
    Ok(WalEnd::of(&read_on(supervisor, &data_directory.join("pg_wal"), control)?, control))
}

/// Where the record would begin that comes next, by the same reading: nothing from there on was ever whole on this disk. The inner
/// error is why that cannot be told.
///
/// # Errors
/// As of [`wal_end`].
pub(crate) fn end_of_wal(
    supervisor: &mut Supervisor,
    data_directory: &Path,
    control: &ControlData,
) -> Result<Result<Lsn, String>, Error> {
    let directory = data_directory.join("pg_wal");
    let end = match read_on(supervisor, &directory, control)? {
        Reading::Nothing(complaint) => return Ok(Err(complaint)),
        Reading::Segments(end) => end,
        Reading::Record(at) => {
            let stop = end_of_segments(&directory, control)?;
            let dump = pg_waldump(&directory, control.timeline, (at, stop), control.segment_size);
            let record = supervisor.run(dump.args(["--limit", "1"]))?;
            let Some(end) = end_of_record(at, &record, control.segment_size) else {
                return Ok(Err(format!("a strange record at {at}: {}", record.trim_end())));
            };
            end
        }
    };
    Ok(if end < control.position { Err(format!("no valid record from {end} on")) } else { Ok(end) })
}

fn read_on(supervisor: &mut Supervisor, directory: &Path, control: &ControlData) -> Result<Reading, Error> {
    let end = end_of_segments(directory, control)?;
    if end <= control.position {
        return Ok(Reading::Nothing("its segment is not there".to_owned()));
    }
    let dump = pg_waldump(directory, control.timeline, (first_byte(control), end), control.segment_size);
    match supervisor.run(dump.arg("--quiet")) {
        Err(Error::Tool { complaint, .. }) => Ok(complained(&complaint, control)),
        Err(error) => Err(error),
        Ok(_) => Ok(Reading::Segments(end)),
    }
}

/// A dump of what begins and ends in between. For a segment that is not there it waits five seconds.
///
/// It is given its first and last file, because otherwise it learns the size of a segment from any file in the directory, and ends
/// where that is one that PostgreSQL has made for later, full of zeros.
///
/// <https://www.postgresql.org/docs/17/pgwaldump.html>
pub(crate) fn pg_waldump(directory: &Path, timeline: TimelineId, (start, end): (Lsn, Lsn), segment_size: u64) -> Tool {
    let [first, last] = [start, before(end)].map(|at| WalSegment::file_at(timeline, at, segment_size));
    let bounds = ["--start".to_owned(), start.to_string(), "--end".to_owned(), end.to_string()];
    Tool::new("pg_waldump").arg("--path").arg(directory).args(bounds).args([first, last])
}

/// Where a record that begins at `at` ends, read from `pg_waldump`'s line of it: after as many bytes as it says, with the headers of
/// the pages that it goes over, and then at the next multiple of eight. One that asks for a new segment takes the rest of the old.
///
/// `XLogDecodeNextRecord` in <https://git.postgresql.org/gitweb/?p=postgresql.git;f=src/backend/access/transam/xlogreader.c>
fn end_of_record(at: Lsn, line: &str, segment_size: u64) -> Option<Lsn> {
    let (_, after) = line.split_once("len (rec/tot):")?;
    let (_, total) = after.split(',').next()?.split_once('/')?;
    if line.contains("desc: SWITCH") {
        return Some(Lsn((at.0 / segment_size + 1) * segment_size));
    }
    let mut left: u64 = total.trim().parse().ok()?;
    let mut end = at.0;
    loop {
        let next_page = (end / PAGE + 1) * PAGE;
        if left <= next_page - end {
            return Some(Lsn((end + left).next_multiple_of(8)));
        }
        left -= next_page - end;
        end = next_page + if next_page.is_multiple_of(segment_size) { LONG_PAGE_HEADER } else { PAGE_HEADER };
    }
}

/// Where the segment begins that holds what the control data name.
fn first_byte(control: &ControlData) -> Lsn {
    Lsn(control.position.0 / control.segment_size * control.segment_size)
}

/// Where the last of the segments ends that follow one another from the position on; at or before it, where there are none.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn end_of_segments(directory: &Path, control: &ControlData) -> io::Result<Lsn> {
    let size = control.segment_size;
    let mut begins = Vec::new();
    for file in fs::read_dir(directory)? {
        match WalSegment::of_file(&file?.file_name().to_string_lossy()) {
            Some((timeline, segment)) if timeline == control.timeline => begins.push(segment.begin(size).0),
            _ => {}
        }
    }
    begins.sort_unstable();
    Ok(Lsn(begins.into_iter().fold(first_byte(control).0, |end, begin| if begin == end { end + size } else { end })))
}

/// Reads the complaint with which `pg_waldump` ends: which record was the last that it could read, or which file it lacks.
/// Anything else means that it found nothing to read.
fn complained(complaint: &str, control: &ControlData) -> Reading {
    let after = |marker: &str| {
        let rest = &complaint[complaint.find(marker)? + marker.len()..];
        rest.split(|c: char| !(c.is_ascii_hexdigit() || c == '/')).next()
    };
    let record = after("error in WAL record at ").and_then(|text| text.parse().ok()).map(Reading::Record);
    // The record before the first byte of a segment ends there, or begins before it.
    let segments = || {
        let (_, segment) = after("could not find file \"").and_then(WalSegment::of_file)?;
        Some(Reading::Segments(segment.begin(control.segment_size)))
    };
    record.or_else(segments).unwrap_or_else(|| Reading::Nothing(complaint.to_owned()))
}

fn before(position: Lsn) -> Lsn {
    Lsn(position.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use pgherd_probe::SystemIdentifier;

    use super::*;
    use crate::control_data::ClusterState;

    const CONTROL: ControlData = ControlData {
        system_identifier: SystemIdentifier(1),
        timeline: TimelineId(1),
        state: ClusterState::InProduction,
        position: Lsn(0x300_0028),
        rewindable: true,
        segment_size: 16 << 20,
    };

    #[test]
    fn segments_that_follow_one_another_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let end = || end_of_segments(directory.path(), &CONTROL).unwrap();
        assert_eq!(end(), Lsn(0x300_0000));
        for (name, expected) in [
            ("000000010000000000000002", 0x300_0000),
            ("000000020000000000000003", 0x300_0000),
            ("000000010000000000000003", 0x400_0000),
            ("000000010000000000000005", 0x400_0000),
            ("000000010000000000000004", 0x600_0000),
        ] {
            fs::write(directory.path().join(name), "").unwrap();
            assert_eq!(end(), Lsn(expected), "{name}");
        }
    }

    #[test]
    fn the_end_is_found_in_the_complaint() {
        for (complaint, last_record, read_to) in [
            (
                "pg_waldump: error: error in WAL record at 0/3000148: invalid record length at 0/3000180: expected at least 24, got 0",
                0x300_0148,
                Some(0x300_0160),
            ),
            (
                "pg_waldump: error: could not find file \"000000010000000000000004\": No such file or directory",
                0x3ff_ffff,
                Some(0x400_0000),
            ),
            ("pg_waldump: error: could not find a valid record after 0/3000000", 0x300_0027, None),
            // What a rewind has copied while it was being written to.
            ("pg_waldump: error: error in WAL record at 0/3000000: invalid magic number", 0x300_0027, Some(0x300_0018)),
        ] {
            let end = WalEnd { last_record: Lsn(last_record), read_to: read_to.map(Lsn) };
            assert_eq!(WalEnd::of(&complained(complaint, &CONTROL), &CONTROL), end, "{complaint}");
        }
    }

    #[test]
    fn a_record_ends_after_its_length_and_the_headers_in_between() {
        let end = |at, total: &str, what| {
            let line =
                format!("rmgr: XLOG  len (rec/tot):     50/ {total:>5}, tx: 0, lsn: 0/0, prev 0/0, desc: {what}");
            end_of_record(Lsn(at), &line, 16 << 20).map(|end| end.0)
        };
        for (at, total, expected) in [
            (0x300_0028, "114", 0x300_00a0),
            (0x300_0028, "120", 0x300_00a0),
            // To the last byte of a page, and over it.
            (0x300_1fd0, "48", 0x300_2000),
            (0x300_1fd0, "50", 0x300_2020),
            (0x300_1fd0, "8228", 0x300_4028),
            // Into the next segment.
            (0x3ff_ffd0, "50", 0x400_0030),
        ] {
            assert_eq!(end(at, total, "CHECKPOINT_SHUTDOWN redo 0/3000028"), Some(expected), "{total} at {at:X}");
        }
        assert_eq!(end(0x300_0028, "24", "SWITCH "), Some(0x400_0000));
        assert_eq!(end(0x300_0028, "x", ""), None);
        assert_eq!(end_of_record(Lsn(0), "", 16 << 20), None);
    }
}
