//! One scenario, in a process that ends with its runner.

use std::{panic, path::PathBuf, process::ExitCode};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::{SKIPPED, USAGE};
use crate::{
    context::{self, Ending},
    registry::Suite,
};

/// Plays a scenario. What it prints, and its exit code, are for the runner.
pub(super) fn play(suite: Suite, name: &str, parent: Option<i32>, results: PathBuf) -> ExitCode {
    if let Some(parent) = parent
        && let Err(reason) = end_with(parent)
    {
        eprintln!("error: {reason}");
        return ExitCode::FAILURE;
    }
    let Some(entry) = suite.entries().find(|entry| entry.name == name) else {
        eprintln!("error: there is no scenario \"{name}\"");
        return ExitCode::from(USAGE);
    };
    let context = context::enter(suite, entry, results);
    if panic::catch_unwind(entry.run).is_err() {
        return ExitCode::FAILURE;
    }
    match context.ending() {
        Some(Ending::Finished) => ExitCode::SUCCESS,
        Some(Ending::Skipped(reason)) => {
            println!("{reason}");
            ExitCode::from(SKIPPED)
        }
        None => {
            eprintln!("failed: \"{name}\" has begun no scenario");
            ExitCode::FAILURE
        }
    }
}

/// Asks the kernel for the last signal when the parent ends, prctl(2), who may have ended before.
fn end_with(parent: i32) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("prctl: {error}"))?;
    match getppid().map(Pid::as_raw_pid) {
        Some(found) if found == parent => Ok(()),
        found => Err(format!("the runner has ended: parent {found:?}, not {parent}")),
    }
}
