//! What the system says of this process, read from `/proc` when the page is asked for.
//!
//! What cannot be read is left out. The `go_` families stand in for those that dashboards read;
//! their help says what is shown.

use std::fs;

use super::figures::{family, label, plain};
use super::metrics::gauge;
use crate::exposition::{Family, MetricType};

/// Where Prometheus names the Go release.
pub(super) const COMPILER: &str = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));

/// Ticks in a second of the times in `/proc`: the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processor in Go's words.
pub(super) fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Families of the process. `tasks` are those of the runtime; `started_seconds` is shown where
/// the system does not tell when the process began.
pub(super) fn families(tasks: Option<usize>, started_seconds: f64) -> Vec<Family> {
    let mut out = Vec::new();
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_seconds(&text));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(stat) = &stat {
        let help = "Processor time used, in user and system mode.";
        let name = "process_cpu_seconds_total";
        let seconds = stat.cpu_ticks as f64 / TICKS_PER_SECOND;
        out.push(plain(MetricType::Counter, name, help, seconds));
        let help = "Size of the address space.";
        out.push(gauge("process_virtual_memory_bytes", help, stat.virtual_bytes as f64));
    }
    let start =
        stat.zip(boot).map(|(stat, boot)| boot + stat.start_ticks as f64 / TICKS_PER_SECOND);
    let help = "When the process began, in seconds since the epoch.";
    out.push(gauge("process_start_time_seconds", help, start.unwrap_or(started_seconds)));
    descriptors(&mut out);
    memory(&status, &mut out);
    threads(&status, tasks, &mut out);
    out
}

fn descriptors(out: &mut Vec<Family>) {
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = entries.count().saturating_sub(1);
        out.push(gauge("process_open_fds", "Open file descriptors.", open as f64));
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = |name| soft_limit(&limits, name);
    if let Some(max) = limit("Max open files") {
        out.push(gauge("process_max_fds", "File descriptors that may be open.", max));
    }
    if let Some(max) = limit("Max address space") {
        let help = "Greatest size of the address space.";
        out.push(gauge("process_virtual_memory_max_bytes", help, max));
    }
}

fn memory(status: &str, out: &mut Vec<Family>) {
    if let Some(kib) = field(status, "VmRSS:") {
        let help = "Memory in use, files that are mapped included.";
        out.push(gauge("process_resident_memory_bytes", help, kib as f64 * 1024.0));
    }
    let Some(kib) = field(status, "RssAnon:") else { return };
    let help = "In place of Go's figure: memory in use that is no file's (heap and stacks).";
    for name in
        ["go_memstats_alloc_bytes", "go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes"]
    {
        out.push(gauge(name, help, kib as f64 * 1024.0));
    }
}

fn threads(status: &str, tasks: Option<usize>, out: &mut Vec<Family>) {
    let labels = vec![label("version", COMPILER)];
    let help = "1, labelled with the compiler that the server asks for.";
    out.push(family(MetricType::Gauge, "go_info", help, [(labels, 1.0)]));
    if let Ok(processors) = std::thread::available_parallelism() {
        let help = "Processors that the process may use.";
        out.push(gauge("go_sched_gomaxprocs_threads", help, processors.get() as f64));
    }
    let Some(threads) = field(status, "Threads:") else { return };
    out.push(gauge("go_threads", "Threads of the process.", threads as f64));
    let help = "In place of goroutines: threads, and tasks of the runtime.";
    let all = threads as f64 + tasks.unwrap_or(0) as f64;
    out.push(gauge("go_goroutines", help, all));
}

/// What is read of `/proc/self/stat`, `proc_pid_stat(5)`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, blanks and parentheses and all.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of them is the third of the file.
        let number = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(14)? + number(15)?,
            start_ticks: number(22)?,
            virtual_bytes: number(23)?,
        })
    }
}

fn boot_seconds(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// A number of `/proc/self/status`.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// A soft limit of `/proc/self/limits`. COMPAT: none is the greatest 64-bit number.
fn soft_limit(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    match value.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_of_parentheses_is_no_trap() {
        let text = "7 (a) S (b) R 1 1 1 0 -1 4194304 119 0 0 0 25 17 0 0 20 0 1 0 447176 3133440 9";
        let stat = Stat { cpu_ticks: 42, start_ticks: 447_176, virtual_bytes: 3_133_440 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (x) R 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn fields_and_limits_are_found_by_their_names() {
        let status = "VmSize:\t  3892 kB\nVmRSS:\t  2092 kB\nThreads:\t5\n";
        assert_eq!(field(status, "VmRSS:"), Some(2092));
        assert_eq!(field(status, "Threads:"), Some(5));
        assert_eq!(field(status, "RssAnon:"), None);
        let limits = "Max open files            1024      2048      files\n\
                      Max address space         unlimited unlimited bytes\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(soft_limit(limits, "Max address space"), Some(u64::MAX as f64));
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1795410000\n"), Some(1_795_410_000.0));
    }
}
