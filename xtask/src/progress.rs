//! What a long command is doing, on standard error: a spinner on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// How long a log stays silent about what is being waited for.
const QUIET: Duration = Duration::from_secs(10);

/// Shows lines that stay, and one that changes.
pub(crate) struct Reporter {
    bar: ProgressBar,
    last_waiting: Instant,
}

impl Reporter {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("a valid template");
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        Reporter { bar, last_waiting: Instant::now() }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| output::note(text));
    }

    /// What is being waited for. On a terminal the next one overwrites it; elsewhere it is a line now and then.
    pub(crate) fn waiting(&mut self, text: &str) {
        self.bar.set_message(text.to_owned());
        if self.bar.is_hidden() && self.last_waiting.elapsed() > QUIET {
            output::note(format_args!("waiting: {text}"));
            self.last_waiting = Instant::now();
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
