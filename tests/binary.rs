//! The program as its users meet it: flags, exit status, start, reload, stop.
#![cfg(feature = "server")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn narthex(folder: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_narthex"));
    command.current_dir(folder).args(flags).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn outcome(folder: &Path, flags: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = narthex(folder, flags).output().expect("it starts");
    let text = [stdout, stderr].concat();
    (status.code().expect("it ends by itself"), String::from_utf8_lossy(&text).into_owned())
}

/// A running server; killed if a test forgets to end it.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts on a free port and waits until queries are answered.
    fn start(folder: &Path, flags: &[&str]) -> Self {
        let all = [&["--web.listen-address=127.0.0.1:0"][..], flags].concat();
        let mut child = narthex(folder, &all).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut address = String::new();
        for line in lines.by_ref() {
            let line = line.expect("log lines are text");
            if let Some((_, rest)) = line.split_once("msg=Listening address=") {
                rest.clone_into(&mut address);
            }
            if line.contains("Ready to answer queries") {
                break;
            }
        }
        assert!(!address.is_empty(), "the log names the address");
        // The log goes on; somebody has to take it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// The status line and everything after it.
    fn request(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().expect("kill is there");
        assert!(status.success());
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

const CONFIG: &str = "global: {scrape_interval: 1h}\n";

#[test]
fn mistakes_end_the_start_with_their_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = outcome(folder.path(), &["--nope"]);
    assert!(code == 2 && text.contains("--nope"), "{text}");
    let (code, text) = outcome(folder.path(), &["--config.file=none.yml"]);
    assert!(code == 2 && text.contains("none.yml"), "{text}");
    std::fs::write(folder.path().join("prometheus.yml"), "globl: {}\n").expect("a file");
    let (code, text) = outcome(folder.path(), &[]);
    assert!(code == 2 && text.contains("prometheus.yml:1:1: field globl not found"), "{text}");
    let (code, text) = outcome(folder.path(), &["--version"]);
    assert!(code == 0 && text.contains("3.14.0"), "{text}");
    std::fs::write(folder.path().join("prometheus.yml"), CONFIG).expect("a file");
    let (code, text) = outcome(folder.path(), &["--web.listen-address=256.0.0.1:1"]);
    assert!(code == 1 && text.contains("256.0.0.1:1"), "{text}");
    let (code, _) = outcome(folder.path(), &["--agent"]);
    assert_eq!(code, 1);
}

#[test]
fn it_serves_reloads_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, CONFIG).expect("a file");
    let server = Server::start(folder.path(), &["--web.enable-lifecycle"]);
    assert!(server.request("GET", "/-/healthy").starts_with("HTTP/1.1 200"));
    assert!(server.request("GET", "/-/ready").starts_with("HTTP/1.1 200"));
    assert!(server.request("GET", "/metrics").contains("prometheus_ready 1"));
    std::fs::write(&file, "global: {scrape_interval: 2h, nope: 1}\n").expect("a file");
    let answer = server.request("POST", "/-/reload");
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("prometheus.yml:1:31: field nope not found"), "{answer}");
    let config = server.request("GET", "/api/v1/status/config");
    assert!(config.contains("scrape_interval: 1h"), "{config}");
    std::fs::write(&file, "global: {scrape_interval: 2h}\n").expect("a file");
    assert!(server.request("POST", "/-/reload").starts_with("HTTP/1.1 200"));
    assert!(server.request("GET", "/api/v1/status/config").contains("scrape_interval: 2h"));
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
    // The folder was let go and can be opened again.
    let server = Server::start(folder.path(), &["--web.enable-lifecycle"]);
    let second = outcome(folder.path(), &["--web.listen-address=127.0.0.1:0"]);
    assert!(second.0 == 1 && second.1.contains("another process"), "{}", second.1);
    assert!(server.request("POST", "/-/quit").starts_with("HTTP/1.1 200"));
    assert_eq!(server.exit_code(), Some(0));
}
