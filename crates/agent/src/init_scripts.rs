//! Scripts that fill a new data directory, before anybody but them can reach it.
//!
//! They run at a server of their own, in the partial directory, that listens on a socket nobody else knows. What they leave becomes the node's
//! data as a whole; where one fails, nothing does, and the next start begins anew. So no one ever sees a half-filled server.

use std::{
    fmt::Write,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use pgherd_images::contract::{APP, MAINTENANCE_DATABASE, SUPERUSER, environment as variable};

use crate::{
    bootstrap::Bootstrap,
    configuration::quote,
    error::Error,
    layout::Layout,
    log::log,
    spec::NodeSpec,
    supervise::{Supervisor, Tool},
};

/// How long the server may take to start or to stop, in seconds.
const SERVER_TIMEOUT_SECONDS: &str = "600";

/// What a script is, by how its name ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sql,
    Gzip,
    Zstd,
    Shell,
}

impl Kind {
    fn of(path: &Path) -> Option<Kind> {
        let name = path.file_name()?.to_str()?;
        let ends = [(".sql", Kind::Sql), (".sql.gz", Kind::Gzip), (".sql.zst", Kind::Zstd), (".sh", Kind::Shell)];
        ends.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| kind)
    }
}

/// Runs the scripts in `directory` in the order of their names, at the server of the partial data directory.
///
/// # Errors
/// Where one fails, by its name; and where the server does not start.
pub(crate) fn run_scripts(
    directory: &Path,
    layout: &Layout,
    spec: &NodeSpec,
    bootstrap: &Bootstrap,
    supervisor: &mut Supervisor,
) -> Result<(), Error> {
    let scripts = scripts_in(directory).map_err(Error::doing_at("look for scripts", directory))?;
    if scripts.is_empty() {
        return Ok(());
    }
    let server = Server::start(layout, spec, supervisor)?;
    let mut run = || {
        // Until the last of them, the application's role may make what only a superuser can, such as extensions; it is its own then.
        let for_now = bootstrap.user == APP && !bootstrap.is_superuser;
        if for_now {
            supervisor.run(server.psql(SUPERUSER, MAINTENANCE_DATABASE).args(["-c", "ALTER ROLE app SUPERUSER"]))?;
        }
        for (script, kind) in &scripts {
            log(format_args!("running \"{}\"", script.display()));
            let said =
                server.run(script, *kind, layout, bootstrap, supervisor).map_err(|error| failed(script, error))?;
            said.lines().filter(|line| !line.trim().is_empty()).for_each(log);
        }
        if for_now {
            supervisor.run(server.psql(SUPERUSER, MAINTENANCE_DATABASE).args(["-c", "ALTER ROLE app NOSUPERUSER"]))?;
        }
        Ok(())
    };
    let ran = run();
    // What a failed script leaves is discarded, and need not be written.
    let stopped = server.stop(if ran.is_ok() { "fast" } else { "immediate" }, layout, supervisor);
    ran.and(stopped)
}

/// Those that are any, and a word about the others.
fn scripts_in(directory: &Path) -> io::Result<Vec<(PathBuf, Kind)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    let kind = |path: PathBuf| {
        let kind = Kind::of(&path).filter(|_| path.is_file());
        if kind.is_none() {
            log(format_args!("ignoring \"{}\": its name ends in none of .sql, .sql.gz, .sql.zst, .sh", path.display()));
        }
        Some((path, kind?))
    };
    Ok(paths.into_iter().filter_map(kind).collect())
}

fn failed(script: &Path, error: Error) -> Error {
    match error {
        Error::Tool { complaint, .. } => Error::Script { script: script.to_owned(), complaint },
        Error::Io(source) => Error::Doing { doing: format!("read \"{}\"", script.display()), source },
        error => error,
    }
}

/// The server of a data directory that nobody has seen yet.
struct Server {
    socket_directory: PathBuf,
}

impl Server {
    fn start(layout: &Layout, spec: &NodeSpec, supervisor: &mut Supervisor) -> Result<Server, Error> {
        let server = Server { socket_directory: layout.run.join("init") };
        match DirBuilder::new().mode(0o700).create(&server.socket_directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let (config, hba, log) =
            (layout.partial().join("init.conf"), layout.partial().join("init-hba.conf"), server_log(layout));
        // The directory of the socket lets nobody in but this user.
        fs::write(&hba, "local all all trust\n")?;
        fs::write(&config, server.configuration(layout, spec, &hba))?;
        let start = pg_ctl(layout, "start").arg("--log").arg(&log);
        let start = start.args(["--options", &format!("-c config_file={}", config.display())]);
        match supervisor.run(start) {
            Ok(_) => Ok(server),
            Err(Error::Tool { complaint, .. }) => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let said = said.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
                let complaint = format!("{complaint}; {}", said.join("; "));
                Err(Error::Script { script: "the server for scripts".into(), complaint })
            }
            Err(error) => Err(error),
        }
    }

    /// The settings that the node is going to have, so that libraries are loaded that an extension needs; and those without which nobody
    /// else would not reach it. All of it is synced at once when it is staged.
    fn configuration(&self, layout: &Layout, spec: &NodeSpec, hba: &Path) -> String {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let own = [
            ("data_directory", path(&layout.partial_data())),
            ("hba_file", path(hba)),
            ("listen_addresses", String::new()),
            ("unix_socket_directories", path(&self.socket_directory)),
            ("fsync", "off".to_owned()),
            ("archive_mode", "off".to_owned()),
            ("log_timezone", "UTC".to_owned()),
        ];
        let settings = spec.settings.iter().map(|(name, value)| (name.as_str(), value));
        let own = own.iter().map(|(name, value)| (*name, value));
        settings.chain(own).fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name} = {}", quote(value));
            text
        })
    }

    fn psql(&self, user: &str, database: &str) -> Tool {
        let psql = Tool::new("psql").args(["-Xq", "-v", "ON_ERROR_STOP=1", "--no-password"]);
        self.for_clients(psql, user, database)
    }

    /// What libpq and scripts for the official image read.
    fn for_clients(&self, tool: Tool, user: &str, database: &str) -> Tool {
        tool.env("PGHOST", &self.socket_directory)
            .env("PGUSER", user)
            .env("PGDATABASE", database)
            .env(variable::POSTGRES_USER, user)
            .env(variable::POSTGRES_DB, database)
    }

    fn run(
        &self,
        script: &Path,
        kind: Kind,
        layout: &Layout,
        bootstrap: &Bootstrap,
        supervisor: &mut Supervisor,
    ) -> Result<String, Error> {
        let Bootstrap { user, database, .. } = bootstrap;
        if kind == Kind::Shell {
            let is_executable = fs::metadata(script)?.permissions().mode() & 0o111 != 0;
            let shell = if is_executable {
                Tool::new(&script.to_string_lossy())
            } else {
                Tool::new("bash").args(["-eo", "pipefail"]).arg(script)
            };
            return supervisor.run(self.for_clients(shell, user, database));
        }
        // By the name that it has without its last ending, which is what an error tells.
        let unpacked = layout.partial().join(script.file_stem().unwrap_or_default());
        let statements = match kind {
            Kind::Sql | Kind::Shell => script,
            Kind::Gzip => unpack(flate2::read::MultiGzDecoder::new(File::open(script)?), &unpacked)?,
            Kind::Zstd => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(File::open(script)?);
                unpack(decoder.map_err(io::Error::other)?, &unpacked)?
            }
        };
        let said = supervisor.run(self.psql(user, database).arg("-f").arg(statements))?;
        if statements == unpacked {
            fs::remove_file(unpacked)?;
        }
        Ok(said)
    }

    fn stop(self, mode: &str, layout: &Layout, supervisor: &mut Supervisor) -> Result<(), Error> {
        supervisor.run(pg_ctl(layout, "stop").args(["--mode", mode]))?;
        fs::remove_dir_all(self.socket_directory)?;
        Ok(())
    }
}

fn unpack(mut packed: impl io::Read, to: &Path) -> io::Result<&Path> {
    io::copy(&mut packed, &mut File::create(to)?)?;
    Ok(to)
}

fn server_log(layout: &Layout) -> PathBuf {
    layout.partial().join("init.log")
}

/// <https://www.postgresql.org/docs/17/app-pg-ctl.html>
fn pg_ctl(layout: &Layout, what: &str) -> Tool {
    let tool = Tool::new("pg_ctl").args([what, "--silent", "--wait", "--timeout", SERVER_TIMEOUT_SECONDS]);
    tool.arg("--pgdata").arg(layout.partial_data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_known_by_their_names_and_run_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["20-b.sql.gz", "10-a.sql", "30-c.sql.zst", "05-z.sh", "README", "dump.sql.xz"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("directory.sql")).unwrap();
        let found = scripts_in(directory.path()).unwrap();
        let names: Vec<_> =
            found.iter().map(|(path, kind)| (path.file_name().unwrap().to_str().unwrap(), *kind)).collect();
        assert_eq!(
            names,
            [
                ("05-z.sh", Kind::Shell),
                ("10-a.sql", Kind::Sql),
                ("20-b.sql.gz", Kind::Gzip),
                ("30-c.sql.zst", Kind::Zstd)
            ]
        );
        assert!(scripts_in(&directory.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn nobody_else_reaches_its_server_whatever_is_set() {
        let layout = Layout::of_image(17);
        let mut spec = NodeSpec::new("demo-1", crate::Role::Primary);
        spec.settings =
            [("listen_addresses".to_owned(), "*".to_owned()), ("work_mem".to_owned(), "1MB".to_owned())].into();
        let server = Server { socket_directory: layout.run.join("init") };
        let text = server.configuration(&layout, &spec, Path::new("/hba"));
        // Of a setting that comes twice, PostgreSQL takes the last.
        let last = |name: &str| text.lines().rfind(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert_eq!(last("listen_addresses"), "listen_addresses = ''");
        assert_eq!(last("unix_socket_directories"), "unix_socket_directories = '/run/pgherd/init'");
        assert_eq!(last("work_mem"), "work_mem = '1MB'");
    }
}
