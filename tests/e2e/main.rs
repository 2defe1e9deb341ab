//! The scenarios, in reading order.

mod bad_input;
mod by_command;
mod image;
mod leftovers;
mod refusals;
mod restarts;
mod sixteen;
mod trouble;
mod walk;

use std::time::Duration;

/// The bound of every wait for a node. Far more than it takes, because scenarios share their machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many standbys stream. A base backup streams as well, but replays nothing.
const STREAMING_COUNT: &str =
    "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL";

/// Every standby that streams, by the name of its node.
const STREAMING: &str = "SELECT application_name, state FROM pg_stat_replication ORDER BY 1";
