//! The built program as a child process, for the black-box tests. It listens on a free port of the
//! loop-back interface, and its log is read to its end.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub(crate) fn narthex(folder: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_narthex"));
    command.current_dir(folder).args(flags).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn outcome(folder: &Path, flags: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = narthex(folder, flags).output().expect("it starts");
    let text = [stdout, stderr].concat();
    (status.code().expect("it ends by itself"), String::from_utf8_lossy(&text).into_owned())
}

/// A running server; killed if a test forgets to end it.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// `HOST:PORT` of the HTTP server.
    pub(crate) address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts on a free port and waits until queries are answered.
    pub(crate) fn start(folder: &Path, flags: &[&str]) -> Self {
        Self::start_until(folder, flags, "Ready to answer queries")
    }

    /// Starts on a free port and waits until the log has a line with `sign`.
    pub(crate) fn start_until(folder: &Path, flags: &[&str], sign: &str) -> Self {
        Self::start_at("127.0.0.1:0", folder, flags, sign)
    }

    /// The same on an address of the caller's choice, so that it is found again after a restart.
    pub(crate) fn start_at(place: &str, folder: &Path, flags: &[&str], sign: &str) -> Self {
        let listen = format!("--web.listen-address={place}");
        let all = [&[listen.as_str()][..], flags].concat();
        let mut child = narthex(folder, &all).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (mut address, mut is_ready, mut log) = (String::new(), false, String::new());
        for line in lines.by_ref() {
            let line = line.expect("log lines are text");
            if let Some((_, rest)) = line.split_once("msg=Listening address=") {
                rest.clone_into(&mut address);
            }
            is_ready = line.contains(sign);
            if is_ready {
                break;
            }
            log = log + &line + "\n";
        }
        assert!(is_ready && !address.is_empty(), "no line {sign:?} or no address:\n{log}");
        // The log goes on; somebody has to take it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// The status line and everything after it.
    pub(crate) fn request(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().expect("kill is there");
        assert!(status.success());
    }

    /// Waits for the end, for half a minute at most. `None`: a signal ended it.
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        for _ in 0..3000 {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}
