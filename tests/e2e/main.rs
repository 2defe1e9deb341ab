//! The scenarios, in reading order.

mod bad_input;
mod by_command;
mod crashes;
mod disks;
mod existing_data;
mod faults;
mod file_systems;
mod foreign;
mod health;
mod image;
mod library;
mod mid_clone;
mod network_faults;
mod official_habits;
mod probe;
mod process_faults;
mod refusals;
mod rejoin;
mod repoint;
mod restarts;
mod rotation;
mod runner;
mod secrets;
mod settings;
mod shape;
mod sixteen;
mod spec;
mod succession;
mod supervision;
mod trouble;
mod versions;
mod walk;
mod watching;
mod wire;

use std::{process::ExitCode, time::Duration};

use e2e::Suite;

/// The bound of every wait for a node. Far more than it takes, because scenarios share their machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many standbys stream. A base backup streams as well, but replays nothing.
const STREAMING_COUNT: &str =
    "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL";

/// Every standby that streams, by the name of its node.
const STREAMING: &str = "SELECT application_name, state FROM pg_stat_replication ORDER BY 1";

fn main() -> ExitCode {
    e2e::main(Suite {
        name: "e2e",
        sources: concat!(env!("CARGO_MANIFEST_DIR"), "/e2e"),
        snapshots: concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        scenarios: &[
            walk::SCENARIOS,
            by_command::SCENARIOS,
            spec::SCENARIOS,
            official_habits::SCENARIOS,
            library::SCENARIOS,
            watching::SCENARIOS,
            succession::SCENARIOS,
            shape::SCENARIOS,
            settings::SCENARIOS,
            foreign::SCENARIOS,
            existing_data::SCENARIOS,
            restarts::SCENARIOS,
            mid_clone::SCENARIOS,
            file_systems::SCENARIOS,
            rejoin::SCENARIOS,
            repoint::SCENARIOS,
            crashes::SCENARIOS,
            refusals::SCENARIOS,
            secrets::SCENARIOS,
            rotation::SCENARIOS,
            trouble::SCENARIOS,
            process_faults::SCENARIOS,
            supervision::SCENARIOS,
            health::SCENARIOS,
            network_faults::SCENARIOS,
            faults::processes::SCENARIOS,
            faults::network::SCENARIOS,
            faults::replay::SCENARIOS,
            faults::slots::SCENARIOS,
            faults::topology::SCENARIOS,
            faults::life_cycle::SCENARIOS,
            bad_input::SCENARIOS,
            disks::SCENARIOS,
            sixteen::SCENARIOS,
            image::SCENARIOS,
            versions::SCENARIOS,
            probe::SCENARIOS,
            wire::SCENARIOS,
            runner::SCENARIOS,
        ],
    })
}
