//! The server under the load of many targets: is any scrape late, is any missed?
//!
//! Starts this package's program on loopback with a configuration of `--targets` targets, serves
//! their pages of `--series` series itself, and notes when each is asked for. A target's times have
//! to follow its first one at `--interval` seconds: a scrape is *late* when it begins more than a
//! twentieth of the interval after its time, and *missed* when a time passes without one. At the
//! end the server has to have stored what it fetched. CPU time and memory of the server are
//! printed. The exit status is 1 where something was late, missed or lost.
//!
//! `cargo bench --bench scrape_load -- --targets 2000 --series 500 --interval 10 --minutes 10`
//! (these are the defaults); `--program PATH` takes another build, `--port` another port.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone)]
struct Load {
    targets: usize,
    series: usize,
    interval: Duration,
    time: Duration,
    port: u16,
    program: PathBuf,
}

impl Load {
    fn of(arguments: &[String]) -> Self {
        let text = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1).cloned()
        };
        let number = |name: &str, default: f64| -> f64 {
            text(name).map_or(default, |text| text.parse().expect("a number"))
        };
        Self {
            targets: number("--targets", 2000.0) as usize,
            series: number("--series", 500.0) as usize,
            interval: Duration::from_secs_f64(number("--interval", 10.0)),
            time: Duration::from_secs_f64(number("--minutes", 10.0) * 60.0),
            port: number("--port", 22380.0) as u16,
            program: text("--program")
                .map_or_else(|| env!("CARGO_BIN_EXE_narthex").into(), PathBuf::from),
        }
    }

    fn config(&self, pages: u16) -> String {
        let targets: Vec<String> = (0..self.targets).map(|at| format!("'{at}'")).collect();
        format!(
            "global: {{scrape_interval: {0}ms, scrape_timeout: {0}ms}}\n\
             scrape_configs:\n- job_name: load\n  static_configs: [{{targets: [{1}]}}]\n  \
             relabel_configs:\n  \
             - {{source_labels: [__address__], target_label: __metrics_path__, \
             replacement: '/$1'}}\n  \
             - {{source_labels: [__address__], target_label: instance}}\n  \
             - {{target_label: __address__, replacement: '127.0.0.1:{pages}'}}\n",
            self.interval.as_millis(),
            targets.join(", ")
        )
    }
}

/// When each target was asked for its page.
type Asked = Arc<Mutex<Vec<Vec<Instant>>>>;

/// Serves the pages; a number that grows is in every third line.
async fn serve(listener: TcpListener, series: usize, asked: Asked) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve_one(stream, series, Arc::clone(&asked)));
    }
}

async fn serve_one(mut stream: TcpStream, series: usize, asked: Asked) {
    let _ = stream.set_nodelay(true);
    let (mut read, mut page) = (Vec::new(), String::new());
    loop {
        read.clear();
        while !read.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let now = Instant::now();
        let path = read.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let target: usize = String::from_utf8_lossy(path).trim_matches('/').parse().unwrap_or(0);
        let turn = {
            let mut asked = asked.lock().expect("no thread panicked");
            asked[target].push(now);
            asked[target].len()
        };
        page.clear();
        for at in 0..series {
            let value = if at % 3 == 0 { turn * (at + 1) } else { target + at };
            let (metric, part) = (at / 10, at % 10);
            let _ = writeln!(page, "load_{metric}_total{{part=\"{part}\",zone=\"a\"}} {value}");
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
             Content-Length: {}\r\n\r\n",
            page.len()
        );
        if stream.write_all(head.as_bytes()).await.is_err()
            || stream.write_all(page.as_bytes()).await.is_err()
        {
            return;
        }
    }
}

/// The program, ended with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(load: &Load, folder: &Path) -> Server {
    let child = Command::new(&load.program)
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{}", load.port))
        .arg("--log.level=warn")
        .stdout(Stdio::null())
        .spawn();
    Server(child.expect("the program starts"))
}

/// The body of the answer to a GET.
async fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

/// The one number that an instant query gives; 0 where it gives nothing.
async fn number(port: u16, query: &str) -> f64 {
    let query = query.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02x}");
        encoded
    });
    let answer = get(port, &format!("/api/v1/query?query={query}")).await.expect("an answer");
    let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let value = &json["data"]["result"][0]["value"][1];
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// CPU seconds and resident bytes of a process, as Linux tells them.
fn usage(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let pages: f64 = ticks(21);
    // Linux counts 100 ticks a second and pages of 4 KiB on the machines this runs on.
    ((ticks(11) + ticks(12)) / 100.0, pages * 4096.0)
}

#[derive(Debug, Default)]
struct Verdict {
    scrapes: usize,
    late: usize,
    missed: usize,
    /// Seconds after their time, ascending.
    delays: Vec<f64>,
}

/// Judges the times of every target up to `end`.
fn judge(asked: &[Vec<Instant>], interval: Duration, end: Instant) -> Verdict {
    let mut verdict = Verdict::default();
    let interval = interval.as_secs_f64();
    for times in asked {
        verdict.scrapes += times.len();
        let Some(first) = times.first() else {
            verdict.missed += 1;
            continue;
        };
        let due = |time: &Instant| (*time - *first).as_secs_f64() / interval;
        for time in times {
            let delay = (due(time) - due(time).round()) * interval;
            verdict.late += usize::from(delay.abs() > interval / 20.0);
            verdict.delays.push(delay.max(0.0));
        }
        let expected = due(&end).floor() as usize + 1;
        verdict.missed += expected.saturating_sub(times.len());
    }
    verdict.delays.sort_by(f64::total_cmp);
    verdict
}

async fn run(load: &Load) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let pages = listener.local_addr().expect("an address").port();
    std::fs::write(folder.path().join("prometheus.yml"), load.config(pages)).expect("a file");
    let asked: Asked = Arc::new(Mutex::new(vec![Vec::new(); load.targets]));
    tokio::spawn(serve(listener, load.series, Arc::clone(&asked)));
    let server = start(load, folder.path());
    let pid = server.0.id();
    while get(load.port, "/-/ready").await.is_ok_and(|body| !body.contains("eady")) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Every target has been scraped once, and what is new is not new any more.
    tokio::time::sleep(load.interval * 2).await;
    let (cpu_before, _) = usage(pid);
    let scraped = |asked: &Asked| asked.lock().expect("fine").iter().map(Vec::len).sum::<usize>();
    let before = scraped(&asked);
    tokio::time::sleep(load.time).await;
    let (cpu_after, resident) = usage(pid);
    let verdict = {
        let asked = asked.lock().expect("no thread panicked");
        judge(&asked, load.interval, Instant::now())
    };
    let fresh = scraped(&asked) - before;
    // Scrapes under way end before it is counted what was stored.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let scrapes_now = scraped(&asked) as f64;
    let ups = number(load.port, "sum(sum_over_time(up[1d]))").await;
    let series = number(load.port, "sum(scrape_samples_post_metric_relabeling)").await;
    drop(server);

    let samples = fresh as f64 * (load.series + 5) as f64;
    let at = |q: f64| verdict.delays.get(((verdict.delays.len() - 1) as f64 * q) as usize);
    println!("{load:?}");
    println!("scrapes {}, late {}, missed {}", verdict.scrapes, verdict.late, verdict.missed);
    println!(
        "seconds after their time: median {:?}, 99 % {:?}, most {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    println!("stored: {ups} good scrapes of {scrapes_now}, {series} series on the last pages");
    println!(
        "server: {:.3} CPU-ms for each 1000 samples ({:.1} CPU-s for {samples} samples), \
         {:.0} MB resident, {:.0} bytes for each target",
        (cpu_after - cpu_before) * 1e6 / samples,
        cpu_after - cpu_before,
        resident / 1e6,
        resident / load.targets as f64
    );
    let is_all_stored = scrapes_now - ups <= load.targets as f64 * 0.02
        && series >= (load.targets * load.series) as f64;
    verdict.late == 0 && verdict.missed == 0 && is_all_stored
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // Run as a test: there is nothing to check quickly.
        return ExitCode::SUCCESS;
    }
    let load = Load::of(&arguments);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if runtime.block_on(run(&load)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
