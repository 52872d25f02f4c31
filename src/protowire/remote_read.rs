//! The messages of remote read.
//!
//! ```text
//! ReadRequest         1 queries, 2 accepted_response_types
//! Query               1 start_timestamp_ms, 2 end_timestamp_ms, 3 matchers, 4 hints
//! LabelMatcher        1 type (0 =, 1 !=, 2 =~, 3 !~), 2 name, 3 value
//! ReadHints           1 step_ms, 2 func, 3 start_ms, 4 end_ms, 5 grouping, 6 by, 7 range_ms
//! ReadResponse        1 results { 1 timeseries { 1 labels, 2 samples, 4 histograms } }
//! ChunkedReadResponse 1 chunked_series { 1 labels, 2 chunks }, 2 query_index
//! Chunk               1 min_time_ms, 2 max_time_ms, 3 type, 4 data
//! ```
//!
//! Source: Prometheus's `prompb/remote.proto` and `prompb/types.proto`.

use super::WireError;
use super::field::{Fields, Value, write_bytes, write_double, write_int64};
use super::histogram_write::write_histogram;
use crate::encoding::cursor::Cursor;
use crate::model::{Labels, MatchOp, Matcher, Samples, TimeRange};

/// Queries of one request.
const QUERIES_MAX: usize = 10_000;

/// How an answer may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseType {
    /// All samples in one message.
    Samples,
    /// Frames of chunks.
    StreamedXorChunks,
}

/// One query.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadQuery {
    /// Times asked for.
    pub range: TimeRange,
    /// What the series satisfy.
    pub matchers: Vec<Matcher>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadRequest {
    /// In the order of the answer.
    pub queries: Vec<ReadQuery>,
    /// Numbers of the types that the client takes, best first; none: samples.
    pub accepted: Vec<u64>,
}

impl ReadRequest {
    /// Reads a message.
    pub fn parse(message: &[u8]) -> Result<Self, WireError> {
        let mut request = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, value) => {
                    if request.queries.len() == QUERIES_MAX {
                        return Err(WireError(format!("more than {QUERIES_MAX} queries")));
                    }
                    request.queries.push(query(value.bytes()?)?);
                }
                (2, Value::Varint(number)) => request.accepted.push(number),
                (2, value) => {
                    let mut packed = Cursor::new(value.bytes()?);
                    while !packed.is_empty() {
                        request.accepted.push(packed.uvarint()?);
                    }
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// Writes the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (mut message, mut part) = (Vec::new(), Vec::new());
        for query in &self.queries {
            message.clear();
            write_int64(1, query.range.min_ms, &mut message);
            write_int64(2, query.range.max_ms, &mut message);
            for matcher in &query.matchers {
                part.clear();
                let op = match matcher.op {
                    MatchOp::Equal => 0,
                    MatchOp::NotEqual => 1,
                    MatchOp::Regex => 2,
                    MatchOp::NotRegex => 3,
                };
                write_int64(1, op, &mut part);
                write_bytes(2, matcher.name.as_bytes(), &mut part);
                write_bytes(3, matcher.value.as_bytes(), &mut part);
                write_bytes(3, &part, &mut message);
            }
            write_bytes(1, &message, out);
        }
        for number in &self.accepted {
            write_int64(2, *number as i64, out);
        }
    }

    /// The best type that both sides know.
    pub fn response_type(&self) -> Result<ResponseType, WireError> {
        let known = self.accepted.iter().find_map(|number| match number {
            0 => Some(ResponseType::Samples),
            1 => Some(ResponseType::StreamedXorChunks),
            _ => None,
        });
        match known {
            Some(known) => Ok(known),
            None if self.accepted.is_empty() => Ok(ResponseType::Samples),
            None => Err(WireError(format!(
                "server does not support any of the requested response types: {:?}; supported: \
                 SAMPLES, STREAMED_XOR_CHUNKS",
                self.accepted
            ))),
        }
    }
}

fn text(value: Value<'_>) -> Result<String, WireError> {
    let text = std::str::from_utf8(value.bytes()?);
    Ok(text.map_err(|_| WireError("a text is not UTF-8".to_owned()))?.to_owned())
}

fn query(message: &[u8]) -> Result<ReadQuery, WireError> {
    let mut query = ReadQuery { range: TimeRange { min_ms: 0, max_ms: 0 }, matchers: Vec::new() };
    for field in Fields::new(message) {
        match field? {
            (1, value) => query.range.min_ms = value.int64()?,
            (2, value) => query.range.max_ms = value.int64()?,
            (3, value) => query.matchers.push(matcher(value.bytes()?)?),
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(message: &[u8]) -> Result<Matcher, WireError> {
    let (mut op, mut name, mut value) = (0, String::new(), String::new());
    for field in Fields::new(message) {
        match field? {
            (1, number) => op = number.int64()?,
            (2, field) => name = text(field)?,
            (3, field) => value = text(field)?,
            _ => {}
        }
    }
    let op = match op {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(WireError(format!("invalid matcher type {other}"))),
    };
    Matcher::new(name, op, value).map_err(|error| WireError(error.to_string()))
}

/// Appends labels as field 1 of a series.
pub fn write_labels(labels: &Labels, out: &mut Vec<u8>) {
    let mut pair = Vec::new();
    for (name, value) in labels {
        pair.clear();
        write_bytes(1, name.as_bytes(), &mut pair);
        write_bytes(2, value.as_bytes(), &mut pair);
        write_bytes(1, &pair, out);
    }
}

/// Appends a series as field 1 of a query's result.
pub fn write_series(labels: &Labels, samples: &Samples, out: &mut Vec<u8>) {
    let (mut series, mut part) = (Vec::new(), Vec::new());
    write_labels(labels, &mut series);
    for index in 0..samples.len() {
        part.clear();
        match samples.histogram(index) {
            None => {
                write_double(1, samples.values[index], &mut part);
                write_int64(2, samples.timestamps[index], &mut part);
                write_bytes(2, &part, &mut series);
            }
            Some(histogram) => {
                write_histogram(histogram, samples.timestamps[index], 0, &mut part);
                write_bytes(4, &part, &mut series);
            }
        }
    }
    write_bytes(1, &series, out);
}

/// Appends a chunk as field 2 of a series of chunks.
pub fn write_chunk(range: TimeRange, encoding: u8, data: &[u8], out: &mut Vec<u8>) {
    let mut chunk = Vec::with_capacity(data.len() + 24);
    write_int64(1, range.min_ms, &mut chunk);
    write_int64(2, range.max_ms, &mut chunk);
    write_int64(3, i64::from(encoding), &mut chunk);
    write_bytes(4, data, &mut chunk);
    write_bytes(2, &chunk, out);
}

/// A chunk of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadChunk<'a> {
    /// Number of the encoding.
    pub encoding: u64,
    /// Its payload.
    pub data: &'a [u8],
}

/// What a frame of chunks holds: labels, and the chunks of a series.
pub fn read_frame(
    message: &[u8],
    mut take: impl FnMut(u64, Labels, &[ReadChunk<'_>]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let (mut series, mut query_index) = (Vec::new(), 0);
    for field in Fields::new(message) {
        match field? {
            (1, value) => series.push(value.bytes()?),
            (2, value) => query_index = value.int64()? as u64,
            _ => {}
        }
    }
    for message in series {
        let (mut pairs, mut chunks) = (Vec::new(), Vec::new());
        for field in Fields::new(message) {
            match field? {
                (1, value) => pairs.push(label(value.bytes()?)?),
                (2, value) => chunks.push(chunk(value.bytes()?)?),
                _ => {}
            }
        }
        take(query_index, Labels::from_pairs(pairs), &chunks)?;
    }
    Ok(())
}

/// The name and value of a label message.
pub fn label(message: &[u8]) -> Result<(String, String), WireError> {
    let (mut name, mut value) = (String::new(), String::new());
    for field in Fields::new(message) {
        match field? {
            (1, field) => name = text(field)?,
            (2, field) => value = text(field)?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn chunk(message: &[u8]) -> Result<ReadChunk<'_>, WireError> {
    let mut chunk = ReadChunk { encoding: 0, data: &[] };
    for field in Fields::new(message) {
        match field? {
            (3, value) => chunk.encoding = value.int64()? as u64,
            (4, value) => chunk.data = value.bytes()?,
            _ => {}
        }
    }
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_and_damage_is_an_error() {
        let matcher = |op, value: &str| Matcher::new("job", op, value).unwrap();
        let request = ReadRequest {
            queries: vec![ReadQuery {
                range: TimeRange { min_ms: -5, max_ms: 1 << 40 },
                matchers: vec![
                    matcher(MatchOp::Equal, "a"),
                    matcher(MatchOp::NotEqual, "b"),
                    matcher(MatchOp::Regex, "c.*"),
                    matcher(MatchOp::NotRegex, "d|e"),
                ],
            }],
            accepted: vec![1, 0],
        };
        let mut message = Vec::new();
        request.write(&mut message);
        assert_eq!(ReadRequest::parse(&message), Ok(request.clone()));
        assert_eq!(request.response_type(), Ok(ResponseType::StreamedXorChunks));
        let accepting = |accepted: &[u64]| {
            ReadRequest { accepted: accepted.to_vec(), ..ReadRequest::default() }.response_type()
        };
        assert_eq!(accepting(&[]), Ok(ResponseType::Samples));
        assert_eq!(accepting(&[7, 0]), Ok(ResponseType::Samples));
        assert!(accepting(&[7]).is_err());
        for len in 0..message.len() {
            // An error, or less than was asked.
            assert_ne!(ReadRequest::parse(&message[..len]).as_ref(), Ok(&request));
        }
        assert_eq!(ReadRequest::parse(&[0x12, 2, 1, 0]).unwrap().accepted, [1, 0], "packed");
        let bad_regex = [&[0x0a, 9, 0x1a, 7, 8, 2, 0x12, 0, 0x1a, 1][..], b"("].concat();
        assert!(ReadRequest::parse(&bad_regex).is_err());
    }

    #[test]
    fn frames_come_back() {
        let labels = Labels::from_pairs([("__name__", "m"), ("a", "b")]);
        let (mut series, mut frame) = (Vec::new(), Vec::new());
        write_labels(&labels, &mut series);
        write_chunk(TimeRange { min_ms: 1, max_ms: 2 }, 1, b"xyz", &mut series);
        write_bytes(1, &series, &mut frame);
        write_int64(2, 3, &mut frame);
        let mut seen = Vec::new();
        read_frame(&frame, |query, labels, chunks| {
            seen.push((query, labels, chunks.len(), chunks[0].data.to_vec()));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(3, labels, 1, b"xyz".to_vec())]);
    }
}
