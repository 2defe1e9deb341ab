//! Doing what a plan says: one match, which decides nothing.

use std::{
    fs, io,
    process::Command,
    time::{Duration, Instant},
};

use pgherd_images::contract;

use crate::{
    clone::{clone, clone_other},
    configuration,
    conninfo::conninfo,
    control_data::ControlData,
    credentials,
    disk::Teller,
    durable,
    ending::Ending,
    error::Error,
    existing::adopt::adopt,
    grant,
    initialize::initialize,
    layout::Layout,
    observe::{PeerFacts, UpstreamFacts, standing},
    reload::take_up,
    rewind,
    secrets::{self, Secrets},
    spec::{NodeSpec, Upstream},
    staging,
    step::Step,
    supervise::Supervisor,
    trash,
    upstream::{self, Connection, poll},
};

/// How long the other nodes are asked at most before the last answer is waited for, which takes two seconds more.
const PEERS_TIMEOUT: Duration = Duration::from_secs(1);

/// What a step leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done, and to be seen on disk.
    Done,
    /// It is known what the upstream says.
    Upstream(UpstreamFacts),
    /// It is known what the other nodes say.
    Peers(PeerFacts),
    /// PostgreSQL has run, and ended.
    Ended(Ending),
}

/// Applies one step.
///
/// # Errors
/// Where it fails, or a signal asks the agent to end.
pub(crate) fn apply(
    step: &Step,
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
) -> Result<Outcome, Error> {
    let connection = |upstream| connect_to(upstream, spec, layout);
    match step {
        Step::DiscardPartial => {
            staging::discard(layout).map_err(Error::doing_at("discard the partial directory", &layout.partial()))?;
        }
        Step::GenerateSecrets => {
            secrets::generate(&layout.secrets).map_err(Error::doing_at("write the secrets", &layout.secrets))?;
        }
        Step::WaitForSecrets => wait_for_secrets(layout, supervisor, spec.upstream_wait_seconds)?,
        Step::WaitForUpstream(upstream) => {
            let identity = connection(upstream)?.wait_for_identity(supervisor, spec.upstream_wait_seconds)?;
            return Ok(Outcome::Upstream(UpstreamFacts::Identified(identity)));
        }
        Step::AskUpstream { upstream, control, standby } => {
            return Ok(Outcome::Upstream(trace(upstream, control, *standby, spec, layout, supervisor)?));
        }
        Step::Initialize => initialize(layout, spec, supervisor)?,
        Step::Adopt(_) => adopt(layout, spec, supervisor)?,
        Step::RecordSystemIdentifier(identifier) => {
            secrets::record(&layout.secrets, *identifier)
                .map_err(Error::doing_at("record the system identifier", &layout.secrets))?;
        }
        Step::WriteGrant(grant) => grant.write(&layout.grant_file()).map_err(Error::doing("write the grant"))?,
        Step::DropSlot(upstream) => connection(upstream)?.drop_slot(supervisor)?,
        Step::CreateSlot(upstream) => connection(upstream)?.create_slot(supervisor)?,
        Step::Clone { clone_from: Some(other), system_identifier, .. } => {
            // The upstream itself is left for the next attempt.
            let patience = spec.upstream_wait_seconds / 3;
            clone_other(layout, supervisor, &connection(other)?, patience, *system_identifier, spec.clone)?;
        }
        Step::Clone { upstream, clone_from: None, system_identifier } => {
            let upstream = connection(upstream)?;
            clone(layout, supervisor, &upstream, Some(&upstream.slot), *system_identifier, spec.clone)?;
        }
        Step::PutInPlace => {
            staging::put_in_place(layout).map_err(Error::doing("put the data directory in place"))?;
            // They are new, or what their upstream has: no node has a newer timeline of them.
            return Ok(Outcome::Peers(PeerFacts::Asked(None)));
        }
        Step::Rejoin(_) => {}
        Step::ThrowAwayData => trash::throw_away_data(layout, "a new clone takes its place".to_owned())
            .map_err(Error::doing("move the data directory to the trash"))?,
        Step::ForgetRewind => {
            fs::remove_file(layout.rewind_file()).map_err(Error::doing("forget the failed rewind"))?;
        }
        Step::ExpireTrash(names) => trash::remove(layout, names).map_err(Error::doing("empty the trash"))?,
        Step::AskPeers(peers) => return Ok(Outcome::Peers(ask_peers(peers, spec, layout, supervisor)?)),
        Step::RevokeGrant(upstream) => {
            let why = format!("\"{}\" is a replica of \"{upstream}\"", spec.node);
            grant::revoke(&layout.grant_file(), &why).map_err(Error::doing("revoke the grant"))?;
        }
        Step::BecomeReplica => {
            let signal = layout.standby_signal();
            durable::replace(&signal, b"").map_err(Error::doing(format!("write \"{}\"", signal.display())))?;
        }
        Step::KeepDivergentWal { fork, segment_size } => {
            rewind::keep_divergent_wal(layout, *fork, *segment_size).map_err(Error::doing("keep the divergent WAL"))?;
        }
        Step::Recover => rewind::recover(layout, supervisor)?,
        Step::Rewind { upstream, identity } => {
            if rewind::rewind(layout, supervisor, &connection(upstream)?)? {
                return Ok(Outcome::Upstream(UpstreamFacts::Rewound(*identity)));
            }
        }
        Step::StartPrimary(_) | Step::StartReplica(_) => return start(spec, layout, supervisor).map(Outcome::Ended),
    }
    Ok(Outcome::Done)
}

/// Asks the upstream once, and takes silence for an answer.
///
/// # Errors
/// Where it cannot be asked at all.
pub(crate) fn ask_upstream(
    upstream: &Upstream,
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
) -> Result<UpstreamFacts, Error> {
    let answer = connect_to(upstream, spec, layout)?.ask(supervisor)?;
    Ok(answer.map_or_else(UpstreamFacts::Unreachable, UpstreamFacts::Identified))
}

/// The same for a node with data, which has to know more.
///
/// # Errors
/// Where it cannot be asked at all, or our own data cannot be read.
pub(crate) fn trace(
    upstream: &Upstream,
    control: &ControlData,
    standby: bool,
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
) -> Result<UpstreamFacts, Error> {
    let identity = match ask_upstream(upstream, spec, layout, supervisor)? {
        UpstreamFacts::Identified(identity) => identity,
        silence => return Ok(silence),
    };
    let standing = standing(layout, control, standby, supervisor)?;
    match connect_to(upstream, spec, layout)?.trace(supervisor, &identity, &standing, &layout.data().join("pg_wal")) {
        Ok(lineage) => Ok(UpstreamFacts::Traced(identity, standing, lineage)),
        Err(Error::Upstream { complaint, .. }) => Ok(UpstreamFacts::Unreachable(complaint)),
        Err(error) => Err(error),
    }
}

/// Asks the other nodes for their timelines, those that listen, for as long as there is time for one more answer. Silence does
/// not block.
///
/// # Errors
/// Where they cannot be asked at all.
pub(crate) fn ask_peers(
    peers: &[Upstream],
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
) -> Result<PeerFacts, Error> {
    let mut newest = None;
    let deadline = Instant::now() + PEERS_TIMEOUT;
    for peer in upstream::listening(peers, supervisor)? {
        if Instant::now() > deadline {
            break;
        }
        if let Ok(identity) = connect_to(&peer, spec, layout)?.identify(supervisor)? {
            newest = newest.max(Some((identity.timeline, peer)));
        }
    }
    Ok(PeerFacts::Asked(newest.map(|(timeline, peer)| (peer, timeline))))
}

fn start(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor) -> Result<Ending, Error> {
    configuration::note_upstream(layout, spec).map_err(Error::doing("note the upstream"))?;
    let mut spec = spec.clone();
    take_up(&mut spec, layout)?;
    remove_stale_locks(layout)?;
    let mut postgres = Command::new("postgres");
    postgres.arg("-D").arg(layout.data());
    postgres.arg("-c").arg(format!("config_file={}", layout.config_file().display()));
    let _teller = Teller::begin(layout);
    supervisor.guard(&mut postgres, || take_up(&mut spec, layout))
}

/// Removes the lock files of the data directory and of the socket, <https://www.postgresql.org/docs/17/storage-file-layout.html>.
///
/// A killed container leaves them behind, and its next start gives their process id to somebody else, be it a psql that
/// somebody is quick to run in it, whom PostgreSQL takes for another postmaster. That there is none, in this container or in
/// another, our own lock says.
fn remove_stale_locks(layout: &Layout) -> io::Result<()> {
    let socket_lock = layout.socket_directory.join(format!(".s.PGSQL.{}.lock", contract::PORT));
    for lock in [layout.data().join("postmaster.pid"), socket_lock] {
        match fs::remove_file(lock) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The connection string, with the password file that it names.
///
/// # Errors
/// Where that cannot be written.
pub(crate) fn connect_to(upstream: &Upstream, spec: &NodeSpec, layout: &Layout) -> Result<Connection, Error> {
    credentials::write_password_file(layout, spec).map_err(Error::doing("write the password file"))?;
    Ok(Connection {
        upstream: upstream.clone(),
        conninfo: conninfo(upstream, &format!("pgherd-agent {}", spec.node), spec, layout),
        slot: contract::slot_name(&spec.node),
        is_source: spec.is_source(upstream),
        has_rewinder: spec.source.is_none(),
    })
}

fn wait_for_secrets(layout: &Layout, supervisor: &mut Supervisor, bound_seconds: u32) -> Result<(), Error> {
    poll(supervisor, "the cluster's secrets", bound_seconds, |_| {
        let lacks = Secrets::observe(&layout.secrets, true)?.missing_for_a_replica();
        let what = lacks.iter().map(|name| format!("\"{}\"", layout.secrets.join(name).display()));
        Ok(if lacks.is_empty() { Ok(()) } else { Err(format!("no {}", what.collect::<Vec<_>>().join(" and no "))) })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::remove_stale_locks;
    use crate::layout::Layout;

    #[test]
    fn the_locks_of_a_killed_postmaster_are_removed() {
        let root = tempfile::tempdir().expect("a directory");
        let (volume, socket_directory) = (root.path().join("volume"), root.path().join("sockets"));
        let layout = Layout { volume, socket_directory, ..Layout::of_image(17) };
        remove_stale_locks(&layout).expect("nothing to do");
        fs::create_dir_all(layout.data()).expect("a data directory");
        fs::create_dir(&layout.socket_directory).expect("a socket directory");
        let (pid, lock) = (layout.data().join("postmaster.pid"), layout.socket_directory.join(".s.PGSQL.5432.lock"));
        for file in [&pid, &lock, &layout.data().join("PG_VERSION")] {
            fs::write(file, "8\n").expect("a file");
        }
        remove_stale_locks(&layout).expect("two files less");
        assert!(!pid.exists() && !lock.exists() && layout.data().join("PG_VERSION").exists());
    }
}
