//! Memory of the head: bytes resident for each active series, by part.
//!
//!     cargo run --release --example head_memory -- [SERIES] [TARGETS] [ROWS]
//!
//! Feeds SERIES series of TARGETS scrape targets with ROWS rows at 15 s into a head on a temporary
//! directory and prints what it takes: estimates by part as the head itself gives them, then what
//! the system counts for the process. Labels are 10 to 12 pairs as Kubernetes has them; half of
//! the series are constant, the others counters, sizes in bytes and gauges with two decimals.
//! One target in ten is a container runtime's: each forty series of it have values of their own
//! for five labels.

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use narthex::disk::{Clock, PosixDisk, SimulatedClock};
use narthex::head::{GroupKey, Head, HeadOptions, NoObserver, SeriesRef};
use narthex::model::Labels;

#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const INTERVAL_MS: i64 = 15_000;
/// The start of a window of two hours.
const START_MS: i64 = 1_700_006_400_000;
/// Series of one container in a container runtime's target.
const SERIES_PER_CONTAINER: usize = 40;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("head_memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let series = arguments.next().transpose()?.unwrap_or(1_000_000);
    let targets = arguments.next().transpose()?.unwrap_or(1_000).max(1);
    let rows = arguments.next().transpose()?.unwrap_or(480);
    let dir = tempfile::tempdir()?;
    let clock = SimulatedClock::new(START_MS);
    let before = Resident::now();
    let options = HeadOptions::new(
        Arc::new(PosixDisk),
        Arc::new(clock.clone()) as Arc<dyn Clock>,
        Arc::new(NoObserver),
        dir.path().to_owned(),
    );
    let head = Head::open(options)?;
    let began = Instant::now();
    let sources: Vec<Source> =
        (0..targets).map(|n| Source::new(&head, n, series / targets)).collect();
    let count = head.series_count();
    println!("{count} series of {targets} targets made in {:.1?}", began.elapsed());
    Resident::now().print("labels only", &before, count);
    let writers: usize = sources.iter().map(|s| s.series.capacity() * size_of::<SeriesRef>()).sum();
    let began = Instant::now();
    for row in 0..rows {
        for (n, source) in sources.iter().enumerate() {
            source.scrape(&head, row, START_MS + row as i64 * INTERVAL_MS + n as i64)?;
        }
        clock.advance(Duration::from_millis(INTERVAL_MS as u64));
        head.maintain(clock.now_ms())?;
        if row % 120 == 59 || row + 1 == rows {
            println!("{} rows in {:.1?}", row + 1, began.elapsed());
            Resident::now().print("", &before, count);
        }
    }
    print_parts(&head, count);
    // The allocator gives idle memory back within ten seconds.
    std::thread::sleep(Duration::from_secs(15));
    Resident::now().print("settled", &before, count);
    println!("(of it {} B a series are this program's own references)", writers / count.max(1));
    Ok(())
}

fn print_parts(head: &Head, count: usize) {
    let stats = head.stats();
    let memory = stats.memory;
    let parts = [
        ("series table", memory.series),
        ("label texts", memory.symbols),
        ("postings", memory.postings),
        ("slots", memory.slots),
        ("streams", memory.streams),
        ("rest of groups", memory.groups),
        ("all", stats.memory_bytes),
        ("(head files)", stats.head_file_bytes),
    ];
    for (name, bytes) in parts {
        println!("  {name:<16} {:>7.1} B a series", bytes as f64 / count as f64);
    }
    println!("  {} seals of groups, {} chunks", stats.seals, stats.chunks);
}

/// A scrape target with its series.
struct Source {
    key: GroupKey,
    number: usize,
    series: Vec<SeriesRef>,
}

impl Source {
    fn new(head: &Arc<Head>, number: usize, count: usize) -> Self {
        let target =
            Labels::from_pairs([("instance", instance(number)), ("job", job(number).to_owned())]);
        let key =
            GroupKey::Target { job: job(number).to_owned(), labels: target.as_bytes().to_vec() };
        let mut appender = head.appender(&key);
        let series = (0..count).map(|i| appender.series(&labels(number, i))).collect();
        Self { key, number, series }
    }

    fn scrape(&self, head: &Arc<Head>, row: usize, t_ms: i64) -> Result<(), Box<dyn Error>> {
        let mut appender = head.appender(&self.key);
        appender.reserve(self.series.len());
        for (i, &series) in self.series.iter().enumerate() {
            appender.append(series, t_ms, value(self.number * 1009 + i, row as u64));
        }
        let outcome = appender.commit()?;
        if outcome.accepted != self.series.len() {
            return Err(format!("refused: {:?}", outcome.rejected.first()).into());
        }
        Ok(())
    }
}

fn job(target: usize) -> &'static str {
    match target % 10 {
        0 => "kubelet",
        1 => "node-exporter",
        2 => "istio-proxy",
        _ => "application",
    }
}

fn instance(target: usize) -> String {
    format!("10.{}.{}.{}:8080", target / 65_536, target / 256 % 256, target % 256)
}

fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn labels(target: usize, i: usize) -> Labels {
    let namespace = format!("team-{:02}", target % 40);
    let node = format!("ip-10-0-{}-{}.internal", target / 40, target % 40);
    let mut pairs: Vec<(&str, String)> = vec![
        ("instance", instance(target)),
        ("job", job(target).to_owned()),
        ("node", node),
        ("cluster", "production-eu-1".to_owned()),
        ("region", "eu-central-1".to_owned()),
    ];
    if target.is_multiple_of(10) {
        let unit = mixed((target * 1000 + i / SERIES_PER_CONTAINER) as u64);
        let metric = i % SERIES_PER_CONTAINER;
        pairs.extend([
            ("__name__", format!("container_metric_number_{metric:02}_total")),
            ("namespace", format!("team-{:02}", unit % 40)),
            ("pod", format!("service-{:03}-{:010x}", unit % 300, unit >> 24)),
            ("container", format!("service-{:03}", unit % 300)),
            ("image", format!("registry.internal/service-{:03}:v{}", unit % 300, unit % 7)),
            ("id", format!("/kubepods/burstable/pod{unit:016x}/{:016x}", mixed(unit))),
            ("name", format!("{:016x}{unit:016x}", mixed(unit ^ 1))),
        ]);
        return Labels::from_pairs(pairs);
    }
    let unit = mixed(target as u64);
    pairs.extend([
        ("namespace", namespace),
        ("pod", format!("application-{:03}-{:010x}", target % 150, unit >> 24)),
        ("container", format!("application-{:03}", target % 150)),
        ("service", format!("application-{:03}", target % 150)),
        ("endpoint", "http-metrics".to_owned()),
    ]);
    let metric = i / 12;
    pairs.push(("__name__", format!("application_subsystem_metric_number_{metric:03}_total")));
    pairs.push(match metric % 3 {
        0 => ("le", format!("{}", 0.005 * f64::from(1 << (i % 12)))),
        1 => ("path", format!("/api/v1/resource/{}", i % 12)),
        _ => ("code", format!("{}", 200 + i % 12)),
    });
    Labels::from_pairs(pairs)
}

/// Half of the series never change.
fn value(series: usize, row: u64) -> f64 {
    let seed = mixed(series as u64);
    let step = mixed(seed ^ row.wrapping_mul(31));
    match seed % 8 {
        0..4 => (seed >> 40) as f64,
        // Counters, slow and fast.
        4 => (1000 + row * (seed >> 60) + step % 3) as f64,
        5 => ((seed >> 44) + row * ((seed >> 50) & 0xfff) + step % 64) as f64,
        // Bytes in use, in pages.
        6 => (((seed >> 40) + step % 256) * 4096) as f64,
        _ => ((seed >> 50) as i64 + (step % 2000) as i64 - 1000) as f64 / 100.0,
    }
}

/// What the system counts for the process, in bytes.
#[derive(Debug, Clone, Copy)]
struct Resident {
    anonymous: u64,
    of_files: u64,
}

impl Resident {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = value.and_then(|v| v.split_ascii_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        Self { anonymous: field("RssAnon:"), of_files: field("RssFile:") }
    }

    fn print(&self, when: &str, before: &Self, count: usize) {
        let anonymous = self.anonymous.saturating_sub(before.anonymous) as f64 / count as f64;
        let of_files = self.of_files.saturating_sub(before.of_files) as f64 / count as f64;
        println!(
            "  resident {when}: {:.1} B a series ({anonymous:.1} heap, {of_files:.1} of files)",
            anonymous + of_files
        );
    }
}
