//! A new data directory, with our roles and the application's database in it before it ever listens.

use std::path::Path;

use pgherd_images::contract::{self, APP, MAINTENANCE_DATABASE, REPLICATION_ROLE, REWIND_ROLE, SUPERUSER, secrets};

use crate::{
    bootstrap::Bootstrap,
    error::Error,
    init_scripts::run_scripts,
    layout::Layout,
    secrets::Password,
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
    let replication = Password::read(&layout.secrets, secrets::REPLICATION_PASSWORD)?;
    let rewind = Password::read(&layout.secrets, secrets::REWIND_PASSWORD)?;
    let app = Password::read(&layout.secrets, secrets::APP_PASSWORD)?;
    staging::begin(layout).map_err(Error::doing("make the partial directory"))?;
    supervisor.run(
        Tool::new("initdb")
            .arg("--pgdata")
            .arg(layout.partial_data())
            .args(["--username", SUPERUSER, "--encoding", "UTF8", "--data-checksums"])
            .args(["--auth-local", "peer", "--auth-host", "scram-sha-256"])
            .args(locale_arguments(layout.major))
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
            .input(
                statements(replication.as_ref(), rewind.as_ref(), app.as_ref()) + &bootstrap.statements(app.as_ref()),
            ),
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

/// One statement a line, which is how the single-user server reads them.
fn statements(replication: Option<&Password>, rewind: Option<&Password>, app: Option<&Password>) -> String {
    let password = |password: Option<&Password>| {
        password.map_or_else(String::new, |password| format!(" PASSWORD '{}'", password.scram_verifier()))
    };
    format!(
        "CREATE ROLE {REPLICATION_ROLE} LOGIN REPLICATION{};\n\
         CREATE ROLE {REWIND_ROLE} LOGIN{};\n\
         GRANT EXECUTE ON FUNCTION {} TO {REWIND_ROLE};\n\
         GRANT pg_checkpoint TO {REWIND_ROLE};\n\
         CREATE ROLE {APP} LOGIN{};\n\
         CREATE DATABASE {APP} OWNER {APP} STRATEGY file_copy;\n",
        password(replication),
        password(rewind),
        REWIND_FUNCTIONS.join(", "),
        password(app),
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
        insta::assert_snapshot!(statements(None, None, None), @"
        CREATE ROLE replicator LOGIN REPLICATION;
        CREATE ROLE rewinder LOGIN;
        GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO rewinder;
        GRANT pg_checkpoint TO rewinder;
        CREATE ROLE app LOGIN;
        CREATE DATABASE app OWNER app STRATEGY file_copy;
        ");
    }
}
