//! Data directories of servers that are not ours, of which a cluster is made: found and examined where they are, brought as a
//! copy, and adopted by the node.
//!
//! The first two are done by helpers, as root and with the original mounted read-only; the last by the node's own agent.

pub(crate) mod adopt;
pub(crate) mod bring;
pub(crate) mod copy;
pub(crate) mod examine;
pub(crate) mod find;
pub(crate) mod left_behind;
pub(crate) mod unfit;
