//! Figures of the process itself, read from /proc at each scrape: a few small reads, no thread of its own.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// `process_*` as the Prometheus client libraries name them.
#[derive(Debug)]
pub struct ProcessFigures;

/// Clock ticks a second in /proc: fixed at 100 for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for ProcessFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        if let Some([virtual_bytes, resident_bytes]) = memory_bytes() {
            gauge("process_virtual_memory_bytes", "Virtual memory", virtual_bytes as f64)?;
            gauge("process_resident_memory_bytes", "Resident memory", resident_bytes as f64)?;
        }
        if let Some(open) = open_files() {
            gauge("process_open_fds", "Open file descriptors", open as f64)?;
        }
        if let Some(most) = open_files_max() {
            gauge("process_max_fds", "Most file descriptors that may be open", most as f64)?;
        }
        let Some(stat) = Stat::read() else { return Ok(()) };
        gauge("process_threads", "Threads", stat.threads)?;
        if let Some(boot_seconds) = boot_seconds() {
            let started = boot_seconds + stat.start_ticks / TICKS_PER_SECOND;
            gauge("process_start_time_seconds", "Start, in seconds since the epoch", started)?;
        }
        let cpu = ConstCounter::new(stat.cpu_ticks / TICKS_PER_SECOND);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "CPU time, user and system",
            None,
            cpu.metric_type(),
        )?)
    }
}

/// Virtual and resident memory of this process, in bytes; `None` where there is no /proc.
pub fn memory_bytes() -> Option<[u64; 2]> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let kib = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    Some([kib("VmSize")?.checked_mul(1024)?, kib("VmRSS")?.checked_mul(1024)?])
}

fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

fn open_files_max() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn boot_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
    threads: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in parentheses and may hold anything; the rest counts from field 3.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        let field = |number: usize| -> Option<f64> { fields.get(number - 3)?.parse().ok() };
        Some(Self { cpu_ticks: field(14)? + field(15)?, threads: field(20)?, start_ticks: field(22)? })
    }
}
