//! A client of the HTTP API for the black-box tests: one connection for each request, and the
//! bodies that remote write takes.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use narthex::protowire::field::{write_bytes, write_double, write_int64, write_varint};
use serde_json::Value;

/// Labels of a pushed series, and its (milliseconds, value) pairs.
pub(crate) type Series<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

const VERSION_1: &str = "application/x-protobuf";
const VERSION_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// The clock in milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    i64::try_from(since.as_millis()).expect("the clock is right")
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    /// The data of a success.
    pub(crate) fn data(&self) -> Value {
        let mut json = self.json();
        assert!(self.status == 200 && json["status"] == "success", "{} {json}", self.status);
        json["data"].take()
    }
}

/// Where the server is.
pub(crate) struct Client {
    address: String,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// Version 1.0 of HTTP: the body ends with the connection.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: x\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).expect("it reads");
        // A refusal may come before the whole body was read.
        let _ = stream.write_all(body);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("{method} {path}: no answer: {read:?}"));
        let head = String::from_utf8(bytes[..end].to_vec()).expect("text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Answer { status: status.expect("a status"), head, body: bytes.split_off(end + 4) }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post_form(&self, path: &str, form: &str) -> Answer {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", path, &kind, form.as_bytes())
    }

    /// Remote write in the given version of the protocol.
    pub(crate) fn push(&self, version: u8, all: &[Series<'_>]) -> Answer {
        self.push_body(version, &message(version, all))
    }

    /// Remote write of a message as it is.
    pub(crate) fn push_body(&self, version: u8, message: &[u8]) -> Answer {
        let kind = if version == 1 { VERSION_1 } else { VERSION_2 };
        let headers = [("Content-Type", kind), ("Content-Encoding", "snappy")];
        self.send("POST", "/api/v1/write", &headers, &snappy(message))
    }
}

pub(crate) fn snappy(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).expect("it is small")
}

fn wrapped(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(number, content, &mut out);
    out
}

fn sample(t_ms: i64, value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    write_double(1, value, &mut out);
    write_int64(2, t_ms, &mut out);
    out
}

/// A write request.
pub(crate) fn message(version: u8, all: &[Series<'_>]) -> Vec<u8> {
    let mut symbols = vec![""];
    let mut out = Vec::new();
    for (labels, samples) in all {
        let mut series = Vec::new();
        let mut references = Vec::new();
        for (name, value) in *labels {
            let pair = [wrapped(1, name.as_bytes()), wrapped(2, value.as_bytes())].concat();
            if version == 1 {
                write_bytes(1, &pair, &mut series);
                continue;
            }
            for text in [*name, *value] {
                write_varint(symbols.len() as u64, &mut references);
                symbols.push(text);
            }
        }
        if version == 2 {
            write_bytes(1, &references, &mut series);
        }
        for &(t_ms, value) in *samples {
            write_bytes(2, &sample(t_ms, value), &mut series);
        }
        write_bytes(if version == 1 { 1 } else { 5 }, &series, &mut out);
    }
    if version == 2 {
        for symbol in symbols {
            write_bytes(4, symbol.as_bytes(), &mut out);
        }
    }
    out
}

/// A request of version 2 whose series names the ninth of two symbols.
pub(crate) fn beyond_the_symbols() -> Vec<u8> {
    let mut out = wrapped(4, b"");
    write_bytes(4, b"__name__", &mut out);
    let series = [wrapped(1, &[1, 9]), wrapped(2, &sample(1, 1.0))].concat();
    write_bytes(5, &series, &mut out);
    out
}

/// A request of version 1 with one native histogram, empty.
pub(crate) fn with_histogram(name: &str) -> Vec<u8> {
    let pair = [wrapped(1, b"__name__"), wrapped(2, name.as_bytes())].concat();
    let mut series = wrapped(1, &pair);
    write_bytes(4, b"", &mut series);
    wrapped(1, &series)
}
