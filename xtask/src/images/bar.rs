//! How far a build is, on standard error: one bar on a terminal, a line for each stage elsewhere.

use std::time::Duration;

use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use pgherd_images::fetch::Progress;

pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Bar {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar(bar)
    }

    /// What is being waited for, which mostly is done at once: shown on terminals only.
    pub(super) fn waiting(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// A stage of unknown length begins.
    pub(super) fn stage(&self, stage: &str) {
        self.begin(stage, None);
    }
}

impl Progress for Bar {
    fn begin(&self, stage: &str, bytes: Option<u64>) {
        let template = match bytes {
            Some(_) => "{spinner} {msg} {bar:24} {decimal_bytes}/{decimal_total_bytes}",
            None => "{spinner} {msg}",
        };
        self.0.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()));
        self.0.reset();
        self.0.set_length(bytes.unwrap_or_default());
        self.0.set_message(stage.to_owned());
        if self.0.is_hidden() {
            let size = bytes.map(|bytes| format!(", {}", DecimalBytes(bytes))).unwrap_or_default();
            eprintln!("{stage}{size}");
        }
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
