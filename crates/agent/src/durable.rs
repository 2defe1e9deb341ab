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

/// Puts the directory `new` at `place`. What is there, if anything, is moved to `trash` unless it is an empty directory.
///
/// The exchange is one atomic operation where the file system can, else two renames with nothing at `place` in between.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn exchange(new: &Path, place: &Path, trash: &Path) -> io::Result<()> {
    let swap = |one: &Path, other: &Path| rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    exchange_by(swap, new, place, trash)
}

fn exchange_by(
    swap: impl FnOnce(&Path, &Path) -> rustix::io::Result<()>,
    new: &Path,
    place: &Path,
    trash: &Path,
) -> io::Result<()> {
    if !place.try_exists()? {
        return fs::rename(new, place).and_then(|()| sync_directory_of(place));
    }
    match swap(new, place) {
        Ok(()) => {
            sync_directory_of(place)?;
            fs::remove_dir(new).or_else(|_| fs::rename(new, free_name_in(trash)?))?;
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::remove_dir(place).or_else(|_| fs::rename(place, free_name_in(trash)?))?;
            fs::rename(new, place)?;
        }
        Err(error) => return Err(error.into()),
    }
    sync_directory_of(place)
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

fn free_name_in(trash: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(trash)?;
    Ok(trash.join(format!("data-{:016x}", rand::random::<u64>())))
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

    #[test]
    fn what_was_in_place_survives_in_the_trash() {
        type Swap = fn(&Path, &Path) -> rustix::io::Result<()>;
        let swap: Swap = |one, other| rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
        for swap in [swap, |_, _| Err(Errno::INVAL), |_, _| Err(Errno::NOSYS)] {
            let directory = tempfile::tempdir().unwrap();
            let [new, place, trash] = ["new", "place", "trash"].map(|name| directory.path().join(name));
            for round in ["missing", "empty", "full"] {
                fs::create_dir(&new).unwrap();
                fs::write(new.join(round), "").unwrap();
                if round == "empty" {
                    fs::remove_file(place.join("missing")).unwrap();
                }
                exchange_by(swap, &new, &place, &trash).unwrap();
                assert!(place.join(round).exists() && !new.exists(), "{round}");
            }
            let kept = fs::read_dir(&trash).unwrap().next().unwrap().unwrap().path();
            assert!(kept.join("empty").exists());
        }
    }

    #[test]
    fn without_an_exchange_nothing_is_lost_between_two_renames() {
        let directory = tempfile::tempdir().unwrap();
        let [new, place, trash] = ["new", "place", "trash"].map(|name| directory.path().join(name));
        for (path, name) in [(&new, "new"), (&place, "old")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join(name), "").unwrap();
        }
        // The trash is taken by a file: the first rename fails, as it does on a disk without room for a directory.
        fs::write(&trash, "").unwrap();
        assert!(exchange_by(|_, _| Err(Errno::INVAL), &new, &place, &trash).is_err());
        assert!(place.join("old").exists() && new.join("new").exists());
    }
}
