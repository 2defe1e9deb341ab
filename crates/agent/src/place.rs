//! A path as the file system shows it: whose it is, and whether it can be written to at all.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::StatVfsMountFlags,
    process::{getegid, geteuid},
};

use crate::progress::Bytes;

/// Who owns something, by the numbers that the kernel goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Owner {
    /// The one that this process runs as.
    #[must_use]
    pub fn of_this_process() -> Owner {
        Owner { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// The type of tmpfs, statfs(2).
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// A path that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub path: PathBuf,
    /// Whose.
    pub owner: Owner,
    /// The permission bits, chmod(2).
    pub mode: u32,
    /// Whether its file system is mounted read-only.
    pub read_only: bool,
    /// Whether its file system is in memory, so that nobody can give it away on the host.
    pub in_memory: bool,
    /// Who asks.
    pub asked_by: Owner,
}

impl Place {
    /// Looks at `path`, or at the nearest of its parents that can be seen.
    ///
    /// # Errors
    /// Where not even the root can be.
    pub fn nearest(path: &Path) -> io::Result<Place> {
        let mut error = io::Error::from(io::ErrorKind::NotFound);
        for path in path.ancestors() {
            match fs::metadata(path) {
                Ok(metadata) => {
                    let flags = rustix::fs::statvfs(path)?.f_flag;
                    return Ok(Place {
                        path: path.to_owned(),
                        owner: Owner { uid: metadata.uid(), gid: metadata.gid() },
                        mode: metadata.mode() & 0o7777,
                        read_only: flags.contains(StatVfsMountFlags::RDONLY),
                        in_memory: rustix::fs::statfs(path)?.f_type == TMPFS_MAGIC,
                        asked_by: Owner::of_this_process(),
                    });
                }
                Err(unseen) => error = unseen,
            }
        }
        Err(error)
    }

    /// Whether PostgreSQL takes it for its data directory: its own, and nobody else's to write to or, but for its group, to
    /// read (<https://www.postgresql.org/docs/17/app-initdb.html>, `--allow-group-access`).
    #[must_use]
    pub fn suits_postgresql(&self) -> bool {
        self.owner.uid == self.asked_by.uid && self.mode & 0o027 == 0
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        if self.read_only {
            return "mount it without \":ro\"".into();
        }
        if self.in_memory {
            return format!(
                "mount it as in: --tmpfs {}:uid={},gid={}",
                self.path.display(),
                self.asked_by.uid,
                self.asked_by.gid
            );
        }
        format!(
            "give it to the node, as in: chown -R {0} {1} && chmod u=rwX,go= {1}, with the path that it has on the host",
            self.asked_by,
            self.path.display()
        )
    }
}

impl fmt::Display for Place {
    /// What it has against us.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { path, owner, mode, asked_by, .. } = self;
        if self.read_only {
            write!(f, "\"{}\" is mounted read-only; it", path.display())?;
        } else {
            write!(f, "permission denied for {asked_by}: \"{}\"", path.display())?;
        }
        write!(f, " belongs to {owner} and has mode {mode:04o}")
    }
}

/// What is free for us on the file system of `path`.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn free_on_file_system_of(path: &Path) -> io::Result<Bytes> {
    let statistics = rustix::fs::statvfs(path)?;
    Ok(Bytes(statistics.f_bavail.saturating_mul(statistics.f_frsize)))
}

impl std::error::Error for Place {}

/// An error that names its path; where the file system denied something, by the [`Place`] that shows why.
pub(crate) fn named(path: &Path, error: io::Error) -> io::Error {
    let denied = matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
    match Place::nearest(path) {
        Ok(place) if denied => io::Error::new(error.kind(), place),
        _ if error.get_ref().is_some() => error,
        _ => io::Error::new(error.kind(), format!("\"{}\": {error}", path.display())),
    }
}

/// The place that an error is about, by [`named`].
pub(crate) fn place_of(error: &io::Error) -> Option<&Place> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place(uid: u32, mode: u32, read_only: bool) -> Place {
        let (owner, asked_by) = (Owner { uid, gid: uid }, Owner { uid: 999, gid: 999 });
        Place { path: "/var/lib/postgresql/17/data".into(), owner, mode, read_only, in_memory: false, asked_by }
    }

    #[test]
    fn postgresql_wants_its_data_for_itself() {
        for (uid, mode, suits) in
            [(999, 0o700, true), (999, 0o750, true), (999, 0o755, false), (999, 0o770, false), (0, 0o700, false)]
        {
            assert_eq!(place(uid, mode, false).suits_postgresql(), suits, "{uid} {mode:o}");
        }
    }

    #[test]
    fn the_nearest_place_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let place = Place::nearest(&directory.path().join("missing/and/more")).unwrap();
        assert_eq!((place.path.as_path(), place.mode, place.owner), (directory.path(), 0o711, place.asked_by));
    }

    #[test]
    fn an_error_has_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing");
        for (kind, shown) in [
            (io::ErrorKind::PermissionDenied, Some(directory.path())),
            (io::ErrorKind::ReadOnlyFilesystem, Some(directory.path())),
            (io::ErrorKind::StorageFull, None),
        ] {
            let error = named(&path, kind.into());
            assert_eq!(place_of(&error).map(|place| place.path.as_path()), shown);
            assert!(shown.is_some() || error.to_string().contains("missing"), "{error}");
        }
    }

    #[test]
    fn it_is_told_with_the_way_out() {
        let told = |place: Place| format!("{place}\nhint: {}", place.hint());
        insta::assert_snapshot!(told(place(0, 0o755, false)), @r#"
        permission denied for 999:999: "/var/lib/postgresql/17/data" belongs to 0:0 and has mode 0755
        hint: give it to the node, as in: chown -R 999:999 /var/lib/postgresql/17/data && chmod u=rwX,go= /var/lib/postgresql/17/data, with the path that it has on the host
        "#);
        insta::assert_snapshot!(told(Place { in_memory: true, ..place(0, 0o755, false) }), @r#"
        permission denied for 999:999: "/var/lib/postgresql/17/data" belongs to 0:0 and has mode 0755
        hint: mount it as in: --tmpfs /var/lib/postgresql/17/data:uid=999,gid=999
        "#);
        insta::assert_snapshot!(told(place(999, 0o700, true)), @r#"
        "/var/lib/postgresql/17/data" is mounted read-only; it belongs to 999:999 and has mode 0700
        hint: mount it without ":ro"
        "#);
    }
}
