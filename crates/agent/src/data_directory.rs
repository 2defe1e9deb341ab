//! What is on the node's volume, by reading alone.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::{control_data::ControlData, layout::Layout, place::named};

/// What a directory holds in the place where a data directory is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataDirectory {
    /// There is no such directory.
    Missing,
    /// It holds nothing, or `lost+found` alone.
    Empty,
    /// A data directory of this major version.
    Initialized {
        /// What `pg_control` says.
        control: ControlData,
        /// Whether `standby.signal` makes it a replica.
        standby: bool,
    },
    /// A data directory of another major version: the content of its `PG_VERSION`.
    OtherMajor(String),
    /// A data directory with the `recovery.conf` of PostgreSQL 11 or older, at which a newer one ends: the content of its
    /// `PG_VERSION`, which is this major version or one of those.
    ///
    /// <https://www.postgresql.org/docs/17/recovery-config.html>
    RecoveryConf(String),
    /// A data directory whose `pg_control` cannot be read: what the reader said.
    Damaged(String),
    /// Something else: the names of some of it.
    Foreign(Vec<String>),
}

impl DataDirectory {
    /// Looks at `path`, where data of `major` are expected. `read_control` runs `pg_controldata`.
    ///
    /// # Errors
    /// Where the directory cannot be read, or `read_control` fails.
    pub fn observe<E: From<io::Error>>(
        path: &Path,
        major: u16,
        read_control: impl FnOnce(&Path) -> Result<Result<ControlData, String>, E>,
    ) -> Result<DataDirectory, E> {
        let entries = match entries(path)? {
            None => return Ok(DataDirectory::Missing),
            Some(entries) if entries.is_empty() => return Ok(DataDirectory::Empty),
            Some(entries) => entries,
        };
        Ok(match version(path)? {
            None => DataDirectory::Foreign(entries.into_iter().take(3).collect()),
            Some(found) if has_recovery_conf(path)? && (found == major.to_string() || is_before_12(&found)) => {
                DataDirectory::RecoveryConf(found)
            }
            Some(found) if found != major.to_string() => DataDirectory::OtherMajor(found),
            Some(_) => match read_control(path)? {
                Ok(control) => {
                    DataDirectory::Initialized { control, standby: path.join("standby.signal").try_exists()? }
                }
                Err(reason) => DataDirectory::Damaged(reason),
            },
        })
    }

    /// Whether nothing would be lost if another directory took its place.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        matches!(self, DataDirectory::Missing | DataDirectory::Empty)
    }
}

impl fmt::Display for DataDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataDirectory::Missing => f.write_str("missing"),
            DataDirectory::Empty => f.write_str("empty"),
            DataDirectory::Initialized { control, standby } => {
                let ControlData { system_identifier, timeline, state, .. } = control;
                let owner = if *standby { "replica" } else { "primary" };
                write!(f, "of a {owner}, system identifier {system_identifier}, timeline {timeline}, {state}")
            }
            DataDirectory::OtherMajor(version) => write!(f, "of PostgreSQL {version}"),
            DataDirectory::RecoveryConf(version) => write!(f, "of PostgreSQL {version}, with a recovery.conf"),
            DataDirectory::Damaged(reason) => write!(f, "damaged: {reason}"),
            DataDirectory::Foreign(entries) => write!(f, "foreign: \"{}\"", entries.join("\", \"")),
        }
    }
}

/// What stands where the agent keeps its unfinished work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partial {
    /// Nothing.
    Missing,
    /// Work of the agent's own, by its marker.
    Ours,
    /// Something else: the names of some of it.
    Foreign(Vec<String>),
}

impl Partial {
    /// Looks at the partial directory of `layout`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn observe(layout: &Layout) -> io::Result<Partial> {
        Ok(match entries(&layout.partial())? {
            None => Partial::Missing,
            // A crash between the making of the directory and of its marker leaves it empty.
            Some(entries) if entries.is_empty() || layout.partial_marker().try_exists()? => Partial::Ours,
            Some(entries) => Partial::Foreign(entries.into_iter().take(3).collect()),
        })
    }
}

/// A data directory where this image does not look for one: another version's, or another image's habit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// Where it is.
    pub path: PathBuf,
    /// The content of its `PG_VERSION`.
    pub version: String,
    /// Whether it has a `recovery.conf`.
    pub recovery_conf: bool,
}

impl Misplaced {
    /// Looks through the volume, two levels deep (`data` and `18/docker` are the official image's), beside our own place.
    ///
    /// # Errors
    /// Where the volume cannot be read.
    pub fn observe(layout: &Layout) -> io::Result<Option<Misplaced>> {
        let ours = layout.version_directory();
        let mut candidates = vec![layout.volume.clone()];
        for first in directories(&layout.volume)?.into_iter().filter(|path| *path != ours) {
            candidates.extend(directories(&first)?);
            candidates.push(first);
        }
        candidates.sort();
        for path in candidates {
            if let Some(version) = version(&path)? {
                let recovery_conf = has_recovery_conf(&path)?;
                return Ok(Some(Misplaced { path, version, recovery_conf }));
            }
        }
        Ok(None)
    }
}

/// The sorted names in a directory, without what a fresh ext4 file system holds at its top; nothing where it is not there.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn entries(path: &Path) -> io::Result<Option<Vec<String>>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|error| named(path, error))?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name != "lost+found");
    names.sort();
    Ok(Some(names))
}

/// The directories in a directory.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = entries(path)?.unwrap_or_default().into_iter().map(|name| path.join(name));
    // A link may lead anywhere; what it leads to is not on this volume.
    Ok(paths.filter(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())).collect())
}

/// The content of a data directory's `PG_VERSION`.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn version(data_directory: &Path) -> io::Result<Option<String>> {
    let path = data_directory.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(&path, error)),
    }
}

fn has_recovery_conf(data_directory: &Path) -> io::Result<bool> {
    data_directory.join("recovery.conf").try_exists()
}

/// Whether this `PG_VERSION` is from when replicas had a `recovery.conf`. It said `9.6` before it said `10`.
pub(crate) fn is_before_12(version: &str) -> bool {
    version.split('.').next().and_then(|major| major.parse().ok()).is_some_and(|major: u16| major < 12)
}

#[cfg(test)]
mod tests {
    use pgherd_probe::{Lsn, SystemIdentifier, TimelineId};

    use super::*;
    use crate::control_data::ClusterState;

    const CONTROL: ControlData = ControlData {
        system_identifier: SystemIdentifier(7),
        timeline: TimelineId(1),
        state: ClusterState::ShutDown,
        position: Lsn(0x300_0028),
        rewindable: true,
        segment_size: 16 << 20,
    };

    fn layout(volume: &Path) -> Layout {
        Layout { volume: volume.to_owned(), ..Layout::of_image(17) }
    }

    /// Makes files, and directories where a name ends in a slash.
    fn make(volume: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = volume.join(name);
            fs::create_dir_all(if name.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if !name.ends_with('/') {
                fs::write(path, content).unwrap();
            }
        }
    }

    #[test]
    fn every_state_is_told_apart() {
        let initialized = |standby| DataDirectory::Initialized { control: CONTROL, standby };
        let cases: [(&[(&str, &str)], DataDirectory); 13] = [
            (&[], DataDirectory::Missing),
            (&[("17/data/", "")], DataDirectory::Empty),
            (&[("17/data/lost+found/", "")], DataDirectory::Empty),
            (&[("17/data/PG_VERSION", "17\n")], initialized(false)),
            (&[("17/data/PG_VERSION", "17\n"), ("17/data/standby.signal", "")], initialized(true)),
            (&[("17/data/PG_VERSION", "15\n")], DataDirectory::OtherMajor("15".into())),
            (&[("17/data/PG_VERSION", "11\n")], DataDirectory::OtherMajor("11".into())),
            (
                &[("17/data/PG_VERSION", "11\n"), ("17/data/recovery.conf", "")],
                DataDirectory::RecoveryConf("11".into()),
            ),
            (
                &[("17/data/PG_VERSION", "9.6\n"), ("17/data/recovery.conf", "")],
                DataDirectory::RecoveryConf("9.6".into()),
            ),
            (
                &[("17/data/PG_VERSION", "17\n"), ("17/data/recovery.conf", "")],
                DataDirectory::RecoveryConf("17".into()),
            ),
            (&[("17/data/PG_VERSION", "15"), ("17/data/recovery.conf", "")], DataDirectory::OtherMajor("15".into())),
            (&[("17/data/b", ""), ("17/data/a", "")], DataDirectory::Foreign(vec!["a".into(), "b".into()])),
            (&[("17/data/PG_VERSION.bak", "17\n")], DataDirectory::Foreign(vec!["PG_VERSION.bak".into()])),
        ];
        for (files, expected) in cases {
            let volume = tempfile::tempdir().unwrap();
            make(volume.path(), files);
            let path = layout(volume.path()).data();
            let found = DataDirectory::observe(&path, 17, |_| Ok::<_, io::Error>(Ok(CONTROL))).unwrap();
            assert_eq!(found, expected, "{files:?}");
        }
    }

    #[test]
    fn an_unreadable_pg_control_is_damage() {
        let volume = tempfile::tempdir().unwrap();
        make(volume.path(), &[("17/data/PG_VERSION", "17")]);
        let complaint = |_: &Path| Ok::<_, io::Error>(Err("no such file".to_owned()));
        let found = DataDirectory::observe(&layout(volume.path()).data(), 17, complaint).unwrap();
        assert_eq!(found, DataDirectory::Damaged("no such file".into()));
    }

    #[test]
    fn only_marked_work_is_ours() {
        let cases: [(&[(&str, &str)], Partial); 4] = [
            (&[], Partial::Missing),
            (&[("17/partial/", "")], Partial::Ours),
            (&[("17/partial/data/x", ""), ("17/partial/unfinished-work-of-pgherd-agent", "")], Partial::Ours),
            (&[("17/partial/data/x", "")], Partial::Foreign(vec!["data".into()])),
        ];
        for (files, expected) in cases {
            let volume = tempfile::tempdir().unwrap();
            make(volume.path(), files);
            assert_eq!(Partial::observe(&layout(volume.path())).unwrap(), expected, "{files:?}");
        }
    }

    #[test]
    fn data_elsewhere_on_the_volume_are_found() {
        for (file, found_at) in [
            ("PG_VERSION", Some("")),
            ("data/PG_VERSION", Some("data")),
            ("15/data/PG_VERSION", Some("15/data")),
            ("18/docker/PG_VERSION", Some("18/docker")),
            ("17/data/PG_VERSION", None),
            ("17/staged/PG_VERSION", None),
        ] {
            let volume = tempfile::tempdir().unwrap();
            make(volume.path(), &[(file, "15\n")]);
            let expected = found_at.map(|place| Misplaced {
                path: if place.is_empty() { volume.path().to_owned() } else { volume.path().join(place) },
                version: "15".into(),
                recovery_conf: false,
            });
            assert_eq!(Misplaced::observe(&layout(volume.path())).unwrap(), expected, "{file}");
        }
    }
}
