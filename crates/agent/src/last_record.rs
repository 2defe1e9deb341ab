//! Where the WAL of a data directory ends, which a crashed server's control data do not say.

use std::path::Path;

use pgherd_probe::Lsn;

use crate::{
    control_data::ControlData,
    error::Error,
    supervise::{Supervisor, Tool},
    wal_segment::WalSegment,
};

/// Where the last record begins, of the newest timeline's WAL in `data_directory`: found by reading on from where the control
/// data stop until a record is not valid, as recovery would.
///
/// # Errors
/// Where `pg_waldump` cannot be run, or a signal asks the agent to end.
pub(crate) fn last_record(
    supervisor: &mut Supervisor,
    data_directory: &Path,
    control: &ControlData,
) -> Result<Lsn, Error> {
    let dump = Tool::new("pg_waldump")
        .args(["--quiet", "--timeline", &control.timeline.to_string(), "--start", &control.position.to_string()])
        .arg("--path")
        .arg(data_directory.join("pg_wal"));
    match supervisor.run(dump) {
        Err(Error::Tool { complaint, .. }) => Ok(end_in(&complaint, control)),
        Err(error) => Err(error),
        // There is always an end at which it complains.
        Ok(_) => Ok(control.position),
    }
}

/// Reads the complaint with which `pg_waldump` ends: which record was the last that it could read, or which file it lacks.
/// Anything else means that it found nothing to read.
fn end_in(complaint: &str, control: &ControlData) -> Lsn {
    let after = |marker: &str| {
        let rest = &complaint[complaint.find(marker)? + marker.len()..];
        rest.split(|c: char| !(c.is_ascii_hexdigit() || c == '/')).next()
    };
    let in_record = after("error in WAL record at ").and_then(|text| text.parse().ok());
    // The record before the first byte of a segment ends there, or begins before it.
    let before_segment = after("could not find file \"")
        .and_then(WalSegment::of_file)
        .map(|(_, segment)| before(segment.begin(control.segment_size)));
    in_record.or(before_segment).unwrap_or_else(|| before(control.position))
}

fn before(position: Lsn) -> Lsn {
    Lsn(position.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use pgherd_probe::{SystemIdentifier, TimelineId};

    use super::*;
    use crate::control_data::ClusterState;

    #[test]
    fn the_end_is_found_in_the_complaint() {
        let control = ControlData {
            system_identifier: SystemIdentifier(1),
            timeline: TimelineId(1),
            state: ClusterState::InProduction,
            position: Lsn(0x300_0028),
            rewindable: true,
            segment_size: 16 << 20,
        };
        for (complaint, last_record) in [
            (
                "pg_waldump: error: error in WAL record at 0/3000148: invalid record length at 0/3000180: expected at least 24, got 0",
                0x300_0148,
            ),
            (
                "pg_waldump: error: could not find file \"000000010000000000000004\": No such file or directory",
                0x3ff_ffff,
            ),
            ("pg_waldump: error: could not find a valid record after 0/3000028", 0x300_0027),
        ] {
            assert_eq!(end_in(complaint, &control), Lsn(last_record), "{complaint}");
        }
    }
}
