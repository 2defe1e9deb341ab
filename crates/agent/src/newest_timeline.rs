//! Which timeline the WAL of a data directory is on, which its control data may not know yet.

use std::{io, path::Path};

use pgherd_probe::{History, ParseHistoryError, TimelineId};

use crate::{control_data::ControlData, error::Error, last_record::end_of_segments, observe::read_if_there};

/// The control data as they will be once they know of the newest timeline whose WAL is there, and the history of that.
///
/// A replica writes them now and then. One that is killed has received and replayed more, and goes on with all of it at its
/// next start, whoever is its upstream by then: PostgreSQL takes the newest timeline for which it finds a history file
/// (<https://www.postgresql.org/docs/17/runtime-config-wal.html#GUC-RECOVERY-TARGET-TIMELINE>).
///
/// # Errors
/// Where something is there and cannot be read.
pub(crate) fn newest_timeline(pg_wal: &Path, control: &ControlData) -> Result<(ControlData, History), Error> {
    let mut newest = (*control, read_history(pg_wal, control.timeline)?.unwrap_or_default());
    for timeline in (control.timeline.0 + 1..).map(TimelineId) {
        let Some(history) = read_history(pg_wal, timeline)? else { break };
        let Some(begin) = history.last() else { break };
        let child = ControlData { timeline, position: begin.at, ..*control };
        let follows = history.switch_from(control.timeline).is_some_and(|left| left >= control.position);
        if follows && end_of_segments(pg_wal, &child)? > child.position {
            newest = (child, history);
        }
    }
    Ok(newest)
}

fn read_history(pg_wal: &Path, timeline: TimelineId) -> Result<Option<History>, Error> {
    let file = pg_wal.join(format!("{:08X}.history", timeline.0));
    let Some(text) = read_if_there(&file)? else { return Ok(None) };
    let history = text.parse().map_err(|error: ParseHistoryError| io::Error::new(io::ErrorKind::InvalidData, error));
    history.map(Some).map_err(Error::doing(format!("read \"{}\"", file.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pgherd_probe::{Lsn, SystemIdentifier};

    use super::*;
    use crate::control_data::ClusterState;

    #[test]
    fn it_is_the_newest_that_grew_out_of_what_is_there_and_has_wal() {
        let control = ControlData {
            system_identifier: SystemIdentifier(7301),
            timeline: TimelineId(1),
            state: ClusterState::InArchiveRecovery,
            position: Lsn(0x300_0028),
            rewindable: true,
            segment_size: 16 << 20,
        };
        let pg_wal = tempfile::tempdir().unwrap();
        let newest = || {
            let (control, history) = newest_timeline(pg_wal.path(), &control).unwrap();
            (control.timeline.0, control.position.0, history.last().map(|switch| switch.at.0))
        };
        let known = (1, 0x300_0028, None);
        assert_eq!(newest(), known);
        for (file, text, expected) in [
            ("000000010000000000000003", "", known),
            ("00000002.history", "1\t0/4000100\tno recovery target specified\n", known),
            ("000000020000000000000003", "", known),
            ("000000020000000000000004", "", (2, 0x400_0100, Some(0x400_0100))),
            ("00000003.history", "1\t0/3000020\n", (2, 0x400_0100, Some(0x400_0100))),
            ("000000030000000000000003", "", (2, 0x400_0100, Some(0x400_0100))),
            ("00000004.history", "1\t0/4000100\n2\t0/4000200\n", (2, 0x400_0100, Some(0x400_0100))),
            ("000000040000000000000004", "", (4, 0x400_0200, Some(0x400_0200))),
            ("00000006.history", "1\t0/4000100\n", (4, 0x400_0200, Some(0x400_0200))),
        ] {
            fs::write(pg_wal.path().join(file), text).unwrap();
            assert_eq!(newest(), expected, "{file}");
        }
        fs::write(pg_wal.path().join("00000005.history"), "1\n").unwrap();
        assert!(newest_timeline(pg_wal.path(), &control).unwrap_err().to_string().contains("00000005.history"));
    }
}
