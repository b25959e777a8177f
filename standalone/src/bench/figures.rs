//! Figures: the kernel's accounting of a process, percentiles, and how a line of results is printed.

use std::time::Duration;

use serde_json::Value;

use super::{ms, round};

/// Clock ticks a second in /proc.
const TICKS_PER_SECOND: f64 = 100.0;

/// One or several processes whose figures are summed.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pids: Vec<u32>,
}

impl Process {
    pub(super) fn of(pids: &[u32]) -> Self {
        Self { pids: pids.to_vec() }
    }

    /// User and system time; 0 without process ids.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let ticks = |pid: &u32| -> Option<f64> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        };
        self.pids.iter().filter_map(ticks).sum::<f64>() / TICKS_PER_SECOND
    }

    /// `VmRSS` or `VmHWM` in MiB.
    pub(super) fn memory_mib(&self, key: &str) -> f64 {
        let kib = |pid: &u32| -> Option<f64> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
        };
        round(self.pids.iter().filter_map(kib).sum::<f64>() / 1024.0)
    }
}

/// A percentile in milliseconds; sorts the times.
pub(super) fn percentile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share) as usize).map_or(0.0, |time| ms(*time))
}

/// One line on standard output.
#[allow(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn print(figures: &Value) {
    println!("{figures}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_own_process() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile_ms(&mut times, 0.5), 50.0);
        assert_eq!(percentile_ms(&mut times, 0.99), 99.0);
        assert_eq!(percentile_ms(&mut [], 0.5), 0.0);
        let own = Process::of(&[std::process::id()]);
        assert!(own.memory_mib("VmRSS") > 1.0 && own.cpu_seconds() >= 0.0);
    }
}
