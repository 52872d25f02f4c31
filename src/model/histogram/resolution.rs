//! Buckets joined, and buckets that count nothing dropped, for histograms as they are stored.
//!
//! COMPAT: Prometheus takes schemas up to 52 from senders and stores them as schema 8; what is
//! beyond stays as it is, and is refused when it is appended.

use std::collections::BTreeMap;

use super::bounds::is_exponential;
use super::{FloatHistogram, Histogram, IntegerHistogram, Span};

const FINEST_STORED: i32 = 8;
const FINEST_TAKEN: i32 = 52;
const COARSEST: i32 = -4;

impl Histogram {
    /// The histogram as it is stored.
    #[must_use]
    pub fn in_known_resolution(&self) -> Self {
        let mut histogram = self.clone();
        if (FINEST_STORED + 1..=FINEST_TAKEN).contains(&self.schema()) {
            histogram.reduce_resolution(FINEST_STORED);
        }
        histogram
    }

    /// Which bounds the buckets have.
    pub fn schema(&self) -> i32 {
        match self {
            Self::Integer(histogram) => histogram.schema,
            Self::Float(histogram) => histogram.schema,
        }
    }

    /// Buckets of both sides, empty ones included.
    pub fn buckets_len(&self) -> usize {
        match self {
            Self::Integer(h) => h.positive_deltas.len() + h.negative_deltas.len(),
            Self::Float(h) => h.positive_buckets.len() + h.negative_buckets.len(),
        }
    }

    /// Makes buckets of a coarser schema; `false`, and nothing done, where the schema is no finer
    /// or the spans are not in order.
    pub fn reduce_resolution(&mut self, schema: i32) -> bool {
        if schema >= self.schema() || !self.has_whole_spans() {
            return false;
        }
        match self {
            Self::Integer(histogram) => histogram.reduce(schema),
            Self::Float(histogram) => return histogram.reduce_resolution(schema),
        }
        true
    }

    /// Joins buckets until there are at most `max`; `false` where that cannot be.
    pub fn fit_buckets(&mut self, max: usize) -> bool {
        while self.buckets_len() > max {
            let schema = self.schema();
            if !is_exponential(schema) || schema <= COARSEST || !self.reduce_resolution(schema - 1)
            {
                return false;
            }
        }
        true
    }

    /// Whether spans ascend and name as many buckets as there are.
    fn has_whole_spans(&self) -> bool {
        match self {
            Self::Integer(h) => {
                named(&h.positive_spans) == Some(h.positive_deltas.len())
                    && named(&h.negative_spans) == Some(h.negative_deltas.len())
            }
            Self::Float(h) => {
                named(&h.positive_spans) == Some(h.positive_buckets.len())
                    && named(&h.negative_spans) == Some(h.negative_buckets.len())
            }
        }
    }
}

impl IntegerHistogram {
    /// Drops buckets that count nothing, but for up to `gap_max` of them between two that do.
    /// Nothing is done where the spans are not in order.
    pub fn compact(&mut self, gap_max: u32) {
        for (spans, deltas) in self.sides() {
            if named(spans) == Some(deltas.len()) && !is_compact(spans, deltas) {
                let mut counts = counts(0, spans, deltas);
                counts.retain(|_, count| *count != 0);
                store(&counts, gap_max, spans, deltas);
            }
        }
    }

    fn sides(&mut self) -> [(&mut Vec<Span>, &mut Vec<i64>); 2] {
        [
            (&mut self.positive_spans, &mut self.positive_deltas),
            (&mut self.negative_spans, &mut self.negative_deltas),
        ]
    }

    fn reduce(&mut self, schema: i32) {
        let steps = self.schema.saturating_sub(schema) as u32;
        for (spans, deltas) in self.sides() {
            let counts = counts(steps, spans, deltas);
            store(&counts, 0, spans, deltas);
        }
        self.schema = schema;
    }
}

impl FloatHistogram {
    /// [`FloatHistogram::compact`], unless the spans are not in order: that would hide it.
    pub fn compact_whole(&mut self) {
        let is_whole = named(&self.positive_spans) == Some(self.positive_buckets.len())
            && named(&self.negative_spans) == Some(self.negative_buckets.len());
        if is_whole {
            self.compact();
        }
    }
}

/// Buckets that the spans name, if they ascend.
fn named(spans: &[Span]) -> Option<usize> {
    let ascends = spans.iter().skip(1).all(|span| span.offset >= 0);
    ascends.then(|| spans.iter().map(|span| span.length as usize).sum())
}

/// Whether no bucket is empty, and no span, and no two spans could be one.
fn is_compact(spans: &[Span], deltas: &[i64]) -> bool {
    let mut count = 0_i64;
    let counts = deltas.iter().all(|delta| {
        count = count.wrapping_add(*delta);
        count != 0
    });
    counts && spans.iter().enumerate().all(|(at, s)| s.length > 0 && (at == 0 || s.offset > 0))
}

/// Counts by bucket, those of `2^steps` neighbours joined.
fn counts(steps: u32, spans: &[Span], deltas: &[i64]) -> BTreeMap<i64, i64> {
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut index, mut count) = (0_i64, 0_i64);
    let mut rest = deltas.iter();
    for span in spans {
        index += i64::from(span.offset);
        for delta in rest.by_ref().take(span.length as usize) {
            count = count.wrapping_add(*delta);
            // Bucket 2^steps is the last one that the coarser bucket 1 covers.
            let coarse = counts.entry(((index - 1) >> steps) + 1).or_default();
            *coarse = coarse.wrapping_add(count);
            index += 1;
        }
    }
    counts
}

/// Lays buckets out; gaps of up to `gap_max` are filled with empty ones.
fn store(counts: &BTreeMap<i64, i64>, gap_max: u32, spans: &mut Vec<Span>, deltas: &mut Vec<i64>) {
    spans.clear();
    deltas.clear();
    let (mut next, mut before) = (0_i64, 0_i64);
    for (&index, &count) in counts {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= i64::from(gap_max) => {
                span.length += gap as u32 + 1;
                if gap > 0 {
                    deltas.push(before.wrapping_neg());
                    deltas.extend((1..gap).map(|_| 0));
                    before = 0;
                }
            }
            _ => spans.push(Span { offset: gap as i32, length: 1 }),
        }
        next = index + 1;
        deltas.push(count.wrapping_sub(before));
        before = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn finer_buckets_are_joined() {
        let fine = IntegerHistogram {
            schema: 9,
            count: 15,
            positive_spans: vec![span(-3, 3), span(1, 2)],
            // Buckets -3, -2, -1 with 1, 2, 3; 1, 2 with 4, 5.
            positive_deltas: vec![1, 1, 1, 1, 1],
            ..IntegerHistogram::default()
        };
        let whole = Histogram::Integer(fine.clone()).in_known_resolution();
        let float = Histogram::Float(fine.to_float()).in_known_resolution();
        let Histogram::Integer(coarse) = &whole else { panic!("it counts in integers") };
        // Bucket -1 takes -3 and -2, bucket 0 takes -1 (and 0), bucket 1 takes 1 and 2.
        assert_eq!(coarse.positive_spans, [span(-1, 3)]);
        assert_eq!(coarse.positive_deltas, [3, 0, 6]);
        assert_eq!(whole.to_float(), float.to_float());
        assert_eq!(whole.validate(), Ok(()));
        let beyond = Histogram::Integer(IntegerHistogram { schema: 53, ..fine });
        assert_eq!(beyond.in_known_resolution(), beyond);
    }

    #[test]
    fn empty_buckets_are_dropped_but_for_small_gaps() {
        let histogram = IntegerHistogram {
            count: 6,
            // Buckets 0 to 8 with 0 1 0 0 2 0 0 0 3, then an empty span.
            positive_spans: vec![span(0, 4), span(0, 5), span(7, 0)],
            positive_deltas: vec![0, 1, -1, 0, 2, -2, 0, 0, 3],
            ..IntegerHistogram::default()
        };
        let mut none = histogram.clone();
        none.compact(0);
        assert_eq!(none.positive_spans, [span(1, 1), span(2, 1), span(3, 1)]);
        assert_eq!(none.positive_deltas, [1, 1, 1]);
        let mut some = histogram.clone();
        some.compact(2);
        assert_eq!(some.positive_spans, [span(1, 4), span(3, 1)]);
        assert_eq!(some.positive_deltas, [1, -1, 0, 2, 1]);
        assert_eq!(some.validate(), Ok(()));
    }

    #[test]
    fn buckets_are_joined_until_they_fit() {
        let histogram = Histogram::Integer(IntegerHistogram {
            schema: 2,
            count: 4,
            positive_spans: vec![span(1, 4)],
            positive_deltas: vec![1, 0, 0, 0],
            ..IntegerHistogram::default()
        });
        let mut fits = histogram.clone();
        assert!(fits.fit_buckets(1));
        assert_eq!((fits.schema(), fits.buckets_len()), (0, 1));
        assert_eq!(fits.validate(), Ok(()));
        let mut never = histogram;
        assert!(!never.fit_buckets(0), "one bucket is left at the coarsest schema");
    }
}
