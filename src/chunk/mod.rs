//! Compressed runs of samples: values of one series, timestamps of one column.
//!
//! Values and timestamps are coded apart, because all series of a group share their timestamps.
//! Nothing here knows where the bytes lie. Payloads are as `storage-format.md`, section 3 says;
//! decoding never panics and never allocates more than the `n` that the caller vouches for.

use std::fmt;

/// Which coder the writer uses. Readers take either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coder {
    /// Patched bit-packing: for seal and flush.
    Fast,
}

/// Greatest number of samples in one chunk.
pub const SAMPLES_PER_CHUNK_MAX: usize = 65_535;

/// A payload that does not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkError {
    /// The bytes end early, or say what cannot be; the text says what.
    Corrupt(&'static str),
    /// A kind of payload that this program does not know.
    NeedsNewerReader(u8),
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(what) => write!(f, "damaged chunk: {what}"),
            Self::NeedsNewerReader(kind) => {
                write!(f, "chunk of kind {kind} needs a newer reader")
            }
        }
    }
}

impl std::error::Error for ChunkError {}

// Seam, to be provided by this module:
//
// pub fn encode_values(values: &[f64], coder: Coder, out: &mut Vec<u8>);
// pub fn decode_values(payload: &[u8], n: usize, out: &mut Vec<f64>) -> Result<(), ChunkError>;
// pub fn encode_timestamps(timestamps: &[i64], out: &mut Vec<u8>);
// pub fn decode_timestamps(payload: &[u8], n: usize, out: &mut Vec<i64>) -> Result<(), ChunkError>;
//
// All append to `out`. 1 <= n <= SAMPLES_PER_CHUNK_MAX. Every bit pattern of an f64 comes back.
