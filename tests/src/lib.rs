#![doc = include_str!("../README.md")]

mod command;
mod context;
mod names;
mod process;
pub mod redact;
mod registry;
mod report;
mod runner;
mod scenario;
mod step;
mod verbs;
mod version;

pub use process::Outcome;
pub use registry::{Entry, Suite};
pub use runner::main;
pub use scenario::Scenario;
pub use step::{Action, Expected, ParseStepError, Step};
pub use verbs::JobNumber;
