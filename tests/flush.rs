//! What is flushed to a receiver at the stop is told as what was sent before: with the metrics'
//! descriptions, though the targets that gave them have ended, and with exemplars.
#![allow(clippy::unwrap_used, reason = "what fails here is the test")]
#![cfg(feature = "server")]

mod program;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use program::Server;

const PAGE: &str = "# HELP orders Orders taken.\n# TYPE orders counter\n\
                    orders_total 7 # {trace_id=\"abc123\"} 1\n# EOF\n";
const PATIENCE: Duration = Duration::from_mins(1);

/// Answers scrapes with the page and takes what is written; tells of each, decoded.
fn serve(mut stream: TcpStream, told: &mpsc::Sender<Option<Vec<u8>>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut line, mut len, mut is_scrape) = (String::new(), 0, false);
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            is_scrape |= line.starts_with("GET ");
            let lower = line.to_ascii_lowercase();
            if let Some(text) = lower.strip_prefix("content-length: ") {
                len = text.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; len];
        if line.is_empty() || reader.read_exact(&mut body).is_err() {
            return;
        }
        let answer = if is_scrape {
            let kind = "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8";
            let len = PAGE.len();
            format!("HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {len}\r\n\r\n{PAGE}")
        } else {
            let written = "X-Prometheus-Remote-Write-Samples-Written: 9";
            format!("HTTP/1.1 204 No Content\r\n{written}\r\n\r\n")
        };
        let event = (!is_scrape).then(|| snap::raw::Decoder::new().decompress_vec(&body).unwrap());
        // The test may have seen enough.
        let _ = told.send(event);
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn the_last_request_has_descriptions_and_exemplars() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sender = sender.clone();
            thread::spawn(move || serve(stream, &sender));
        }
    });
    // Nothing is sent for its age before the stop.
    let config = format!(
        "scrape_configs: [{{job_name: shop, scrape_interval: 200ms, scrape_timeout: 200ms, \
         static_configs: [{{targets: ['{address}']}}]}}]\n\
         remote_write: [{{url: 'http://{address}/write', send_exemplars: true, \
         protobuf_message: io.prometheus.write.v2.Request, \
         queue_config: {{batch_send_deadline: 1h}}}}]\n"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let server = Server::start(folder.path(), &[]);
    // The third scrape begins after the second was stored.
    for scrape in 0..3 {
        let event = told.recv_timeout(PATIENCE).unwrap();
        assert!(event.is_none(), "something was sent before scrape {scrape}");
    }
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
    let requests: Vec<Vec<u8>> = told.try_iter().flatten().collect();
    let has = |text: &str| {
        requests.iter().any(|body| body.windows(text.len()).any(|w| w == text.as_bytes()))
    };
    assert!(has("orders_total"), "{} requests", requests.len());
    assert!(has("Orders taken."), "what the metric is");
    assert!(has("abc123"), "its exemplar");
}
