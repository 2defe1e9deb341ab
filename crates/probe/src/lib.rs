//! What a PostgreSQL node and a cluster are doing, and whether that is healthy.

mod lsn;

pub use lsn::{Lsn, ParseLsnError, SystemIdentifier, TimelineId};
