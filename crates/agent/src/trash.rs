//! What had to make way. Nothing in it is needed to run; it is there for whoever finds out later what he has lost.
//!
//! Every entry is a directory with a marker, without which nothing is ever removed.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use pgherd_images::date::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{agent::lock, durable, error::Error, layout::Layout};

/// How long an entry is kept.
const TIME_TO_LIVE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How much is kept, in bytes, beside the newest entry, which may be of any size.
const CAPACITY: u64 = 4 << 30;

/// The name of the marker in an entry.
const MARKER: &str = "trash-of-pgherd-agent.json";

/// What is in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole data directory, called `data` in its entry.
    Data,
    /// WAL that no other node has, and the `pg_control` of before.
    Wal,
}

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    kind: Kind,
    /// Seconds since 1970.
    thrown_away: u64,
    why: String,
}

/// One thing in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, unique on the volume.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// When it came there.
    pub thrown_away: Timestamp,
    /// Why.
    pub why: String,
    /// Its size in bytes.
    pub bytes: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { name, kind, thrown_away, why, bytes } = self;
        let kind = match kind {
            Kind::Data => "data directory",
            Kind::Wal => "wal",
        };
        write!(f, "{name}  {kind}  {bytes} bytes  {thrown_away}  {why}")
    }
}

/// Everything in the trash that carries our marker, oldest first.
///
/// # Errors
/// Whatever the file system says.
pub fn entries(layout: &Layout) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let directory = match fs::read_dir(layout.trash()) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
        Err(error) => return Err(error),
    };
    for found in directory {
        let found = found?;
        let marker =
            fs::read(found.path().join(MARKER)).ok().and_then(|text| serde_json::from_slice::<Marker>(&text).ok());
        if let Some(Marker { kind, thrown_away, why }) = marker {
            let (name, bytes) = (found.file_name().to_string_lossy().into_owned(), size(&found.path())?);
            entries.push(Entry { name, kind, thrown_away: Timestamp(thrown_away), why, bytes });
        }
    }
    entries.sort_by(|a, b| (a.thrown_away.0, &a.name).cmp(&(b.thrown_away.0, &b.name)));
    Ok(entries)
}

/// The names of what is too old by now, or too much.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn expired(layout: &Layout) -> io::Result<Vec<String>> {
    Ok(expired_of(&entries(layout)?, Timestamp::from(SystemTime::now())))
}

/// The newest entry stays until it is too old; before it, what fits.
fn expired_of(oldest_first: &[Entry], now: Timestamp) -> Vec<String> {
    let mut room = CAPACITY;
    let mut expired = Vec::new();
    for (age, entry) in oldest_first.iter().rev().enumerate() {
        let too_old = now.0.saturating_sub(entry.thrown_away.0) > TIME_TO_LIVE.as_secs();
        let fits = entry.bytes <= room;
        room = room.saturating_sub(entry.bytes);
        if too_old || !(fits || age == 0) {
            expired.push(entry.name.clone());
        }
    }
    expired
}

/// Removes entries for good; the marker last, so that what is left after a crash is still known to be ours.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn remove(layout: &Layout, names: &[String]) -> io::Result<()> {
    for entry in names.iter().map(|name| layout.trash().join(name)) {
        for content in fs::read_dir(&entry)? {
            let content = content?;
            match content.file_name() {
                name if name == MARKER => {}
                _ if content.file_type()?.is_dir() => fs::remove_dir_all(content.path())?,
                _ => fs::remove_file(content.path())?,
            }
        }
        fs::remove_dir_all(entry)?;
    }
    Ok(())
}

/// Makes an entry, and returns its directory. One of the same name is made anew.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn begin(layout: &Layout, name: &str, kind: Kind, why: String) -> io::Result<PathBuf> {
    let entry = layout.trash().join(name);
    fs::create_dir_all(&entry)?;
    let marker = Marker { kind, thrown_away: Timestamp::from(SystemTime::now()).0, why };
    durable::replace(&entry.join(MARKER), serde_json::to_string(&marker)?.as_bytes())?;
    durable::sync_directory_of(&entry)?;
    Ok(entry)
}

/// Moves the data directory there.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn throw_away_data(layout: &Layout, why: String) -> io::Result<()> {
    let time = Timestamp::from(SystemTime::now()).to_string().replace(['-', ':'], "");
    let name = format!("data-{time}-{:04x}", rand::random::<u16>());
    let entry = begin(layout, &name, Kind::Data, why)?;
    fs::rename(layout.data(), entry.join("data"))?;
    durable::sync_directory_of(&entry.join("data"))?;
    durable::sync_directory_of(&layout.data())
}

/// Moves the data directory of a node that does not run there, so that its next start makes or clones another one.
///
/// # Errors
/// Where the node runs, and whatever the file system says.
pub fn put(layout: &Layout) -> Result<(), Error> {
    let _lock = lock(layout)?;
    throw_away_data(layout, "by hand".to_owned()).map_err(Error::doing("move the data directory to the trash"))
}

/// Puts a data directory from the trash back into place; the one in place takes its turn in the trash.
///
/// # Errors
/// Where the node runs, there is no such entry, or it is no data directory; and whatever the file system says.
pub fn restore(layout: &Layout, name: &str) -> Result<(), Error> {
    let _lock = lock(layout)?;
    put_back(layout, name).map_err(Error::doing(format!("restore \"{name}\"")))
}

fn put_back(layout: &Layout, name: &str) -> io::Result<()> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
    let entries = entries(layout)?;
    let Some(entry) = entries.iter().find(|entry| entry.name == name) else {
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        return Err(invalid(format!("no \"{name}\" in the trash: it holds \"{}\"", names.join("\", \""))));
    };
    let directory = layout.trash().join(name);
    if entry.kind == Kind::Wal {
        return Err(invalid(format!(
            "\"{name}\" is no data directory: read the WAL in {} by pg_waldump",
            directory.display()
        )));
    }
    if layout.data().try_exists()? {
        throw_away_data(layout, format!("made way for \"{name}\""))?;
    }
    fs::rename(directory.join("data"), layout.data())?;
    durable::sync_directory_of(&layout.data())?;
    remove(layout, &[name.to_owned()])
}

/// The bytes of the files below `path`, without following links.
fn size(path: &Path) -> io::Result<u64> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(volume: &Path) -> Layout {
        Layout { volume: volume.to_owned(), ..Layout::of_image(17) }
    }

    fn entry(name: &str, thrown_away: u64, bytes: u64) -> Entry {
        Entry {
            name: name.into(),
            kind: Kind::Data,
            thrown_away: Timestamp(thrown_away),
            why: "diverged".into(),
            bytes,
        }
    }

    #[test]
    fn a_data_directory_goes_and_comes_back() {
        let volume = tempfile::tempdir().unwrap();
        let layout = layout(volume.path());
        fs::create_dir_all(layout.data()).unwrap();
        fs::write(layout.data().join("PG_VERSION"), "old").unwrap();
        throw_away_data(&layout, "diverged".into()).unwrap();
        assert!(!layout.data().exists());
        fs::create_dir(layout.data()).unwrap();
        fs::write(layout.data().join("PG_VERSION"), "new").unwrap();

        let [old] = &entries(&layout).unwrap()[..] else { panic!("one entry") };
        assert_eq!((old.kind, &*old.why), (Kind::Data, "diverged"));
        put_back(&layout, &old.name).unwrap();
        assert_eq!(fs::read_to_string(layout.data().join("PG_VERSION")).unwrap(), "old");
        let [new] = &entries(&layout).unwrap()[..] else { panic!("one entry") };
        assert_eq!(fs::read_to_string(layout.trash().join(&new.name).join("data/PG_VERSION")).unwrap(), "new");
        assert!(
            put_back(&layout, "nothing").unwrap_err().to_string().starts_with("no \"nothing\" in the trash: it holds")
        );

        begin(&layout, "wal-1-0-300", Kind::Wal, "diverged".into()).unwrap();
        assert!(put_back(&layout, "wal-1-0-300").unwrap_err().to_string().contains("pg_waldump"));
    }

    #[test]
    fn only_what_carries_our_marker_is_removed() {
        let volume = tempfile::tempdir().unwrap();
        let layout = layout(volume.path());
        let ours = begin(&layout, "ours", Kind::Wal, "diverged".into()).unwrap();
        fs::write(ours.join("000000010000000000000001"), [0; 100]).unwrap();
        fs::create_dir(layout.trash().join("theirs")).unwrap();
        fs::write(layout.trash().join("theirs/thesis.odt"), "").unwrap();
        let entries = entries(&layout).unwrap();
        assert_eq!(entries.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["ours"]);
        assert!(entries[0].bytes > 100);
        assert!(expired(&layout).unwrap().is_empty());
        remove(&layout, &["ours".into()]).unwrap();
        assert!(!ours.exists() && layout.trash().join("theirs/thesis.odt").exists());
    }

    #[test]
    fn the_old_and_the_many_expire_but_never_the_newest_alone_for_its_size() {
        let week = TIME_TO_LIVE.as_secs();
        let expired = |entries: &[Entry], now| expired_of(entries, Timestamp(now));
        assert!(expired(&[entry("a", 0, 1)], week).is_empty());
        assert_eq!(expired(&[entry("a", 0, 1)], week + 1), ["a"]);
        assert!(expired(&[entry("a", 0, CAPACITY + 1)], 1).is_empty());
        let three = [entry("a", 0, CAPACITY / 2), entry("b", 1, CAPACITY / 2), entry("c", 2, CAPACITY / 2)];
        assert_eq!(expired(&three, 3), ["a"]);
        assert_eq!(expired(&[entry("a", 0, 1), entry("b", 1, CAPACITY + 1)], 2), ["a"]);
    }
}
