//! The bootstrap agent of a PostgreSQL node, as a library: its specification, its decisions, its effects.
//!
//! In the order of reading: what a node is asked to be ([`NodeSpec`]), what is found ([`Observed`]), what follows
//! ([`plan`], a list of [`Step`]s or a [`Refusal`]), and how it is done ([`run`], under a [`Supervisor`]).

mod agent;
mod apply;
mod attend;
mod bootstrap;
mod caught_up;
mod certificate;
mod check_settings;
mod clone;
mod configuration;
mod conninfo;
mod control_data;
mod crash;
mod credentials;
mod data_directory;
mod desired;
mod disk;
mod durable;
mod ending;
mod error;
mod existing;
mod frame;
mod grace;
mod grant;
mod health;
mod init_scripts;
mod initialize;
mod last_record;
mod layout;
mod local;
mod log;
mod newest_timeline;
mod observe;
mod place;
mod plan;
mod processes;
mod progress;
mod promote;
mod refusal;
mod rejoin;
mod reload;
mod rewind;
mod rotate;
mod same_wal;
mod secrets;
mod server_arguments;
mod session;
mod source;
mod spec;
mod specify;
mod staging;
mod step;
mod supervise;
pub mod trash;
mod upstream;
mod wal_end;
mod wal_segment;

pub use agent::{explain, run};
pub use attend::attend;
pub use bootstrap::Bootstrap;
pub use check_settings::check_settings;
pub use configuration::{ORDER_BOUND_SETTINGS, RESERVED_SETTINGS};
pub use control_data::{ClusterState, ControlData, ParseControlDataError};
pub use data_directory::{DataDirectory, Misplaced, Partial};
pub use desired::{Environment, desired, grace, keep, layout, log_format};
pub use ending::{Ending, Exit, Shutdown};
pub use error::Error;
pub use existing::{
    bring::bring,
    examine::{Examined, examine},
    unfit::Unfit,
};
pub use frame::{Answer, Frame, Order};
pub use grace::Grace;
pub use grant::{Grant, GrantFile, Succession};
pub use health::{Service, health};
pub use layout::Layout;
pub use log::{Format, Level, Line, log, name_node};
pub use observe::{Identity, Lineage, Observed, PeerFacts, Slot, UpstreamFacts};
pub use place::{Owner, Place};
pub use plan::plan;
pub use processes::{Process, Running, Selection, processes, signal};
pub use progress::Bytes;
pub use promote::{grant, promote};
pub use refusal::Refusal;
pub use rejoin::{RecloneReason, Rejoin, Standing};
pub use rotate::{retire_authorities, rotate_authority, rotate_passwords};
pub use secrets::{Exposed, Secrets};
pub use server_arguments::server_arguments;
pub use source::{ask_source, drop_source_slots, introduce, knock};
pub use spec::{Authentication, CloneBounds, NodeSpec, Role, Source, Upstream, Verify};
pub use specify::{reload, specify};
pub use step::Step;
pub use supervise::{Supervisor, Tool};
pub use wal_end::{WalOnDisk, wal_end};
pub use wal_segment::WalSegment;
