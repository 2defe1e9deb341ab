//! Whether a replica has everything of an upstream that was shut down.
//!
//! The last thing that a primary writes is the record of its shutdown, and it waits until its replicas have it
//! (<https://www.postgresql.org/docs/17/server-shutdown.html>). A replica that has replayed that record, and no more, lacks nothing.
//! Whether the upstream has run again since, while this replica could not reach it, only somebody else can know.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use pgherd_probe::{Lsn, TimelineId};
use serde::Deserialize;

use crate::{
    error::Error, last_record::pg_waldump, layout::Layout, session::Session, spec::NodeSpec, supervise::Supervisor,
    wal_segment::WalSegment,
};

/// Between two looks: the time until the replica takes writes is what users see.
const INTERVAL: Duration = Duration::from_millis(5);

/// More than the record of a shutdown takes, with what else a page may hold between its halves.
const LOOK_BACK_BYTES: u64 = 512;

/// <https://www.postgresql.org/docs/17/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL>
const QUESTION: &str = "\
SELECT (SELECT status FROM pg_stat_wal_receiver) AS receiver,
    pg_last_wal_receive_lsn() AS received, pg_last_wal_replay_lsn() AS replayed,
    (SELECT bytes_per_wal_segment FROM pg_control_init()) AS segment_size";

/// How far a replica has come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Progress {
    receiver: Option<String>,
    received: Option<Lsn>,
    replayed: Option<Lsn>,
    segment_size: u64,
}

impl Progress {
    /// Up to where everything that came was replayed, now that nothing comes any more; or what there is instead.
    fn end(&self) -> Result<Lsn, String> {
        match (&self.receiver, self.received, self.replayed) {
            (Some(status), ..) => Err(format!("its walreceiver is {status}")),
            (None, Some(received), Some(replayed)) if received > replayed => {
                Err(format!("WAL was received up to {received} and replayed up to {replayed}"))
            }
            (None, _, Some(replayed)) => Ok(replayed),
            (None, _, None) => Err("no WAL was replayed".to_owned()),
        }
    }
}

/// Waits for `bound` until this replica has everything; with no time to wait, it looks once.
///
/// # Errors
/// At the bound: what was seen last.
pub(crate) fn wait(
    session: &mut Session,
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
    bound: Duration,
) -> Result<(), Error> {
    let deadline = Instant::now() + bound;
    let mut read = None;
    loop {
        let Err(last_seen) = look(session, layout, supervisor, &mut read)? else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(Error::NotCaughtUp { node: spec.node.clone(), milliseconds: bound.as_millis(), last_seen });
        }
        supervisor.pause(INTERVAL)?;
    }
}

/// Looks once; the inner error is what is lacking. `read` is the last record that was read, and where it ends.
fn look(
    session: &mut Session,
    layout: &Layout,
    supervisor: &mut Supervisor,
    read: &mut Option<(Lsn, String)>,
) -> Result<Result<(), String>, Error> {
    let progress: Progress = session.ask(QUESTION)?;
    let end = match progress.end() {
        Ok(end) => end,
        Err(seen) => return Ok(Err(seen)),
    };
    let record = match read.take() {
        Some((at, record)) if at == end => record,
        _ => last_record(supervisor, layout, end, progress.segment_size)?,
    };
    let is_shutdown = is_shutdown(&record);
    let (_, record) = read.insert((end, record));
    if !is_shutdown {
        return Ok(Err(format!("the last record before {end} is no shutdown: {record}")));
    }
    // More may have come while the record was read.
    let now = session.ask::<Progress>(QUESTION)?;
    Ok(if now == progress { Ok(()) } else { Err("there was a shutdown, and WAL goes on".to_owned()) })
}

fn is_shutdown(record: &str) -> bool {
    record.contains("desc: CHECKPOINT_SHUTDOWN ")
}

/// The last record that ends before or at `end`, in words of `pg_waldump`, or its complaint.
///
/// # Errors
/// Where it cannot be run, or a signal asks the agent to end.
fn last_record(supervisor: &mut Supervisor, layout: &Layout, end: Lsn, segment_size: u64) -> Result<String, Error> {
    let directory = layout.data().join("pg_wal");
    let (timeline, starts) = look_back(&directory, end, segment_size)?;
    let mut complaint = "none, its segment is gone".to_owned();
    for start in starts {
        match supervisor.run(pg_waldump(&directory, timeline, (start, end), segment_size)) {
            Ok(records) => return Ok(records.lines().next_back().unwrap_or("none").to_owned()),
            Err(Error::Tool { complaint: said, .. }) => complaint = said,
            Err(error) => return Err(error),
        }
    }
    Ok(complaint)
}

/// The timeline that was replayed, which is the newest of those with the segment that holds the byte before `end`, and where to begin to
/// read: a little before `end`. Not in the segment before, as long as a record begins in this one, because there may be nothing at the
/// end of that, when it was left for this one before it was full.
///
/// # Errors
/// Whatever the file system says.
fn look_back(pg_wal: &Path, end: Lsn, segment_size: u64) -> io::Result<(TimelineId, Vec<Lsn>)> {
    let begin_of = |position: u64| Lsn(position / segment_size * segment_size);
    let begin = begin_of(end.0.saturating_sub(1));
    let start = Lsn(end.0.saturating_sub(LOOK_BACK_BYTES));
    let mut segments = Vec::new();
    for file in fs::read_dir(pg_wal)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let segment = WalSegment::of_file(&name).filter(|_| !name.ends_with(".partial"));
        segments.extend(segment.map(|(timeline, segment)| (segment.begin(segment_size), timeline)));
    }
    let timelines = segments.iter().filter(|(found, _)| *found == begin).map(|(_, timeline)| *timeline);
    let Some(timeline) = timelines.max() else { return Ok((TimelineId(0), Vec::new())) };
    let before = Some(start).filter(|start| *start < begin && segments.contains(&(begin_of(start.0), timeline)));
    Ok((timeline, [start.max(begin)].into_iter().chain(before).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_to_come_and_all_that_came_is_replayed() {
        for (json, expected) in [
            (r#""receiver":"streaming","received":"0/3000100","replayed":"0/3000100""#, "its walreceiver is streaming"),
            (
                r#""receiver":null,"received":"0/3000100","replayed":"0/30000A0""#,
                "WAL was received up to 0/3000100 and replayed up to 0/30000A0",
            ),
            (r#""receiver":null,"received":"0/3000100","replayed":"0/3000100""#, "0/3000100"),
            // A segment that is received anew.
            (r#""receiver":null,"received":"0/3000000","replayed":"0/3000100""#, "0/3000100"),
            (r#""receiver":null,"received":null,"replayed":"0/3000100""#, "0/3000100"),
            (r#""receiver":null,"received":null,"replayed":null"#, "no WAL was replayed"),
        ] {
            let progress: Progress = serde_json::from_str(&format!("{{{json},\"segment_size\":16777216}}")).unwrap();
            assert_eq!(progress.end().map_or_else(|seen| seen, |end| end.to_string()), expected);
        }
    }

    #[test]
    fn a_shutdown_is_told_from_other_checkpoints() {
        let record = |what| {
            format!(
                "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/03000028, prev 0/02000110, desc: {what}"
            )
        };
        assert!(is_shutdown(&record("CHECKPOINT_SHUTDOWN redo 0/3000028; tli 1; prev tli 1; fpw true")));
        assert!(!is_shutdown(&record("CHECKPOINT_ONLINE redo 0/3000028; tli 1; prev tli 1; fpw true")));
        assert!(!is_shutdown("pg_waldump: error: could not find a valid record after 0/3000028"));
        assert!(!is_shutdown("none"));
    }

    #[test]
    fn one_looks_back_as_far_as_there_are_files() {
        let pg_wal = tempfile::tempdir().unwrap();
        let look = |end| {
            let (timeline, starts) = look_back(pg_wal.path(), Lsn(end), 16 << 20).unwrap();
            (timeline.0, starts.iter().map(|start| start.0).collect::<Vec<_>>())
        };
        for (file, end, expected) in [
            ("00000002.history", 0x300_1000, (0, vec![])),
            ("000000010000000000000003", 0x300_1000, (1, vec![0x300_0e00])),
            ("000000010000000000000004", 0x300_0100, (1, vec![0x300_0000])),
            ("000000010000000000000002", 0x300_0100, (1, vec![0x300_0000, 0x2ff_ff00])),
            ("000000030000000000000003.partial", 0x300_0100, (1, vec![0x300_0000, 0x2ff_ff00])),
            ("000000020000000000000003", 0x300_0100, (2, vec![0x300_0000])),
            // The record ended with its segment.
            ("000000010000000000000005", 0x300_0000, (1, vec![0x2ff_fe00])),
        ] {
            fs::write(pg_wal.path().join(file), "").unwrap();
            assert_eq!(look(end), expected, "{file}");
        }
    }
}
