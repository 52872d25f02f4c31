//! Values to payloads: the form is chosen here, by what the values are.
//!
//! In order: one value only; decimals of one exponent, with few exceptions; else what
//! [`super::float_forms`] has. Whether values are decimals is told by some of them first, so that
//! neither case pays for the other.

use super::exceptions::Exceptions;
use super::{Coder, SAMPLES_PER_CHUNK_MAX, float_forms, ints, kind};
use crate::encoding::decimal::{self, EXPONENT_MAX};

/// One value in so many may have no decimal form, or one of more digits, before the others'
/// decimals are given up.
const EXCEPTIONS_SHARE: usize = 24;
/// Values looked at first.
const SAMPLED: usize = 48;

/// Appends the payload of `values`; any bits come back as they are.
///
/// # Panics
/// If there are no values, or more than [`SAMPLES_PER_CHUNK_MAX`].
pub fn encode_values(values: &[f64], coder: Coder, out: &mut Vec<u8>) {
    assert!(
        (1..=SAMPLES_PER_CHUNK_MAX).contains(&values.len()),
        "BUG: a chunk has 1 to {SAMPLES_PER_CHUNK_MAX} samples"
    );
    let first = values[0].to_bits();
    if values.iter().all(|value| value.to_bits() == first) {
        encode_constant(values[0], coder, out);
    } else if let Some(decimals) = Decimals::of(values) {
        decimals.write(coder, out);
    } else {
        encode_floats(values, coder, out);
    }
}

/// Appends the payload of any number of values that are all `value`.
pub(super) fn encode_constant(value: f64, coder: Coder, out: &mut Vec<u8>) {
    const CONSTANT_BYTES: usize = 9;
    let start = out.len();
    if let Some((int, exponent)) = decimal::shortest(value) {
        write_decimal_head(kind::DECIMAL, exponent, out);
        ints::encode(&[int], coder, out);
        if out.len() - start < CONSTANT_BYTES {
            return;
        }
        out.truncate(start);
    }
    out.push(kind::CONSTANT);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends the first byte of a kind that has an exponent, and the exponent.
pub(super) fn write_decimal_head(kind: u8, exponent: u8, out: &mut Vec<u8>) {
    let nibble = exponent.min(kind::EXPONENT_APART);
    out.push(kind | nibble << kind::EXPONENT_SHIFT);
    if nibble == kind::EXPONENT_APART {
        out.push(exponent);
    }
}

/// Takes out what is not finite, for that would ruin the deltas of the rest.
fn encode_floats(values: &[f64], coder: Coder, out: &mut Vec<u8>) {
    if values.iter().all(|value| value.is_finite()) {
        float_forms::encode(values, coder, out);
        return;
    }
    let mut list = Exceptions::default();
    let mut before = values.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0);
    let mut finite = Vec::with_capacity(values.len());
    for (i, &value) in values.iter().enumerate() {
        if value.is_finite() {
            before = value;
        } else {
            list.push(i, value);
        }
        finite.push(before);
    }
    out.push(kind::EXCEPT);
    list.write(out);
    float_forms::encode(&finite, coder, out);
}

/// Values as integers at one exponent, but for a few exceptions.
#[derive(Debug)]
pub struct Decimals {
    pub(super) exponent: u8,
    pub(super) ints: Vec<i64>,
    pub(super) exceptions: Exceptions,
}

impl Decimals {
    /// `None` where too many of the values have no decimal form.
    pub fn of(values: &[f64]) -> Option<Self> {
        let stride = values.len().div_ceil(SAMPLED);
        let sampled = exponent_of(values.iter().step_by(stride))?;
        Self::at(values, sampled).or_else(|| {
            let exponent = exponent_of(values.iter())?;
            if exponent == sampled { None } else { Self::at(values, exponent) }
        })
    }

    fn at(values: &[f64], exponent: u8) -> Option<Self> {
        let mut ints = Vec::with_capacity(values.len());
        let mut exceptions = Exceptions::default();
        let mut misfits = 0;
        let mut fill = Fill::new(values.iter().find_map(|v| decimal::int_at(*v, exponent)));
        for (i, &value) in values.iter().enumerate() {
            if let Some(int) = decimal::int_at(value, exponent) {
                fill.see(int);
            } else {
                fill.guess();
                misfits += usize::from(value.is_finite());
                if misfits > values.len() / EXCEPTIONS_SHARE {
                    return None;
                }
                exceptions.push(i, value);
            }
            ints.push(fill.last);
        }
        Some(Self { exponent, ints, exceptions })
    }

    /// The integers, one for each value; where a value is an exception, any.
    pub fn ints(&self) -> &[i64] {
        &self.ints
    }

    /// Appends the payload of the values, which are 1 to [`SAMPLES_PER_CHUNK_MAX`].
    pub fn write(&self, coder: Coder, out: &mut Vec<u8>) {
        if self.exceptions.values() == 0 {
            write_decimal_head(kind::DECIMAL, self.exponent, out);
        } else {
            write_decimal_head(kind::DECIMAL_EXCEPT, self.exponent, out);
            self.exceptions.write(out);
        }
        ints::encode(&self.ints, coder, out);
    }
}

/// What stands in the stream where an exception is: the decimal before it, or the next step of a
/// counter, whose least step a repetition would undercut.
struct Fill {
    last: i64,
    steps: [i64; 2],
}

impl Fill {
    fn new(first: Option<i64>) -> Self {
        Self { last: first.unwrap_or(0), steps: [0; 2] }
    }

    #[inline]
    fn see(&mut self, int: i64) {
        self.steps = [self.steps[1], int - self.last];
        self.last = int;
    }

    fn guess(&mut self) {
        if self.steps.iter().all(|step| *step > 0) {
            self.last += self.steps[1];
        }
        self.steps = [0; 2];
    }
}

/// The smallest exponent at which all but few of the finite values are decimals; `None` where too
/// many are none.
fn exponent_of<'a>(values: impl Iterator<Item = &'a f64>) -> Option<u8> {
    const GIVE_UP_AFTER: u32 = 12;
    let mut found = [0_u32; EXPONENT_MAX as usize + 1];
    let (mut decimals, mut misfits) = (0, 0);
    for value in values.filter(|value| value.is_finite()) {
        match decimal::shortest(*value) {
            Some((_, exponent)) => {
                found[usize::from(exponent)] += 1;
                decimals += 1;
            }
            None => misfits += 1,
        }
        if misfits >= GIVE_UP_AFTER && misfits > decimals {
            return None;
        }
    }
    let allowed = (decimals + misfits) / EXCEPTIONS_SHARE as u32;
    let mut spare = allowed.checked_sub(misfits)?;
    let mut exponent = found.iter().rposition(|n| *n > 0).unwrap_or(0);
    while exponent > 0 && found[exponent] <= spare {
        spare -= found[exponent];
        exponent -= 1;
    }
    Some(exponent as u8)
}
