//! pgherd's command line: one match, one file for each command.

fn main() {}
