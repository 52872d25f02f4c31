//! Servers that feed one another: pages to scrape, and what a server holds of them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::program::Server;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The line that a server logs when it is up.
pub(crate) const READY: &str = "Ready to answer queries";
/// Series of a page.
pub(crate) const SERIES: u64 = 20;

/// By series and milliseconds: values as texts.
pub(crate) type Samples = BTreeMap<String, BTreeMap<i64, String>>;

/// Serves pages for ever; the n-th says n.
pub(crate) fn serve_pages() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let number = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let number = Arc::clone(&number);
            thread::spawn(move || {
                let (mut stream, mut piece, mut request) = (stream, [0; 4096], Vec::new());
                while let Ok(len @ 1..) = stream.read(&mut piece) {
                    request.extend_from_slice(&piece[..len]);
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    request.clear();
                    let n = number.fetch_add(1, Ordering::Relaxed);
                    let line = |id| format!("page{{id=\"{id}\"}} {}\n", n * SERIES + id);
                    let body: String = (0..SERIES).map(line).collect();
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";
                    let len = body.len();
                    let answer = format!("{head}Content-Length: {len}\r\n\r\n{body}");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Looks until there is something to see.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// All samples that came from pages and rules.
pub(crate) fn stored(client: &Client) -> Samples {
    let path = "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D%5B1h%5D";
    let data = client.get(path).data();
    let mut samples = Samples::new();
    for series in data["result"].as_array().unwrap() {
        let mut points = BTreeMap::new();
        for point in series["values"].as_array().unwrap() {
            let t_ms = (point[0].as_f64().unwrap() * 1000.0).round() as i64;
            let value = point[1].as_str().unwrap().to_owned();
            assert_eq!(points.insert(t_ms, value), None, "{t_ms} ms of {}", series["metric"]);
        }
        assert_eq!(samples.insert(series["metric"].to_string(), points), None);
    }
    samples
}

/// SIGKILL.
pub(crate) fn kill(mut server: Server) {
    server.child.kill().unwrap();
    server.child.wait().unwrap();
}

/// An address that nobody else is given for the while, so that a server is found again.
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// What is stored once nothing new comes.
pub(crate) fn at_rest(client: &Client) -> Samples {
    wait_for("the server comes to rest", || {
        let samples = stored(client);
        thread::sleep(Duration::from_millis(300));
        (samples == stored(client)).then_some(samples)
    })
}

/// Samples of all series together.
pub(crate) fn count(samples: &Samples) -> usize {
    samples.values().map(BTreeMap::len).sum()
}
