//! How much memory work takes: the growth of the process to its peak while it runs.

use std::path::Path;

/// Bytes of this process by a line of its status, where the system has one (Linux).
fn bytes(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// The result of `work`, and by how many bytes the process grew from before to its peak meanwhile; `None` where the system does not
/// say. Memory that the process had freed before and takes again does not show.
pub(super) fn growth<R>(work: impl FnOnce() -> R) -> (R, Option<u64>) {
    // Five starts the record of the peak anew.
    let started = std::fs::write(Path::new("/proc/self/clear_refs"), "5").ok().and_then(|()| bytes("VmRSS:"));
    let result = work();
    (result, started.and_then(|before| bytes("VmHWM:").map(|peak| peak.saturating_sub(before))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_shows() {
        const SIZE: usize = 64 << 20;
        let (sum, grown) = growth(|| std::hint::black_box(vec![1u8; SIZE]).iter().map(|&x| u64::from(x)).sum::<u64>());
        assert_eq!(sum, SIZE as u64);
        // Other tests of this process may take and give back memory at the same time.
        assert!(grown.is_none_or(|bytes| bytes > (SIZE / 2) as u64), "{grown:?}");
    }
}
