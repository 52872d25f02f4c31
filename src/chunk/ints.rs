//! Streams of integers: what all chunks come down to.
//!
//! A stream is a header byte, the first value (varint) and what the header asks for:
//!
//! | header bits | meaning |
//! |---|---|
//! | 0–1 | 0 constant; 1 linear: the step follows (varint); 2 coded; 3 coded in four streams |
//! | 2 | coded: 0 [`super::pfor`], 1 [`super::huffman`]; in four streams: 1 |
//! | 3–5 | coded: the [`Residual`] |
//! | 6 | coded: the greatest common divisor of all steps follows (uvarint) |
//! | 7 | coded: the residual's center follows (varint), else 0 |
//!
//! then, coded, `n - 1` residuals. Values count from the first one in
//! units of the divisor; all arithmetic wraps, so every sequence of `i64` has its stream, and wild
//! bytes give some sequence.

mod write;

use super::ChunkError;
use super::{huffman, pfor};
use crate::encoding::bitpack::BLOCK;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::unzigzag;

pub(super) use write::encode;

const CONSTANT: u8 = 0;
const LINEAR: u8 = 1;
const CODED: u8 = 2;
const CODED_IN_FOUR: u8 = 3;
const KIND_MASK: u8 = 3;
const HUFFMAN: u8 = 1 << 2;
const RESIDUAL_SHIFT: u8 = 3;
const HAS_DIVISOR: u8 = 1 << 6;
const HAS_CENTER: u8 = 1 << 7;

/// What is packed for each value after the first. *value* is the value less the first, *delta* its
/// difference to the value before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Residual {
    /// Delta, zigzag.
    Delta = 0,
    /// Delta less the center, which is the least delta.
    DeltaMin = 1,
    /// Value less the center, zigzag.
    Value = 2,
    /// Value less the center, which is the least value.
    ValueMin = 3,
    /// Delta less the delta before (less the center at first), zigzag.
    DeltaOfDelta = 4,
}

const RESIDUALS: [Residual; 5] = [
    Residual::Delta,
    Residual::DeltaMin,
    Residual::Value,
    Residual::ValueMin,
    Residual::DeltaOfDelta,
];

/// A stream whose header was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    first: i64,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Constant,
    Linear { step: i64 },
    Coded(Coded),
}

#[derive(Debug, Clone, Copy)]
struct Coded {
    residual: Residual,
    divisor: u64,
    center: i64,
    packing: Packing,
}

/// How residuals lie in the bytes.
#[derive(Debug, Clone, Copy)]
enum Packing {
    Blocks,
    Codes { in_four: bool },
}

impl Stream {
    /// Reads the header; the cursor then stands at the residuals.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, ChunkError> {
        let header = cursor.u8()?;
        let residual = header >> RESIDUAL_SHIFT & 7;
        let kind = header & KIND_MASK;
        let is_plain = header & !KIND_MASK == 0;
        let first = cursor.varint()?;
        let body = match kind {
            CONSTANT if is_plain => Body::Constant,
            LINEAR if is_plain => Body::Linear { step: cursor.varint()? },
            CODED | CODED_IN_FOUR if usize::from(residual) < RESIDUALS.len() => {
                let in_four = kind == CODED_IN_FOUR;
                let packing = match header & HUFFMAN {
                    0 if in_four => return Err(ChunkError::NeedsNewerReader(header)),
                    0 => Packing::Blocks,
                    _ => Packing::Codes { in_four },
                };
                let residual = RESIDUALS[usize::from(residual)];
                let divisor = if header & HAS_DIVISOR == 0 { 1 } else { cursor.uvarint()? };
                let center = if header & HAS_CENTER == 0 { 0 } else { cursor.varint()? };
                Body::Coded(Coded { residual, divisor, center, packing })
            }
            _ => return Err(ChunkError::NeedsNewerReader(header)),
        };
        Ok(Self { first, body })
    }

    /// The one value that all have, where the stream is constant.
    pub(super) fn constant(&self) -> Option<i64> {
        matches!(self.body, Body::Constant).then_some(self.first)
    }

    /// Whether the values need no residuals: constant or linear.
    pub(super) fn is_straight(&self) -> bool {
        !matches!(self.body, Body::Coded(_))
    }

    /// Gives the first `n` values to `sink`, in order, at most [`BLOCK`] at once. The stream must
    /// have `of` values; when `n == of` the cursor stands behind the stream afterwards.
    #[inline]
    pub(super) fn values(
        &self,
        cursor: &mut Cursor<'_>,
        n: usize,
        of: usize,
        mut sink: impl FnMut(&[i64]),
    ) -> Result<(), ChunkError> {
        let Body::Coded(coded) = self.body else {
            self.straight_values(n, sink);
            return Ok(());
        };
        if n == 0 {
            return Ok(());
        }
        sink(&[self.first]);
        let Packing::Codes { in_four } = coded.packing else {
            return self.coded_values(&coded, n, of, sink, |len, numbers| {
                pfor::read_block(cursor, len, numbers)
            });
        };
        let mut table = huffman::Table::new();
        table.read(cursor)?;
        let mut reader = huffman::Reader::new(&table, cursor, in_four)?;
        self.coded_values(&coded, n, of, sink, |len, numbers| {
            reader.read_block(len, numbers);
            Ok(())
        })?;
        if n == of { reader.finish(cursor) } else { reader.check() }
    }

    /// The values after the first, whose residuals `read` gives.
    #[inline]
    fn coded_values(
        &self,
        coded: &Coded,
        n: usize,
        of: usize,
        mut sink: impl FnMut(&[i64]),
        mut read: impl FnMut(usize, &mut [u64; BLOCK]) -> Result<(), ChunkError>,
    ) -> Result<(), ChunkError> {
        let &Coded { residual, divisor, center, .. } = coded;
        let mut numbers = [0_u64; BLOCK];
        let mut values = [0_i64; BLOCK];
        // Without a divisor the sums can start from the first value at once.
        let base = if divisor == 1 { self.first } else { 0 };
        let mut state = State { base, value: base, before: center };
        let mut done = 1;
        while done < n {
            let len = (of - done).min(BLOCK);
            read(len, &mut numbers)?;
            state.undo(residual, center, &numbers, &mut values);
            let values = &mut values[..len];
            if divisor != 1 {
                for value in &mut *values {
                    *value = value.wrapping_mul(divisor as i64).wrapping_add(self.first);
                }
            }
            sink(&values[..len.min(n - done)]);
            done += len;
        }
        Ok(())
    }

    fn straight_values(&self, n: usize, mut sink: impl FnMut(&[i64])) {
        let step = if let Body::Linear { step } = self.body { step } else { 0 };
        let mut block = [0; BLOCK];
        let mut value = self.first;
        let mut left = n;
        while left > 0 {
            for place in &mut block {
                *place = value;
                value = value.wrapping_add(step);
            }
            sink(&block[..left.min(BLOCK)]);
            left = left.saturating_sub(BLOCK);
        }
    }
}

/// Where the residuals of one block end and those of the next go on.
struct State {
    base: i64,
    value: i64,
    before: i64,
}

impl State {
    /// Turns a block of residuals into values. Places past the last number become anything, and
    /// so does the state after the last block.
    #[inline]
    fn undo(
        &mut self,
        residual: Residual,
        center: i64,
        numbers: &[u64; BLOCK],
        values: &mut [i64; BLOCK],
    ) {
        let pairs = values.iter_mut().zip(numbers);
        match residual {
            Residual::Delta => {
                for (value, number) in pairs {
                    self.value = self.value.wrapping_add(unzigzag(*number));
                    *value = self.value;
                }
            }
            Residual::DeltaMin => {
                for (value, number) in pairs {
                    self.value = self.value.wrapping_add(*number as i64).wrapping_add(center);
                    *value = self.value;
                }
            }
            Residual::Value => {
                let center = center.wrapping_add(self.base);
                for (value, number) in pairs {
                    *value = unzigzag(*number).wrapping_add(center);
                }
            }
            Residual::ValueMin => {
                let center = center.wrapping_add(self.base);
                for (value, number) in pairs {
                    *value = (*number as i64).wrapping_add(center);
                }
            }
            Residual::DeltaOfDelta => {
                for (value, number) in pairs {
                    self.before = self.before.wrapping_add(unzigzag(*number));
                    self.value = self.value.wrapping_add(self.before);
                    *value = self.value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
