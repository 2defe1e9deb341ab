//! What a PostgreSQL node and a cluster are doing, and whether that is healthy.

mod assess;
mod finding;
mod hint;
mod lsn;
#[cfg(feature = "observe")]
mod observe;
mod replica;
mod report;
mod status;

pub use assess::{Observed, Policy, Reach, assess};
pub use finding::{Finding, Primary, Value};
pub use lsn::{Lsn, ParseLsnError, SystemIdentifier, TimelineId};
#[cfg(feature = "observe")]
pub use observe::{ObserveError, observe};
pub use report::{Health, NodeReport, NodeRole, NodeState, Report};
pub use status::{Downstream, NodeLsn, NodeStatus, Receiver, Slot};
