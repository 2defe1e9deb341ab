//! What the variables of the official image ask of a new data directory, and the scripts beside it.
//!
//! <https://hub.docker.com/_/postgres>, "Environment Variables" and "Initialization scripts".

use std::{env, fs, path::PathBuf};

use pgherd_images::contract::{APP, REPLICATION_ROLE, REWIND_ROLE, SUPERUSER, environment as variable};

use crate::{
    desired::{Environment, set, specification},
    error::Error,
    secrets::Password,
};

/// Arguments of initdb by which a node would not be found where it is looked for, or would not be its own superuser's.
const RESERVED_ARGUMENTS: [&str; 13] = [
    "-D",
    "--pgdata",
    "-U",
    "--username",
    "-W",
    "--pwprompt",
    "--pwfile",
    "-X",
    "--waldir",
    "-S",
    "--sync-only",
    "-s",
    "--show",
];

/// Who a new data directory is for, beside our own roles.
#[derive(Debug)]
pub struct Bootstrap {
    /// The role that owns the database, and as which scripts run.
    pub(crate) user: String,
    /// Whether the role is a superuser for good, as in the official image; the application's role is one for its scripts alone.
    pub(crate) is_superuser: bool,
    /// The database.
    pub(crate) database: String,
    /// The role's password; `None` for the application's.
    pub(crate) password: Option<Password>,
    /// More arguments of initdb.
    pub(crate) initdb_arguments: Vec<String>,
}

impl Bootstrap {
    /// What the environment of this process asks.
    ///
    /// # Errors
    /// As of [`Self::from_environment`].
    pub(crate) fn of_this_process() -> Result<Bootstrap, Error> {
        Bootstrap::from_environment(&|name| env::var(name).ok())
    }

    /// What an environment asks: without any of the variables, the application's role and database.
    ///
    /// # Errors
    /// Where it contradicts itself, or asks for what a node cannot be.
    pub fn from_environment(environment: Environment<'_>) -> Result<Bootstrap, Error> {
        let password = password(environment)?;
        let user = set(environment, variable::POSTGRES_USER);
        let is_superuser = user.is_some() || password.is_some();
        // The official image has no other role than the superuser.
        let usual = if password.is_some() { SUPERUSER } else { APP };
        let user = user.unwrap_or_else(|| usual.to_owned());
        let database = set(environment, variable::POSTGRES_DB).unwrap_or_else(|| user.clone());
        for (name, value) in [(variable::POSTGRES_USER, &user), (variable::POSTGRES_DB, &database)] {
            if value.len() > 63 || value.contains(|c: char| c.is_control()) {
                let message = format!("{name} is \"{}\"", value.escape_debug());
                return Err(specification(message, "set it to a name of 63 bytes at most, in one line"));
            }
        }
        if user.starts_with("pg_") || [REPLICATION_ROLE, REWIND_ROLE].contains(&&*user) {
            let message = format!("{} is \"{user}\"", variable::POSTGRES_USER);
            return Err(specification(message, "that role is PostgreSQL's or the nodes' own; set it to another name"));
        }
        let initdb_arguments = initdb_arguments(environment)?;
        Ok(Bootstrap { user, is_superuser, database, password, initdb_arguments })
    }

    /// Whether somebody has chosen how texts are sorted, so that our own choice would stand in the way.
    pub(crate) fn chooses_locale(&self) -> bool {
        let chosen = ["--locale", "--lc-", "--no-locale", "--icu", "--builtin-locale"];
        self.initdb_arguments.iter().any(|argument| chosen.iter().any(|name| argument.starts_with(name)))
    }

    /// The password with which the superuser may connect over the network, which nobody may unless it was asked for.
    pub(crate) fn superuser_password(&self) -> Option<&Password> {
        self.password.as_ref().filter(|_| self.user == SUPERUSER)
    }

    /// The password of the application's role, where somebody has chosen it.
    pub(crate) fn app_password(&self) -> Option<&Password> {
        self.password.as_ref().filter(|_| self.user == APP)
    }

    /// Statements that make the role and the database where they are others than our own, one a line. `app` is the application's
    /// password.
    pub(crate) fn statements(&self, app: Option<&Password>) -> String {
        let password = self.password.as_ref().or(app);
        let password =
            password.map_or_else(String::new, |password| format!(" PASSWORD '{}'", password.scram_verifier()));
        let user = identifier(&self.user);
        let mut statements = String::new();
        match &*self.user {
            SUPERUSER if !password.is_empty() => statements += &format!("ALTER ROLE {user}{password};\n"),
            APP if self.is_superuser => statements += &format!("ALTER ROLE {user} SUPERUSER;\n"),
            SUPERUSER | APP => {}
            // As a member of the application's role it is let in over the network.
            _ => statements += &format!("CREATE ROLE {user} LOGIN SUPERUSER IN ROLE {APP}{password};\n"),
        }
        if ![APP, "postgres", "template0", "template1"].contains(&&*self.database) {
            let database = identifier(&self.database);
            statements += &format!("CREATE DATABASE {database} OWNER {user} STRATEGY file_copy;\n");
        }
        statements
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn password(environment: Environment<'_>) -> Result<Option<Password>, Error> {
    let file = set(environment, variable::POSTGRES_PASSWORD_FILE).map(PathBuf::from);
    match (set(environment, variable::POSTGRES_PASSWORD), file) {
        (Some(_), Some(_)) => Err(specification(
            format!("both {} and {} are set", variable::POSTGRES_PASSWORD, variable::POSTGRES_PASSWORD_FILE),
            "set one of them",
        )),
        (Some(password), None) => Ok(Some(Password::given(password))),
        (None, Some(path)) => {
            let doing = format!("read the password from \"{}\"", path.display());
            let text = fs::read_to_string(&path).map_err(Error::doing_at(doing, &path))?;
            match text.trim_end_matches(['\r', '\n']) {
                "" => Err(specification(format!("\"{}\" holds no password", path.display()), "write one to it")),
                password => Ok(Some(Password::given(password.to_owned()))),
            }
        }
        (None, None) => Ok(None),
    }
}

fn initdb_arguments(environment: Environment<'_>) -> Result<Vec<String>, Error> {
    let Some(text) = set(environment, variable::POSTGRES_INITDB_ARGS) else { return Ok(Vec::new()) };
    let wrong = |what: String, hint| Err(specification(format!("{} {what}", variable::POSTGRES_INITDB_ARGS), hint));
    let Some(arguments) = shlex::split(&text) else {
        return wrong(format!("is \"{text}\""), "close its quotation marks");
    };
    let is_reserved = |argument: &String| {
        let name = argument.split('=').next().unwrap_or_default();
        let short = name.len() > 2 && !name.starts_with("--");
        // Whatever it begins with is taken for a long one.
        let is = |reserved: &str| match name.starts_with("--") {
            true => name.len() > 3 && reserved.starts_with(name),
            false => name == reserved || (short && reserved.len() == 2 && name.starts_with(reserved)),
        };
        RESERVED_ARGUMENTS.into_iter().any(is)
    };
    match arguments.iter().find(|argument| is_reserved(argument)) {
        Some(reserved) => wrong(
            format!("has \"{reserved}\""),
            "leave it out: where the data are and who their superuser is, is the same on every node",
        ),
        None => Ok(arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Bootstrap, Error> {
        Bootstrap::from_environment(&|name| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn summary(variables: &[(&str, &str)]) -> String {
        match of(variables) {
            Ok(it) => {
                let statements = it.statements(Some(&Password::given("generated".into())));
                let (verifier, rest) = match statements.split_once("PASSWORD '") {
                    Some((before, after)) => (before.to_owned(), after.split_once('\'').unwrap_or_default().1),
                    None => (statements.clone(), ""),
                };
                format!("{} in {}: {verifier}{rest}", it.user, it.database).trim_end().replace('\n', " ")
            }
            Err(error) => format!("{error}\nhint: {}", error.hint().unwrap_or_default()),
        }
    }

    #[test]
    fn the_variables_of_the_official_image_mean_what_they_mean_there() {
        insta::assert_snapshot!(summary(&[]), @"app in app:");
        insta::assert_snapshot!(summary(&[("POSTGRES_DB", "shop")]),
            @r#"app in shop: CREATE DATABASE "shop" OWNER "app" STRATEGY file_copy;"#);
        insta::assert_snapshot!(summary(&[("POSTGRES_PASSWORD", "secret")]), @r#"postgres in postgres: ALTER ROLE "postgres" ;"#);
        insta::assert_snapshot!(summary(&[("POSTGRES_USER", "it's \"me\""), ("POSTGRES_PASSWORD", "secret")]),
            @r#"it's "me" in it's "me": CREATE ROLE "it's ""me""" LOGIN SUPERUSER IN ROLE app ; CREATE DATABASE "it's ""me""" OWNER "it's ""me""" STRATEGY file_copy;"#);
        insta::assert_snapshot!(summary(&[("POSTGRES_USER", "app")]), @r#"app in app: ALTER ROLE "app" SUPERUSER;"#);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        insta::assert_snapshot!(summary(&[("POSTGRES_PASSWORD", "a"), ("POSTGRES_PASSWORD_FILE", "/b")]), @"
        both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set
        hint: set one of them
        ");
        insta::assert_snapshot!(summary(&[("POSTGRES_USER", "replicator")]), @r#"
        POSTGRES_USER is "replicator"
        hint: that role is PostgreSQL's or the nodes' own; set it to another name
        "#);
        insta::assert_snapshot!(summary(&[("POSTGRES_INITDB_ARGS", "--locale=C --waldir=/wal")]), @r#"
        POSTGRES_INITDB_ARGS has "--waldir=/wal"
        hint: leave it out: where the data are and who their superuser is, is the same on every node
        "#);
        insta::assert_snapshot!(summary(&[("POSTGRES_INITDB_ARGS", "--locale 'C")]), @r#"
        POSTGRES_INITDB_ARGS is "--locale 'C"
        hint: close its quotation marks
        "#);
        let taken = of(&[("POSTGRES_INITDB_ARGS", "--wal-segsize 32 '--icu-rules=& a < b'")]).unwrap();
        assert_eq!(taken.initdb_arguments, ["--wal-segsize", "32", "--icu-rules=& a < b"]);
    }

    #[test]
    fn a_password_is_read_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let of_file = || of(&[("POSTGRES_PASSWORD_FILE", path.to_str().unwrap())]);
        assert!(of_file().unwrap_err().to_string().contains("could not read the password from"));
        fs::write(&path, "\n").unwrap();
        assert!(of_file().unwrap_err().to_string().ends_with("holds no password"));
        fs::write(&path, "two words\n").unwrap();
        assert_eq!(of_file().unwrap().superuser_password().unwrap().as_bytes(), b"two words");
    }
}
