//! A new data directory, with our roles and the application's database in it before it ever listens.

use std::{io, path::Path};

use pgherd_images::contract::{
    self, APP, MAINTENANCE_DATABASE, REPLICATION_ROLE, REWIND_ROLE, SUPERUSER, secrets as secret,
};

use crate::{
    bootstrap::Bootstrap,
    error::Error,
    init_scripts::run_scripts,
    layout::Layout,
    secrets::{self, Password},
    spec::NodeSpec,
    staging,
    supervise::{Supervisor, Tool},
};

/// Runs initdb, creates roles and database, and stages the result.
///
/// # Errors
/// Where a tool, a script or the file system fails, and where the environment asks for what a node cannot be.
pub(crate) fn initialize(layout: &Layout, spec: &NodeSpec, supervisor: &mut Supervisor) -> Result<(), Error> {
    let bootstrap = Bootstrap::of_this_process()?;
    secrets::keep_chosen(&layout.secrets, &bootstrap).map_err(Error::doing_at("write the secrets", &layout.secrets))?;
    let app = Password::read(&layout.secrets, secret::APP_PASSWORD)?;
    let statements = our_statements(layout, &There::default())? + &bootstrap.statements(app.as_ref());
    staging::begin(layout).map_err(Error::doing("make the partial directory"))?;
    supervisor.run(
        Tool::new("initdb")
            .arg("--pgdata")
            .arg(layout.partial_data())
            .args(["--username", SUPERUSER, "--encoding", "UTF8", "--data-checksums"])
            .args(["--auth-local", "peer", "--auth-host", "scram-sha-256"])
            .args(if bootstrap.chooses_locale() { &[] } else { locale_arguments(layout.major) })
            // One call syncs all of it when it is staged.
            .args(["--no-sync", "--no-instructions"])
            .args(&bootstrap.initdb_arguments),
    )?;
    // The single-user server takes a fifth of the time that a start, psql and a stop would.
    supervisor.run(
        Tool::new("postgres")
            .args(["--single", "-F", "-c", "exit_on_error=on", "-c", "log_min_error_statement=panic"])
            .arg("-D")
            .arg(layout.partial_data())
            .arg(MAINTENANCE_DATABASE)
            .input(statements),
    )?;
    run_scripts(Path::new(contract::INIT_SCRIPTS), layout, spec, &bootstrap, supervisor)?;
    staging::finish(layout).map_err(Error::doing("stage the new data directory"))
}

/// The one collation that no upgrade of a C library or of ICU can change: PostgreSQL's own, from 17 on.
///
/// <https://www.postgresql.org/docs/17/locale.html#LOCALE-PROVIDERS>
fn locale_arguments(major: u16) -> &'static [&'static str] {
    if major < 17 {
        &["--locale", "C.UTF-8"]
    } else {
        &["--locale", "C.UTF-8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    }
}

/// What `pg_rewind` calls at its source, <https://www.postgresql.org/docs/17/app-pgrewind.html#APP-PGREWIND-NOTES>.
const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// What a data directory has of ours already: nothing, unless it was another server's.
#[derive(Debug, Default)]
pub(crate) struct There {
    pub(crate) roles: Vec<String>,
    pub(crate) databases: Vec<String>,
}

/// The statements that make our roles, with the passwords of the secrets volume, and the application's database.
///
/// # Errors
/// Where a password is there and cannot be read.
pub(crate) fn our_statements(layout: &Layout, there: &There) -> io::Result<String> {
    let replication = Password::read(&layout.secrets, secret::REPLICATION_PASSWORD)?;
    let rewind = Password::read(&layout.secrets, secret::REWIND_PASSWORD)?;
    let app = Password::read(&layout.secrets, secret::APP_PASSWORD)?;
    Ok(statements(there, replication.as_ref(), rewind.as_ref(), app.as_ref()))
}

/// One statement a line, which is how the single-user server reads them. A role that is there can log in again, whatever kept it from that.
fn statements(
    there: &There,
    replication: Option<&Password>,
    rewind: Option<&Password>,
    app: Option<&Password>,
) -> String {
    let role = |name: &str, attributes: &str, password: Option<&Password>| {
        let password = password.map_or_else(String::new, |it| format!(" PASSWORD '{}'", it.scram_verifier()));
        if there.roles.iter().any(|found| found == name) {
            format!("ALTER ROLE {name} {attributes} CONNECTION LIMIT -1 VALID UNTIL 'infinity'{password};\n")
        } else {
            format!("CREATE ROLE {name} {attributes}{password};\n")
        }
    };
    let database = format!("CREATE DATABASE {APP} OWNER {APP} STRATEGY file_copy;\n");
    format!(
        "{}{}\
         GRANT EXECUTE ON FUNCTION {} TO {REWIND_ROLE};\n\
         GRANT pg_checkpoint TO {REWIND_ROLE};\n\
         {}{}",
        role(REPLICATION_ROLE, "LOGIN REPLICATION", replication),
        role(REWIND_ROLE, "LOGIN", rewind),
        REWIND_FUNCTIONS.join(", "),
        role(APP, "LOGIN", app),
        if there.databases.iter().any(|found| found == APP) { "" } else { &database },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collations_are_postgresqls_own_as_soon_as_it_has_some() {
        let has_builtin = |major| locale_arguments(major).contains(&"builtin");
        assert_eq!([15, 16, 17, 18].map(has_builtin), [false, false, true, true]);
    }

    #[test]
    fn without_passwords_there_are_none() {
        insta::assert_snapshot!(statements(&There::default(), None, None, None), @"
        CREATE ROLE replicator LOGIN REPLICATION;
        CREATE ROLE rewinder LOGIN;
        GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO rewinder;
        GRANT pg_checkpoint TO rewinder;
        CREATE ROLE app LOGIN;
        CREATE DATABASE app OWNER app STRATEGY file_copy;
        ");
    }

    #[test]
    fn what_another_server_had_is_altered_and_the_rest_made() {
        let there = There { roles: vec!["postgres".into(), "app".into()], databases: vec!["app".into()] };
        let statements = statements(&there, None, None, None);
        let roles: Vec<&str> = statements.lines().filter(|line| !line.starts_with("GRANT")).collect();
        insta::assert_snapshot!(roles.join("\n"), @"
        CREATE ROLE replicator LOGIN REPLICATION;
        CREATE ROLE rewinder LOGIN;
        ALTER ROLE app LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity';
        ");
    }
}
