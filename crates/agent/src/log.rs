//! One line for each event on standard error, and the phase for those who come later.

use std::{fmt::Display, fs};

use crate::layout::Layout;

/// Writes one line.
pub fn log(message: impl Display) {
    eprintln!("pgherd-agent: {message}");
}

/// Writes one line, and keeps it as what the agent is doing now.
pub(crate) fn phase(layout: &Layout, what: impl Display) {
    log(&what);
    // Whoever reads it can do without; a node on a read-only root file system must start all the same.
    let _ = fs::write(layout.phase_file(), format!("{what}\n"));
}
