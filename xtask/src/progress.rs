//! What a long command is doing, on standard error: a spinner on a terminal, plain lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows lines that stay, and one that changes.
pub(crate) struct Reporter {
    bar: ProgressBar,
}

impl Reporter {
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("a valid template");
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        Reporter { bar }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// What is being waited for; shown on terminals only, where the next one overwrites it.
    pub(crate) fn waiting(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
