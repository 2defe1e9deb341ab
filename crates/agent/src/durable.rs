//! File system operations that are either done or not done after a crash, and never half.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};

/// Writes `contents` to `path` in place of what is there, with mode 0600.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (temporary, file) = write_beside(path, contents)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory_of(path)
}

/// Writes `contents` to `path` in place of what is there, with mode 0600, and leaves it to the system when it becomes
/// durable: for what is written anew at every start.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn replace_for_now(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (temporary, _) = write_beside(path, contents)?;
    fs::rename(&temporary, path)
}

/// Writes `contents` to `path` unless a file is there, with mode 0600. Of two that race, the first one wins, whole.
///
/// # Errors
/// Whatever the file system says. That a file is there is no error.
pub(crate) fn write_once(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_once_by(hard_link, path, contents)
}

/// `link` gives a file a second name that must be free. A file system without hard links, such as FAT, is asked for a rename
/// that replaces nothing; NFS knows that only the other way round.
fn write_once_by(
    link: impl FnOnce(&Path, &Path) -> rustix::io::Result<()>,
    path: &Path,
    contents: &[u8],
) -> io::Result<()> {
    let (temporary, file) = write_beside(path, contents)?;
    file.sync_all()?;
    let taken = match link(&temporary, path) {
        Err(Errno::PERM | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE)
        }
        linked => linked,
    };
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match taken {
        Err(error) if error != Errno::EXIST => Err(error.into()),
        _ => sync_directory_of(path),
    }
}

fn hard_link(old: &Path, new: &Path) -> rustix::io::Result<()> {
    rustix::fs::link(old, new)
}

/// Makes everything on the file system of `path` durable, in one call instead of one for each of a thousand files.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn sync_file_system_of(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// Makes renames in the parent directory of `path` durable.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn write_beside(path: &Path, contents: &[u8]) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Process ids do not tell two containers apart: each of them has a process 1.
    let temporary = path.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(contents)?;
    Ok((temporary, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_writers_wins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        write_once(&path, b"first").unwrap();
        write_once(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        replace(&path, b"third").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn without_hard_links_the_first_one_wins_as_well() {
        for missing in [Errno::PERM, Errno::NOSYS, Errno::NOTSUP] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("secret");
            for contents in ["first", "second"] {
                write_once_by(|_, _| Err(missing), &path, contents.as_bytes()).unwrap();
                assert_eq!(fs::read(&path).unwrap(), b"first");
            }
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left");
        }
        let directory = tempfile::tempdir().unwrap();
        let full = write_once_by(|_, _| Err(Errno::NOSPC), &directory.path().join("secret"), b"first");
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
