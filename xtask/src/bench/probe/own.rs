//! What this process takes.

use std::{fs, time::Duration};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

/// The processor time of this process so far, user and system.
pub(super) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The resident memory of this process in megabytes, `VmRSS` of proc(5).
pub(super) fn resident_megabytes() -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("could not read /proc/self/status")?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kilobytes: f64 = kilobytes.context("/proc/self/status has no VmRSS")?.trim().parse()?;
    Ok(kilobytes / 1024.0)
}
