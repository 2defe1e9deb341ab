//! The Docker engine: the only module that names bollard.
//!
//! Every call says what it was about to do, so that an error reads as a sentence without its caller's help.

mod archive;
mod attend;
mod container;
mod exec;
mod helper;
mod image;
mod resource;

use std::{env, time::Duration};

use bollard::{Docker, errors::Error as BollardError};
use tokio::time::timeout;

use crate::causes::with_causes;

pub use attend::{Attendant, Tunnel};
pub use container::{ContainerConfig, ContainerState, ContainerSummary};
pub use exec::{Exec, ExecEnd, ExecOutput};
pub use helper::{Helper, HelperEnd};
pub use image::ImageFacts;
pub use resource::{Labelled, Network};

/// How long an engine may take to say who it is.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a Docker engine, with what it said of itself.
///
/// <https://docs.docker.com/reference/api/engine/>
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    architecture: String,
}

/// A call to the engine that failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing that speaks the Docker API answered.
    #[error(
        "could not reach a Docker engine at \"{host}\": {reason}\n\
         hint: Start the engine, or set DOCKER_HOST to its address, as in unix:///var/run/docker.sock or tcp://127.0.0.1:2375."
    )]
    Unreachable {
        /// What `DOCKER_HOST` says, or the default.
        host: String,
        /// Why not, in one line.
        reason: String,
    },
    /// The engine answered with an error.
    #[error("could not {action}: {message}")]
    Refused {
        /// What was asked, as an infinitive.
        action: String,
        /// The HTTP status.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// The connection broke, or the answer made no sense.
    #[error("could not {action}: {message}")]
    Broken {
        /// What was asked, as an infinitive.
        action: String,
        /// All that is known, innermost cause included.
        message: String,
    },
}

impl EngineError {
    fn new(action: impl Into<String>, error: &BollardError) -> EngineError {
        let action = action.into();
        match error {
            BollardError::DockerResponseServerError { status_code, message } => {
                EngineError::Refused { action, status: *status_code, message: message.trim().to_owned() }
            }
            other => EngineError::Broken { action, message: with_causes(other) },
        }
    }

    /// Whether the engine said that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, EngineError::Refused { status: 404, .. })
    }

    /// Whether the engine's words have this in them. For what it has no status for.
    pub(crate) fn names(&self, what: &str) -> bool {
        matches!(self, EngineError::Refused { message, .. } if message.contains(what))
    }

    /// Whether the engine said that the name or the state is taken.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, EngineError::Refused { status: 409, .. })
    }
}

/// Gives a bollard result the sentence that it lacks.
trait Action<T> {
    fn action(self, action: impl FnOnce() -> String) -> Result<T, EngineError>;
}

impl<T> Action<T> for Result<T, BollardError> {
    fn action(self, action: impl FnOnce() -> String) -> Result<T, EngineError> {
        self.map_err(|error| EngineError::new(action(), &error))
    }
}

/// Turns "no such thing" into `None`, and leaves every other error.
fn found<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Engine {
    /// Connects to the engine that `DOCKER_HOST` names, or to the local one, and agrees on a version of the API.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] if nothing answers there.
    pub async fn connect() -> Result<Engine, EngineError> {
        let host = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let named = host.clone().unwrap_or_else(|| "the local default".to_owned());
        let greeting = async {
            let docker = match &host {
                Some(host) => Docker::connect_with_host(host),
                None => Docker::connect_with_local_defaults(),
            }?;
            let docker = docker.negotiate_version().await?;
            let version = docker.version().await?;
            Ok(Engine { docker, architecture: version.arch.unwrap_or_default() })
        };
        let reason = match timeout(GREETING_TIMEOUT, greeting).await {
            Ok(Ok(engine)) => return Ok(engine),
            Ok(Err(error)) => with_causes(&error as &BollardError),
            Err(_) => format!("no answer within {} s", GREETING_TIMEOUT.as_secs()),
        };
        Err(EngineError::Unreachable { host: named, reason })
    }

    /// The architecture of the engine's containers, in Go's spelling (`amd64`, `arm64`).
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }
}
