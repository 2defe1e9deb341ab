//! Asking an upstream, through the image's own psql in replication mode.

use std::{
    iter,
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use pgherd_images::contract::{MAINTENANCE_DATABASE, REWIND_ROLE};
use pgherd_probe::{History, ParseHistoryError, TimelineId};

use crate::{
    error::Error,
    log::{Level, Line},
    observe::{Identity, Lineage, Slot},
    rejoin::Standing,
    same_wal::Stretch,
    spec::Upstream,
    supervise::{LOOK_INTERVAL, Supervisor, Tool, Watch},
    wal_segment::WalSegment,
};

/// The longest silence in the log while waiting, when nothing changes.
const REMINDER: Duration = Duration::from_secs(30);

/// One attempt to connect, before psql is bothered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The same with the name's resolution, which takes long where Docker passes the name of a stopped container on.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an upstream may take over a command. None here waits for anything but the upstream itself, which may be frozen
/// while its kernel goes on taking connections.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

/// An upstream, and how this node presents itself there.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Which.
    pub upstream: Upstream,
    /// The connection string.
    pub conninfo: String,
    /// The name of our slot there. It may begin with a digit, as container ids do, so commands must quote it.
    pub slot: String,
    /// Whether it is not ours.
    pub is_source: bool,
    /// Whether the role that rewinds is in its catalog, as it is in that of a cluster whose primary is ours.
    pub has_rewinder: bool,
}

impl Connection {
    /// Asks who the upstream is; the inner error is what was seen instead.
    ///
    /// # Errors
    /// Where psql cannot be run, or a signal asks the agent to end.
    pub(crate) fn ask(&self, supervisor: &mut Supervisor) -> Result<Result<Identity, String>, Error> {
        match self.look(supervisor)? {
            Ok(()) => self.identify(supervisor),
            Err(seen) => Ok(Err(seen)),
        }
    }

    /// Whether somebody listens. Sixteen replicas on two cores must not start sixteen psqls several times a second only to see no
    /// open port.
    fn look(&self, supervisor: &mut Supervisor) -> Result<Result<(), String>, Error> {
        let upstream = self.upstream.clone();
        let silence = || Err(format!("neither address nor connection in {} s", PROBE_TIMEOUT.as_secs()));
        Ok(supervisor.call(PROBE_TIMEOUT, move || connect(&upstream))?.unwrap_or_else(silence))
    }

    /// Asks one who is known to listen; the inner error is what was seen instead of an answer.
    ///
    /// # Errors
    /// Where psql cannot be run, or a signal asks the agent to end.
    pub(crate) fn identify(&self, supervisor: &mut Supervisor) -> Result<Result<Identity, String>, Error> {
        let slot = format!("READ_REPLICATION_SLOT \"{}\"", self.slot);
        let questions = ["IDENTIFY_SYSTEM", "SHOW server_version_num", "SHOW in_hot_standby", &slot];
        match self.command(supervisor, &questions) {
            Ok(answer) => Ok(parse_identity(&answer).ok_or_else(|| format!("a strange answer: {}", answer.trim()))),
            Err(Error::Upstream { complaint, .. }) => Ok(Err(complaint)),
            Err(error) => Err(error),
        }
    }

    /// Asks until there is an answer, for at most `bound_seconds`.
    ///
    /// # Errors
    /// At the bound, and as [`Self::ask`].
    pub(crate) fn wait_for_identity(&self, supervisor: &mut Supervisor, bound_seconds: u32) -> Result<Identity, Error> {
        let what = format!("upstream \"{}\"", self.upstream);
        poll(supervisor, &what, bound_seconds, |supervisor| self.ask(supervisor))
    }

    /// Asks for what a node with data has to know beyond the identity.
    ///
    /// # Errors
    /// Where the upstream does not answer any more, or strangely.
    pub(crate) fn trace(
        &self,
        supervisor: &mut Supervisor,
        identity: &Identity,
        ours: &Standing,
        pg_wal: &Path,
    ) -> Result<Lineage, Error> {
        let timeline = identity.timeline;
        let doing = || format!("read the history of timeline {timeline} of upstream \"{}\"", self.upstream);
        let history = match timeline {
            // The first one has none, and is asked for none.
            TimelineId(1) => History::default(),
            _ => {
                let answer = self.command(supervisor, &[&format!("TIMELINE_HISTORY {timeline}")])?;
                let content = answer.split_once('|').map_or("", |(_file, content)| content);
                content.parse().map_err(|error: ParseHistoryError| Error::Upstream {
                    doing: doing(),
                    complaint: error.to_string(),
                })?
            }
        };
        let common = Stretch::in_common(ours, identity, &history);
        // An upstream of an older agent has no such role. Then it is not known, and nothing is lost but a hint.
        let answer = match self.has_rewinder.then(|| self.sql(supervisor, &question_about_wal(common))) {
            None | Some(Err(Error::Upstream { .. })) => String::new(),
            Some(answer) => answer?,
        };
        let (oldest, theirs) = answer.trim().split_once('|').unwrap_or_default();
        let differs = |it: &Stretch| !theirs.is_empty() && it.digest_in(pg_wal).is_some_and(|ours| ours != theirs);
        Ok(Lineage {
            history,
            oldest_wal: WalSegment::of_file(oldest).map(|(_, segment)| segment),
            other_wal: common.filter(differs).map(Stretch::end),
        })
    }

    /// Runs one statement as the role that rewinds, and returns its rows, unaligned.
    ///
    /// # Errors
    /// Where it fails.
    pub(crate) fn sql(&self, supervisor: &mut Supervisor, statement: &str) -> Result<String, Error> {
        self.psql(supervisor, psql(&self.rewind_conninfo()).args(["-c", statement]))
    }

    /// How the role that rewinds connects. Of a keyword that comes twice, libpq takes the last.
    #[must_use]
    pub(crate) fn rewind_conninfo(&self) -> String {
        format!("{} user={REWIND_ROLE} dbname={MAINTENANCE_DATABASE}", self.conninfo)
    }

    /// Makes our slot, which keeps the WAL from now on.
    ///
    /// # Errors
    /// Where the upstream refuses.
    pub(crate) fn create_slot(&self, supervisor: &mut Supervisor) -> Result<(), Error> {
        self.command(supervisor, &[&format!("CREATE_REPLICATION_SLOT \"{}\" PHYSICAL RESERVE_WAL", self.slot)])
            .map(drop)
    }

    /// Makes our slot where it is missing or was invalidated, as soon as the upstream lets us, for at most `bound_seconds`.
    ///
    /// # Errors
    /// At the bound: what the upstream said last.
    pub(crate) fn provide_slot(&self, supervisor: &mut Supervisor, bound_seconds: u32) -> Result<(), Error> {
        let what = format!("a slot on upstream \"{}\"", self.upstream);
        let provided = poll(supervisor, &what, bound_seconds, |supervisor| {
            if let Err(seen) = self.look(supervisor)? {
                return Ok(Err(seen));
            }
            match self.psql(supervisor, self.replication_psql().input(slot_script(&self.slot))) {
                Err(Error::Upstream { complaint, .. }) => Ok(Err(complaint)),
                end => end.map(|_| Ok(())),
            }
        });
        provided.map_err(|error| match error {
            Error::TimedOut { seconds, last_seen, .. } => Error::Upstream {
                doing: format!("make {what}"),
                complaint: format!("{last_seen}; gave up after {seconds} s"),
            },
            error => error,
        })
    }

    /// Drops our slot.
    ///
    /// # Errors
    /// Where the upstream refuses, as it does while the slot is in use.
    pub(crate) fn drop_slot(&self, supervisor: &mut Supervisor) -> Result<(), Error> {
        self.command(supervisor, &[&format!("DROP_REPLICATION_SLOT \"{}\"", self.slot)]).map(drop)
    }

    /// The tablespaces that somebody has made there.
    ///
    /// The replication protocol tells of them only when a base backup has begun, so this is SQL, in a database that every
    /// server has and every role may read.
    ///
    /// # Errors
    /// Where the upstream refuses.
    pub(crate) fn tablespaces(&self, supervisor: &mut Supervisor) -> Result<Vec<Tablespace>, Error> {
        let made = "SELECT oid, pg_tablespace_location(oid) FROM pg_tablespace WHERE oid >= 16384";
        let answer = self.ask_as_replica(supervisor, &["-0", "-c", made])?;
        let strange = || self.failed(format!("a strange answer: {}", answer.trim()));
        answer.split_terminator('\0').map(|row| Tablespace::parse(row).ok_or_else(strange)).collect()
    }

    /// Runs SQL as the role that replicates.
    ///
    /// # Errors
    /// Where the upstream refuses.
    pub(crate) fn ask_as_replica(&self, supervisor: &mut Supervisor, arguments: &[&str]) -> Result<String, Error> {
        let target = format!("{} dbname={MAINTENANCE_DATABASE}", self.conninfo);
        self.psql(supervisor, psql(&target).args(arguments.iter().copied()))
    }

    /// Runs commands of the replication protocol, and returns their rows, unaligned.
    ///
    /// # Errors
    /// Where one of them fails.
    fn command(&self, supervisor: &mut Supervisor, commands: &[&str]) -> Result<String, Error> {
        let psql = commands.iter().fold(self.replication_psql(), |psql, command| psql.args(["-c", command]));
        self.psql(supervisor, psql)
    }

    /// A psql in replication mode.
    fn replication_psql(&self) -> Tool {
        psql(&format!("{} dbname=replication replication=true", self.conninfo))
    }

    fn psql(&self, supervisor: &mut Supervisor, psql: Tool) -> Result<String, Error> {
        supervisor.watch(psql, &mut Patience { with: self, looks: 0 }).map_err(|error| match error {
            Error::Tool { complaint, .. } => self.failed(complaint),
            error => error,
        })
    }

    fn failed(&self, complaint: String) -> Error {
        Error::Upstream { doing: format!("query upstream \"{}\"", self.upstream), complaint }
    }
}

fn psql(target: &str) -> Tool {
    Tool::new("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", target])
}

/// Makes a slot that is missing, and makes one anew that keeps nothing, in one session. Of a row's columns, `\gset` sets those
/// that are not null.
///
/// <https://www.postgresql.org/docs/17/protocol-replication.html#PROTOCOL-REPLICATION-READ-REPLICATION-SLOT>
fn slot_script(slot: &str) -> String {
    format!(
        r#"READ_REPLICATION_SLOT "{slot}" \gset
\if :{{?restart_lsn}}
\else
\if :{{?slot_type}}
DROP_REPLICATION_SLOT "{slot}";
\endif
CREATE_REPLICATION_SLOT "{slot}" PHYSICAL RESERVE_WAL;
\endif
"#
    )
}

/// One question, because a connection costs more than its answer: for the oldest segment, and for what both have.
fn question_about_wal(common: Option<Stretch>) -> String {
    let digest = common.map_or("NULL".to_owned(), Stretch::digest_in_sql);
    format!("SELECT min(name), {digest} FROM pg_ls_dir('pg_wal', true, false) name WHERE name ~ '^[0-9A-F]{{24}}$'")
}

/// A directory of the upstream's beside its data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tablespace {
    /// The name of its link.
    pub oid: u32,
    /// Where it is, from the upstream's data directory.
    pub location: PathBuf,
}

impl Tablespace {
    /// Reads `16385|/fast`.
    fn parse(row: &str) -> Option<Tablespace> {
        let (oid, location) = row.split_once('|')?;
        Some(Tablespace { oid: oid.parse().ok()?, location: location.into() })
    }
}

/// Ends a command that takes too long.
struct Patience<'a> {
    with: &'a Connection,
    looks: u32,
}

impl Watch for Patience<'_> {
    fn is_progress(&mut self, _: &str) -> bool {
        false
    }

    fn look(&mut self) -> Result<(), Error> {
        self.looks += 1;
        if LOOK_INTERVAL * self.looks < COMMAND_TIMEOUT {
            return Ok(());
        }
        Err(self.with.failed(format!("no answer within {} s", COMMAND_TIMEOUT.as_secs())))
    }
}

/// Looks until there is something, and logs what there is instead when that changes, and now and then when it does not.
///
/// # Errors
/// As of [`look_until`].
pub(crate) fn poll<T>(
    supervisor: &mut Supervisor,
    what: &str,
    bound_seconds: u32,
    mut look: impl FnMut(&mut Supervisor) -> Result<Result<T, String>, Error>,
) -> Result<T, Error> {
    let mut reported = (String::new(), Instant::now());
    look_until(supervisor, what, bound_seconds, |supervisor| {
        let found = look(supervisor)?;
        if let Err(seen) = &found
            && (*seen != reported.0 || reported.1.elapsed() >= REMINDER)
        {
            Line::new(Level::Info, format_args!("still waiting for {what}: {seen}")).event("waiting").write();
            reported = (seen.clone(), Instant::now());
        }
        Ok(found)
    })
}

/// Looks until there is something, for at most `bound_seconds`; ever more rarely, from 100 times a second to 4.
///
/// # Errors
/// At the bound, and those of `look`, whose inner error is what it saw instead.
pub(crate) fn look_until<T>(
    supervisor: &mut Supervisor,
    what: &str,
    bound_seconds: u32,
    mut look: impl FnMut(&mut Supervisor) -> Result<Result<T, String>, Error>,
) -> Result<T, Error> {
    let start = Instant::now();
    loop {
        let last_seen = match look(supervisor)? {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        let elapsed = start.elapsed();
        if elapsed >= Duration::from_secs(bound_seconds.into()) {
            return Err(Error::TimedOut { what: what.to_owned(), seconds: bound_seconds, last_seen });
        }
        supervisor.pause((elapsed / 50).clamp(Duration::from_millis(10), Duration::from_millis(250)))?;
    }
}

/// Those of `nodes` whose port is open, all tried at once. Whoever takes longer than [`PROBE_TIMEOUT`] does not count, as
/// the name of a stopped container may.
///
/// # Errors
/// Where a signal asks the agent to end.
pub(crate) fn listening(nodes: &[Upstream], supervisor: &mut Supervisor) -> Result<Vec<Upstream>, Error> {
    let nodes = nodes.to_vec();
    let look = move || {
        let (found, looks) = mpsc::channel();
        for node in nodes {
            let found = found.clone();
            thread::spawn(move || connect(&node).is_ok().then(|| found.send(node)));
        }
        drop(found);
        let deadline = Instant::now() + PROBE_TIMEOUT;
        iter::from_fn(|| looks.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()).collect()
    };
    Ok(supervisor.call(PROBE_TIMEOUT * 2, look)?.unwrap_or_default())
}

fn connect(upstream: &Upstream) -> Result<(), String> {
    let addresses = (upstream.host.as_str(), upstream.port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut seen = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(()),
            Err(error) => seen = format!("{address}: {error}"),
        }
    }
    Err(seen)
}

/// Reads `system identifier|timeline|position|database`, then `170012`, then `on` or `off`, then `type|restart position|timeline`
/// of the slot. One that was invalidated has no restart position.
fn parse_identity(answer: &str) -> Option<Identity> {
    let mut lines = answer.lines();
    let mut system = lines.next()?.split('|');
    Some(Identity {
        system_identifier: system.next()?.parse().ok()?,
        timeline: system.next()?.parse().ok()?,
        position: system.next()?.parse().ok()?,
        major: (lines.next()?.parse::<u32>().ok()? / 10_000).try_into().ok()?,
        in_recovery: lines.next()? == "on",
        slot: match lines.next()?.split('|').collect::<Vec<_>>()[..] {
            ["", ..] => Slot::Missing,
            [_, "", ..] => Slot::Lost,
            _ => Slot::Kept,
        },
    })
}

#[cfg(test)]
mod tests {
    use pgherd_probe::{Lsn, SystemIdentifier};

    use super::*;

    #[test]
    fn an_answer_is_read() {
        let identity = Identity {
            system_identifier: SystemIdentifier(7_711_465_481_869_942_929),
            timeline: TimelineId(1),
            position: Lsn(0x300_0060),
            in_recovery: false,
            major: 17,
            slot: Slot::Missing,
        };
        let primary = "7711465481869942929|1|0/3000060|\n170012\noff\n";
        let replica = primary.replace("off", "on");
        for (answer, identity) in [
            (format!("{primary}||\n"), identity),
            (format!("{primary}physical|0/3000000|1\n"), Identity { slot: Slot::Kept, ..identity }),
            (format!("{replica}physical||\n"), Identity { slot: Slot::Lost, in_recovery: true, ..identity }),
        ] {
            assert_eq!(parse_identity(&answer), Some(identity), "{answer}");
        }
        for nonsense in ["", "1|2|3|\n", "x|1|0/0|\n170012\noff\n||", "1|1|0/0|\nseventeen\noff\n||"] {
            assert_eq!(parse_identity(nonsense), None, "{nonsense:?}");
        }
    }
}
