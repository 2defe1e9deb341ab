//! One line for each event on standard error, and the phase for those who come later.

use std::fmt::Display;

use crate::{durable, layout::Layout};

/// Writes one line.
pub fn log(message: impl Display) {
    eprintln!("pgherd-agent: {message}");
}

/// Writes one line, and keeps it as what the agent is doing now.
pub(crate) fn phase(layout: &Layout, what: impl Display) {
    log(&what);
    now(layout, what);
}

/// Keeps what the agent is doing now, and does not log it: for what changes every second.
pub(crate) fn now(layout: &Layout, what: impl Display) {
    // Whoever reads it can do without; a node on a read-only root file system must start all the same.
    let _ = durable::replace_for_now(&layout.phase_file(), format!("{what}\n").as_bytes());
}
