//! Compressed runs of samples: values of one series, timestamps of one column.
//!
//! Values and timestamps are coded apart, because all series of a group share their timestamps.
//! [`encode_samples`] takes whatever a series has; a run of floats alone is what
//! [`encode_values`] makes of it.
//! Nothing here knows where the bytes lie. Payloads are as `storage-format.md`, section 3 says;
//! decoding never panics and never allocates more than the `n` that the caller vouches for.

mod aggregate;
mod code;
mod decode;
mod encode;
mod exceptions;
mod extended;
mod float_forms;
mod huffman;
mod ints;
mod pfor;
mod sibling;
mod timestamps;
mod tokens;

use std::fmt;

use crate::encoding::cursor::CursorError;

pub use aggregate::{Aggregate, DecimalSum, end_series, read_aggregate, write_aggregate};
pub use decode::{constant_of, decode_values, decode_values_range};
pub use encode::{Decimals, encode_values};
pub use extended::{decode_samples, encode_samples, is_extended, samples_in_chunk};
pub use sibling::{Sibling, integers_to_values, may_depend, read_integers};
pub use timestamps::{decode_timestamps, encode_timestamps};

/// Which coder the writer uses. Readers take either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coder {
    /// Patched bit-packing: for seal and flush.
    Fast,
    /// Prefix codes where they are smaller: for compaction. Decodes in about three times the time.
    Dense,
}

/// Greatest number of samples in one chunk.
pub const SAMPLES_PER_CHUNK_MAX: usize = 65_535;

/// What a payload of values holds: the low four bits of its first byte. A reader that does not
/// know a kind says so.
mod kind {
    /// One value that all have.
    pub(super) const CONSTANT: u8 = 0;
    /// Decimals of one exponent.
    pub(super) const DECIMAL: u8 = 1;
    /// Decimals, and values that have none.
    pub(super) const DECIMAL_EXCEPT: u8 = 2;
    /// Decimals nearby, and the distance in units of the last place.
    pub(super) const DECIMAL_ULPS: u8 = 3;
    /// Ordered bits.
    pub(super) const BITS: u8 = 4;
    /// Few values, numbered.
    pub(super) const DICTIONARY: u8 = 5;
    /// Decimals less those of another payload.
    pub(super) const BESIDE: u8 = 6;
    /// Eight bytes a value.
    pub(super) const RAW: u8 = 7;
    /// Exceptions, and another payload.
    pub(super) const EXCEPT: u8 = 8;
    /// Histograms among the samples, or start timestamps; see [`super::extended`].
    pub(super) const EXTENDED: u8 = 9;

    /// The bits of the first byte that tell the kind.
    pub(super) const MASK: u8 = 0x0f;
    /// Where the exponent stands in the first byte.
    pub(super) const EXPONENT_SHIFT: u8 = 4;
    /// An exponent from here on stands in a byte of its own behind the first.
    pub(super) const EXPONENT_APART: u8 = 15;
}

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

impl From<CursorError> for ChunkError {
    fn from(error: CursorError) -> Self {
        Self::Corrupt(error.what())
    }
}

/// Says no to a count that no chunk has, before anything is reserved for it.
fn check_count(n: usize) -> Result<(), ChunkError> {
    if (1..=SAMPLES_PER_CHUNK_MAX).contains(&n) {
        Ok(())
    } else {
        Err(ChunkError::Corrupt("the number of samples is not within 1 and 65535"))
    }
}

#[cfg(test)]
mod tests;
