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
    megabytes("VmRSS")
}

/// The most that it was since [`forget_peak`], `VmHWM`.
pub(super) fn peak_megabytes() -> anyhow::Result<f64> {
    megabytes("VmHWM")
}

/// Begins the peak anew at what is resident now, `/proc/pid/clear_refs` of proc(5).
pub(super) fn forget_peak() -> anyhow::Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("could not write /proc/self/clear_refs")
}

fn megabytes(field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("could not read /proc/self/status")?;
    let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.to_owned());
    let kilobytes = status.lines().find_map(value);
    let kilobytes: f64 = kilobytes.with_context(|| format!("/proc/self/status has no {field}"))?.trim().parse()?;
    Ok(kilobytes / 1024.0)
}
