//! Forms for finite values that are not decimals: full mantissas, as arithmetic gives them.
//!
//! All forms that may pay are tried, and the smallest is kept. Such series are few (one in twenty),
//! so the time goes where bytes are saved most.

use super::encode::{encode_constant, write_decimal_head};
use super::{Coder, ints, kind};
use crate::encoding::bitpack::width_of;
use crate::encoding::decimal;
use crate::encoding::delta::ordered_bits;
use crate::encoding::varint::{write_bytes, write_uvarint, zigzag};

/// Values from which the exponent of the decimal-and-distance form is chosen.
const ULPS_SAMPLED: usize = 32;
/// Most entries of a dictionary, and how many times fewer they are than values.
const WORDS_MAX: usize = 64;
const WORDS_SHARE: usize = 4;

/// Appends the smallest payload of `values`, which are finite.
pub(super) fn encode(values: &[f64], coder: Coder, out: &mut Vec<u8>) {
    let first = values[0].to_bits();
    if values.iter().all(|value| value.to_bits() == first) {
        encode_constant(values[0], coder, out);
        return;
    }
    let start = out.len();
    encode_bits(values, coder, out);
    keep_smaller(start, out, |out| encode_dictionary(values, coder, out));
    keep_smaller(start, out, |out| encode_ulps(values, coder, out));
    if out.len() - start > 1 + values.len() * 8 {
        out.truncate(start);
        out.push(kind::RAW);
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

/// Replaces the payload that begins at `start` where `write` appends a smaller one.
fn keep_smaller(start: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) {
    let end = out.len();
    if write(out) && out.len() - end < end - start {
        out.drain(start..end);
    } else {
        out.truncate(end);
    }
}

fn encode_bits(values: &[f64], coder: Coder, out: &mut Vec<u8>) {
    out.push(kind::BITS);
    let bits: Vec<i64> = values.iter().map(|value| ordered_bits(*value)).collect();
    ints::encode(&bits, coder, out);
}

/// Writes the distinct values in ascending order and which of them each value is. False where
/// they are too many.
fn encode_dictionary(values: &[f64], coder: Coder, out: &mut Vec<u8>) -> bool {
    let most = WORDS_MAX.min(values.len() / WORDS_SHARE);
    let mut words: Vec<i64> = Vec::with_capacity(most);
    for value in values {
        let bits = ordered_bits(*value);
        if let Err(place) = words.binary_search(&bits) {
            if words.len() >= most {
                return false;
            }
            words.insert(place, bits);
        }
    }
    let indexes: Vec<i64> = values
        .iter()
        .map(|value| words.partition_point(|word| *word < ordered_bits(*value)) as i64)
        .collect();
    out.push(kind::DICTIONARY);
    write_uvarint(out, words.len() as u64);
    ints::encode(&words, coder, out);
    ints::encode(&indexes, coder, out);
    true
}

/// Writes the nearest decimals at one exponent, and how many floats lie between.
fn encode_ulps(values: &[f64], coder: Coder, out: &mut Vec<u8>) -> bool {
    let Some(exponent) = ulps_exponent(values) else {
        return false;
    };
    let (ints, ulps): (Vec<i64>, Vec<i64>) =
        values.iter().map(|value| split(*value, exponent)).unzip();
    write_decimal_head(kind::DECIMAL_ULPS, exponent, out);
    let mut stream = Vec::with_capacity(values.len() * 4);
    ints::encode(&ints, coder, &mut stream);
    write_bytes(out, &stream);
    ints::encode(&ulps, coder, out);
    true
}

/// The decimal nearest to `value` at `exponent`, and the floats between the two.
fn split(value: f64, exponent: u8) -> (i64, i64) {
    let int = decimal::nearest_int(value, exponent);
    let near = decimal::to_f64(int, exponent);
    (int, ordered_bits(value).wrapping_sub(ordered_bits(near)))
}

/// The exponent at which the first values take fewest bits; `None` unless it saves a tenth of what
/// ordered bits alone take.
fn ulps_exponent(values: &[f64]) -> Option<u8> {
    const EXPONENT_TRIED_MAX: u8 = 16;
    let sample = &values[..values.len().min(ULPS_SAMPLED)];
    let width = |number: i64| u32::from(width_of(zigzag(number)));
    let plain: u32 =
        sample.windows(2).map(|w| width(ordered_bits(w[1]).wrapping_sub(ordered_bits(w[0])))).sum();
    let cost = |exponent: u8| -> u32 {
        let mut before = None;
        let mut bits = 0;
        for value in sample {
            let (int, ulps) = split(*value, exponent);
            bits += width(ulps) + before.map_or(0, |before| width(int.wrapping_sub(before)));
            before = Some(int);
        }
        bits
    };
    let (bits, exponent) = (0..=EXPONENT_TRIED_MAX).map(|e| (cost(e), e)).min()?;
    (bits * 10 < plain * 9).then_some(exponent)
}
