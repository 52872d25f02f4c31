//! Pushes every stored sample of a data directory to a remote-write receiver.
//!
//!     cargo run --release --example push_stored -- ./data http://localhost:9090/api/v1/write
//!
//! The directory is the server's `--storage.tsdb.path`, and no server may run on it. Samples go
//! out bit for bit under the labels they are stored with, staleness markers included, in
//! ascending order of time over all series, so that a receiver that takes samples in order only
//! takes them all. The message is remote write 1.0 (`prometheus.WriteRequest`, snappy). The first
//! reply that is not a 2xx ends the push.

use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use narthex::db::{Database, Event, Observer, Options};
use narthex::model::{Labels, Samples, TimeRange, is_stale};
use narthex::protowire::field::{write_bytes, write_double, write_int64};
use narthex::select::{Cancellation, Queryable, SeriesSet};

/// Samples of one request.
const BATCH_SAMPLES: usize = 5_000;
/// Samples are put in order of time within a window, and windows follow one another.
const WINDOW_MS: i64 = 10 * 60 * 1000;
const TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, url] = arguments.as_slice() else {
        eprintln!("usage: push_stored DIRECTORY http://HOST:PORT/PATH");
        return ExitCode::from(2);
    };
    match run(Path::new(directory), url) {
        Ok(pushed) => {
            println!(
                "{} series, {} samples, {} of them staleness markers, in {} requests",
                pushed.series, pushed.samples, pushed.stale, pushed.requests
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("push_stored: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Pushed {
    series: usize,
    samples: usize,
    stale: usize,
    requests: usize,
}

/// Prints what the database finds out about its files.
#[derive(Debug)]
struct Printer;

impl Observer for Printer {
    fn event(&self, event: &Event<'_>) {
        eprintln!("{event}");
    }
}

fn run(directory: &Path, url: &str) -> Result<Pushed, Box<dyn Error>> {
    let receiver = Receiver::new(url)?;
    // Opening creates what is missing; here a path that holds nothing is a mistake.
    if !directory.join("narthex").is_dir() {
        return Err(format!("{} holds no stored data", directory.display()).into());
    }
    let options = Options {
        // Nothing is to change while it is read.
        background: false,
        retention_ms: 0,
        observer: std::sync::Arc::new(Printer),
        ..Options::default()
    };
    let database = Database::open(directory, options)?;
    let set = database.select(&[], TimeRange::ALL, &Cancellation::new())?;
    if let Some(warning) = set.warnings().first() {
        return Err(format!("the data is incomplete: {warning}").into());
    }
    let mut pushed = Pushed::default();
    if let Some(range) = stored_range(&database) {
        push_all(&*set, range, &receiver, &mut pushed)?;
    }
    drop(set);
    database.close()?;
    Ok(pushed)
}

/// From the oldest to the newest sample of head and blocks.
fn stored_range(database: &Database) -> Option<TimeRange> {
    let stats = database.stats();
    let ranges = stats.blocks.iter().map(|block| block.range).chain(stats.head_range);
    ranges
        .reduce(|a, b| TimeRange { min_ms: a.min_ms.min(b.min_ms), max_ms: a.max_ms.max(b.max_ms) })
}

fn push_all(
    set: &dyn SeriesSet,
    range: TimeRange,
    receiver: &Receiver,
    pushed: &mut Pushed,
) -> Result<(), Box<dyn Error>> {
    let mut has_samples = vec![false; set.len()];
    let mut samples = Samples::default();
    let mut window: Vec<(i64, usize, f64)> = Vec::new();
    let mut begin_ms = range.min_ms;
    while begin_ms <= range.max_ms {
        let end_ms = begin_ms.saturating_add(WINDOW_MS - 1).min(range.max_ms);
        window.clear();
        for (series, has_samples) in has_samples.iter_mut().enumerate() {
            set.read(series, TimeRange { min_ms: begin_ms, max_ms: end_ms }, &mut samples)?;
            *has_samples |= !samples.is_empty();
            let pairs = samples.timestamps.iter().zip(&samples.values);
            window.extend(pairs.map(|(&t_ms, &value)| (t_ms, series, value)));
        }
        window.sort_unstable_by_key(|&(t_ms, series, _)| (t_ms, series));
        for batch in window.chunks_mut(BATCH_SAMPLES) {
            batch.sort_unstable_by_key(|&(t_ms, series, _)| (series, t_ms));
            receiver.push(&write_request(batch, set))?;
            pushed.requests += 1;
            pushed.samples += batch.len();
            pushed.stale += batch.iter().filter(|(_, _, value)| is_stale(*value)).count();
        }
        let Some(next_ms) = end_ms.checked_add(1) else { break };
        begin_ms = next_ms;
    }
    pushed.series = has_samples.iter().filter(|&&has_samples| has_samples).count();
    Ok(())
}

/// The message for samples that are sorted by series, then by time.
fn write_request(batch: &[(i64, usize, f64)], set: &dyn SeriesSet) -> Vec<u8> {
    let mut request = Vec::new();
    for samples in batch.chunk_by(|a, b| a.1 == b.1) {
        let mut series = write_labels(set.labels(samples[0].1));
        for &(t_ms, _, value) in samples {
            let mut sample = Vec::with_capacity(20);
            write_double(1, value, &mut sample);
            write_int64(2, t_ms, &mut sample);
            write_bytes(2, &sample, &mut series);
        }
        write_bytes(1, &series, &mut request);
    }
    request
}

fn write_labels(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        write_bytes(1, name.as_bytes(), &mut label);
        write_bytes(2, value.as_bytes(), &mut label);
        write_bytes(1, &label, &mut out);
    }
    out
}

/// Where the requests go.
struct Receiver {
    /// `host:port`.
    address: String,
    path: String,
}

impl Receiver {
    fn new(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url}: http:// expected"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            _ => format!("{authority}:80"),
        };
        Ok(Self { address, path: format!("/{path}") })
    }

    /// One request over a connection of its own.
    fn push(&self, request: &[u8]) -> Result<(), Box<dyn Error>> {
        let body = snap::raw::Encoder::new().compress_vec(request)?;
        let mut connection = TcpStream::connect(&self.address)
            .map_err(|error| format!("connect to {}: {error}", self.address))?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        write!(
            connection,
            "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
             X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
            self.path,
            self.address,
            body.len()
        )?;
        // A receiver that refuses may reply and hang up before it has read everything.
        let sent = connection.write_all(&body);
        let mut reply = Vec::new();
        let received = connection.read_to_end(&mut reply);
        if reply.is_empty() {
            sent.and(received.map(|_| ()))?;
        }
        let reply = String::from_utf8_lossy(&reply);
        let status = reply.split(' ').nth(1).unwrap_or_default();
        if status.len() == 3 && status.starts_with('2') {
            return Ok(());
        }
        let (head, text) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        let status_line = head.lines().next().unwrap_or("no reply");
        Err(format!("{}: {status_line}: {}", self.address, text.trim()).into())
    }
}
