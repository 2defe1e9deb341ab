//! What a data directory is that a cluster is to be made of, before anything is made: it is only read.
//!
//! PostgreSQL itself says whether it takes it. It would write to whatever it looks at, so that it is shown a shadow: the control file, the
//! settings and, where the server was shut down, the catalogs, but none of the databases.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use pgherd_images::contract;
use pgherd_probe::SystemIdentifier;
use serde::{Deserialize, Serialize};

use super::{
    copy::{self, Entry},
    find::{below, find, refuse_unusable},
    left_behind::{coming_along, left_behind},
    unfit::Unfit,
};
use crate::{
    configuration::ORDER_BOUND_SETTINGS,
    control_data::{ClusterState, ControlData},
    error::Error,
    layout::Layout,
    supervise::{Supervisor, Tool},
    wal_segment::WalSegment,
};

/// A data directory of which a cluster can be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examined {
    /// Where it is, below what was examined.
    pub path: String,
    /// Whose data these are. Those of the copy are the same.
    pub system_identifier: SystemIdentifier,
    /// How it was left, in PostgreSQL's words.
    pub state: String,
    /// What a copy takes on the disk.
    pub bytes: u64,
    /// What its nodes have to be given of the settings that must never be lowered under data, by their names.
    pub settings: BTreeMap<String, String>,
    /// The names of the settings that it had beside these and that do not come along.
    pub left_behind: Vec<String>,
}

impl fmt::Display for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Examined { system_identifier, state, bytes, settings, left_behind, .. } = self;
        write!(f, "{bytes} bytes of system identifier {system_identifier}, {state}")?;
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        for (what, names) in [("with", &settings), ("without its", left_behind)] {
            if !names.is_empty() {
                write!(f, "; {what} {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Examines what is at `place`, which is only read, or in one of the two levels below it.
///
/// # Errors
/// What speaks against a cluster of it, and what cannot be read.
pub fn examine(place: &Path, layout: &Layout, supervisor: &mut Supervisor) -> Result<Examined, Error> {
    let data = find(place, layout.major)?;
    refuse_unusable(&data)?;
    let content = copy::content(&data)?;
    let shadow = Shadow::begin(&data, layout.major)?;
    shadow
        .add(&content, |path| ["PG_VERSION", "global", "global/pg_control"].iter().any(|it| path == Path::new(it)))?;
    shadow.judge(Tool::new("postgres").args(["-C", "data_checksums"]), supervisor)?;
    let text = supervisor.run(Tool::new("pg_controldata").arg(&data))?;
    let not_taken = |complaint: String| Unfit::NotTaken { image: layout.major, complaint };
    let control: ControlData = text.parse().map_err(|error| not_taken(format!("{error}")))?;
    let settings = settings(&text);
    match control.state {
        ClusterState::ShutDown => {
            // Its latest checkpoint can begin in one segment and end in the next.
            let segments = [0, control.segment_size].map(|further| {
                let position = pgherd_probe::Lsn(control.position.0 + further);
                WalSegment::file_at(control.timeline, position, control.segment_size)
            });
            shadow.add(&content, |path| is_of_catalogs(path, &segments))?;
            let open = Tool::new("postgres").args(["--single", "-F", "-c", "exit_on_error=on"]);
            let settings = settings.iter().map(|(name, value)| format!("--{name}={value}"));
            shadow.judge(open.args(settings).arg("template1"), supervisor)?;
        }
        ClusterState::ShutDownInRecovery | ClusterState::InArchiveRecovery => {
            return Err(Unfit::NoPrimary(format!("it is {}", control.state)).into());
        }
        // What is missing in its files is in its WAL, and read from the copy.
        ClusterState::InProduction | ClusterState::InBetween => {}
    }
    Ok(Examined {
        path: below(place, &data),
        system_identifier: control.system_identifier,
        state: control.state.to_string(),
        bytes: content.iter().map(|entry| entry.bytes).sum(),
        settings,
        left_behind: left_behind(&data)?,
    })
}

/// The files without which no server opens a database that was shut down: `template1` has the same number everywhere.
fn is_of_catalogs(path: &Path, segments: &[String]) -> bool {
    let mut parts = path.iter().map(|part| part.to_string_lossy());
    let (top, second, has_more) = (parts.next().unwrap_or_default(), parts.next(), parts.next().is_some());
    match (&*top, second.as_deref()) {
        // Those are there already.
        ("PG_VERSION", None) | ("global", None | Some("pg_control")) => false,
        ("global" | "pg_xact" | "pg_multixact" | "pg_commit_ts" | "pg_logical" | "pg_twophase", _) => true,
        ("base", None | Some("1")) => true,
        ("pg_wal", Some(name)) => {
            !has_more && (segments.iter().any(|segment| segment == name) || name.ends_with(".history"))
        }
        (name, None) => name.starts_with("pg_") && !name.contains('.'),
        _ => false,
    }
}

/// Settings that a server needs that was shut down with them, where they are larger than the usual ones: prepared transactions are there
/// again at its start, and replicas have no less of all others than their primary.
fn settings(control: &str) -> BTreeMap<String, String> {
    const LABELS: [(&str, &str); 5] = [
        ("max_connections setting", "max_connections"),
        ("max_worker_processes setting", "max_worker_processes"),
        ("max_wal_senders setting", "max_wal_senders"),
        ("max_prepared_xacts setting", "max_prepared_transactions"),
        ("max_locks_per_xact setting", "max_locks_per_transaction"),
    ];
    let larger = |line: &str| {
        let (label, value) = line.split_once(':')?;
        let (_, name) = LABELS.iter().find(|(known, _)| *known == label)?;
        let (_, usual) = ORDER_BOUND_SETTINGS.iter().find(|(known, _)| known == name)?;
        let value: u32 = value.trim().parse().ok()?;
        (value > *usual).then(|| ((*name).to_owned(), value.to_string()))
    };
    control.lines().filter_map(larger).collect()
}

/// As much of a data directory as PostgreSQL has to see.
struct Shadow<'a> {
    of: &'a Path,
    path: PathBuf,
    major: u16,
}

impl Shadow<'_> {
    fn begin(of: &Path, major: u16) -> io::Result<Shadow<'_>> {
        let path = std::env::temp_dir().join(format!("shadow-{:016x}", rand::random::<u64>()));
        copy::create_directory(&path)?;
        let shadow = Shadow { of, path, major };
        let settings = fs::read_to_string(of.join("postgresql.auto.conf")).unwrap_or_default();
        for (name, text) in [("postgresql.conf", ""), ("postgresql.auto.conf", &coming_along(&settings))] {
            io::Write::write_all(&mut copy::create_file(&shadow.path.join(name))?, text.as_bytes())?;
        }
        Ok(shadow)
    }

    fn add(&self, content: &[Entry], wanted: impl Fn(&Path) -> bool) -> io::Result<()> {
        content.iter().filter(|entry| wanted(&entry.path)).try_for_each(|entry| copy::copy(entry, self.of, &self.path))
    }

    /// Runs PostgreSQL on it, as the user that it is going to run as.
    fn judge(&self, postgres: Tool, supervisor: &mut Supervisor) -> Result<(), Error> {
        let mut postgres = postgres.arg("-D").arg(&self.path).args(QUIETLY);
        if rustix::process::geteuid().is_root() {
            postgres = postgres.as_user(contract::UID);
        }
        match supervisor.run(postgres) {
            Err(Error::Tool { complaint, .. }) => {
                let complaint = without_noise(&complaint).replace(&format!("{}/", self.path.display()), "");
                Err(Unfit::NotTaken { image: self.major, complaint }.into())
            }
            end => end.map(drop),
        }
    }
}

/// The last lines of a single-user server are what it ends with, and not what it says of its checkpoint after that.
pub(super) const QUIETLY: [&str; 4] = ["-c", "log_line_prefix=", "-c", "log_checkpoints=off"];

/// What PostgreSQL says of the data, without advice to run initdb, which is none here.
pub(super) fn without_noise(complaint: &str) -> String {
    complaint.split("; ").filter(|part| !part.starts_with("HINT:")).collect::<Vec<_>>().join("; ")
}

impl Drop for Shadow<'_> {
    fn drop(&mut self) {
        // A helper's disk goes with it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_over_where_they_are_larger() {
        let control = "max_connections setting:              300\nmax_worker_processes setting:         8\n\
                       max_wal_senders setting:              10\nmax_prepared_xacts setting:           5\n\
                       max_locks_per_xact setting:           64\n";
        let taken = [("max_connections", "300"), ("max_prepared_transactions", "5")];
        assert_eq!(settings(control), taken.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_shadow_has_the_catalogs_and_no_database() {
        let segments = ["000000010000000000000003".to_owned()];
        for (path, wanted) in [
            ("global/1262", true),
            ("global/pg_control", false),
            ("base", true),
            ("base/1/1259", true),
            ("base/16384", false),
            ("base/16384/1259", false),
            ("pg_xact/0000", true),
            ("pg_logical/snapshots", true),
            ("pg_wal", true),
            ("pg_wal/archive_status", false),
            ("pg_wal/000000010000000000000002", false),
            ("pg_wal/000000010000000000000003", true),
            ("pg_stat", true),
            ("pg_stat/pgstat.stat", false),
            ("pg_tblspc/16385", false),
            ("pg_hba.conf", false),
            ("log", false),
            ("core", false),
        ] {
            assert_eq!(is_of_catalogs(Path::new(path), &segments), wanted, "{path}");
        }
    }

    #[test]
    fn postgresql_is_quoted_without_its_advice() {
        let complaint = "FATAL:  database files are incompatible with server; DETAIL:  The database cluster was initialized with \
                         PG_CONTROL_VERSION 1300, but the server was compiled with PG_CONTROL_VERSION 1700.; HINT:  It looks like \
                         you need to initdb.";
        insta::assert_snapshot!(without_noise(complaint), @"FATAL:  database files are incompatible with server; DETAIL:  The database cluster was initialized with PG_CONTROL_VERSION 1300, but the server was compiled with PG_CONTROL_VERSION 1700.");
    }

    #[test]
    fn what_was_found_is_told_in_one_line() {
        let examined = Examined {
            path: "data".into(),
            system_identifier: SystemIdentifier(7301),
            state: "shut down".into(),
            bytes: 40 << 20,
            settings: [("max_connections".into(), "300".into())].into(),
            left_behind: vec!["archive_command".into(), "work_mem".into()],
        };
        insta::assert_snapshot!(examined, @"41943040 bytes of system identifier 7301, shut down; with max_connections = 300; without its archive_command, work_mem");
        let plain = Examined { settings: BTreeMap::new(), left_behind: vec![], ..examined };
        insta::assert_snapshot!(plain, @"41943040 bytes of system identifier 7301, shut down");
    }
}
