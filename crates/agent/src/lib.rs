//! The bootstrap agent of a PostgreSQL node, as a library: its specification, its decisions, its effects.

mod spec;

pub use spec::{Authentication, NodeSpec, Role, Upstream};
