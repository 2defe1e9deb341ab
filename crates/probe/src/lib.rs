//! What a PostgreSQL node and a cluster are doing, and whether that is healthy.
//!
//! `observe` asks one server for facts, in at most two round trips. [`assess`] judges the facts of all servers together: pure,
//! without a clock, and with a reason and a hint for everything that it finds. What lies between them is plain data,
//! which can be stored as JSON and judged again later.
//!
//! ```
//! use pgherd_probe::{Health, Observed, Policy, Reach, assess};
//!
//! let observed = [Observed {
//!     node: "demo-1".to_owned(),
//!     expected_upstream: None,
//!     reach: Reach::Stopped { reason: "exit code 137".to_owned() },
//! }];
//! let report = assess(&Policy::default(), &observed);
//!
//! assert_eq!(report.health, Health::Broken);
//! assert_eq!(report.findings[0].to_string(), "no primary among 0 answering of 1 nodes");
//! assert_eq!(report.nodes[0].findings[0].to_string(), "is stopped: exit code 137");
//! ```
//!
//! Asking needs the feature `observe`, which is on by default; without it there is the vocabulary and the verdict, and
//! no dependency on a database driver. With `connect`, which is on by default, too, servers are reached by libpq's
//! connection strings (`connect`), and by the replication protocol (`Replication`).

mod assess;
mod cascade;
#[cfg(feature = "connect")]
mod connect;
mod drift;
mod finding;
mod fork;
mod hint;
mod history;
mod lsn;
#[cfg(feature = "observe")]
mod observe;
mod replica;
#[cfg(feature = "replication")]
pub mod replication_protocol;
mod report;
mod slots;
mod status;
mod synchronous;
mod text;
mod upkeep;
mod watch;

pub use assess::{Observed, Policy, Reach, assess};
#[cfg(feature = "connect")]
pub use connect::{
    AskError, ConnectError, Conninfo, Failure, ParseConninfoError, Replication, Server, SslMode, Stage, connect,
};
pub use drift::ORDER_BOUND;
pub use finding::{Difference, Finding, Primary, Value};
pub use history::{History, ParseHistoryError, Switch};
pub use lsn::{Lsn, ParseLsnError, SystemIdentifier, TimelineId};
#[cfg(feature = "observe")]
pub use observe::{ObserveError, Probe, STATUS, observe, parse_status};
pub use report::{Health, NodeReport, NodeRole, NodeState, Report};
pub use status::{
    Archiver, CollationMismatch, Disk, Downstream, NodeLsn, NodeStatus, Process, Receiver, Replay, Setting, Slot,
    Synchronous, Upkeep,
};
pub use watch::{Past, Watch};
