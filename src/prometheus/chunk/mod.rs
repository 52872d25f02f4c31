//! Chunk payloads of Prometheus: the samples of one series over a stretch of time.
//!
//! Six encodings are read: floats (XOR, and XOR2 with start timestamps), integer histograms and
//! float histograms (each also with start timestamps). Three are written, those that every
//! Prometheus since 2.40 reads; start timestamps are lost on that way.
//!
//! A reader believes nothing: a number of samples or buckets that the bytes cannot hold is an
//! error before memory is taken for it.
//!
//! COMPAT: Prometheus 3.14 `tsdb/chunkenc`.

mod float;
mod histogram;
mod histogram_write;
mod layout;
mod starts;
#[cfg(test)]
mod tests;

use std::fmt;

use super::bits::BitError;
use crate::model::Samples;

pub use float::{FLOATS_PER_CHUNK, encode_floats};
pub use histogram_write::{TakeChunk, encode_histograms};
pub(super) use layout::is_known_schema;

/// How a chunk's payload is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Floats.
    Xor,
    /// Integer histograms.
    Histogram,
    /// Float histograms.
    FloatHistogram,
    /// Floats with start timestamps.
    Xor2,
    /// Integer histograms with start timestamps.
    HistogramStart,
    /// Float histograms with start timestamps.
    FloatHistogramStart,
}

impl Encoding {
    /// The encoding of that number.
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Xor,
            2 => Self::Histogram,
            3 => Self::FloatHistogram,
            4 => Self::Xor2,
            5 => Self::HistogramStart,
            6 => Self::FloatHistogramStart,
            _ => return None,
        })
    }

    /// Its number.
    pub fn to_u8(self) -> u8 {
        match self {
            Self::Xor => 1,
            Self::Histogram => 2,
            Self::FloatHistogram => 3,
            Self::Xor2 => 4,
            Self::HistogramStart => 5,
            Self::FloatHistogramStart => 6,
        }
    }
}

/// Why a payload does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkError {
    /// The payload ends within a sample, or a number in it is none.
    Bits,
    /// No encoding has this number.
    UnknownEncoding(u8),
    /// Histograms of this schema are not known.
    UnknownSchema(i64),
    /// The spans name more buckets than the payload can hold.
    TooManyBuckets(u64),
    /// The times do not ascend.
    TimesDescend(i64),
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits => f.write_str("a chunk ends within a sample"),
            Self::UnknownEncoding(number) => write!(f, "chunk encoding {number} is not known"),
            Self::UnknownSchema(schema) => write!(f, "histogram schema {schema} is not known"),
            Self::TooManyBuckets(count) => {
                write!(f, "a histogram claims {count} buckets, more than its chunk can hold")
            }
            Self::TimesDescend(t_ms) => write!(f, "times of a chunk do not ascend at {t_ms} ms"),
        }
    }
}

impl std::error::Error for ChunkError {}

impl From<BitError> for ChunkError {
    fn from(BitError: BitError) -> Self {
        Self::Bits
    }
}

/// Appends the samples of a payload to `out`, whose last time need not be below them. After an
/// error the samples before it are there.
pub fn decode(encoding: Encoding, data: &[u8], out: &mut Samples) -> Result<(), ChunkError> {
    let (header, rest) = data.split_first_chunk::<2>().ok_or(ChunkError::Bits)?;
    let count = u16::from_be_bytes(*header);
    match encoding {
        Encoding::Xor => float::decode_xor(count, rest, out),
        Encoding::Xor2 => float::decode_xor2(count, rest, out),
        Encoding::Histogram => histogram::decode_integer(count, rest, false, out),
        Encoding::HistogramStart => histogram::decode_integer(count, rest, true, out),
        Encoding::FloatHistogram => histogram::decode_float(count, rest, false, out),
        Encoding::FloatHistogramStart => histogram::decode_float(count, rest, true, out),
    }
}

/// Time of the samples of a chunk: each difference to the one before is told by its own
/// difference.
#[derive(Debug, Clone, Copy)]
struct Clockwork {
    t_ms: i64,
    delta: i64,
}

impl Clockwork {
    fn new(t_ms: i64) -> Self {
        Self { t_ms, delta: 0 }
    }

    /// Moves on; the times must ascend.
    fn advance(&mut self, delta_of_delta: i64) -> Result<i64, ChunkError> {
        self.delta = self.delta.wrapping_add(delta_of_delta);
        let next = self.t_ms.wrapping_add(self.delta);
        if next <= self.t_ms {
            return Err(ChunkError::TimesDescend(next));
        }
        self.t_ms = next;
        Ok(next)
    }
}
