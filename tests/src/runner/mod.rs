//! Runs a suite: the parent schedules, and every scenario has a process of its own.
//!
//! So a scenario that aborts, hangs or is killed takes no other one with it, and what it has made is told apart by its
//! owner and removed.

mod child;
mod junit;
mod parent;
mod progress;
mod schedule;
mod select;
mod summary;

use std::{num::NonZeroU16, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use pgherd_images::release::PostgresMajor;

use crate::registry::{Entry, Suite};

/// Runs scenarios, each in a process of its own
///
/// Exit codes: 0 all passed, 1 some failed, 2 wrong usage, or no scenario was selected.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Arguments {
    /// Runs only scenarios whose name has this in it; "ls" lists them instead
    filter: Option<String>,
    /// Runs the long ones, too
    #[arg(long)]
    all: bool,
    /// Keeps what a failed scenario made, until the next run
    #[arg(long)]
    keep: bool,
    /// Shuffles the scenarios, the same way for the same seed
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Runs this many scenarios side by side at most [default: by cores]
    #[arg(long)]
    jobs: Option<NonZeroU16>,
    /// The major version of PostgreSQL that the scenarios are played on
    #[arg(long, default_value_t = PostgresMajor::DEFAULT)]
    version: PostgresMajor,
    /// Lists the scenarios
    #[arg(long)]
    list: bool,
    /// Ends a scenario after so long
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    limit: u64,
    /// Directory of results [default: the suite's name, in the target directory]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Plays this scenario, in this process
    #[arg(long, hide = true)]
    exact: Option<String>,
    /// Ends with this process
    #[arg(long, hide = true)]
    parent: Option<i32>,
}

/// How a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// Why, in a line.
    Failed(String),
    /// Why, in a line.
    Skipped(String),
}

/// A scenario that was played.
#[derive(Debug)]
struct Played {
    entry: &'static Entry,
    verdict: Verdict,
    time: Duration,
    /// All that it printed, and the report on its failure.
    output: String,
}

/// The exit code of a scenario that was skipped, as for automake's tests.
const SKIPPED: u8 = 77;

/// The exit code of wrong usage.
const USAGE: u8 = 2;

/// Runs what the command line asks for: the `main` of a suite.
#[must_use]
pub fn main(suite: Suite) -> ExitCode {
    let arguments = Arguments::parse();
    let results = arguments.output.clone().unwrap_or_else(|| crate::context::default_results(suite.name));
    if let Some(name) = &arguments.exact {
        return child::play(suite, name, arguments.parent, results);
    }
    let complaints = suite.complaints();
    if !complaints.is_empty() {
        complaints.iter().for_each(|complaint| eprintln!("error: {complaint}"));
        return ExitCode::FAILURE;
    }
    if arguments.list || arguments.filter.as_deref() == Some("ls") {
        progress::say(select::table(&suite.entries().collect::<Vec<_>>()));
        return ExitCode::SUCCESS;
    }
    parent::run(suite, &arguments, &results)
}
