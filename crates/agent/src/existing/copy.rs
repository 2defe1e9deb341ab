//! A copy of a data directory that no server runs on: what of it is copied, and how.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use pgherd_images::contract;
use rustix::{
    fs::{Gid, SeekFrom, Uid, fchown, ioctl_ficlone, seek},
    io::Errno,
};

use crate::place::named;

/// Directories whose content PostgreSQL makes anew at every start, or that is another server's: slots of others would keep WAL for ever.
/// The same that a base backup leaves empty.
///
/// <https://www.postgresql.org/docs/17/protocol-replication.html#PROTOCOL-REPLICATION-BASE-BACKUP>
const EMPTIED: [&str; 7] =
    ["pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];

/// Files at the top that tell of a server that ran on the original.
const LEFT_OUT: [&str; 6] = [
    "postmaster.pid",
    "postmaster.opts",
    "postgresql.auto.conf.tmp",
    "current_logfiles",
    "backup_label.old",
    "lost+found",
];

/// A directory or a file to copy, by its path from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) is_directory: bool,
    /// What it takes on the disk.
    pub(crate) bytes: u64,
}

/// Everything of a data directory that a copy needs, directories before what is in them. Links, sockets and the like are none of
/// PostgreSQL's.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn content(data: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    collect(data, Path::new(""), &mut found)?;
    Ok(found)
}

fn collect(data: &Path, directory: &Path, found: &mut Vec<Entry>) -> io::Result<()> {
    let full = data.join(directory);
    for entry in fs::read_dir(&full).map_err(|error| named(&full, error))? {
        let entry = entry.map_err(|error| named(&full, error))?;
        let path = directory.join(entry.file_name());
        let metadata = entry.metadata().map_err(|error| named(&entry.path(), error))?;
        if is_left_out(&path) || !(metadata.is_dir() || metadata.is_file()) {
            continue;
        }
        let is_directory = metadata.is_dir();
        found.push(Entry { path: path.clone(), is_directory, bytes: metadata.blocks() * 512 });
        if is_directory {
            collect(data, &path, found)?;
        }
    }
    Ok(())
}

fn is_left_out(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parent = path.parent().unwrap_or(Path::new(""));
    let at_top = parent.as_os_str().is_empty() && LEFT_OUT.contains(&&*name);
    let emptied = EMPTIED.iter().any(|directory| parent == Path::new(directory));
    at_top || emptied || name.starts_with("pgsql_tmp") || name.starts_with("pg_internal.init")
}

/// Copies an entry, and gives it to the user of nodes, who alone may read it.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn copy(entry: &Entry, from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.join(&entry.path), to.join(&entry.path));
    if entry.is_directory {
        return create_directory(&to);
    }
    let from = File::open(&from).map_err(|error| named(&from, error))?;
    let to = create_file(&to)?;
    if share(&from, &to).is_err() { copy_data(&from, &to) } else { Ok(()) }
}

/// Makes a directory for the user of nodes; what is left of an earlier attempt can be removed by him in any case.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)?;
    give(&File::open(path)?)
}

/// Makes a file for the user of nodes, to be written.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    give(&file)?;
    Ok(file)
}

/// In a test nobody is root, and everything is ours already.
fn give(file: &File) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        fchown(file, Some(Uid::from_raw(contract::UID)), Some(Gid::from_raw(contract::UID)))?;
    }
    Ok(())
}

/// Has both files share their blocks until one of them is written to, where the file system can do that: ioctl_ficlone(2).
///
/// # Errors
/// Where it cannot.
pub(crate) fn share(from: &File, to: &File) -> io::Result<()> {
    Ok(ioctl_ficlone(to, from)?)
}

/// Copies what is written, and leaves holes what they are: lseek(2). The kernel copies from file to file: copy_file_range(2).
fn copy_data(from: &File, mut to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut position = 0;
    while position < length {
        position = match seek(from, SeekFrom::Data(position)) {
            Ok(begin) => begin,
            // Nothing but a hole follows.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(position))?;
        seek(from, SeekFrom::Start(position))?;
        seek(to, SeekFrom::Start(position))?;
        io::copy(&mut io::Read::take(from, end - position), &mut to)?;
        position = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_copy_has_what_a_server_needs_and_nothing_of_the_one_that_ran() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        for (path, content) in [
            ("PG_VERSION", "17\n"),
            ("postmaster.opts", "postgres"),
            ("base/1/1259", "relation"),
            ("base/1/pg_internal.init", "cache"),
            ("base/pgsql_tmp/pgsql_tmp7.0", "sort"),
            ("pg_wal/000000010000000000000001", "wal"),
            ("pg_replslot/slot/state", "slot"),
            ("pg_tblspc/16384/PG_17/5/16385", "relation"),
        ] {
            fs::create_dir_all(from.join(path).parent().unwrap()).unwrap();
            fs::write(from.join(path), content).unwrap();
        }
        std::os::unix::fs::symlink("/etc", from.join("link")).unwrap();
        let content = content(&from).unwrap();
        create_directory(&to).unwrap();
        content.iter().try_for_each(|entry| copy(entry, &from, &to)).unwrap();
        let mut copied: Vec<_> = content.iter().map(|entry| entry.path.to_string_lossy().into_owned()).collect();
        copied.sort();
        assert_eq!(
            copied,
            [
                "PG_VERSION",
                "base",
                "base/1",
                "base/1/1259",
                "pg_replslot",
                "pg_tblspc",
                "pg_tblspc/16384",
                "pg_tblspc/16384/PG_17",
                "pg_tblspc/16384/PG_17/5",
                "pg_tblspc/16384/PG_17/5/16385",
                "pg_wal",
                "pg_wal/000000010000000000000001",
            ]
        );
        for entry in content {
            let (path, mode) = (to.join(&entry.path), if entry.is_directory { 0o700 } else { 0o600 });
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
            assert!(entry.is_directory || fs::read(&path).unwrap() == fs::read(from.join(&entry.path)).unwrap());
        }
    }

    #[test]
    fn holes_stay_holes() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| create_file(&root.path().join(name)).unwrap();
        let sparse = file("sparse");
        sparse.write_all_at(b"begin", 0).unwrap();
        sparse.write_all_at(b"end", 16 << 20).unwrap();
        sparse.set_len(64 << 20).unwrap();
        let copied = file("copied");
        copy_data(&File::open(root.path().join("sparse")).unwrap(), &copied).unwrap();
        let read = |name| fs::read(root.path().join(name)).unwrap();
        assert!(read("sparse") == read("copied"));
        assert!(copied.metadata().unwrap().blocks() * 512 < 1 << 20, "{:?}", copied.metadata());
    }
}
