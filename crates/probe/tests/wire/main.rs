//! Servers of every kind, real ones from recordings and strange ones from here. The end-to-end scenarios connect to real
//! servers.

mod bad_input;
#[cfg(feature = "cli")]
mod command;
mod conninfo;
mod fake;
mod protocol;
mod tls;
