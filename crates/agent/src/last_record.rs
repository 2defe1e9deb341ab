//! Where the WAL of a data directory ends, which a crashed server's control data do not say.

use std::{fs, io, path::Path};

use pgherd_probe::Lsn;

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

impl WalEnd {
    fn unread(control: &ControlData) -> WalEnd {
        WalEnd { last_record: before(control.position), read_to: None }
    }

    fn at(position: Lsn) -> WalEnd {
        WalEnd { last_record: before(position), read_to: Some(position) }
    }
}

/// How much of a record is its header, <https://www.postgresql.org/docs/17/wal-internals.html>. Its checksum is of the whole
/// record, and no record is shorter.
const RECORD_HEADER: u64 = 24;

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
    let directory = data_directory.join("pg_wal");
    // For a segment that is not there pg_waldump waits five seconds.
    let end = end_of_segments(&directory, control)?;
    if end <= control.position {
        return Ok(WalEnd::unread(control));
    }
    let dump = Tool::new("pg_waldump")
        .args(["--quiet", "--timeline", &control.timeline.to_string(), "--start", &first_byte(control).to_string()])
        .args(["--end", &end.to_string()])
        .arg("--path")
        .arg(directory);
    match supervisor.run(dump) {
        Err(Error::Tool { complaint, .. }) => Ok(end_in(&complaint, control)),
        Err(error) => Err(error),
        Ok(_) => Ok(WalEnd::at(end)),
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
/// Anything else means that it found nothing to read. What the control data name counts as read by whoever wrote them.
fn end_in(complaint: &str, control: &ControlData) -> WalEnd {
    let after = |marker: &str| {
        let rest = &complaint[complaint.find(marker)? + marker.len()..];
        rest.split(|c: char| !(c.is_ascii_hexdigit() || c == '/')).next()
    };
    let in_record = after("error in WAL record at ").and_then(|text| text.parse().ok());
    let in_record = in_record.map(|at: Lsn| WalEnd { last_record: at, read_to: Some(Lsn(at.0 + RECORD_HEADER)) });
    // The record before the first byte of a segment ends there, or begins before it.
    let before_segment = after("could not find file \"")
        .and_then(WalSegment::of_file)
        .map(|(_, segment)| WalEnd::at(segment.begin(control.segment_size)));
    let found = in_record.or(before_segment).unwrap_or(WalEnd::unread(control));
    WalEnd { last_record: found.last_record.max(before(control.position)), ..found }
}

fn before(position: Lsn) -> Lsn {
    Lsn(position.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use pgherd_probe::{SystemIdentifier, TimelineId};

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
            assert_eq!(end_in(complaint, &CONTROL), end, "{complaint}");
        }
    }
}
