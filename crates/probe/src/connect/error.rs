//! Why a server could not be connected to, and what to do about it.

use std::{error::Error, fmt, io, path::PathBuf, time::Duration};

use super::{Conninfo, Server, SslMode};
use crate::replication_protocol::{ProtocolError, ServerError};

/// No server of a connection string could be connected to.
#[derive(Debug)]
pub struct ConnectError {
    /// Every server that was tried, and why that was in vain.
    pub failures: Vec<(Server, Failure)>,
    user: String,
    database: String,
    passfile: PathBuf,
}

/// Why one server could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no way, or nobody there.
    #[error("could not connect: {0}")]
    Unreachable(io::Error),
    /// The connection broke.
    #[error("connection lost: {0}")]
    Lost(io::Error),
    /// Nobody said anything.
    #[error("no answer within {} s: {stage}", .limit.as_secs_f64())]
    Silent {
        /// How far it came.
        stage: Stage,
        /// How long that took.
        limit: Duration,
    },
    /// The server said no, or something strange.
    #[error(transparent)]
    Protocol(ProtocolError),
    /// Encryption is asked for, and the server has none.
    #[error("the server does not offer TLS, and sslmode={0} asks for it")]
    NoTls(SslMode),
    /// The file of trusted authorities is of no use.
    #[error("could not read the trusted authorities in \"{}\": {reason}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The server is not who it should be.
    #[error("the server's certificate was refused: {0}")]
    Certificate(String),
    /// Encryption failed for another reason.
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    /// Others can read the passwords.
    #[error("password file \"{}\" can be read by group or others", .0.display())]
    PasswordFile(PathBuf),
    /// What `tokio-postgres` says.
    #[error("{}", with_causes(.0))]
    Sql(tokio_postgres::Error),
}

/// How far a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The network has not answered.
    Connecting,
    /// The server has accepted, and does not answer the request for TLS.
    AskingForTls,
    /// The server has begun with TLS.
    Handshake,
    /// The server does not answer the startup message.
    Greeting,
    /// The server has begun to talk.
    LoggingIn,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Connecting => "the connection was not accepted",
            Stage::AskingForTls => "the connection was accepted, and the request for TLS was not answered",
            Stage::Handshake => "the connection was accepted, and the TLS handshake did not end",
            Stage::Greeting => "the connection was accepted, and the startup message was not answered",
            Stage::LoggingIn => "the server answered, and the session did not become ready",
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.failures.iter().map(|(server, failure)| format!("server {server}: {failure}"));
        f.write_str(&failures.collect::<Vec<_>>().join("; "))
    }
}

impl Error for ConnectError {}

impl ConnectError {
    pub(super) fn new(conninfo: &Conninfo, failures: Vec<(Server, Failure)>) -> ConnectError {
        ConnectError {
            failures,
            user: conninfo.user().to_owned(),
            database: conninfo.database().to_owned(),
            passfile: conninfo.passfile().to_owned(),
        }
    }

    /// Whether the last server that was tried is on its way up, and what it says about that.
    #[must_use]
    pub fn starting(&self) -> Option<&str> {
        let error = self.failures.last()?.1.server_error()?;
        // One SQLSTATE for both ends of a server's life.
        let starts = error.sqlstate == "57P03" && !error.message.contains("shutting down");
        starts.then_some(&error.message)
    }

    /// The way out, one sentence or two, as far as one is known for the last server that was tried.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let (server, failure) = self.failures.last()?;
        let (user, database) = (&self.user, &self.database);
        Some(match failure {
            Failure::Unreachable(_) => format!("Check that PostgreSQL runs there and listens on port {}.", server.port),
            Failure::Silent { stage: Stage::Connecting, .. } => {
                "Check the address, and what drops packets on the way.".to_owned()
            }
            Failure::Silent { .. } => {
                "Check that this is PostgreSQL's port, and that the server is not frozen.".to_owned()
            }
            Failure::Protocol(ProtocolError::NotPostgres { .. }) => {
                "Check host and port: something else listens there.".to_owned()
            }
            Failure::Protocol(ProtocolError::Version(_)) => "Upgrade the server.".to_owned(),
            Failure::Protocol(ProtocolError::NoPassword) => {
                let passfile = self.passfile.display();
                format!("Set password in the connection string, or add a line for user \"{user}\" to \"{passfile}\".")
            }
            Failure::Protocol(ProtocolError::ClearText) => "Use sslmode=verify-full.".to_owned(),
            Failure::Protocol(ProtocolError::NoChannelBinding) => {
                "It needs TLS and scram-sha-256 in the server's pg_hba.conf.".to_owned()
            }
            Failure::NoTls(_) => "Set ssl = on for the server, or use sslmode=prefer.".to_owned(),
            Failure::Authorities { .. } => "Set sslrootcert to the file of your certificate authority.".to_owned(),
            Failure::Certificate(_) => "Check that this is the right server, and sslrootcert its authority.".to_owned(),
            Failure::PasswordFile(path) => format!("Call chmod 0600 \"{}\".", path.display()),
            failure => match failure.server_error()?.sqlstate.as_str() {
                "28P01" => format!("Check the password of role \"{user}\"."),
                "28000" => format!("Check the role, and add a line for \"{user}\" to the server's pg_hba.conf."),
                "3D000" => "Name a database that is there with dbname=.".to_owned(),
                "42501" if failure.is_about_replication() => format!("Call ALTER ROLE \"{user}\" REPLICATION."),
                "42501" => format!("Call GRANT CONNECT ON DATABASE \"{database}\" TO \"{user}\"."),
                "53300" => "Raise max_connections, or grant pg_use_reserved_connections.".to_owned(),
                "57P03" => "Wait.".to_owned(),
                _ => return None,
            },
        })
    }
}

impl Failure {
    /// What the server reports, if it is that.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Failure::Protocol(ProtocolError::Server(error)) => Some(error),
            _ => None,
        }
    }

    fn is_about_replication(&self) -> bool {
        self.server_error().is_some_and(|error| error.message.to_lowercase().contains("wal"))
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Failure {
        Failure::Protocol(error)
    }
}

impl Failure {
    /// Finds what we ourselves have put in, what the server said, and what the network did.
    pub(super) fn of_sql(error: tokio_postgres::Error, stage: Stage) -> Failure {
        if let Some(error) = error.as_db_error() {
            return Failure::Protocol(ProtocolError::Server(Box::new(ServerError {
                severity: error.severity().to_owned(),
                sqlstate: error.code().code().to_owned(),
                message: error.message().to_owned(),
                detail: error.detail().map(str::to_owned),
                hint: error.hint().map(str::to_owned),
            })));
        }
        if error.is_closed() {
            return Failure::Protocol(ProtocolError::Closed("before the session was ready"));
        }
        match error.source() {
            Some(source) if source.is::<Failure>() || source.is::<io::Error>() => {}
            source => match source.map(ToString::to_string).as_deref() {
                // In its words; the scenarios and tests hold that they are these.
                Some("password missing") => return ProtocolError::NoPassword.into(),
                Some("server did not use channel binding") => return ProtocolError::NoChannelBinding.into(),
                _ => return Failure::Sql(error),
            },
        }
        let source = error.into_source().expect("the source that was just looked at");
        match source.downcast::<Failure>().map_err(|source| source.downcast::<io::Error>()) {
            Ok(failure) => *failure,
            Err(Ok(error)) => Failure::of_io(*error, stage),
            Err(Err(other)) => Failure::Lost(io::Error::other(other)),
        }
    }

    /// The same for an error of the network, which may be one of ours that came through it.
    pub(super) fn of_io(error: io::Error, stage: Stage) -> Failure {
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) if stage == Stage::Connecting => Failure::Unreachable(error),
            Err(error) => Failure::Lost(error),
        }
    }
}

/// An error and all that it came from, in one line.
pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
