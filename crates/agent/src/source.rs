//! What an orchestrator has done about a server that is not ours: secrets for the role that the cluster has there, and questions
//! as that role.

use pgherd_probe::SystemIdentifier;

use crate::{
    apply::connect_to,
    error::Error,
    layout::Layout,
    refusal::Refusal,
    secrets::{self, Password, Secrets},
    spec::NodeSpec,
    supervise::Supervisor,
    upstream::{Connection, poll},
};
use pgherd_images::contract::secrets::REPLICATION_PASSWORD;

/// How long the server may take to let us in, in seconds: it has just been told to read its `pg_hba.conf` again.
const KNOCK_SECONDS: u32 = 6;

/// How long it may take the server to notice that a replica is gone, in seconds.
const SLOT_SECONDS: u32 = 30;

/// Makes all secrets that are missing, of a cluster that follows the server of this system identifier from then on, and returns what
/// that is to store in the place of our role's password, see `Password::scram_verifier`.
///
/// # Errors
/// Where the secrets belong to another server, and whatever the file system says.
pub fn introduce(layout: &Layout, server: SystemIdentifier) -> Result<String, Error> {
    let directory = &layout.secrets;
    secrets::generate(directory).map_err(Error::doing_at("write the secrets", directory))?;
    secrets::record(directory, server).map_err(Error::doing_at("record the system identifier", directory))?;
    let found = Secrets::observe(directory, true)?;
    match (found.system_identifier(), Password::read(directory, REPLICATION_PASSWORD)?) {
        (Some(ours), Some(password)) if ours == server => Ok(password.scram_verifier()),
        (Some(ours), _) if ours != server => {
            let authority = "the server that is to be followed".to_owned();
            Err(Refusal::OtherCluster { place: "the secrets volume", ours, authority, theirs: server }.into())
        }
        _ => Err(Refusal::SecretsNotMounted(directory.clone()).into()),
    }
}

/// Tries all that a replica will ask of the server: a replication connection, and what tablespaces it has. Returns who it is.
///
/// # Errors
/// What the server says, or that nobody listens.
pub fn knock(spec: &NodeSpec, layout: &Layout, supervisor: &mut Supervisor) -> Result<SystemIdentifier, Error> {
    let source = connection(spec, layout)?;
    let identity = source.wait_for_identity(supervisor, KNOCK_SECONDS)?;
    source.tablespaces(supervisor)?;
    Ok(identity.system_identifier)
}

/// Runs a statement as the role that the cluster has there, and returns its rows, unaligned.
///
/// # Errors
/// What the server says.
pub fn ask_source(
    statement: &str,
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
) -> Result<String, Error> {
    connection(spec, layout)?.ask_as_replica(supervisor, &["-c", statement])
}

/// Drops slots there as soon as nobody uses them any more. One that is not there is what was wanted.
///
/// # Errors
/// What the server says, or that one is still in use.
pub fn drop_source_slots(
    slots: &[&str],
    spec: &NodeSpec,
    layout: &Layout,
    supervisor: &mut Supervisor,
) -> Result<(), Error> {
    let names: Vec<String> = slots.iter().map(|slot| format!("'{}'", slot.replace('\'', "''"))).collect();
    let ours = format!("slot_type = 'physical' AND slot_name IN ({})", names.join(", "));
    let drop =
        format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE {ours} AND NOT active");
    let left = format!("SELECT string_agg(slot_name, ', ') FROM pg_replication_slots WHERE {ours}");
    let source = connection(spec, layout)?;
    poll(supervisor, "slots to be let go of", SLOT_SECONDS, |supervisor| {
        match source.ask_as_replica(supervisor, &["-c", &drop, "-c", &left]) {
            Ok(left) if left.trim().is_empty() => Ok(Ok(())),
            Ok(left) => Ok(Err(format!("{} in use", left.trim()))),
            // Somebody is back, or was faster.
            Err(Error::Upstream { complaint, .. }) => Ok(Err(complaint)),
            Err(error) => Err(error),
        }
    })
}

fn connection(spec: &NodeSpec, layout: &Layout) -> Result<Connection, Error> {
    let source = spec.source.as_ref().ok_or_else(|| Error::Specification {
        message: format!("node \"{}\" follows no server that is not ours", spec.node),
        hint: "its specification names one as \"source\"".to_owned(),
    })?;
    connect_to(&source.address, spec, layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_those_of_one_server() {
        let volume = tempfile::tempdir().unwrap();
        let layout = Layout { secrets: volume.path().to_owned(), ..Layout::of_image(17) };
        let verifier = introduce(&layout, SystemIdentifier(1)).unwrap();
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:"), "{verifier}");
        let password = || std::fs::read(volume.path().join(REPLICATION_PASSWORD)).unwrap();
        let drawn = password();
        introduce(&layout, SystemIdentifier(1)).unwrap();
        assert_eq!(password(), drawn);
        let refusal = introduce(&layout, SystemIdentifier(2)).unwrap_err().to_string();
        assert!(refusal.contains("the secrets volume"), "{refusal}");
        let observed = Secrets::observe(volume.path(), true).unwrap();
        assert!(observed.missing_for_a_replica().is_empty());
    }
}
