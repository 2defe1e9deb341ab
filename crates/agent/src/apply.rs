//! Doing what a plan says: one match, which decides nothing.

use std::{fs, io, process::Command};

use pgherd_images::contract::{self, REPLICATION_ROLE, secrets::REPLICATION_PASSWORD};

use crate::{
    clone::clone,
    configuration,
    conninfo::conninfo,
    error::Error,
    initialize::initialize,
    layout::Layout,
    observe::UpstreamFacts,
    secrets::{self, Password},
    spec::{NodeSpec, Upstream},
    staging,
    step::Step,
    supervise::{Exit, Supervisor},
    upstream::{Connection, poll},
};

/// What a step leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done, and to be seen on disk.
    Done,
    /// It is known what the upstream says.
    Upstream(UpstreamFacts),
    /// PostgreSQL has run, and ended.
    Ended(Exit),
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
    let slot = contract::slot_name(&spec.node);
    match step {
        Step::DiscardPartial => staging::discard(layout).map_err(Error::doing("discard the partial directory"))?,
        Step::GenerateSecrets => secrets::generate(&layout.secrets).map_err(Error::doing("write the secrets"))?,
        Step::WaitForSecrets => wait_for_secrets(layout, supervisor, spec.upstream_wait_seconds)?,
        Step::WaitForUpstream(upstream) => {
            let conninfo = connect_to(upstream, spec, layout)?;
            let connection = Connection { upstream, conninfo: &conninfo, slot: &slot };
            let identity = connection.wait_for_identity(supervisor, spec.upstream_wait_seconds)?;
            return Ok(Outcome::Upstream(UpstreamFacts::Identified(identity)));
        }
        Step::AskUpstream(upstream) => return Ok(Outcome::Upstream(ask_upstream(upstream, spec, layout, supervisor)?)),
        Step::Initialize => initialize(layout, supervisor)?,
        Step::RecordSystemIdentifier(identifier) => {
            secrets::record(&layout.secrets, *identifier).map_err(Error::doing("record the system identifier"))?;
        }
        Step::WriteGrant(grant) => grant.write(&layout.grant_file()).map_err(Error::doing("write the grant"))?,
        Step::DropSlot(upstream) => {
            let conninfo = connect_to(upstream, spec, layout)?;
            let connection = Connection { upstream, conninfo: &conninfo, slot: &slot };
            connection.command(supervisor, &[&format!("DROP_REPLICATION_SLOT {slot}")])?;
        }
        Step::CreateSlot(upstream) => {
            let conninfo = connect_to(upstream, spec, layout)?;
            let connection = Connection { upstream, conninfo: &conninfo, slot: &slot };
            connection.command(supervisor, &[&format!("CREATE_REPLICATION_SLOT {slot} PHYSICAL RESERVE_WAL")])?;
        }
        Step::Clone { upstream, system_identifier } => {
            let conninfo = connect_to(upstream, spec, layout)?;
            let connection = Connection { upstream, conninfo: &conninfo, slot: &slot };
            clone(layout, supervisor, connection, *system_identifier)?;
        }
        Step::PutInPlace => staging::put_in_place(layout).map_err(Error::doing("put the data directory in place"))?,
        Step::StartPrimary(_) | Step::StartReplica(_) => {
            configuration::write(layout, spec).map_err(Error::doing("write the configuration"))?;
            let mut postgres = Command::new("postgres");
            postgres.arg("-D").arg(layout.data());
            postgres.arg("-c").arg(format!("config_file={}", layout.config_file().display()));
            return Ok(Outcome::Ended(supervisor.guard(&mut postgres)?));
        }
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
    let conninfo = connect_to(upstream, spec, layout)?;
    let connection = Connection { upstream, conninfo: &conninfo, slot: &contract::slot_name(&spec.node) };
    Ok(match connection.ask(supervisor)? {
        Ok(identity) => UpstreamFacts::Identified(identity),
        Err(seen) => UpstreamFacts::Unreachable(seen),
    })
}

/// The connection string, with the password file that it names; there is none without a password.
fn connect_to(upstream: &Upstream, spec: &NodeSpec, layout: &Layout) -> Result<String, Error> {
    let file = layout.password_file();
    if let Some(password) = Password::read(&layout.secrets, REPLICATION_PASSWORD)? {
        password.write_password_file(&file, REPLICATION_ROLE).map_err(Error::doing("write the password file"))?;
    }
    Ok(conninfo(upstream, &spec.node, &file))
}

fn wait_for_secrets(layout: &Layout, supervisor: &mut Supervisor, bound_seconds: u32) -> Result<(), Error> {
    let file = layout.secrets.join(REPLICATION_PASSWORD);
    poll(supervisor, format!("\"{}\"", file.display()), bound_seconds, |_| {
        if file.try_exists()? {
            return Ok(Ok(()));
        }
        let entries = fs::read_dir(&layout.secrets)?.collect::<io::Result<Vec<_>>>()?;
        let names: Vec<_> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        Ok(Err(if names.is_empty() {
            "the secrets volume is empty".to_owned()
        } else {
            format!("the secrets volume holds only \"{}\"", names.join("\", \""))
        }))
    })
}
