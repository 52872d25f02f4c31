//! Reads chunks of histograms.
//!
//! COMPAT: Prometheus gives the first histogram of a counter's chunk without a hint and says of
//! all others that no reset came before them; a chunk of gauges says so of each. A stale one is
//! empty but for its sum.

use std::sync::Arc;

use super::super::bits::{BitReader, XorFloat};
use super::layout::Layout;
use super::starts::StartReader;
use super::{ChunkError, Clockwork};
use crate::model::{FloatHistogram, Histogram, IntegerHistogram, ResetHint, Samples, is_stale};

/// Upper two bits of a header byte: the chunk holds gauges.
const GAUGE: u8 = 0b11;

/// Count, hint bits, start timestamps, and where the samples begin.
fn read_header(
    count: u16,
    data: &[u8],
    with_starts: bool,
) -> Result<(u16, bool, StartReader, BitReader<'_>), ChunkError> {
    let Some((&byte, data)) = data.split_first() else { return Err(ChunkError::Bits) };
    let bits = BitReader::new(data);
    Ok(if with_starts {
        // The third byte is taken, so the hint stands above the count.
        (count & 0x3fff, (count >> 14) as u8 == GAUGE, StartReader::new(byte), bits)
    } else {
        (count, byte >> 6 == GAUGE, StartReader::new(0), bits)
    })
}

fn hint(is_gauge: bool, index: u16) -> ResetHint {
    match (is_gauge, index) {
        (true, _) => ResetHint::Gauge,
        (false, 0) => ResetHint::Unknown,
        (false, _) => ResetHint::NotReset,
    }
}

/// A counter whose differences are told by their differences.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    value: i64,
    delta: i64,
}

impl Count {
    fn advance(&mut self, bits: &mut BitReader<'_>) -> Result<(), ChunkError> {
        self.delta = self.delta.wrapping_add(bits.varbit_int()?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }
}

pub(super) fn decode_integer(
    count: u16,
    data: &[u8],
    with_starts: bool,
    out: &mut Samples,
) -> Result<(), ChunkError> {
    let (count, is_gauge, mut starts, mut bits) = read_header(count, data, with_starts)?;
    if count == 0 {
        return Ok(());
    }
    let bits = &mut bits;
    let layout = Layout::read(bits)?;
    let mut clock = Clockwork::new(bits.varbit_int()?);
    let counter = |value: u64| Count { value: value as i64, delta: 0 };
    let mut total = counter(bits.varbit_uint()?);
    let mut zero = counter(bits.varbit_uint()?);
    let mut sum = XorFloat::new(bits.float()?);
    let (positive, negative) = layout.bucket_counts(bits, 1)?;
    let mut buckets = vec![Count::default(); positive + negative];
    for bucket in &mut buckets {
        bucket.value = bits.varbit_int()?;
    }
    for index in 0..count {
        let before_ms = clock.t_ms;
        if index > 0 {
            clock.advance(bits.varbit_int()?)?;
            total.advance(bits)?;
            zero.advance(bits)?;
            if !is_stale(sum.read(bits)?) {
                for bucket in &mut buckets {
                    bucket.advance(bits)?;
                }
            }
        }
        let sum = sum.value();
        let histogram = if is_stale(sum) {
            IntegerHistogram { sum, ..IntegerHistogram::default() }
        } else {
            IntegerHistogram {
                reset_hint: hint(is_gauge, index),
                schema: layout.schema,
                zero_threshold: layout.zero_threshold,
                zero_count: zero.value as u64,
                count: total.value as u64,
                sum,
                positive_spans: layout.positive.clone(),
                negative_spans: layout.negative.clone(),
                positive_deltas: buckets[..positive].iter().map(|b| b.value).collect(),
                negative_deltas: buckets[positive..].iter().map(|b| b.value).collect(),
                custom_bounds: Arc::clone(&layout.bounds),
            }
        };
        out.push_histogram(clock.t_ms, Arc::new(Histogram::Integer(histogram)));
        set_start(out, &mut starts, bits, (index, clock.t_ms, before_ms))?;
    }
    Ok(())
}

pub(super) fn decode_float(
    count: u16,
    data: &[u8],
    with_starts: bool,
    out: &mut Samples,
) -> Result<(), ChunkError> {
    let (count, is_gauge, mut starts, mut bits) = read_header(count, data, with_starts)?;
    if count == 0 {
        return Ok(());
    }
    let bits = &mut bits;
    let layout = Layout::read(bits)?;
    let mut clock = Clockwork::new(bits.varbit_int()?);
    let mut total = XorFloat::new(bits.float()?);
    let mut zero = XorFloat::new(bits.float()?);
    let mut sum = XorFloat::new(bits.float()?);
    let (positive, negative) = layout.bucket_counts(bits, 64)?;
    let mut buckets = Vec::with_capacity(positive + negative);
    for _ in 0..positive + negative {
        buckets.push(XorFloat::new(bits.float()?));
    }
    for index in 0..count {
        let before_ms = clock.t_ms;
        if index > 0 {
            clock.advance(bits.varbit_int()?)?;
            total.read(bits)?;
            zero.read(bits)?;
            if !is_stale(sum.read(bits)?) {
                for bucket in &mut buckets {
                    bucket.read(bits)?;
                }
            }
        }
        let sum = sum.value();
        let histogram = if is_stale(sum) {
            FloatHistogram { sum, ..FloatHistogram::default() }
        } else {
            FloatHistogram {
                reset_hint: hint(is_gauge, index),
                schema: layout.schema,
                zero_threshold: layout.zero_threshold,
                zero_count: zero.value(),
                count: total.value(),
                sum,
                positive_spans: layout.positive.clone(),
                negative_spans: layout.negative.clone(),
                positive_buckets: buckets[..positive].iter().map(XorFloat::value).collect(),
                negative_buckets: buckets[positive..].iter().map(XorFloat::value).collect(),
                custom_bounds: Arc::clone(&layout.bounds),
            }
        };
        out.push_histogram(clock.t_ms, Arc::new(Histogram::Float(histogram)));
        set_start(out, &mut starts, bits, (index, clock.t_ms, before_ms))?;
    }
    Ok(())
}

fn set_start(
    out: &mut Samples,
    starts: &mut StartReader,
    bits: &mut BitReader<'_>,
    (index, t_ms, before_ms): (u16, i64, i64),
) -> Result<(), ChunkError> {
    let start_ms = match index {
        0 => starts.first(bits, t_ms)?,
        _ => starts.next(bits, index, before_ms)?,
    };
    out.set_last_start(start_ms);
    Ok(())
}
