//! The set of PostgreSQL nodes on a Docker engine.
