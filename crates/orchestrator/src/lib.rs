//! The set of PostgreSQL nodes on a Docker engine.

mod docker;

pub use docker::{
    ContainerConfig, ContainerState, ContainerSummary, Engine, EngineError, Exec, ExecOutput, Labelled, Tunnel,
};
