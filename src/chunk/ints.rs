//! Streams of integers: what all chunks come down to.
//!
//! A stream is a header byte, the first value (varint) and what the header asks for:
//!
//! | header bits | meaning |
//! |---|---|
//! | 0–1 | 0 constant; 1 linear: the step follows (varint); 2 coded |
//! | 2 | coded: 0 PFOR, 1 reserved |
//! | 3–5 | coded: the [`Residual`] |
//! | 6 | coded: the greatest common divisor of all steps follows (uvarint) |
//! | 7 | coded: the residual's center follows (varint), else 0 |
//!
//! then, coded, `n - 1` residuals in blocks of [`super::pfor`]. Values count from the first one in
//! units of the divisor; all arithmetic wraps, so every sequence of `i64` has its stream, and wild
//! bytes give some sequence.

use super::ChunkError;
use super::pfor::{self, NO_WIDTHS, Widths};
use crate::encoding::bitpack::{BLOCK, width_of};
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{unzigzag, write_uvarint, write_varint, zigzag};

const CONSTANT: u8 = 0;
const LINEAR: u8 = 1;
const CODED: u8 = 2;
const KIND_MASK: u8 = 3;
const CODER_RESERVED: u8 = 1 << 2;
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

/// Appends the stream of `values`, which are not empty.
pub(super) fn encode(values: &[i64], out: &mut Vec<u8>) {
    let first = values[0];
    let mut deltas: Vec<i64> = values.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let step = deltas.first().copied().unwrap_or(0);
    if deltas.iter().all(|delta| *delta == step) {
        out.push(if step == 0 { CONSTANT } else { LINEAR });
        write_varint(out, first);
        if step != 0 {
            write_varint(out, step);
        }
        return;
    }
    let divisor = common_divisor(&deltas);
    if divisor > 1 {
        for delta in &mut deltas {
            *delta /= divisor as i64;
        }
    }
    let (residual, center) = choose(&deltas);
    let mut header = CODED | (residual as u8) << RESIDUAL_SHIFT;
    header |= if divisor > 1 { HAS_DIVISOR } else { 0 };
    header |= if center == 0 { 0 } else { HAS_CENTER };
    out.push(header);
    write_varint(out, first);
    if divisor > 1 {
        write_uvarint(out, divisor);
    }
    if center != 0 {
        write_varint(out, center);
    }
    write_residuals(&deltas, residual, center, out);
}

/// The greatest number that divides all of `deltas`; 1 where it is not worth its byte.
fn common_divisor(deltas: &[i64]) -> u64 {
    let mut divisor = 0_u64;
    for delta in deltas {
        let mut rest = delta.unsigned_abs();
        if rest == 0 {
            continue;
        }
        if divisor == 0 {
            divisor = rest;
        }
        // Euclid's algorithm, of which a common multiple takes one step.
        rest %= divisor;
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        if divisor == 1 {
            break;
        }
    }
    if divisor > i64::MAX as u64 { 1 } else { divisor }
}

/// The residual that packs smallest by its widths over the whole stream, and its center.
fn choose(deltas: &[i64]) -> (Residual, i64) {
    let mut value = 0_i64;
    let (mut delta_min, mut value_min) = (i64::MAX, 0);
    for delta in deltas {
        value = value.wrapping_add(*delta);
        delta_min = delta_min.min(*delta);
        value_min = value_min.min(value);
    }
    let centers = [0, delta_min, middle(deltas), value_min, 0];
    let mut widths = [NO_WIDTHS; RESIDUALS.len()];
    let (mut value, mut before) = (0_i64, 0);
    for &delta in deltas {
        value = value.wrapping_add(delta);
        count(&mut widths[0], zigzag(delta));
        count(&mut widths[1], delta.wrapping_sub(delta_min) as u64);
        count(&mut widths[2], zigzag(value.wrapping_sub(centers[2])));
        count(&mut widths[3], value.wrapping_sub(value_min) as u64);
        count(&mut widths[4], zigzag(delta.wrapping_sub(before)));
        before = delta;
    }
    let bits = |i: usize| {
        let (_, packed) = pfor::best_width(&widths[i], deltas.len());
        let center_bits =
            if centers[i] == 0 { 0 } else { 8 + usize::from(width_of(zigzag(centers[i]))) };
        packed + center_bits
    };
    let best = (0..RESIDUALS.len()).min_by_key(|i| bits(*i)).unwrap_or(0);
    (RESIDUALS[best], centers[best])
}

#[inline]
fn count(widths: &mut Widths, residual: u64) {
    widths[usize::from(width_of(residual))] += 1;
}

/// About the median of the values, from some of them.
fn middle(deltas: &[i64]) -> i64 {
    const PICKED: usize = 32;
    let stride = deltas.len().div_ceil(PICKED);
    let mut picked = [0_i64; PICKED];
    let mut value = 0_i64;
    let mut n = 0;
    for chunk in deltas.chunks(stride) {
        value = chunk.iter().fold(value, |sum, delta| sum.wrapping_add(*delta));
        picked[n] = value;
        n += 1;
    }
    *picked[..n].select_nth_unstable(n / 2).1
}

fn write_residuals(deltas: &[i64], residual: Residual, center: i64, out: &mut Vec<u8>) {
    let mut block = [0_u64; BLOCK];
    let (mut value, mut before) = (0_i64, center);
    for chunk in deltas.chunks(BLOCK) {
        for (place, &delta) in block.iter_mut().zip(chunk) {
            value = value.wrapping_add(delta);
            *place = match residual {
                Residual::Delta => zigzag(delta),
                Residual::DeltaMin => delta.wrapping_sub(center) as u64,
                Residual::Value => zigzag(value.wrapping_sub(center)),
                Residual::ValueMin => value.wrapping_sub(center) as u64,
                Residual::DeltaOfDelta => zigzag(delta.wrapping_sub(before)),
            };
            before = delta;
        }
        pfor::write_block(&block[..chunk.len()], out);
    }
}

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
    Coded { residual: Residual, divisor: u64, center: i64 },
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
            CODED if header & CODER_RESERVED == 0 && usize::from(residual) < RESIDUALS.len() => {
                let divisor = if header & HAS_DIVISOR == 0 { 1 } else { cursor.uvarint()? };
                let center = if header & HAS_CENTER == 0 { 0 } else { cursor.varint()? };
                Body::Coded { residual: RESIDUALS[usize::from(residual)], divisor, center }
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
        !matches!(self.body, Body::Coded { .. })
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
        let Body::Coded { residual, divisor, center } = self.body else {
            self.straight_values(n, sink);
            return Ok(());
        };
        if n == 0 {
            return Ok(());
        }
        sink(&[self.first]);
        let mut numbers = [0_u64; BLOCK];
        let mut values = [0_i64; BLOCK];
        // Without a divisor the sums can start from the first value at once.
        let base = if divisor == 1 { self.first } else { 0 };
        let mut state = State { base, value: base, before: center };
        let mut done = 1;
        while done < n {
            let len = (of - done).min(BLOCK);
            pfor::read_block(cursor, len, &mut numbers)?;
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) -> Vec<u8> {
        let mut out = vec![];
        encode(values, &mut out);
        for n in [values.len(), values.len() / 2, 1, 0] {
            let mut cursor = Cursor::new(&out);
            let mut read = vec![];
            let stream = Stream::read(&mut cursor).unwrap();
            stream.values(&mut cursor, n, values.len(), |v| read.extend_from_slice(v)).unwrap();
            assert_eq!(read, values[..n]);
            assert!(n < values.len() || cursor.is_empty());
        }
        out
    }

    fn residual_of(values: &[i64]) -> Residual {
        RESIDUALS[usize::from(round_trip(values)[0] >> RESIDUAL_SHIFT & 7)]
    }

    #[test]
    fn straight_lines_take_no_body() {
        assert_eq!(round_trip(&[7; 1000]).len(), 2);
        assert_eq!(round_trip(&[-3]).len(), 2);
        let line: Vec<i64> = (0..1000).map(|i| 5 + 15_000 * i).collect();
        assert_eq!(round_trip(&line).len(), 5);
    }

    #[test]
    fn each_shape_finds_its_residual() {
        let noise = |i: i64| {
            let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 50 & 1023) as i64
        };
        let counter: Vec<i64> = (0..500).map(|i| 100_000 * i + noise(i)).collect();
        assert_eq!(residual_of(&counter), Residual::DeltaMin);
        let gauge: Vec<i64> = (0..500).map(|i| 1_000_000 + noise(i)).collect();
        assert_eq!(residual_of(&gauge), Residual::ValueMin);
        let curve: Vec<i64> = (0..500).map(|i| i * i * 1000).collect();
        assert_eq!(residual_of(&curve), Residual::DeltaOfDelta);
    }

    #[test]
    fn multiples_are_divided() {
        let pages: Vec<i64> = (0..500).map(|i| (i * 7919 % 251) * 4096).collect();
        let plain: Vec<i64> = pages.iter().map(|p| p / 4096).collect();
        assert!(round_trip(&pages).len() <= round_trip(&plain).len() + 2);
        round_trip(&[0, i64::MIN, 0, i64::MIN, 0, 0]);
    }

    #[test]
    fn unknown_headers_need_a_newer_reader() {
        for header in [3, CODED | CODER_RESERVED, CODED | 5 << 3, LINEAR | 0x80, 0x40] {
            let read = Stream::read(&mut Cursor::new(&[header, 0, 0, 0]));
            assert_eq!(read.unwrap_err(), ChunkError::NeedsNewerReader(header));
        }
    }

    proptest! {
        #[test]
        fn every_sequence_comes_back(
            values in prop::collection::vec(any::<i64>(), 1..400), shift in 0_u32..64,
            factor in prop_oneof![Just(1_i64), any::<i64>()], sum: bool,
        ) {
            let mut total = 0_i64;
            let values: Vec<i64> = values
                .into_iter()
                .map(|v| {
                    let v = (v >> shift).wrapping_mul(factor);
                    total = total.wrapping_add(v);
                    if sum { total } else { v }
                })
                .collect();
            round_trip(&values);
        }

        #[test]
        fn wild_bytes_give_values_or_an_error(bytes: Vec<u8>, n in 1_usize..700) {
            let mut cursor = Cursor::new(&bytes);
            let mut count = 0;
            if let Ok(stream) = Stream::read(&mut cursor)
                && stream.values(&mut cursor, n, n, |v| count += v.len()).is_ok()
            {
                prop_assert_eq!(count, n);
            }
        }
    }
}
