//! Walks over buckets, and layouts made from walks.
//!
//! A walk gives what spans and counts agree on: where a histogram has fewer counts than its spans
//! say (which validation refuses), it ends early.

use super::bounds::bound;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Span};

/// One bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether observations at the lower bound are in it.
    pub lower_inclusive: bool,
    /// Whether observations at the upper bound are in it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

/// Indices and counts of one side's buckets, from the one next to zero outwards.
#[derive(Debug, Clone)]
pub struct Indexed<'a> {
    spans: &'a [Span],
    counts: &'a [f64],
    /// Index of the next bucket from the front, and how many its span has left.
    front: (i32, u32),
    /// Index behind the next bucket from the back, and how many its span has left.
    back: (i32, u32),
}

impl<'a> Indexed<'a> {
    /// A walk over `counts`, which stand where `spans` say.
    pub fn new(spans: &'a [Span], counts: &'a [f64]) -> Self {
        let mut end = 0_i32;
        let mut total = 0_usize;
        for span in spans {
            end = end.wrapping_add(span.offset).wrapping_add(span.length as i32);
            total = total.saturating_add(span.length as usize);
        }
        let front = spans.first().map_or((0, 0), |span| (span.offset, span.length));
        let back = spans.last().map_or((0, 0), |span| (end, span.length));
        Self { spans, counts: &counts[..counts.len().min(total)], front, back }
    }
}

impl Iterator for Indexed<'_> {
    type Item = (i32, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let (count, rest) = self.counts.split_first()?;
        while self.front.1 == 0 {
            self.spans = self.spans.get(1..)?;
            let span = self.spans.first()?;
            self.front = (self.front.0.wrapping_add(span.offset), span.length);
        }
        self.counts = rest;
        let index = self.front.0;
        self.front = (index.wrapping_add(1), self.front.1 - 1);
        Some((index, *count))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.counts.len()))
    }
}

impl DoubleEndedIterator for Indexed<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (count, rest) = self.counts.split_last()?;
        while self.back.1 == 0 {
            let (gone, before) = self.spans.split_last()?;
            self.spans = before;
            self.back = (self.back.0.wrapping_sub(gone.offset), before.last()?.length);
        }
        self.counts = rest;
        self.back = (self.back.0.wrapping_sub(1), self.back.1 - 1);
        Some((self.back.0, *count))
    }
}

/// Spans and counts of buckets in ascending order: neighbours share a span.
pub fn layout(buckets: impl Iterator<Item = (i32, f64)>) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut counts = Vec::with_capacity(buckets.size_hint().1.unwrap_or(0));
    let mut next = 0_i32;
    for (index, count) in buckets {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index.wrapping_add(1);
        counts.push(count);
    }
    (spans, counts)
}

/// Whether two lists of spans say the same.
pub(super) fn same_layout(a: &[Span], b: &[Span]) -> bool {
    a == b || runs(a).eq(runs(b))
}

/// First index and length of each run of buckets.
fn runs(spans: &[Span]) -> impl Iterator<Item = (i32, u32)> {
    let mut next = 0_i32;
    let mut spans = spans.iter().peekable();
    std::iter::from_fn(move || {
        let mut run: Option<(i32, u32)> = None;
        while let Some(span) = spans.peek() {
            let first = next.wrapping_add(span.offset);
            if span.length > 0 {
                run = match run {
                    None => Some((first, span.length)),
                    Some((start, length)) if first == start.wrapping_add(length as i32) => {
                        Some((start, length + span.length))
                    }
                    run => return run,
                };
            }
            next = first.wrapping_add(span.length as i32);
            spans.next();
        }
        run
    })
}

impl FloatHistogram {
    /// Indices and counts of the positive buckets.
    pub fn positive(&self) -> Indexed<'_> {
        Indexed::new(&self.positive_spans, &self.positive_buckets)
    }

    /// Indices and counts of the negative buckets.
    pub fn negative(&self) -> Indexed<'_> {
        Indexed::new(&self.negative_spans, &self.negative_buckets)
    }

    /// The positive buckets, ascending.
    pub fn positive_bucket_bounds(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.positive().map(|(index, count)| self.positive_bucket(index, count))
    }

    /// The negative buckets, descending.
    pub fn negative_bucket_bounds(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.negative().map(|(index, count)| self.negative_bucket(index, count))
    }

    /// The zero bucket.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets, ascending; the zero bucket only if it counts something. Those that reach into
    /// the zero bucket are cut at its bounds.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let has_zero = self.zero_count > 0.0 && !self.has_custom_bounds();
        let zero = has_zero.then(|| self.zero_bucket());
        let negative = self.negative_bucket_bounds().rev().map(|bucket| self.cut(bucket));
        let positive = self.positive_bucket_bounds().map(|bucket| self.cut(bucket));
        negative.chain(zero).chain(positive)
    }

    fn cut(&self, mut bucket: Bucket) -> Bucket {
        let zero = self.zero_threshold;
        if bucket.upper < 0.0 && bucket.upper > -zero {
            bucket.upper = -zero;
        } else if bucket.lower > 0.0 && bucket.lower < zero {
            bucket.lower = zero;
        }
        bucket
    }

    fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let upper = self.bound(index);
        let lower = self.bound(index.wrapping_sub(1));
        self.bucket(index, (lower, upper), count)
    }

    fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        // Negative buckets have no custom bounds.
        let bound = |index| bound(index, self.schema, &[]);
        self.bucket(index, (-bound(index), -bound(index.wrapping_sub(1))), count)
    }

    fn bucket(&self, index: i32, (lower, upper): (f64, f64), count: f64) -> Bucket {
        let is_custom = self.schema == CUSTOM_BUCKETS_SCHEMA;
        Bucket {
            lower,
            upper,
            lower_inclusive: if is_custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: is_custom || upper > 0.0,
            count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn walks_go_both_ways() {
        let spans = [span(-2, 1), span(0, 0), span(1, 2), span(3, 0), span(0, 1)];
        let counts = [1.0, 2.0, 3.0, 4.0];
        let walk = Indexed::new(&spans, &counts);
        let forward: Vec<_> = walk.clone().collect();
        assert_eq!(forward, [(-2, 1.0), (0, 2.0), (1, 3.0), (5, 4.0)]);
        let mut backward: Vec<_> = walk.clone().rev().collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let mut both = walk;
        assert_eq!((both.next(), both.next_back()), (Some((-2, 1.0)), Some((5, 4.0))));
        assert_eq!((both.next_back(), both.next()), (Some((1, 3.0)), Some((0, 2.0))));
        assert_eq!((both.next_back(), both.next()), (None, None));
        assert_eq!(layout(forward.into_iter()).0, [span(-2, 1), span(1, 2), span(3, 1)]);
        assert!(same_layout(&spans, &[span(-2, 1), span(1, 1), span(0, 1), span(3, 1)]));
        assert!(!same_layout(&spans, &[span(-2, 1), span(1, 2)]));
    }

    #[test]
    fn too_few_counts_end_a_walk() {
        let walk = Indexed::new(&[Span { offset: 0, length: 3 }], &[1.0]);
        assert_eq!(walk.collect::<Vec<_>>(), [(0, 1.0)]);
        assert_eq!(Indexed::new(&[], &[1.0]).next(), None);
        assert_eq!(Indexed::new(&[], &[1.0]).next_back(), None);
    }

    #[test]
    fn buckets_ascend_around_zero() {
        let histogram = FloatHistogram {
            zero_threshold: 0.75,
            zero_count: 2.0,
            positive_spans: vec![span(0, 2)],
            positive_buckets: vec![1.0, 3.0],
            negative_spans: vec![span(1, 1)],
            negative_buckets: vec![4.0],
            ..FloatHistogram::default()
        };
        let bounds: Vec<_> = histogram.buckets().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(
            bounds,
            [(-2.0, -1.0, 4.0), (-0.75, 0.75, 2.0), (0.75, 1.0, 1.0), (1.0, 2.0, 3.0)]
        );
        let ends: Vec<_> =
            histogram.buckets().map(|b| (b.lower_inclusive, b.upper_inclusive)).collect();
        assert_eq!(ends, [(true, false), (true, true), (false, true), (false, true)]);
    }
}
