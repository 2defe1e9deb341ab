//! The files that PostgreSQL reads: written at every start, and anew when a running node is told to take up changes.

use crate::{
    configuration, credentials,
    desired::from_file,
    error::Error,
    layout::Layout,
    log::{Level, Line},
    spec::{NodeSpec, Role},
};

/// Takes up what has changed on the volumes since `spec` was read, and that a replica was promoted meanwhile. A specification that
/// cannot be read leaves it as it is.
///
/// # Errors
/// Where a file cannot be written. Each is the old one or the new one then, and whole.
pub(crate) fn take_up(spec: &mut NodeSpec, layout: &Layout) -> Result<(), Error> {
    if !layout.standby_signal().try_exists()? {
        spec.role = Role::Primary;
    }
    match from_file(layout) {
        Ok(Some(asked)) => {
            *spec = taken_up(spec, &asked);
            if *spec != asked {
                let message = "another name or role is asked of this node: that waits for its next start";
                Line::new(Level::Warning, message).event("reload_waits").write();
            }
        }
        // Told by the environment, which does not change.
        Ok(None) => {}
        Err(error) => {
            let message = format!("{error}; the node goes on with what it was asked before");
            Line::new(Level::Warning, message).event("reload_failed").hint(error.hint()).write();
        }
    }
    write_files(spec, layout)
}

/// Writes everything that PostgreSQL reads at its start and again on a SIGHUP, from the specification and the secrets as they
/// are now. Whatever else a running node shall take up is written here.
fn write_files(spec: &NodeSpec, layout: &Layout) -> Result<(), Error> {
    credentials::write(layout, spec).map_err(Error::doing("write the password file and the certificate"))?;
    configuration::write(layout, spec).map_err(Error::doing("write the configuration"))
}

/// As much of what is asked as a running node can become.
///
/// A running replica may be given another upstream: PostgreSQL starts its walreceiver anew, which refuses another system identifier,
/// and what the new upstream's history has not, its walsender does not send. So nothing is lost by trying, and whether it follows is
/// seen from outside. Who it is and on which side is decided at a start alone, where everything is observed and a plan may refuse.
///
/// <https://www.postgresql.org/docs/17/runtime-config-replication.html#GUC-PRIMARY-CONNINFO>
fn taken_up(running: &NodeSpec, asked: &NodeSpec) -> NodeSpec {
    let role = match (&running.role, &asked.role) {
        (Role::Replica { .. }, Role::Replica { .. }) => &asked.role,
        (role, _) => role,
    };
    NodeSpec { node: running.node.clone(), role: role.clone(), ..asked.clone() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pgherd_images::contract::secrets::REPLICATION_PASSWORD;

    use super::*;
    use crate::secrets;

    const BORN_AS: &str = r#"{"node":"demo-2","role":{"replica":{"upstream":"demo-1"}}}"#;

    fn read(path: &std::path::Path) -> String {
        fs::read_to_string(path).expect("a file")
    }

    #[test]
    fn what_can_change_is_taken_up_and_the_rest_waits() {
        let root = tempfile::tempdir().expect("a directory");
        let [volume, secrets, run] = ["volume", "secrets", "run"].map(|name| root.path().join(name));
        let layout = Layout { volume, secrets, run, ..Layout::of_image(17) };
        for directory in [&layout.control(), &layout.secrets, &layout.run, &layout.data()] {
            fs::create_dir_all(directory).expect("a directory");
        }
        fs::write(layout.standby_signal(), "").expect("a file");
        let mut spec: NodeSpec = serde_json::from_str(BORN_AS).expect("a specification");
        let born_as = spec.clone();

        // Without a specification on the volume there are files to write all the same.
        secrets::generate(&layout.secrets).expect("secrets");
        take_up(&mut spec, &layout).expect("files");
        assert!(read(&layout.hba_file()).contains("scram-sha-256"));
        assert_eq!(spec, born_as);

        fs::write(layout.secrets.join(REPLICATION_PASSWORD), "new").expect("a secret");
        fs::write(layout.spec_file(), BORN_AS.replace("}}}", r#"}},"authentication":"trust"}"#)).expect("a file");
        take_up(&mut spec, &layout).expect("files");
        assert!(read(&layout.password_file()).contains(":replicator:new\n"));
        assert!(!read(&layout.hba_file()).contains("scram-sha-256"));

        // What cannot be read changes nothing, and neither does a volume whose secrets are gone.
        fs::write(layout.spec_file(), "{").expect("a file");
        fs::remove_dir_all(&layout.secrets).expect("no secrets");
        let before = spec.clone();
        take_up(&mut spec, &layout).expect("files");
        assert_eq!(spec, before);
        assert!(read(&layout.password_file()).contains(":replicator:new\n"));
    }

    #[test]
    fn a_replica_that_was_promoted_is_a_primary_from_then_on() {
        let root = tempfile::tempdir().expect("a directory");
        let [volume, secrets, run] = ["volume", "secrets", "run"].map(|name| root.path().join(name));
        let layout = Layout { volume, secrets, run, ..Layout::of_image(17) };
        for directory in [&layout.control(), &layout.run, &layout.data()] {
            fs::create_dir_all(directory).expect("a directory");
        }
        let born_as = BORN_AS.replace("}}}", r#"}},"authentication":"trust"}"#);
        let mut spec: NodeSpec = serde_json::from_str(&born_as).expect("a specification");
        fs::write(layout.standby_signal(), "").expect("a file");
        take_up(&mut spec, &layout).expect("files");
        assert!(read(&layout.config_file()).contains("host=demo-1 "));
        fs::write(layout.spec_file(), born_as.replace("demo-1", "demo-3")).expect("a file");
        take_up(&mut spec, &layout).expect("files");
        assert!(read(&layout.config_file()).contains("host=demo-3 "));

        fs::remove_file(layout.standby_signal()).expect("a file");
        take_up(&mut spec, &layout).expect("files");
        assert_eq!(spec.role, Role::Primary);
        assert!(!read(&layout.config_file()).contains("primary_conninfo"));
    }

    #[test]
    fn a_running_replica_may_be_given_another_upstream_and_neither_another_name_nor_role() {
        let parse = |json: &str| serde_json::from_str::<NodeSpec>(json).expect("a specification");
        let replica = parse(BORN_AS);
        let primary = NodeSpec { role: Role::Primary, ..replica.clone() };
        for same in [&replica, &primary] {
            assert_eq!(taken_up(same, same), *same);
        }
        let elsewhere = parse(&BORN_AS.replace("demo-1", "demo-3"));
        assert_eq!(taken_up(&replica, &elsewhere), elsewhere);
        assert_eq!(taken_up(&replica, &parse(&BORN_AS.replace("demo-2", "demo-4"))), replica);
        assert_eq!(taken_up(&replica, &primary), replica);
        assert_eq!(taken_up(&primary, &replica), primary);
        let patient = parse(&BORN_AS.replace("}}}", r#"}},"upstream_wait_seconds":7}"#));
        assert_eq!(taken_up(&replica, &patient), patient);
    }
}
