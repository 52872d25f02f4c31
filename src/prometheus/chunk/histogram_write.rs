//! Writes chunks of histograms.
//!
//! A chunk holds histograms of one kind and layout between which no counter was reset: readers
//! take that for granted. Buckets that only some of its histograms have are added, empty, to the
//! others. A stale one ends its chunk.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::bits::{BitWriter, XorFloat};
use super::Encoding;
use super::layout::Layout;
use crate::model::{
    FloatHistogram, Histogram, IntegerHistogram, ResetHint, Span, TimeRange, is_stale,
};

/// Histograms of one chunk at most.
const HISTOGRAMS_PER_CHUNK: usize = 120;

/// Takes a chunk: its encoding, the times it covers, its payload.
pub type TakeChunk<'a, E> = &'a mut dyn FnMut(Encoding, TimeRange, &[u8]) -> Result<(), E>;

/// Gives `take` the chunks that hold these histograms (times ascending, one for each), in order:
/// encoding, times covered, payload.
pub fn encode_histograms<E>(
    timestamps: &[i64],
    histograms: &[Arc<Histogram>],
    take: TakeChunk<'_, E>,
) -> Result<(), E> {
    let mut header = ResetHint::Unknown;
    let mut begin = 0;
    for end in 1..=histograms.len() {
        let next = histograms.get(end).map(|next| boundary(&histograms[end - 1], next));
        let cut = match next {
            Some(None) if end - begin < HISTOGRAMS_PER_CHUNK => continue,
            Some(cut) => cut.unwrap_or(ResetHint::NotReset),
            None => ResetHint::Unknown,
        };
        let run = &histograms[begin..end];
        let first = match run[0].reset_hint() {
            ResetHint::Unknown | ResetHint::NotReset => header,
            told => told,
        };
        let times = &timestamps[begin..end];
        let range = TimeRange { min_ms: times[0], max_ms: times[times.len() - 1] };
        let (encoding, payload) = encode_run(times, run, first);
        take(encoding, range, &payload)?;
        (begin, header) = (end, cut);
    }
    Ok(())
}

/// Whether a new chunk has to begin between two histograms, and what is known of a reset there.
fn boundary(before: &Histogram, next: &Histogram) -> Option<ResetHint> {
    let is_gauge = |histogram: &Histogram| histogram.reset_hint() == ResetHint::Gauge;
    if before.is_stale() {
        return Some(ResetHint::Unknown);
    }
    let one_kind = std::mem::discriminant(before) == std::mem::discriminant(next);
    if next.is_stale() && one_kind {
        return None;
    }
    if !one_kind || is_gauge(before) != is_gauge(next) {
        return Some(ResetHint::Unknown);
    }
    if next.reset_hint() == ResetHint::Reset {
        return Some(ResetHint::Reset);
    }
    let (a, b) = (Flat::new(before), Flat::new(next));
    if a.schema != b.schema || a.zero_threshold.to_bits() != b.zero_threshold.to_bits() {
        return Some(ResetHint::Unknown);
    }
    if a.bounds.iter().map(|b| b.to_bits()).ne(b.bounds.iter().map(|b| b.to_bits())) {
        return Some(ResetHint::Reset);
    }
    (!is_gauge(next) && b.is_reset_since(&a)).then_some(ResetHint::Reset)
}

/// A histogram as pairs of bucket and count.
struct Flat<'a> {
    schema: i32,
    zero_threshold: f64,
    bounds: &'a [f64],
    total: f64,
    zero: f64,
    positive: Vec<(i32, f64)>,
    negative: Vec<(i32, f64)>,
}

impl<'a> Flat<'a> {
    fn new(histogram: &'a Histogram) -> Self {
        match histogram {
            Histogram::Integer(h) => Self {
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                bounds: &h.custom_bounds,
                total: h.count as f64,
                zero: h.zero_count as f64,
                positive: pair(&h.positive_spans, absolute(&h.positive_deltas)),
                negative: pair(&h.negative_spans, absolute(&h.negative_deltas)),
            },
            Histogram::Float(h) => Self {
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                bounds: &h.custom_bounds,
                total: h.count,
                zero: h.zero_count,
                positive: pair(&h.positive_spans, h.positive_buckets.iter().copied()),
                negative: pair(&h.negative_spans, h.negative_buckets.iter().copied()),
            },
        }
    }

    /// Whether a count is less than it was.
    fn is_reset_since(&self, before: &Self) -> bool {
        let falls = |before: &[(i32, f64)], now: &[(i32, f64)]| {
            let mut now = now.iter().copied().peekable();
            before.iter().any(|&(index, count)| {
                while now.next_if(|&(i, _)| i < index).is_some() {}
                now.next_if(|&(i, _)| i == index).map_or(0.0, |(_, count)| count) < count
            })
        };
        self.total < before.total
            || self.zero < before.zero
            || falls(&before.positive, &self.positive)
            || falls(&before.negative, &self.negative)
    }
}

fn absolute(deltas: &[i64]) -> impl Iterator<Item = f64> {
    deltas.iter().scan(0_i64, |count, &delta| {
        *count = count.wrapping_add(delta);
        Some(*count as f64)
    })
}

/// Bucket numbers of `spans`.
fn indexes(spans: &[Span]) -> impl Iterator<Item = i32> {
    let mut next = 0_i32;
    spans.iter().flat_map(move |span| {
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add_unsigned(span.length);
        (0..span.length).map(move |i| first.wrapping_add_unsigned(i))
    })
}

fn pair<T>(spans: &[Span], counts: impl Iterator<Item = T>) -> Vec<(i32, T)> {
    indexes(spans).zip(counts).collect()
}

/// Spans with every bucket that one of `all` has; the spans themselves where they are all equal.
fn union<'a>(all: impl Iterator<Item = &'a [Span]> + Clone) -> Vec<Span> {
    let mut others = all.clone();
    let Some(first) = others.next() else { return Vec::new() };
    if others.all(|spans| spans == first) {
        return first.to_vec();
    }
    let buckets: BTreeSet<i32> = all.flat_map(indexes).collect();
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for bucket in buckets {
        match spans.last_mut() {
            Some(span) if bucket == next => span.length += 1,
            _ => spans.push(Span { offset: bucket.wrapping_sub(next), length: 1 }),
        }
        next = bucket.wrapping_add(1);
    }
    spans
}

/// Counts for each bucket of `layout`; 0 where the histogram has none.
fn fill<T: Copy + Default>(layout: &[Span], pairs: &[(i32, T)]) -> Vec<T> {
    let mut pairs = pairs.iter().copied().peekable();
    indexes(layout)
        .map(|index| pairs.next_if(|&(i, _)| i == index).map_or(T::default(), |(_, count)| count))
        .collect()
}

/// The integer histograms of a run; one of floats cannot be among them.
fn integer(histogram: &Histogram) -> &IntegerHistogram {
    match histogram {
        Histogram::Integer(histogram) => histogram,
        Histogram::Float(_) => unreachable!("BUG: a run has histograms of one kind"),
    }
}

fn float(histogram: &Histogram) -> &FloatHistogram {
    match histogram {
        Histogram::Float(histogram) => histogram,
        Histogram::Integer(_) => unreachable!("BUG: a run has histograms of one kind"),
    }
}

fn encode_run(times: &[i64], run: &[Arc<Histogram>], header: ResetHint) -> (Encoding, Vec<u8>) {
    let flag = match header {
        ResetHint::Unknown => 0_u8,
        ResetHint::NotReset => 0b01,
        ResetHint::Reset => 0b10,
        ResetHint::Gauge => 0b11,
    };
    let count = run.len() as u16;
    let [high, low] = count.to_be_bytes();
    let mut bits = BitWriter::new(&[high, low, flag << 6]);
    let encoding = match &*run[0] {
        Histogram::Integer(_) => {
            write_integers(times, run, &mut bits);
            Encoding::Histogram
        }
        Histogram::Float(_) => {
            write_floats(times, run, &mut bits);
            Encoding::FloatHistogram
        }
    };
    (encoding, bits.into_bytes())
}

/// Deltas of the buckets of one integer histogram in the chunk's layout.
fn deltas(layout: &[Span], spans: &[Span], deltas: &[i64]) -> Vec<i64> {
    if layout == spans {
        return deltas.to_vec();
    }
    let counts = deltas.iter().scan(0_i64, |count, &delta| {
        *count = count.wrapping_add(delta);
        Some(*count)
    });
    let filled = fill(layout, &pair(spans, counts));
    let before = std::iter::once(0).chain(filled.iter().copied());
    filled.iter().zip(before).map(|(count, before)| count.wrapping_sub(before)).collect()
}

fn write_integers(times: &[i64], run: &[Arc<Histogram>], bits: &mut BitWriter) {
    let living = || run.iter().map(|h| integer(h)).filter(|h| !is_stale(h.sum));
    let empty = IntegerHistogram::default();
    let first = living().next().unwrap_or(&empty);
    let layout = Layout {
        schema: first.schema,
        zero_threshold: first.zero_threshold,
        positive: union(living().map(|h| h.positive_spans.as_slice())),
        negative: union(living().map(|h| h.negative_spans.as_slice())),
        bounds: Arc::clone(&first.custom_bounds),
    };
    layout.write(bits);
    let mut clock = Second::default();
    let (mut total, mut zero) = (Second::default(), Second::default());
    let mut buckets: Vec<Second> = Vec::new();
    let mut sum = XorFloat::new(0.0);
    for (index, (&t_ms, histogram)) in times.iter().zip(run).enumerate() {
        let h = integer(histogram);
        let h = if is_stale(h.sum) { &IntegerHistogram { sum: h.sum, ..empty.clone() } } else { h };
        let mut values = deltas(&layout.positive, &h.positive_spans, &h.positive_deltas);
        values.extend(deltas(&layout.negative, &h.negative_spans, &h.negative_deltas));
        if index == 0 {
            bits.varbit_int(t_ms);
            bits.varbit_uint(h.count);
            bits.varbit_uint(h.zero_count);
            bits.float(h.sum);
            for &value in &values {
                bits.varbit_int(value);
            }
            clock = Second::new(t_ms);
            (total, zero) = (Second::new(h.count as i64), Second::new(h.zero_count as i64));
            buckets = values.into_iter().map(Second::new).collect();
            sum = XorFloat::new(h.sum);
            continue;
        }
        bits.varbit_int(clock.advance(t_ms));
        if is_stale(h.sum) {
            bits.bits(0, 2);
            sum.write(h.sum, bits);
            continue;
        }
        bits.varbit_int(total.advance(h.count as i64));
        bits.varbit_int(zero.advance(h.zero_count as i64));
        sum.write(h.sum, bits);
        for (bucket, value) in buckets.iter_mut().zip(values) {
            bits.varbit_int(bucket.advance(value));
        }
    }
}

/// A number whose differences are written as differences.
#[derive(Debug, Default)]
struct Second {
    value: i64,
    delta: i64,
}

impl Second {
    fn new(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    fn advance(&mut self, value: i64) -> i64 {
        let delta = value.wrapping_sub(self.value);
        let difference = delta.wrapping_sub(self.delta);
        *self = Self { value, delta };
        difference
    }
}

fn write_floats(times: &[i64], run: &[Arc<Histogram>], bits: &mut BitWriter) {
    let living = || run.iter().map(|h| float(h)).filter(|h| !is_stale(h.sum));
    let empty = FloatHistogram::default();
    let first = living().next().unwrap_or(&empty);
    let layout = Layout {
        schema: first.schema,
        zero_threshold: first.zero_threshold,
        positive: union(living().map(|h| h.positive_spans.as_slice())),
        negative: union(living().map(|h| h.negative_spans.as_slice())),
        bounds: Arc::clone(&first.custom_bounds),
    };
    layout.write(bits);
    let mut clock = Second::default();
    let mut floats: Vec<XorFloat> = Vec::new();
    for (index, (&t_ms, histogram)) in times.iter().zip(run).enumerate() {
        let h = float(histogram);
        let h = if is_stale(h.sum) { &FloatHistogram { sum: h.sum, ..empty.clone() } } else { h };
        let mut values = vec![h.count, h.zero_count, h.sum];
        if !is_stale(h.sum) {
            let positive = h.positive_buckets.iter().copied();
            let negative = h.negative_buckets.iter().copied();
            values.extend(fill(&layout.positive, &pair(&h.positive_spans, positive)));
            values.extend(fill(&layout.negative, &pair(&h.negative_spans, negative)));
        }
        if index == 0 {
            bits.varbit_int(t_ms);
            for &value in &values {
                bits.float(value);
            }
            clock = Second::new(t_ms);
            floats = values.into_iter().map(XorFloat::new).collect();
            continue;
        }
        bits.varbit_int(clock.advance(t_ms));
        for (float, value) in floats.iter_mut().zip(values) {
            float.write(value, bits);
        }
    }
}
