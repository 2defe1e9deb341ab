//! Going back to where we and the upstream parted, without copying what both have.
//!
//! <https://www.postgresql.org/docs/17/app-pgrewind.html>

use std::{fs, io};

use pgherd_probe::Switch;

use crate::{
    durable,
    error::Error,
    layout::Layout,
    log::log,
    supervise::{Supervisor, Tool},
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
        let goes_on = |(timeline, segment): (_, WalSegment)| {
            timeline >= fork.timeline && segment.begin(segment_size).0 + segment_size > fork.at.0
        };
        if WalSegment::of_file(&name).is_some_and(goes_on) {
            bytes += fs::copy(file.path(), entry.join(&name))?;
            segments += 1;
        }
    }
    fs::copy(layout.data().join("global/pg_control"), entry.join("pg_control"))?;
    durable::sync_file_system_of(&entry)?;
    log(format_args!("kept {segments} segments of WAL, {bytes} bytes, in {}", entry.display()));
    Ok(())
}

/// Brings a data directory that was not shut down to the end of its own WAL, as `pg_rewind` needs it.
///
/// A single-user server knows no standby mode, and accepts no connection: what it does, nobody can write to.
///
/// # Errors
/// Where the file system fails, or a signal asks the agent to end. What PostgreSQL has against it is kept as a failed rewind.
pub(crate) fn recover(layout: &Layout, supervisor: &mut Supervisor) -> Result<(), Error> {
    match fs::remove_file(layout.data().join("standby.signal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let recover = Tool::new("postgres").args(["--single", "-F", "-D"]).arg(layout.data()).arg("template1");
    match supervisor.run(recover) {
        Err(Error::Tool { complaint, .. }) => give_up(layout, &complaint),
        end => end.map(drop),
    }
}

/// Runs `pg_rewind`, first to see whether it can, which changes nothing, then in earnest.
///
/// # Errors
/// Where the upstream cannot be asked, the file system fails, or a signal asks the agent to end. What else `pg_rewind` has
/// against it is kept, and leads to another way.
pub(crate) fn rewind(layout: &Layout, supervisor: &mut Supervisor, from: &Connection) -> Result<(), Error> {
    // Until its first checkpoint a promoted server calls itself by its old timeline.
    let prepared = from.sql(supervisor, "CHECKPOINT");
    let prepared = prepared.and_then(|_| supervisor.run(pg_rewind(layout, from).arg("--dry-run")));
    if let Err(failure) = prepared {
        let (Error::Tool { complaint, .. } | Error::Upstream { complaint, .. }) = failure else { return Err(failure) };
        // An upstream that is away may come back. Of one that is there, more of the same is all that can be had.
        return match from.identify(supervisor)? {
            Ok(_) => give_up(layout, &complaint),
            Err(complaint) => Err(Error::Upstream { doing: format!("rewind to \"{}\"", from.upstream), complaint }),
        };
    }
    durable::replace(&layout.rewind_file(), b"it was interrupted\n").map_err(Error::doing("note the rewind"))?;
    match supervisor.run(pg_rewind(layout, from)) {
        Err(Error::Tool { complaint, .. }) => return give_up(layout, &complaint),
        end => drop(end?),
    }
    fs::write(layout.data().join("standby.signal"), "")?;
    durable::sync_file_system_of(&layout.data())?;
    fs::remove_file(layout.rewind_file())?;
    Ok(durable::sync_directory_of(&layout.rewind_file())?)
}

fn pg_rewind(layout: &Layout, from: &Connection) -> Tool {
    Tool::new("pg_rewind")
        .arg("--target-pgdata")
        .arg(layout.data())
        .args(["--source-server", &from.rewind_conninfo()])
        // One call syncs all of it.
        .arg("--no-sync")
}

/// Keeps why, for the next round, which looks for another way.
fn give_up(layout: &Layout, complaint: &str) -> Result<(), Error> {
    log(format_args!("could not rewind: {complaint}"));
    durable::replace(&layout.rewind_file(), complaint.as_bytes()).map_err(Error::doing("note the failed rewind"))
}
