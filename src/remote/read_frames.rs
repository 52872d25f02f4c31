//! Answers of remote read, in either form.

use std::sync::Arc;

use crate::encoding::cursor::Cursor;
use crate::model::{Labels, Samples};
use crate::prometheus::castagnoli::crc32c;
use crate::prometheus::chunk::{Encoding, decode};
use crate::protowire::WireError;
use crate::protowire::field::Fields;
use crate::protowire::histogram::read_histogram;
use crate::protowire::remote_read::{label, read_frame};

/// Bytes of an answer of samples, decoded.
const DECODED_BYTES_MAX: usize = 512 << 20;
const FRAMES: &str = "application/x-streamed-protobuf";
const MESSAGE: &str = "application/x-protobuf";

/// A series that another server has.
#[derive(Debug, Clone)]
pub struct RemoteSeries {
    /// Its labels.
    pub labels: Labels,
    /// Times strictly ascend.
    pub samples: Samples,
}

fn refuse<T>(text: impl Into<String>) -> Result<T, WireError> {
    Err(WireError(text.into()))
}

/// Reads an answer with that `Content-Type`. A frame has at most `frame_bytes_max` bytes.
pub fn read_answer(
    content_type: &str,
    body: &[u8],
    frame_bytes_max: u64,
) -> Result<Vec<RemoteSeries>, WireError> {
    if content_type.starts_with(FRAMES) {
        return read_frames(body, frame_bytes_max);
    }
    if !content_type.starts_with(MESSAGE) {
        return refuse(format!("unsupported content type: {content_type:?}"));
    }
    let declared = snap::raw::decompress_len(body);
    match declared {
        Ok(bytes) if bytes <= DECODED_BYTES_MAX => {}
        Ok(bytes) => return refuse(format!("{bytes} bytes decoded, limit {DECODED_BYTES_MAX}")),
        Err(error) => return refuse(format!("snappy: {error}")),
    }
    let message = snap::raw::Decoder::new().decompress_vec(body);
    read_samples(&message.map_err(|error| WireError(format!("snappy: {error}")))?)
}

fn read_samples(message: &[u8]) -> Result<Vec<RemoteSeries>, WireError> {
    let mut found = Vec::new();
    for field in Fields::new(message) {
        let (1, result) = field? else { continue };
        for field in Fields::new(result.bytes()?) {
            if let (1, series) = field? {
                found.push(read_series(series.bytes()?)?);
            }
        }
    }
    Ok(found)
}

fn read_series(message: &[u8]) -> Result<RemoteSeries, WireError> {
    let (mut pairs, mut floats, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
    for field in Fields::new(message) {
        match field? {
            (1, value) => pairs.push(label(value.bytes()?)?),
            (2, value) => {
                let (mut number, mut t_ms) = (0.0, 0);
                for field in Fields::new(value.bytes()?) {
                    match field? {
                        (1, value) => number = value.double()?,
                        (2, value) => t_ms = value.int64()?,
                        _ => {}
                    }
                }
                floats.push((t_ms, number));
            }
            (4, value) => histograms.push(read_histogram(value.bytes()?)?),
            _ => {}
        }
    }
    let mut points: Vec<(i64, Point)> =
        floats.into_iter().map(|(t_ms, value)| (t_ms, Point::Float(value))).collect();
    points
        .extend(histograms.into_iter().map(|h| (h.t_ms, Point::Histogram(Arc::new(h.histogram)))));
    points.sort_by_key(|(t_ms, _)| *t_ms);
    points.dedup_by_key(|(t_ms, _)| *t_ms);
    let mut samples = Samples::default();
    for (t_ms, point) in points {
        match point {
            Point::Float(value) => samples.push(t_ms, value),
            Point::Histogram(histogram) => samples.push_histogram(t_ms, histogram),
        }
    }
    Ok(RemoteSeries { labels: Labels::from_pairs(pairs), samples })
}

enum Point {
    Float(f64),
    Histogram(Arc<crate::model::Histogram>),
}

fn read_frames(body: &[u8], frame_bytes_max: u64) -> Result<Vec<RemoteSeries>, WireError> {
    let mut found: Vec<RemoteSeries> = Vec::new();
    let mut rest = Cursor::new(body);
    while !rest.is_empty() {
        let len = rest.uvarint()?;
        if len > frame_bytes_max {
            let text =
                format!("chunked_read_limit: a frame of {len} bytes, limit {frame_bytes_max}");
            return refuse(text);
        }
        let sum = rest.bytes(4)?;
        let frame = rest.bytes(len as usize)?;
        if sum != crc32c(frame).to_be_bytes() {
            return refuse("a frame does not have its checksum");
        }
        read_frame(frame, |_, labels, chunks| {
            // A series that does not fit into one frame goes on in the next.
            if found.last().is_none_or(|last| last.labels != labels) {
                found.push(RemoteSeries { labels, samples: Samples::default() });
            }
            let Some(series) = found.last_mut() else { return Ok(()) };
            for chunk in chunks {
                let encoding = u8::try_from(chunk.encoding).ok().and_then(Encoding::from_u8);
                let Some(encoding) = encoding else {
                    return refuse(format!("chunks of encoding {} are not known", chunk.encoding));
                };
                let mut samples = Samples::default();
                decode(encoding, chunk.data, &mut samples)
                    .map_err(|error| WireError(format!("a chunk: {error}")))?;
                append(&mut series.samples, &samples);
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// Puts samples in their places; of two at one time the first stands.
fn append(into: &mut Samples, more: &Samples) {
    let is_after = into.timestamps.last() < more.timestamps.first();
    let ascends = more.timestamps.is_sorted_by(|a, b| a < b);
    if is_after && ascends {
        return into.extend_from(more, 0..more.len());
    }
    for index in 0..more.len() {
        let t_ms = more.timestamps[index];
        if let Err(at) = into.timestamps.binary_search(&t_ms) {
            let histogram = more.histogram(index).cloned();
            into.insert(at, t_ms, more.values[index], histogram, more.start_ms(index));
        }
    }
}

/// Adds to `into` what it does not have yet.
pub(super) fn merge(into: &mut Samples, more: &Samples) {
    append(into, more);
}
