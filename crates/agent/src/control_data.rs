//! What `pg_control` says about a data directory, read through the text of `pg_controldata`.

use std::{fmt, str::FromStr};

use pgherd_probe::{Lsn, SystemIdentifier, TimelineId};

/// The facts of a `pg_control` file that a decision rests on.
///
/// <https://www.postgresql.org/docs/17/app-pgcontroldata.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlData {
    /// Whose data these are.
    pub system_identifier: SystemIdentifier,
    /// The newest timeline that its data are known to have reached: that of the latest checkpoint, or of the end of recovery
    /// that a promotion wrote before its first checkpoint.
    pub timeline: TimelineId,
    /// How the directory was left.
    pub state: ClusterState,
    /// A place in [`Self::timeline`] up to which its WAL is there for sure: the latest checkpoint, or the end of what was
    /// replayed.
    pub position: Lsn,
    /// Whether pages can be told apart that changed since a fork: by checksums or `wal_log_hints`, as `pg_rewind` wants it.
    pub rewindable: bool,
    /// The size of a WAL segment in bytes.
    pub segment_size: u64,
}

/// How a data directory was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// A primary, cleanly.
    ShutDown,
    /// A replica, cleanly.
    ShutDownInRecovery,
    /// Running now, or killed: a primary.
    InProduction,
    /// Running now, or killed: a replica, or a clone that never started.
    InArchiveRecovery,
    /// On its way from one of these to another.
    InBetween,
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClusterState::ShutDown => "shut down",
            ClusterState::ShutDownInRecovery => "shut down in recovery",
            ClusterState::InProduction => "in production",
            ClusterState::InArchiveRecovery => "in archive recovery",
            ClusterState::InBetween => "starting up or shutting down",
        })
    }
}

/// A text in which `pg_controldata` does not say what is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no valid \"{0}\" in the output of pg_controldata")]
pub struct ParseControlDataError(&'static str);

impl FromStr for ControlData {
    type Err = ParseControlDataError;

    /// Reads the output of `pg_controldata` under `LC_ALL=C`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = |label: &'static str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(found, _)| *found == label)
                .map(|(_, value)| value.trim())
                .ok_or(ParseControlDataError(label))
        };
        const IDENTIFIER: &str = "Database system identifier";
        const STATE: &str = "Database cluster state";
        fn number<T: FromStr>(label: &'static str, text: &str) -> Result<T, ParseControlDataError> {
            text.parse().map_err(|_| ParseControlDataError(label))
        }
        let place = |timeline: &'static str, position: &'static str| {
            let timeline: u32 = number(timeline, value(timeline)?)?;
            Ok((TimelineId(timeline), number::<Lsn>(position, value(position)?)?))
        };
        let checkpoint = place("Latest checkpoint's TimeLineID", "Latest checkpoint location")?;
        let replayed = place("Min recovery ending loc's timeline", "Minimum recovery ending location")?;
        let (timeline, position) = checkpoint.max(replayed);
        Ok(ControlData {
            system_identifier: number(IDENTIFIER, value(IDENTIFIER)?)?,
            timeline,
            position,
            rewindable: value("Data page checksum version")? != "0" || value("wal_log_hints setting")? == "on",
            segment_size: number("Bytes per WAL segment", value("Bytes per WAL segment")?)?,
            state: match value(STATE)? {
                "shut down" => ClusterState::ShutDown,
                "shut down in recovery" => ClusterState::ShutDownInRecovery,
                "in production" => ClusterState::InProduction,
                "in archive recovery" => ClusterState::InArchiveRecovery,
                "starting up" | "shutting down" | "in crash recovery" => ClusterState::InBetween,
                _ => return Err(ParseControlDataError(STATE)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OUTPUT: &str = "\
pg_control version number:            1700
Catalog version number:               202406281
Database system identifier:           7711465481869942929
Database cluster state:               shut down in recovery
pg_control last modified:             Mon Nov 23 20:24:32 2026
Latest checkpoint location:           0/1749828
Latest checkpoint's REDO location:    0/1749828
Latest checkpoint's TimeLineID:       3
Latest checkpoint's PrevTimeLineID:   2
Latest checkpoint's oldestCommitTsXid:0
Minimum recovery ending location:     0/17498A0
Min recovery ending loc's timeline:   3
wal_log_hints setting:                on
Bytes per WAL segment:                16777216
Data page checksum version:           0
";

    #[test]
    fn the_facts_are_found() {
        assert_eq!(
            OUTPUT.parse(),
            Ok(ControlData {
                system_identifier: SystemIdentifier(7_711_465_481_869_942_929),
                timeline: TimelineId(3),
                state: ClusterState::ShutDownInRecovery,
                position: Lsn(0x174_98a0),
                rewindable: true,
                segment_size: 16 << 20,
            })
        );
    }

    #[test]
    fn the_newest_timeline_counts_and_checksums_do_as_well_as_hints() {
        let control = |old: &str, new: &str| OUTPUT.replace(old, new).parse::<ControlData>().unwrap();
        let promoted = control("loc's timeline:   3", "loc's timeline:   4");
        assert_eq!((promoted.timeline, promoted.position), (TimelineId(4), Lsn(0x174_98a0)));
        let primary = OUTPUT.replace("0/17498A0", "0/0").replace("loc's timeline:   3", "loc's timeline:   0");
        let primary = primary.parse::<ControlData>().unwrap();
        assert_eq!((primary.timeline, primary.position), (TimelineId(3), Lsn(0x174_9828)));
        assert!(!control("setting:                on", "setting:                off").rewindable);
        let summed = OUTPUT.replace("setting:                on", "setting:                off");
        assert!(
            summed
                .replace("checksum version:           0", "checksum version:           1")
                .parse::<ControlData>()
                .unwrap()
                .rewindable
        );
    }

    #[test]
    fn a_missing_or_strange_value_is_named() {
        let complaint = |text: &str| text.parse::<ControlData>().unwrap_err().to_string();
        insta::assert_snapshot!(complaint(""), @r#"no valid "Latest checkpoint's TimeLineID" in the output of pg_controldata"#);
        insta::assert_snapshot!(complaint(&OUTPUT.replace("TimeLineID:       3", "TimeLineID:       x")),
            @r#"no valid "Latest checkpoint's TimeLineID" in the output of pg_controldata"#);
        insta::assert_snapshot!(complaint(&OUTPUT.replace("shut down in recovery", "unrecognized status code")),
            @r#"no valid "Database cluster state" in the output of pg_controldata"#);
    }

    proptest! {
        #[test]
        fn any_text_is_control_data_or_an_error(text in ".*") {
            let _ = text.parse::<ControlData>();
        }
    }
}
