//! Remote read, the serving side: what another server asks for, as samples or as frames of chunks.
//!
//! COMPAT: external labels are added to the series, and a matcher that asks for one of them asks
//! for series without that label; texts of errors are Prometheus's. Chunks are encoded anew from
//! the samples asked for, so that none holds a sample beyond the range.

use std::fmt;

use crate::encoding::varint::write_uvarint;
use crate::model::{Labels, LabelsBuilder, MatchOp, Matcher, Samples, TimeRange};
use crate::prometheus::castagnoli::crc32c;
use crate::prometheus::chunk::{
    Encoding, FLOATS_PER_CHUNK, TakeChunk, encode_floats, encode_histograms,
};
use crate::protowire::WireError;
use crate::protowire::field::{write_bytes, write_int64};
use crate::protowire::remote_read::{
    ReadQuery, ReadRequest, write_chunk, write_labels, write_series,
};
use crate::select::{Cancellation, Queryable, SelectError};

/// Greatest size of a request, as sent and decoded. COMPAT: Prometheus takes 32 MiB.
const REQUEST_BYTES_MAX: usize = 32 << 20;
/// Bytes of an answer of samples, whose length is written before it.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Why a request is not answered.
#[derive(Debug)]
pub enum ReadError {
    /// The request is none.
    Request(String),
    /// More samples than `--storage.remote.read-sample-limit`.
    Samples(u64),
    /// The answer is too large for one message.
    Size,
    /// Reading failed.
    Select(SelectError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(what) => f.write_str(what),
            Self::Samples(limit) => write!(f, "exceeded sample limit ({limit})"),
            Self::Size => {
                write!(f, "the answer has more than {ANSWER_BYTES_MAX} bytes: ask for chunks")
            }
            Self::Select(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<SelectError> for ReadError {
    fn from(error: SelectError) -> Self {
        Self::Select(error)
    }
}

impl From<WireError> for ReadError {
    fn from(error: WireError) -> Self {
        Self::Request(error.to_string())
    }
}

/// Reads a compressed request. The declared size is looked at before anything is allocated.
pub fn parse_read_request(body: &[u8]) -> Result<ReadRequest, ReadError> {
    let refuse = |error: snap::Error| ReadError::Request(format!("snappy: {error}"));
    let declared = snap::raw::decompress_len(body).map_err(refuse)?;
    if declared > REQUEST_BYTES_MAX {
        let text = format!("snappy: {declared} bytes decoded, the limit is {REQUEST_BYTES_MAX}");
        return Err(ReadError::Request(text));
    }
    let message = snap::raw::Decoder::new().decompress_vec(body).map_err(refuse)?;
    Ok(ReadRequest::parse(&message)?)
}

/// What a query asks of the storage, where external labels are not stored.
fn stored_matchers(query: &ReadQuery, external: &Labels) -> Vec<Matcher> {
    let stored = |matcher: &Matcher| {
        let is_external = matcher.op == MatchOp::Equal
            && external.get(&matcher.name).unwrap_or("") == matcher.value;
        if is_external { Matcher::equal(matcher.name.clone(), "") } else { matcher.clone() }
    };
    query.matchers.iter().map(stored).collect()
}

/// A series' own labels, and the external ones that it does not have.
fn with_external(labels: &Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut builder = LabelsBuilder::from_labels(labels);
    for (name, value) in external {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

/// All samples asked for in one compressed message. `samples_max` of 0 is no limit.
pub fn read_samples(
    source: &dyn Queryable,
    request: &ReadRequest,
    external: &Labels,
    samples_max: u64,
    cancellation: &Cancellation,
) -> Result<Vec<u8>, ReadError> {
    let (mut answer, mut samples, mut count) = (Vec::new(), Samples::default(), 0_u64);
    let mut held = cancellation.charge();
    for query in &request.queries {
        let mut result = Vec::new();
        let matchers = stored_matchers(query, external);
        let set = source.select(&matchers, query.range, cancellation)?;
        // COMPAT: the limit is each query's.
        let mut own = 0_u64;
        for index in 0..set.len() {
            cancellation.check().map_err(SelectError::from)?;
            set.read(index, query.range, &mut samples)?;
            if samples.is_empty() {
                continue;
            }
            own += samples.len() as u64;
            if samples_max > 0 && own > samples_max {
                return Err(ReadError::Samples(samples_max));
            }
            write_series(&with_external(set.labels(index), external), &samples, &mut result);
            let bytes = answer.len() + result.len();
            if bytes > ANSWER_BYTES_MAX {
                return Err(ReadError::Size);
            }
            held.set(2 * bytes as u64).map_err(SelectError::from)?;
        }
        count += own;
        write_bytes(1, &result, &mut answer);
    }
    tracing::debug!(samples = count, "Remote read answered");
    let compressed = snap::raw::Encoder::new().compress_vec(&answer);
    compressed.map_err(|_| ReadError::Size)
}

/// Frames of chunks, each given to `send` as it is ready; one frame has one series, and chunks of
/// about `frame_bytes_max` bytes. What `send` says ends the work.
pub fn read_chunks<E: From<ReadError>>(
    source: &dyn Queryable,
    request: &ReadRequest,
    external: &Labels,
    frame_bytes_max: usize,
    cancellation: &Cancellation,
    send: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error: SelectError| E::from(ReadError::Select(error));
    let mut samples = Samples::default();
    for (number, query) in request.queries.iter().enumerate() {
        let matchers = stored_matchers(query, external);
        let set = source.select(&matchers, query.range, cancellation).map_err(failed)?;
        for index in 0..set.len() {
            cancellation.check().map_err(|stopped| failed(stopped.into()))?;
            set.read(index, query.range, &mut samples).map_err(failed)?;
            if samples.is_empty() {
                continue;
            }
            let mut frame = Frame {
                labels: Vec::new(),
                chunks: Vec::new(),
                query: number as i64,
                bytes_max: frame_bytes_max,
                send: &mut *send,
            };
            write_labels(&with_external(set.labels(index), external), &mut frame.labels);
            encode(&samples, &mut |encoding, range, data| frame.push(range, encoding, data))?;
            frame.end()?;
        }
    }
    Ok(())
}

/// Gives the chunks of a series to `take`: floats and histograms never share one.
fn encode<E>(samples: &Samples, take: TakeChunk<'_, E>) -> Result<(), E> {
    let range = |begin: usize, end: usize| TimeRange {
        min_ms: samples.timestamps[begin],
        max_ms: samples.timestamps[end - 1],
    };
    let is_float = |index: usize| samples.histogram(index).is_none();
    let (mut begin, mut payload) = (0, Vec::new());
    while begin < samples.len() {
        let kind = is_float(begin);
        let same = (begin..samples.len()).take_while(|index| is_float(*index) == kind).count();
        let end = begin + same;
        if kind {
            while begin < end {
                let until = end.min(begin + FLOATS_PER_CHUNK);
                payload.clear();
                let (times, values) = (&samples.timestamps, &samples.values);
                encode_floats(&times[begin..until], &values[begin..until], &mut payload);
                take(Encoding::Xor, range(begin, until), &payload)?;
                begin = until;
            }
            continue;
        }
        let histograms: Vec<_> =
            (begin..end).filter_map(|index| samples.histogram(index).cloned()).collect();
        encode_histograms(&samples.timestamps[begin..end], &histograms, take)?;
        begin = end;
    }
    Ok(())
}

/// A frame as it fills.
struct Frame<'a, E> {
    labels: Vec<u8>,
    chunks: Vec<u8>,
    query: i64,
    bytes_max: usize,
    send: &'a mut dyn FnMut(&[u8]) -> Result<(), E>,
}

impl<E> Frame<'_, E> {
    fn push(&mut self, range: TimeRange, encoding: Encoding, data: &[u8]) -> Result<(), E> {
        write_chunk(range, encoding.to_u8(), data, &mut self.chunks);
        if self.labels.len() + self.chunks.len() >= self.bytes_max { self.end() } else { Ok(()) }
    }

    /// Sends what is there: its length, its checksum, the message.
    fn end(&mut self) -> Result<(), E> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let series = [self.labels.as_slice(), &self.chunks].concat();
        self.chunks.clear();
        let mut message = Vec::with_capacity(series.len() + 16);
        write_bytes(1, &series, &mut message);
        write_int64(2, self.query, &mut message);
        let mut frame = Vec::with_capacity(message.len() + 16);
        write_uvarint(&mut frame, message.len() as u64);
        frame.extend_from_slice(&crc32c(&message).to_be_bytes());
        frame.extend_from_slice(&message);
        (self.send)(&frame)
    }
}
