//! Histograms of finer resolution than is stored.
//!
//! COMPAT: Prometheus takes schemas up to 52 from senders and stores them as schema 8; what is
//! beyond stays as it is, and is refused when it is appended.

use std::collections::BTreeMap;

use crate::model::{Histogram, IntegerHistogram, Span};

const FINEST_STORED: i32 = 8;
const FINEST_TAKEN: i32 = 52;

/// The histogram as it is stored.
pub(super) fn in_known_resolution(histogram: &Histogram) -> Histogram {
    let mut histogram = histogram.clone();
    match &mut histogram {
        Histogram::Integer(h) if is_too_fine(h.schema) => reduce(h),
        Histogram::Float(h) if is_too_fine(h.schema) => {
            let is_whole = buckets(&h.positive_spans) == Some(h.positive_buckets.len())
                && buckets(&h.negative_spans) == Some(h.negative_buckets.len());
            if is_whole {
                h.reduce_resolution(FINEST_STORED);
            }
        }
        _ => {}
    }
    histogram
}

fn is_too_fine(schema: i32) -> bool {
    (FINEST_STORED + 1..=FINEST_TAKEN).contains(&schema)
}

fn reduce(histogram: &mut IntegerHistogram) {
    let steps = (histogram.schema - FINEST_STORED) as u32;
    let sides = [
        (&mut histogram.positive_spans, &mut histogram.positive_deltas),
        (&mut histogram.negative_spans, &mut histogram.negative_deltas),
    ];
    if sides.iter().any(|(spans, deltas)| buckets(spans) != Some(deltas.len())) {
        return;
    }
    for (spans, deltas) in sides {
        reduce_side(steps, spans, deltas);
    }
    histogram.schema = FINEST_STORED;
}

/// Buckets that the spans name, if they ascend.
fn buckets(spans: &[Span]) -> Option<usize> {
    let ascends = spans.iter().skip(1).all(|span| span.offset >= 0);
    ascends.then(|| spans.iter().map(|span| span.length as usize).sum())
}

fn reduce_side(steps: u32, spans: &mut Vec<Span>, deltas: &mut Vec<i64>) {
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut index, mut count) = (0_i64, 0_i64);
    let mut rest = deltas.iter();
    for span in spans.iter() {
        index += i64::from(span.offset);
        for delta in rest.by_ref().take(span.length as usize) {
            count = count.wrapping_add(*delta);
            // Bucket 2^steps is the last one that the coarser bucket 1 covers.
            let coarse = counts.entry(((index - 1) >> steps) + 1).or_default();
            *coarse = coarse.wrapping_add(count);
            index += 1;
        }
    }
    spans.clear();
    deltas.clear();
    let (mut next, mut before) = (0_i64, 0_i64);
    for (index, count) in counts {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span { offset: (index - next) as i32, length: 1 }),
        }
        next = index + 1;
        deltas.push(count.wrapping_sub(before));
        before = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finer_buckets_are_joined() {
        let fine = IntegerHistogram {
            schema: 9,
            count: 15,
            positive_spans: vec![Span { offset: -3, length: 3 }, Span { offset: 1, length: 2 }],
            // Buckets -3, -2, -1 with 1, 2, 3; 1, 2 with 4, 5.
            positive_deltas: vec![1, 1, 1, 1, 1],
            ..IntegerHistogram::default()
        };
        let whole = in_known_resolution(&Histogram::Integer(fine.clone()));
        let float = in_known_resolution(&Histogram::Float(fine.to_float()));
        let Histogram::Integer(coarse) = &whole else { panic!("it counts in integers") };
        // Bucket -1 takes -3 and -2, bucket 0 takes -1 (and 0), bucket 1 takes 1 and 2.
        assert_eq!(coarse.positive_spans, [Span { offset: -1, length: 3 }]);
        assert_eq!(coarse.positive_deltas, [3, 0, 6]);
        assert_eq!(whole.to_float(), float.to_float());
        assert_eq!(whole.validate(), Ok(()));
        let beyond = Histogram::Integer(IntegerHistogram { schema: 53, ..fine });
        assert_eq!(in_known_resolution(&beyond), beyond);
    }
}
