//! Going back to where we and the upstream parted, without copying what both have.
//!
//! <https://www.postgresql.org/docs/17/app-pgrewind.html>

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use pgherd_probe::{Lsn, Switch};

use crate::{
    durable,
    error::Error,
    layout::Layout,
    log::log,
    supervise::{Supervisor, Tool, Watch},
    trash::{self, Kind},
    upstream::Connection,
    wal_segment::WalSegment,
};

/// Copies the WAL from the fork on to the trash, with `pg_control`: what it says is commits that nobody else has.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn keep_divergent_wal(layout: &Layout, fork: Switch, segment_size: u64) -> io::Result<()> {
    let name = format!("wal-{}-{}", fork.timeline, fork.at.to_string().replace('/', "-"));
    let why = format!("nobody else has what follows {} on timeline {}", fork.at, fork.timeline);
    let entry = trash::begin(layout, &name, Kind::Wal, why)?;
    let (mut segments, mut bytes) = (0, 0);
    for file in fs::read_dir(layout.data().join("pg_wal"))? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        let Some((timeline, segment)) = WalSegment::of_file(&name) else { continue };
        let begin = segment.begin(segment_size);
        let goes_on = timeline >= fork.timeline && begin.0 + segment_size > fork.at.0;
        if goes_on && is_begun(&file.path(), begin)? {
            bytes += fs::copy(file.path(), entry.join(&name))?;
            segments += 1;
        }
    }
    fs::copy(layout.data().join("global/pg_control"), entry.join("pg_control"))?;
    durable::sync_file_system_of(&entry)?;
    log(format_args!("kept {segments} segments of WAL, {bytes} bytes, in {}", entry.display()));
    Ok(())
}

/// Whether there is WAL in a segment. Those that are kept for reuse have the name of the one that they will be and, in the header of
/// the first page, the position of the one that they were: on a busy server, a gigabyte that nobody needs.
///
/// `xlp_pageaddr` in <https://git.postgresql.org/gitweb/?p=postgresql.git;f=src/include/access/xlog_internal.h>
fn is_begun(path: &Path, begin: Lsn) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut header)?;
    Ok(header.get(8..) == Some(&begin.0.to_ne_bytes()[..]))
}

/// Brings a data directory that was not shut down to the end of its own WAL, as `pg_rewind` needs it.
///
/// A single-user server knows no standby mode, and accepts no connection: what it does, nobody can write to.
///
/// # Errors
/// Where the file system fails, or a signal asks the agent to end. What PostgreSQL has against it is kept as a failed rewind.
pub(crate) fn recover(layout: &Layout, supervisor: &mut Supervisor) -> Result<(), Error> {
    match fs::remove_file(layout.standby_signal()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let recover = Tool::new("postgres").args(["--single", "-F", "-D"]).arg(layout.data()).arg("template1");
    match supervisor.run(recover) {
        Err(Error::Tool { complaint, .. }) => give_up(layout, &complaint),
        end => end.map(drop),
    }
}

/// Runs `pg_rewind`, which changes nothing until it has found out what it needs, and returns whether it came to its end.
///
/// Not `--dry-run` first: that fetches all that it does not write, and takes as long.
///
/// # Errors
/// Where the upstream cannot be asked, the file system fails, or a signal asks the agent to end. What else `pg_rewind` has
/// against it is kept, and leads to another way.
pub(crate) fn rewind(layout: &Layout, supervisor: &mut Supervisor, from: &Connection) -> Result<bool, Error> {
    // Until its first checkpoint a promoted server calls itself by its old timeline.
    let mut watcher = Watcher { copies: false };
    let rewound = from.sql(supervisor, "CHECKPOINT").and_then(|_| {
        durable::replace(&layout.rewind_file(), b"it was interrupted\n").map_err(Error::doing("note the rewind"))?;
        supervisor.watch(pg_rewind(layout, from), &mut watcher)
    });
    match rewound {
        Ok(_) => fs::write(layout.standby_signal(), "")?,
        Err(Error::Tool { complaint, .. }) if watcher.copies => return give_up(layout, &complaint).map(|()| false),
        // An upstream that is away may come back. Of one that is there, more of the same is all that can be had.
        Err(Error::Tool { complaint, .. } | Error::Upstream { complaint, .. }) => match from.identify(supervisor)? {
            Ok(_) => return give_up(layout, &complaint).map(|()| false),
            Err(complaint) => {
                forget(layout)?;
                return Err(Error::Upstream { doing: format!("rewind to \"{}\"", from.upstream), complaint });
            }
        },
        Err(error) => return Err(error),
    }
    durable::sync_file_system_of(&layout.data())?;
    forget(layout)?;
    Ok(true)
}

/// The data directory is whole.
fn forget(layout: &Layout) -> Result<(), Error> {
    match fs::remove_file(layout.rewind_file()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(durable::sync_directory_of(&layout.rewind_file())?),
    }
}

fn pg_rewind(layout: &Layout, from: &Connection) -> Tool {
    Tool::new("pg_rewind")
        .arg("--target-pgdata")
        .arg(layout.data())
        .args(["--source-server", &from.rewind_conninfo()])
        // One call syncs all of it.
        .args(["--no-sync", "--progress"])
}

/// Who watches `pg_rewind`, for the moment from which it changes the data directory.
struct Watcher {
    copies: bool,
}

impl Watch for Watcher {
    fn is_progress(&mut self, line: &str) -> bool {
        const STAGES: [&str; 5] = ["connected to server", "reading ", "need to copy ", "creating ", "syncing "];
        let message = line.strip_prefix("pg_rewind: ");
        self.copies |= message.is_some_and(|message| message.starts_with("need to copy "));
        line.contains(" kB (") || message.is_some_and(|message| STAGES.iter().any(|stage| message.starts_with(stage)))
    }

    fn look(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Keeps why, for the next round, which looks for another way.
fn give_up(layout: &Layout, complaint: &str) -> Result<(), Error> {
    log(format_args!("could not rewind: {complaint}"));
    durable::replace(&layout.rewind_file(), complaint.as_bytes()).map_err(Error::doing("note the failed rewind"))
}

#[cfg(test)]
mod tests {
    use pgherd_probe::TimelineId;

    use super::*;

    #[test]
    fn nothing_is_changed_before_it_says_how_much_it_needs() {
        let mut watcher = Watcher { copies: false };
        for (line, is_progress, copies) in [
            ("pg_rewind: connected to server", true, false),
            ("pg_rewind: servers diverged at WAL location 0/3000100 on timeline 1", false, false),
            ("pg_rewind: reading WAL in target", true, false),
            ("pg_rewind: error: could not find previous WAL record at 0/3000100", false, false),
            ("pg_rewind: need to copy 95 MB (total source directory size is 2014 MB)", true, true),
            ("27930/97843 kB (28%) copied", true, true),
            ("pg_rewind: error: could not fetch remote file \"base/1/2\": server closed the connection", false, true),
        ] {
            assert_eq!((watcher.is_progress(line), watcher.copies), (is_progress, copies), "{line}");
        }
    }

    #[test]
    fn only_wal_is_kept_and_only_from_the_fork_on() {
        let volume = tempfile::tempdir().unwrap();
        let layout = Layout { volume: volume.path().to_owned(), ..Layout::of_image(17) };
        let wal = layout.data().join("pg_wal");
        fs::create_dir_all(&wal).unwrap();
        fs::create_dir(layout.data().join("global")).unwrap();
        fs::write(layout.data().join("global/pg_control"), "").unwrap();
        let segment_size = 16 << 20;
        for (name, position) in [
            ("000000010000000000000002", 2),
            ("000000010000000000000003", 3),
            ("000000010000000000000004", 4),
            // To be reused, and not written yet.
            ("000000010000000000000005", 1),
            ("000000010000000000000006", 0),
        ] {
            let address: u64 = position * segment_size;
            fs::write(wal.join(name), [[0; 8], address.to_ne_bytes(), [7; 8]].concat()).unwrap();
        }
        fs::write(wal.join("000000010000000000000007"), "").unwrap();
        keep_divergent_wal(
            &layout,
            Switch { timeline: TimelineId(1), at: Lsn(3 * segment_size + 0x100) },
            segment_size,
        )
        .unwrap();
        let entry = layout.trash().join("wal-1-0-3000100");
        let mut kept: Vec<_> = fs::read_dir(entry).unwrap().map(|file| file.unwrap().file_name()).collect();
        kept.sort();
        assert_eq!(
            kept,
            ["000000010000000000000003", "000000010000000000000004", "pg_control", "trash-of-pgherd-agent.json"]
        );
    }
}
