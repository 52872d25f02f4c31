//! What the histograms of a chunk have in common: schema, zero bucket, spans, custom bounds.

use std::sync::Arc;

use super::super::bits::{BitReader, BitWriter};
use super::ChunkError;
use crate::model::Span;
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;

/// Schemas that histograms may have: exponential ones up to the finest that 3.14 works with.
const EXPONENTIAL: std::ops::RangeInclusive<i64> = -9..=8;

/// The layout of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) positive: Vec<Span>,
    pub(super) negative: Vec<Span>,
    pub(super) bounds: Arc<[f64]>,
}

/// Whether histograms of a schema are understood.
pub(in crate::prometheus) fn is_known_schema(schema: i64) -> bool {
    EXPONENTIAL.contains(&schema) || schema == i64::from(CUSTOM_BUCKETS_SCHEMA)
}

impl Layout {
    pub(super) fn read(bits: &mut BitReader<'_>) -> Result<Self, ChunkError> {
        let zero_threshold = match bits.bits(8)? {
            0 => 0.0,
            255 => bits.float()?,
            // A power of two: 2^-243 for 1.
            exponent => f64::from_bits((exponent + 1023 - 244) << 52),
        };
        let schema = bits.varbit_int()?;
        if !is_known_schema(schema) {
            return Err(ChunkError::UnknownSchema(schema));
        }
        let schema = schema as i32;
        let positive = read_spans(bits)?;
        let negative = read_spans(bits)?;
        let mut bounds = Vec::new();
        if schema == CUSTOM_BUCKETS_SCHEMA {
            for _ in 0..bits.varbit_uint()? {
                bounds.push(match bits.varbit_uint()? {
                    0 => bits.float()?,
                    thousandths => (thousandths - 1) as f64 / 1000.0,
                });
            }
        }
        Ok(Self { schema, zero_threshold, positive, negative, bounds: bounds.into() })
    }

    pub(super) fn write(&self, bits: &mut BitWriter) {
        if let Some(byte) = power_of_two(self.zero_threshold) {
            bits.bits(u64::from(byte), 8);
        } else {
            bits.bits(255, 8);
            bits.float(self.zero_threshold);
        }
        bits.varbit_int(i64::from(self.schema));
        for spans in [&self.positive, &self.negative] {
            bits.varbit_uint(spans.len() as u64);
            for span in spans {
                bits.varbit_uint(u64::from(span.length));
                bits.varbit_int(i64::from(span.offset));
            }
        }
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            bits.varbit_uint(self.bounds.len() as u64);
            for &bound in &*self.bounds {
                write_bound(bits, bound);
            }
        }
    }

    /// Numbers of buckets, positive and negative; an error where `bits` cannot hold `width_min`
    /// bits for each.
    pub(super) fn bucket_counts(
        &self,
        bits: &BitReader<'_>,
        width_min: u64,
    ) -> Result<(usize, usize), ChunkError> {
        let count = |spans: &[Span]| spans.iter().map(|s| u64::from(s.length)).sum::<u64>();
        let (positive, negative) = (count(&self.positive), count(&self.negative));
        let all = positive.saturating_add(negative);
        // Each sample repeats its spans in memory, so empty ones must not pile up either.
        let spans = (self.positive.len() + self.negative.len()) as u64;
        let spans_max = all.saturating_mul(2).saturating_add(16);
        if all.saturating_mul(width_min) > bits.remaining() as u64 || spans > spans_max {
            return Err(ChunkError::TooManyBuckets(all));
        }
        Ok((positive as usize, negative as usize))
    }
}

fn read_spans(bits: &mut BitReader<'_>) -> Result<Vec<Span>, ChunkError> {
    // A span takes two bits at least, so a wild number of them ends with the bytes.
    let mut spans = Vec::new();
    for _ in 0..bits.varbit_uint()? {
        let length = bits.varbit_uint()?;
        let offset = bits.varbit_int()?;
        let length = u32::try_from(length).map_err(|_| ChunkError::TooManyBuckets(length))?;
        let offset = i32::try_from(offset).map_err(|_| ChunkError::Bits)?;
        spans.push(Span { offset, length });
    }
    Ok(spans)
}

/// The byte that stands for a zero threshold, if one does: 0 for 0, else the exponent of a power
/// of two from 2^-243 to 2^10.
fn power_of_two(threshold: f64) -> Option<u8> {
    let bits = threshold.to_bits();
    if threshold == 0.0 {
        return Some(0);
    }
    let exponent = (bits >> 52) as i64 - 1023 + 244;
    let is_power = bits & ((1 << 52) - 1) == 0;
    (is_power && (1..=254).contains(&exponent)).then_some(exponent as u8)
}

fn write_bound(bits: &mut BitWriter, bound: f64) {
    let thousandths = bound * 1000.0;
    let rounded = thousandths.round();
    // 33,554,430 is the largest that still fits four bytes.
    if (0.0..=33_554_430.0).contains(&thousandths)
        && (rounded / 1000.0).to_bits() == bound.to_bits()
    {
        bits.varbit_uint(rounded as u64 + 1);
    } else {
        bits.bit(false);
        bits.float(bound);
    }
}
