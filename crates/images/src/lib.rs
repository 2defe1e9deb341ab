//! What an image of a PostgreSQL node is made of, and how it is built without a registry.

pub mod contract;
