//! What a run is doing: a bar that names it on a terminal, and everywhere a line for each scenario that has ended.

use std::{
    fmt::Display,
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Played, Verdict};

pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(scenarios: usize) -> Progress {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {pos}/{len}  {wide_msg}").expect("a template");
        let bar = ProgressBar::new(scenarios as u64).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar }
    }

    /// What runs now.
    pub(super) fn running(&self, names: &[&str]) {
        self.bar.set_message(names.join(", "));
    }

    /// What has ended.
    pub(super) fn played(&self, played: &Played) {
        self.bar.suspend(|| say(line(played)));
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Prints a line. Nobody reading any more is no reason to stop: the results are written all the same.
pub(super) fn say(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// How a scenario ended, how long it took, and which it was.
pub(super) fn line(played: &Played) -> String {
    let (word, why) = match &played.verdict {
        Verdict::Passed => ("ok", String::new()),
        Verdict::Failed(reason) => ("FAIL", format!(": {reason}")),
        Verdict::Skipped(reason) => ("skip", format!(" ({reason})")),
    };
    format!("{word:<4} {:>6.1} s  {}{why}", played.time.as_secs_f64(), played.entry.path())
}
