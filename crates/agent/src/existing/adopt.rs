//! A data directory that was brought becomes the node's own: with our roles and the application's database in it, as a new one has them.
//!
//! It is changed where it is, by statements for what is missing alone. Cut off anywhere, the same is done again.

use std::{fs, path::Path};

use pgherd_images::contract::{APP, MAINTENANCE_DATABASE, REPLICATION_ROLE, REWIND_ROLE, SUPERUSER};
use serde::Deserialize;

use super::{
    examine::{QUIETLY, without_noise},
    left_behind::{coming_along, left_behind},
    unfit::Unfit,
};
use crate::{
    configuration::{FILES_IN_DATA_DIRECTORY, ORDER_BOUND_SETTINGS, PLACEHOLDER},
    durable,
    error::Error,
    initialize::{There, our_statements},
    layout::Layout,
    log::{Level, Line, log},
    observe::read_if_there,
    spec::NodeSpec,
    staging,
    supervise::{Supervisor, Tool},
};

/// What is to be known of a data directory before it is ours.
#[derive(Debug, Deserialize)]
struct Found {
    roles: Vec<String>,
    databases: Vec<String>,
    /// How many subscriptions are enabled.
    subscriptions: u32,
}

/// Makes what was brought the data directory of this node, and stages it.
///
/// # Errors
/// Where PostgreSQL does not take it, or the file system fails.
pub(crate) fn adopt(layout: &Layout, spec: &NodeSpec, supervisor: &mut Supervisor) -> Result<(), Error> {
    take_settings(&layout.brought())?;
    let mut node = SingleUser { layout, spec, supervisor };
    // What was not shut down recovers here.
    let found = node.look().map_err(|error| match error {
        Error::Tool { complaint, .. } => {
            Unfit::NotTaken { image: layout.major, complaint: without_noise(&complaint) }.into()
        }
        error => error,
    })?;
    if !found.databases.iter().any(|name| name == MAINTENANCE_DATABASE) {
        node.run("template1", format!("CREATE DATABASE {MAINTENANCE_DATABASE};\n"))?;
    }
    tell(&found);
    let ours = our_statements(layout, &There { roles: found.roles.clone(), databases: found.databases.clone() })?;
    node.run(MAINTENANCE_DATABASE, format!("{}{ours}", statements(&found)))?;
    staging::stage_brought(layout).map_err(Error::doing("stage the data directory that was brought"))
}

/// What PostgreSQL reads in a data directory of ours: nothing of the old configuration files, and what of ALTER SYSTEM suits a node.
fn take_settings(data: &Path) -> Result<(), Error> {
    let stay = left_behind(data)?;
    if !stay.is_empty() {
        let message = format!("settings that stay behind: {}", stay.join(", "));
        Line::new(Level::Info, message).event("left_behind").write();
    }
    let settings = data.join("postgresql.auto.conf");
    let text = read_if_there(&settings)?.unwrap_or_default();
    durable::replace(&settings, coming_along(&text).as_bytes())?;
    for name in FILES_IN_DATA_DIRECTORY {
        durable::replace(&data.join(name), PLACEHOLDER.as_bytes())?;
    }
    Ok(())
}

fn tell(found: &Found) {
    for role in [REPLICATION_ROLE, REWIND_ROLE, APP].iter().filter(|ours| found.roles.iter().any(|role| role == *ours))
    {
        log(format_args!("role \"{role}\" was there, and has the cluster's password from now on"));
    }
    if found.subscriptions > 0 {
        let message = format!(
            "{} subscriptions are disabled: they would take the changes that the original waits for",
            found.subscriptions
        );
        Line::new(Level::Warning, message).event("subscriptions").write();
    }
}

/// One statement a line: the superuser that nodes are administrated as, whatever the one of initdb is called, and nobody who takes what is
/// another's. A subscription could be altered in its own database alone.
fn statements(found: &Found) -> String {
    let superuser = if found.roles.iter().any(|role| role == SUPERUSER) {
        format!("ALTER ROLE {SUPERUSER} SUPERUSER LOGIN;\n")
    } else {
        format!("CREATE ROLE {SUPERUSER} SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS LOGIN;\n")
    };
    let disable = "UPDATE pg_subscription SET subenabled = false WHERE subenabled;\n";
    format!("{superuser}{}", if found.subscriptions > 0 { disable } else { "" })
}

/// PostgreSQL without anybody who could connect to it. It is the superuser of initdb, whatever that is called.
///
/// <https://www.postgresql.org/docs/17/app-postgres.html#APP-POSTGRES-SINGLE-USER>
struct SingleUser<'a> {
    layout: &'a Layout,
    spec: &'a NodeSpec,
    supervisor: &'a mut Supervisor,
}

impl SingleUser<'_> {
    fn look(&mut self) -> Result<Found, Error> {
        let answer = self.layout.run.join("found.json");
        let look = format!(
            "COPY (SELECT json_build_object(\
             'roles', (SELECT coalesce(json_agg(rolname), '[]') FROM pg_roles WHERE rolname IN ('{SUPERUSER}', '{REPLICATION_ROLE}', \
             '{REWIND_ROLE}', '{APP}')), \
             'databases', (SELECT coalesce(json_agg(datname), '[]') FROM pg_database WHERE datname IN ('{MAINTENANCE_DATABASE}', '{APP}')), \
             'subscriptions', (SELECT count(*) FROM pg_subscription WHERE subenabled))) TO '{}';\n",
            answer.display()
        );
        self.run("template1", look)?;
        let text = fs::read(&answer)?;
        fs::remove_file(&answer)?;
        Ok(serde_json::from_slice(&text).map_err(std::io::Error::from)?)
    }

    fn run(&mut self, database: &str, statements: String) -> Result<(), Error> {
        let bound =
            self.spec.settings.iter().filter(|(name, _)| ORDER_BOUND_SETTINGS.iter().any(|(known, _)| known == name));
        let tool = Tool::new("postgres")
            .args(["--single", "-c", "exit_on_error=on", "-c", "log_min_error_statement=panic"])
            .args(QUIETLY)
            .args(["-c", "allow_in_place_tablespaces=on"])
            .args(bound.map(|(name, value)| format!("--{name}={value}")))
            .arg("-D")
            .arg(self.layout.brought())
            .arg(database);
        self.supervisor.run(tool.input(statements)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_administrated_by_one_name() {
        let found = |roles: &[&str], subscriptions| Found {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            databases: vec![],
            subscriptions,
        };
        insta::assert_snapshot!(statements(&found(&["postgres", "app"], 0)), @"ALTER ROLE postgres SUPERUSER LOGIN;");
        insta::assert_snapshot!(statements(&found(&["app"], 2)), @"
        CREATE ROLE postgres SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS LOGIN;
        UPDATE pg_subscription SET subenabled = false WHERE subenabled;
        ");
    }

    #[test]
    fn the_old_configuration_is_not_read_and_not_lost_on_the_way() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("postgresql.conf"), "port = 6000\n").unwrap();
        fs::write(data.path().join("postgresql.auto.conf"), "port = '6000'\nwork_mem = '64MB'\n").unwrap();
        for _again in 0..2 {
            take_settings(data.path()).unwrap();
            let read = |name| fs::read_to_string(data.path().join(name)).unwrap();
            assert_eq!(
                (read("postgresql.conf").as_str(), read("postgresql.auto.conf").as_str()),
                (PLACEHOLDER, "work_mem = '64MB'\n")
            );
            assert_eq!(read("pg_hba.conf"), PLACEHOLDER);
        }
    }
}
