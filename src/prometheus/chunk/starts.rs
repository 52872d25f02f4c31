//! Start timestamps within chunks that have them.
//!
//! A header byte says whether the first sample has one (bit 7) and at which sample it changes for
//! the first time (bits 0–6; 0: never). From that sample on each has the distance of its start to
//! the time of the sample *before* it, as a difference to the distance before.

use super::super::bits::{BitError, BitReader};

/// Reads the start timestamps of a chunk, sample by sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartReader {
    is_first_known: bool,
    changes_at: u16,
    distance: i64,
    start_ms: i64,
}

impl StartReader {
    /// Begins with the header byte; 0 for chunks without start timestamps.
    pub(super) fn new(header: u8) -> Self {
        Self {
            is_first_known: header & 0x80 != 0,
            changes_at: u16::from(header & 0x7f),
            distance: 0,
            start_ms: 0,
        }
    }

    /// The start of the first sample, which is at `t_ms`; 0: not known.
    pub(super) fn first(&mut self, bits: &mut BitReader<'_>, t_ms: i64) -> Result<i64, BitError> {
        if self.is_first_known {
            self.start_ms = t_ms.wrapping_sub(bits.varint()?);
        }
        Ok(self.start_ms)
    }

    /// The start of sample `index`, which is not the first; the one before it is at `before_ms`.
    #[inline]
    pub(super) fn next(
        &mut self,
        bits: &mut BitReader<'_>,
        index: u16,
        before_ms: i64,
    ) -> Result<i64, BitError> {
        if self.changes_at > 0 && index >= self.changes_at {
            let difference = bits.varbit_int()?;
            self.distance = if index == self.changes_at {
                difference
            } else {
                self.distance.wrapping_add(difference)
            };
            self.start_ms = before_ms.wrapping_sub(self.distance);
        }
        Ok(self.start_ms)
    }
}
