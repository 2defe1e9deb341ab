//! Whether all that is compiled in may be, as deny.toml has it, by cargo-deny.

use xshell::{Shell, cmd};

use crate::output;

/// The cargo-deny that is asked, and installed below `target` where it is not there.
const VERSION: &str = "=0.20.2";

pub(super) fn check(sh: &Shell) -> anyhow::Result<()> {
    // A minute on two cores. Its release profile optimises while it links, and its checks take seconds without.
    let install = cmd!(sh, "cargo install --quiet --locked --debug --root target/tools cargo-deny --version {VERSION}");
    install.env("CARGO_PROFILE_DEV_DEBUG", "0").run()?;
    let deny = "target/tools/bin/cargo-deny";
    cmd!(sh, "{deny} check licenses bans sources").run()?;

    // The database of advisories is not on crates.io.
    let fetch = cmd!(sh, "{deny} fetch db").quiet().ignore_status().output()?;
    if fetch.status.success() {
        return Ok(cmd!(sh, "{deny} check advisories").run()?);
    }
    let reason = String::from_utf8_lossy(&fetch.stderr);
    let reason = reason.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    output::note(format_args!("advisories: NOT CHECKED, because their database could not be fetched: {reason}"));
    Ok(())
}
