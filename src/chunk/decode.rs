//! Payloads back to values. The bytes may be anything: every bound is checked, nothing is
//! allocated beyond the values asked for, arithmetic wraps, and an error leaves no value behind.

use std::ops::Range;

use super::exceptions;
use super::ints::Stream;
use super::{ChunkError, check_count, kind};
use crate::encoding::cursor::Cursor;
use crate::encoding::decimal::{self, EXPONENT_MAX};
use crate::encoding::delta::{from_ordered_bits, ordered_bits};

/// Appends the `n` values of `payload` to `out`. After an error `out` is as before.
pub fn decode_values(payload: &[u8], n: usize, out: &mut Vec<f64>) -> Result<(), ChunkError> {
    decode_values_range(payload, n, 0..n, out)
}

/// Appends the values of `payload` whose index lies in `range` to `out`; `n` is the number of
/// values in the chunk. Costs about as much as decoding up to the range's end. After an error
/// `out` is as before.
///
/// # Panics
/// If `range` ends above `n` or begins above its end: the caller's bug.
pub fn decode_values_range(
    payload: &[u8],
    n: usize,
    range: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), ChunkError> {
    check_count(n)?;
    assert!(range.start <= range.end && range.end <= n, "BUG: a range outside of its chunk");
    let before = out.len();
    out.reserve(range.len());
    let left = range.start;
    let result = Reader { cursor: Cursor::new(payload), n, range, left, out }.payload(true);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// The value that all values of `payload` are, where its bytes say so at a glance.
pub fn constant_of(payload: &[u8]) -> Result<Option<f64>, ChunkError> {
    let mut cursor = Cursor::new(payload);
    let first = cursor.u8()?;
    check_high_bits(first)?;
    match first & kind::MASK {
        kind::CONSTANT => Ok(Some(cursor.f64()?)),
        kind::DECIMAL => {
            let exponent = read_exponent(first, &mut cursor)?;
            let int = Stream::read(&mut cursor)?.constant();
            Ok(int.map(|int| decimal::to_f64(int, exponent)))
        }
        _ => Ok(None),
    }
}

/// Decodes one payload into `out`.
struct Reader<'a, 'o> {
    cursor: Cursor<'a>,
    n: usize,
    range: Range<usize>,
    /// Values still to skip before the range begins.
    left: usize,
    out: &'o mut Vec<f64>,
}

impl<'a> Reader<'a, '_> {
    fn payload(&mut self, outermost: bool) -> Result<(), ChunkError> {
        let first = self.cursor.u8()?;
        check_high_bits(first)?;
        match first & kind::MASK {
            kind::CONSTANT => {
                let value = self.cursor.f64()?;
                self.fill(value);
            }
            kind::DECIMAL => self.decimals(first)?,
            kind::DECIMAL_EXCEPT => self.decimals_except(first)?,
            kind::DECIMAL_ULPS => self.decimals_ulps(first)?,
            kind::BESIDE => return Err(ChunkError::Corrupt("a difference without its sibling")),
            kind::BITS => self.bits()?,
            kind::DICTIONARY => self.dictionary()?,
            kind::RAW => self.raw()?,
            kind::EXCEPT if outermost => {
                let list = self.skip_exceptions()?;
                self.payload(false)?;
                return self.patch(list);
            }
            _ => return Err(ChunkError::NeedsNewerReader(first)),
        }
        // A stream that was read in part only does not end where the cursor stands.
        if self.range.end == self.n { Ok(self.cursor.finish()?) } else { Ok(()) }
    }

    fn fill(&mut self, value: f64) {
        self.out.resize(self.out.len() + self.range.len(), value);
    }

    fn decimals(&mut self, first: u8) -> Result<(), ChunkError> {
        let exponent = read_exponent(first, &mut self.cursor)?;
        self.decimals_at(exponent)
    }

    fn decimals_at(&mut self, exponent: u8) -> Result<(), ChunkError> {
        let stream = Stream::read(&mut self.cursor)?;
        if let Some(int) = stream.constant() {
            self.fill(decimal::to_f64(int, exponent));
            Ok(())
        } else if exponent == 0 {
            self.stream(&stream, |int| int as f64)
        } else {
            let power = decimal::power(exponent);
            self.stream(&stream, |int| int as f64 / power)
        }
    }

    fn decimals_except(&mut self, first: u8) -> Result<(), ChunkError> {
        let exponent = read_exponent(first, &mut self.cursor)?;
        let list = self.skip_exceptions()?;
        self.decimals_at(exponent)?;
        self.patch(list)
    }

    fn bits(&mut self) -> Result<(), ChunkError> {
        let stream = Stream::read(&mut self.cursor)?;
        self.stream(&stream, from_ordered_bits)
    }

    /// Gives the values of a stream, mapped.
    #[inline]
    fn stream(&mut self, stream: &Stream, map: impl Fn(i64) -> f64) -> Result<(), ChunkError> {
        let (out, left) = (&mut *self.out, &mut self.left);
        stream.values(&mut self.cursor, self.range.end, self.n, |ints| {
            let skipped = ints.len().min(*left);
            *left -= skipped;
            out.extend(ints[skipped..].iter().map(|int| map(*int)));
        })
    }

    fn decimals_ulps(&mut self, first: u8) -> Result<(), ChunkError> {
        let exponent = read_exponent(first, &mut self.cursor)?;
        let ints_bytes = self.cursor.sized_bytes()?;
        let start = self.out.len();
        let mut ints = Reader {
            cursor: Cursor::new(ints_bytes),
            n: self.n,
            range: self.range.clone(),
            left: self.range.start,
            out: self.out,
        };
        ints.decimals_at(exponent)?;
        if self.range.end == self.n {
            ints.cursor.finish()?;
        }
        let ulps = Stream::read(&mut self.cursor)?;
        let (mut values, mut left) = (self.out[start..].iter_mut(), self.range.start);
        ulps.values(&mut self.cursor, self.range.end, self.n, |ulps| {
            let skipped = ulps.len().min(left);
            left -= skipped;
            for (ulp, value) in ulps[skipped..].iter().zip(values.by_ref()) {
                *value = from_ordered_bits(ordered_bits(*value).wrapping_add(*ulp));
            }
        })
    }

    fn dictionary(&mut self) -> Result<(), ChunkError> {
        const OUTSIDE: ChunkError = ChunkError::Corrupt("an index lies outside its dictionary");
        let k = self.cursor.uvarint_max(self.n)?;
        if k == 0 {
            return Err(OUTSIDE);
        }
        let mut words = Vec::with_capacity(k);
        let stream = Stream::read(&mut self.cursor)?;
        stream.values(&mut self.cursor, k, k, |bits| {
            words.extend(bits.iter().map(|bits| from_ordered_bits(*bits)));
        })?;
        let indexes = Stream::read(&mut self.cursor)?;
        let mut inside = true;
        let word = |index: i64| usize::try_from(index).ok().and_then(|i| words.get(i).copied());
        let (out, left) = (&mut *self.out, &mut self.left);
        indexes.values(&mut self.cursor, self.range.end, self.n, |indexes| {
            let skipped = indexes.len().min(*left);
            *left -= skipped;
            inside &= indexes.iter().all(|index| word(*index).is_some());
            out.extend(indexes[skipped..].iter().map(|index| word(*index).unwrap_or(0.0)));
        })?;
        if inside { Ok(()) } else { Err(OUTSIDE) }
    }

    fn raw(&mut self) -> Result<(), ChunkError> {
        let bytes = self.cursor.bytes(self.n * 8)?;
        let (words, _) = bytes.as_chunks::<8>();
        let words = &words[self.range.clone()];
        self.out.extend(words.iter().map(|word| f64::from_le_bytes(*word)));
        Ok(())
    }

    fn skip_exceptions(&mut self) -> Result<Cursor<'a>, ChunkError> {
        skip_exceptions(&mut self.cursor, self.n)
    }

    /// Puts the exceptions over the values decoded beneath them.
    fn patch(&mut self, list: Cursor<'_>) -> Result<(), ChunkError> {
        let base = self.out.len() - self.range.len();
        patch(list, self.n, &self.range, &mut self.out[base..])
    }
}

/// Says no to high bits of a first byte that mean nothing yet.
pub(super) fn check_high_bits(first: u8) -> Result<(), ChunkError> {
    let has_exponent = matches!(
        first & kind::MASK,
        kind::DECIMAL | kind::DECIMAL_EXCEPT | kind::DECIMAL_ULPS | kind::BESIDE
    );
    if has_exponent || first & !kind::MASK == 0 {
        Ok(())
    } else {
        Err(ChunkError::NeedsNewerReader(first))
    }
}

/// The exponent of a payload that begins with `first`, behind which the cursor stands.
pub(super) fn read_exponent(first: u8, cursor: &mut Cursor<'_>) -> Result<u8, ChunkError> {
    let exponent = match first >> kind::EXPONENT_SHIFT {
        kind::EXPONENT_APART => cursor.u8()?,
        exponent => exponent,
    };
    if exponent > EXPONENT_MAX {
        return Err(ChunkError::Corrupt("an exponent is above 22"));
    }
    Ok(exponent)
}

/// Checks an exception list, moves behind it and returns a cursor at its start.
pub(super) fn skip_exceptions<'a>(
    cursor: &mut Cursor<'a>,
    n: usize,
) -> Result<Cursor<'a>, ChunkError> {
    let list = cursor.clone();
    exceptions::read(cursor, n, |_| ())?;
    Ok(list)
}

/// Puts the exceptions of a list for `n` values over `decoded`, the values of `range`.
pub(super) fn patch(
    mut list: Cursor<'_>,
    n: usize,
    range: &Range<usize>,
    decoded: &mut [f64],
) -> Result<(), ChunkError> {
    let &Range { start, end } = range;
    exceptions::read(&mut list, n, |run| {
        let from = run.start.max(start);
        let to = (run.start + run.len).min(end);
        if from < to {
            decoded[from - start..to - start].fill(f64::from_bits(run.bits));
        }
    })
}
