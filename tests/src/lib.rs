//! Scenarios: sessions with a real engine that read, and are checked, as transcripts.
//!
//! A scenario types what a person would type. Each line and its output go into a transcript, with everything that
//! changes from run to run replaced by the short table in [`redact`], and the transcript is the snapshot:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! let mut s = e2e::Scenario::new("one_replica", ["pg-primary", "pg-replica", "pg_stream", "pg_secrets"]);
//! s.run("docker network create pg_stream");
//! s.run("docker run --name pg-primary --network pg_stream -v pg_secrets:/run/pgherd/secrets -d pgherd/primary:17");
//! s.sql_until("pg-primary", "SELECT pg_is_in_recovery()", "f", Duration::from_secs(60));
//! s.sql("pg-primary", "CREATE TABLE t AS SELECT 1 AS x");
//! s.finish();
//! ```
//!
//! The names that a scenario declares become names of this run alone, so that scenarios run side by side, two runs do
//! not meet, and neither meets a user's clusters. All that a scenario makes carries the label of the process that made it,
//! goes with the scenario, and, where that was killed, with the next sweep.
//!
//! Every wait is for a condition and has a bound, and its failure says what it waited for and what it saw last.

mod command;
mod names;
mod process;
pub mod redact;
mod report;
mod scenario;
mod step;

pub use process::Outcome;
pub use scenario::Scenario;
pub use step::Step;
