//! What this process takes of the machine.

use std::time::Duration;

use crate::error::Result;

/// Resident memory in units of 10⁶ bytes.
pub(super) fn resident_mb() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    Ok(pages * rustix::param::page_size() as f64 / 1e6)
}

/// User and system time of this process.
pub(super) fn cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].into_iter().filter_map(|n| fields.get(n)?.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
}
