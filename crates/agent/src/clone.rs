//! A copy of an upstream's data directory by base backup.

use std::{fs, path::Path, time::SystemTime};

use pgherd_probe::SystemIdentifier;

use crate::{
    error::Error,
    layout::Layout,
    log::{log, now},
    observe::read_control,
    place::free_on_file_system_of,
    progress::{Bytes, Progress, WAL_SEGMENT},
    refusal::Refusal,
    spec::{CloneBounds, Upstream},
    staging,
    supervise::{LOOK_INTERVAL, Supervisor, Tool, Watch},
    upstream::{Connection, Tablespace},
};

/// What stands in the place of settings of a server that is not ours.
const NO_SETTINGS: &str = "# the settings of the server that this was cloned from are not taken over\n";

/// How much of a hundred has to come until the log tells of it again.
const LOGGED_PERCENT: u64 = 10;

/// Clones another replica of the same upstream, once it is there.
///
/// # Errors
/// As of [`clone`], and where it is not there in time, or nothing that can take the upstream's place.
pub(crate) fn clone_other(
    layout: &Layout,
    supervisor: &mut Supervisor,
    other: &Connection,
    bound_seconds: u32,
    expected: SystemIdentifier,
    bounds: CloneBounds,
) -> Result<(), Error> {
    let failed = |complaint| Error::Upstream {
        doing: format!("clone \"{}\" in the place of the upstream", other.upstream),
        complaint,
    };
    let found = other.wait_for_identity(supervisor, bound_seconds).map_err(|error| match error {
        Error::TimedOut { seconds, last_seen, .. } => failed(format!("{last_seen}; gave up after {seconds} s")),
        error => error,
    })?;
    if found.system_identifier != expected || !found.in_recovery {
        return Err(failed("it is no replica of this cluster".to_owned()));
    }
    clone(layout, supervisor, other, None, expected, bounds)
}

/// Clones a node into the partial directory, and stages the result as a replica's.
///
/// The WAL is streamed through a slot while the files are copied, so the clone never wants what that node has
/// removed (<https://www.postgresql.org/docs/17/app-pgbasebackup.html>): through `slot`, or one of pg_basebackup's own.
///
/// # Errors
/// Where the upstream, a tool or the file system fails, where nothing comes for too long, where the clone does not fit on the
/// disk, and where it is another cluster's.
pub(crate) fn clone(
    layout: &Layout,
    supervisor: &mut Supervisor,
    from: &Connection,
    slot: Option<&str>,
    expected: SystemIdentifier,
    bounds: CloneBounds,
) -> Result<(), Error> {
    let tablespaces = from.tablespaces(supervisor)?;
    staging::begin(layout).map_err(Error::doing_at("make the partial directory", &layout.partial()))?;
    let copied = copy(layout, supervisor, from, slot, &tablespaces, bounds);
    if let Err(Error::NoRoom { .. }) = copied {
        // Somebody else may need it more than the next start, which would discard it first of all.
        staging::discard(layout).map_err(Error::doing("discard the partial directory"))?;
    }
    copied?;
    verify(layout, supervisor, &from.upstream)?;
    let control = read_control(supervisor, &layout.partial_data())?
        .map_err(|reason| Refusal::Damaged { path: layout.partial_data(), reason })?;
    if control.system_identifier != expected {
        return Err(Error::Refused(Refusal::OtherCluster {
            place: "the clone",
            ours: control.system_identifier,
            authority: format!("upstream \"{}\"", from.upstream),
            theirs: expected,
        }));
    }
    staging::move_tablespaces_in(layout).map_err(Error::doing("move the tablespaces into the clone"))?;
    if from.is_source {
        // Its settings are its own: those of its ALTER SYSTEM go no further than those of its postgresql.conf.
        fs::write(layout.partial_data().join("postgresql.auto.conf"), NO_SETTINGS)?;
    }
    fs::write(layout.partial_data().join("standby.signal"), "")?;
    staging::finish(layout).map_err(Error::doing("stage the clone"))
}

fn copy(
    layout: &Layout,
    supervisor: &mut Supervisor,
    from: &Connection,
    slot: Option<&str>,
    tablespaces: &[Tablespace],
    bounds: CloneBounds,
) -> Result<(), Error> {
    let mut backup = Tool::new("pg_basebackup")
        .arg("--pgdata")
        .arg(layout.partial_data())
        .args(["--dbname", &from.conninfo, "--progress"])
        .args(slot.iter().flat_map(|slot| ["--slot", slot]))
        // Against what may happen on the way and on the disk, and not against an upstream that lies, CRC-32C is enough. Of 2.1 GB
        // it took 0.7 s of processor time to verify, and SHA-256 2.0 s with instructions of its own.
        .args(["--manifest-checksums", "CRC32C"])
        // One call syncs all of it when it is staged, and what is left of a failure is discarded by its marker.
        .args(["--wal-method", "stream", "--checkpoint", "fast", "--no-sync", "--no-clean"]);
    // A tablespace in place is inside the data directory already.
    for tablespace in tablespaces.iter().filter(|tablespace| tablespace.location.is_absolute()) {
        backup = backup.arg("--tablespace-mapping").arg(mapping(layout, tablespace));
    }
    let mut watcher = Watcher::new(layout, &from.upstream, tablespaces.len(), bounds);
    match supervisor.watch(backup, &mut watcher) {
        Ok(_) => Ok(()),
        Err(Error::Tool { complaint, .. }) => {
            let needed = watcher.progress.map_or(Bytes(WAL_SEGMENT), |progress| progress.room_needed(false));
            Err(watcher.without_room(needed)?.unwrap_or(watcher.failed(complaint)))
        }
        Err(error) => Err(error),
    }
}

/// Compares every file with what the upstream says that it sent, and reads the WAL that the clone needs.
///
/// <https://www.postgresql.org/docs/17/app-pgverifybackup.html>
fn verify(layout: &Layout, supervisor: &mut Supervisor, upstream: &Upstream) -> Result<(), Error> {
    let doing = format!("verifying the clone of \"{upstream}\"");
    log(&doing);
    now(layout, doing);
    let tool = Tool::new("pg_verifybackup").arg("--quiet").arg(layout.partial_data());
    supervisor.run(tool).map(drop).map_err(|error| match error {
        Error::Tool { complaint, .. } => {
            Error::Upstream { doing: format!("verify the clone of \"{upstream}\""), complaint }
        }
        error => error,
    })
}

/// `OLD=NEW`, in which an equals sign of a path is escaped.
fn mapping(layout: &Layout, tablespace: &Tablespace) -> String {
    let new = layout.partial_tablespaces().join(tablespace.oid.to_string());
    let escape = |path: &Path| path.to_string_lossy().replace('=', "\\=");
    format!("{}={}", escape(&tablespace.location), escape(&new))
}

/// Who watches a clone: it shall come, fit, and be seen to come.
struct Watcher<'a> {
    layout: &'a Layout,
    upstream: &'a Upstream,
    tablespaces: usize,
    bounds: CloneBounds,
    progress: Option<Progress>,
    /// What there was to see at the last look, and for how many looks there has been nothing else.
    last_seen: Seen,
    idle_looks: u32,
    logged_percent: Option<u64>,
}

/// What changes as long as a clone comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    files: Option<Bytes>,
    /// When WAL was written last, once nothing else is to come.
    wal: Option<SystemTime>,
}

impl<'a> Watcher<'a> {
    fn new(layout: &'a Layout, upstream: &'a Upstream, tablespaces: usize, bounds: CloneBounds) -> Watcher<'a> {
        Watcher {
            layout,
            upstream,
            tablespaces,
            bounds,
            progress: None,
            last_seen: Seen::default(),
            idle_looks: 0,
            logged_percent: None,
        }
    }

    fn failed(&self, complaint: String) -> Error {
        Error::Upstream { doing: format!("clone \"{}\"", self.upstream), complaint }
    }

    /// The error, where less than `needed` is free.
    fn without_room(&self, needed: Bytes) -> Result<Option<Error>, Error> {
        let path = self.layout.partial();
        let free = free_on_file_system_of(&path)?;
        let upstream = self.upstream.clone();
        Ok((free < needed).then_some(Error::NoRoom { upstream, path, needed, free }))
    }

    fn bear_silence(&self) -> Result<(), Error> {
        let silence = LOOK_INTERVAL * self.idle_looks;
        if silence.as_secs() < self.bounds.stall_seconds.into() {
            return Ok(());
        }
        let so_far = self.progress.map_or("nothing at all".to_owned(), |progress| progress.to_string());
        Err(self.failed(format!("nothing came for {} s; before that, {so_far}", silence.as_secs())))
    }

    fn see(&self) -> Seen {
        let files = self.progress.map(|progress| progress.done);
        let wal = self.progress.filter(Progress::has_all_files).and_then(|_| {
            let segments = fs::read_dir(self.layout.partial_data().join("pg_wal")).ok()?;
            segments.filter_map(|segment| segment.ok()?.metadata().ok()?.modified().ok()).max()
        });
        Seen { files, wal }
    }
}

impl Watch for Watcher<'_> {
    fn is_progress(&mut self, line: &str) -> bool {
        let progress = Progress::parse(line);
        self.progress = progress.or(self.progress);
        progress.is_some() || line == "waiting for checkpoint"
    }

    fn look(&mut self) -> Result<(), Error> {
        let seen = self.see();
        if seen == self.last_seen {
            self.idle_looks += 1;
            return self.bear_silence();
        }
        (self.last_seen, self.idle_looks) = (seen, 0);
        let Some(progress) = self.progress else { return Ok(()) };
        // Itself is one of them.
        let expected = self.tablespaces + 1;
        if progress.tablespaces as usize != expected {
            return Err(self.failed(format!("it had {expected} tablespaces and now has {}", progress.tablespaces)));
        }
        let begins = self.logged_percent.is_none();
        if let Some(error) = self.without_room(progress.room_needed(begins))? {
            return Err(error);
        }
        let what = format!("cloning \"{}\": {progress}", self.upstream);
        now(self.layout, &what);
        let tenths = progress.percent() / LOGGED_PERCENT;
        if self.logged_percent.replace(tenths) != Some(tenths) {
            log(what);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_watcher(tablespaces: usize, test: impl FnOnce(&mut Watcher<'_>)) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout { volume: root.path().join("volume"), run: root.path().to_owned(), ..Layout::of_image(17) };
        staging::begin(&layout).unwrap();
        let bounds = CloneBounds { stall_seconds: 1, retries: 0 };
        test(&mut Watcher::new(&layout, &"demo-1".parse().unwrap(), tablespaces, bounds));
    }

    /// Looks until there is an error, for more looks than any bound here.
    fn look_on(watcher: &mut Watcher<'_>) -> String {
        (0..100).find_map(|_| watcher.look().err()).map_or("no end".to_owned(), |error| error.to_string())
    }

    #[test]
    fn silence_is_borne_for_so_long() {
        with_watcher(0, |watcher| {
            for done in 1..20 {
                assert!(watcher.is_progress(&format!("{done}/100 kB ({done}%), 0/1 tablespace")));
                watcher.look().unwrap();
                watcher.look().unwrap();
            }
            assert_eq!(
                look_on(watcher),
                "could not clone \"demo-1:5432\": nothing came for 1 s; before that, 19 kB of 100 kB, 19 %"
            );
        });
        with_watcher(0, |watcher| {
            assert!(watcher.is_progress("waiting for checkpoint") && !watcher.is_progress("error"));
            assert!(look_on(watcher).ends_with("nothing came for 1 s; before that, nothing at all"));
        });
    }

    #[test]
    fn wal_is_waited_for_while_it_comes() {
        with_watcher(0, |watcher| {
            let wal = watcher.layout.partial_data().join("pg_wal");
            fs::create_dir_all(&wal).unwrap();
            watcher.is_progress("100/100 kB (100%), 1/1 tablespace");
            for second in 0..20 {
                let file = fs::File::create(wal.join("000000010000000000000001")).unwrap();
                file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second)).unwrap();
                watcher.look().unwrap();
            }
            assert!(look_on(watcher).contains("nothing came for 1 s"));
        });
    }

    #[test]
    fn what_does_not_fit_is_ended_with_both_numbers() {
        with_watcher(0, |watcher| {
            watcher.is_progress("1/9007199254740992 kB (0%), 0/1 tablespace");
            let error = watcher.look().unwrap_err();
            assert!(matches!(&error, Error::NoRoom { needed, free, .. } if needed > free), "{error}");
        });
    }

    #[test]
    fn a_tablespace_that_is_not_mapped_ends_it() {
        with_watcher(1, |watcher| {
            watcher.is_progress("1/100 kB (1%), 0/3 tablespaces");
            assert!(look_on(watcher).ends_with("it had 2 tablespaces and now has 3"));
        });
    }

    #[test]
    fn a_mapping_survives_equals_signs() {
        let tablespace = Tablespace { oid: 16385, location: "/fast=1".into() };
        let mapped = mapping(&Layout::of_image(17), &tablespace);
        assert_eq!(mapped, r"/fast\=1=/var/lib/postgresql/17/partial/tablespaces/16385");
    }
}
