//! The bootstrap agent of a PostgreSQL node, as a library: its specification, its decisions, its effects.
//!
//! In the order of reading: what a node is asked to be ([`NodeSpec`]), what is found ([`Observed`]), what follows
//! ([`plan`], a list of [`Step`]s or a [`Refusal`]), and how it is done ([`run`], under a [`Supervisor`]).

mod agent;
mod apply;
mod certificate;
mod clone;
mod configuration;
mod conninfo;
mod control_data;
mod credentials;
mod data_directory;
mod desired;
mod durable;
mod ending;
mod error;
mod grace;
mod grant;
mod initialize;
mod layout;
mod log;
mod observe;
mod place;
mod plan;
mod processes;
mod progress;
mod refusal;
mod reload;
mod rotate;
mod secrets;
mod spec;
mod staging;
mod step;
mod supervise;
mod tunnel;
mod upstream;

pub use agent::{explain, run};
pub use control_data::{ClusterState, ControlData, ParseControlDataError};
pub use data_directory::{DataDirectory, Misplaced, Partial};
pub use desired::{Environment, desired, grace, keep, layout, log_format};
pub use ending::{Ending, Exit, Shutdown};
pub use error::Error;
pub use grace::Grace;
pub use grant::{Grant, GrantFile};
pub use layout::Layout;
pub use log::{Format, Level, Line, log, name_node};
pub use observe::{Identity, Observed, UpstreamFacts};
pub use place::{Owner, Place};
pub use plan::plan;
pub use processes::{Process, Running, Selection, processes, signal};
pub use progress::Bytes;
pub use refusal::Refusal;
pub use rotate::{reload, retire_authorities, rotate_authority, rotate_passwords};
pub use secrets::{Exposed, Secrets};
pub use spec::{Authentication, CloneBounds, NodeSpec, Role, Upstream, Verify};
pub use step::Step;
pub use supervise::{Supervisor, Tool};
pub use tunnel::tunnel;
