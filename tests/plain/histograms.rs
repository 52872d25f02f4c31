//! Functions of histograms: quantiles, fractions, moments and trims of native ones, quantiles and
//! fractions of classic ones.
#![allow(clippy::manual_midpoint, reason = "the sum may overflow where Prometheus's does")]

use narthex::model::{Bucket, FloatHistogram, Labels, LabelsBuilder};
use narthex::promql::functions::interpolate::{exponential, share_below};

use super::cells::{Answer, Cell, Refused, Row, is_metadata};
use super::evaluate::Plain;
use super::windows::plus;

/// What is asked of a histogram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    /// The value with this share below it.
    Quantile(f64),
    /// The share between two values.
    Fraction(f64, f64),
}

/// A histogram at one step: a native one, or bounds with the counts up to them.
enum Shape<'a> {
    Native(&'a FloatHistogram),
    Classic(Vec<(f64, f64)>),
}

/// Answers for all histograms among `rows`; `asked` tells what of each step, and what label the
/// answer has besides. Rows are in the order of what was asked, then native before classic, then
/// that of `rows`: Prometheus has them in any order, and whoever ranks them meets it.
pub(crate) fn ask(
    plain: &Plain<'_>,
    rows: &[Row],
    steps: usize,
    asked: impl Fn(usize) -> Vec<(Asked, Option<(String, String)>)>,
) -> Answer<Vec<Row>> {
    let mut out: Vec<Row> = Vec::new();
    let mut places = Vec::new();
    for step in 0..steps {
        let shapes = shapes(rows, step);
        for (argument, (what, label)) in asked(step).into_iter().enumerate() {
            for (labels, shape) in &shapes {
                let place = (argument, place(rows, labels, shape), step);
                let mut labels =
                    if plain.delayed { labels.clone() } else { labels.without(is_metadata) };
                if let Some((name, value)) = &label {
                    let mut builder = LabelsBuilder::from_labels(&labels);
                    builder.set(name, value);
                    labels = builder.build();
                }
                let value = match (shape, what) {
                    (Shape::Native(histogram), Asked::Quantile(q)) => quantile(q, histogram),
                    (Shape::Native(h), Asked::Fraction(lower, upper)) => fraction(lower, upper, h),
                    (Shape::Classic(counts), Asked::Quantile(q)) => classic_quantile(q, counts),
                    (Shape::Classic(counts), Asked::Fraction(lower, upper)) => {
                        classic_fraction(lower, upper, counts)
                    }
                };
                let at = out.iter().position(|row| row.labels == labels).unwrap_or_else(|| {
                    out.push(Row { labels, drop_name: true, cells: vec![None; steps] });
                    places.push(place);
                    out.len() - 1
                });
                places[at] = places[at].min(place);
                if out[at].cells[step].replace(Cell::Float(value)).is_some() {
                    return Err(Refused("two series of equal labels"));
                }
            }
        }
    }
    let mut placed: Vec<_> = places.into_iter().zip(out).collect();
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, row)| row).collect())
}

/// Native before classic, then the first of `rows` that has it at any step.
fn place(rows: &[Row], labels: &Labels, shape: &Shape<'_>) -> (bool, Option<usize>) {
    let is_of = |row: &Row| match shape {
        Shape::Native(_) => {
            let is_native = |cell: &Option<Cell>| matches!(cell, Some(Cell::Histogram(_)));
            row.labels == *labels && row.cells.iter().any(is_native)
        }
        Shape::Classic(_) => {
            let is_float = |cell: &Option<Cell>| matches!(cell, Some(Cell::Float(_)));
            row.labels.get("le").is_some_and(|bound| bound.parse::<f64>().is_ok())
                && row.labels.without(|name| name == "le") == *labels
                && row.cells.iter().any(is_float)
        }
    };
    (matches!(shape, Shape::Classic(_)), rows.iter().position(is_of))
}

/// The histograms at one step; where a native and a classic one have the same labels, neither.
fn shapes(rows: &[Row], step: usize) -> Vec<(Labels, Shape<'_>)> {
    let mut classic: Vec<(Labels, Vec<(f64, f64)>)> = Vec::new();
    for row in rows {
        let Some(Cell::Float(count)) = row.cells[step] else { continue };
        let Some(Ok(bound)) = row.labels.get("le").map(str::parse::<f64>) else { continue };
        let labels = row.labels.without(|name| name == "le");
        match classic.iter_mut().find(|known| known.0 == labels) {
            Some(known) => known.1.push((bound, count)),
            None => classic.push((labels, vec![(bound, count)])),
        }
    }
    let mut all = Vec::new();
    for row in rows {
        let Some(Cell::Histogram(histogram)) = &row.cells[step] else { continue };
        if let Some(at) = classic.iter().position(|known| known.0 == row.labels) {
            classic.remove(at);
        } else {
            all.push((row.labels.clone(), Shape::Native(histogram)));
        }
    }
    for (labels, mut counts) in classic {
        counts.sort_by(|a, b| a.0.total_cmp(&b.0));
        all.push((labels, Shape::Classic(counts)));
    }
    all
}

fn classic_quantile(q: f64, counts: &[(f64, f64)]) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let last = counts.len() - 1;
    if counts[last].0 != f64::INFINITY {
        return f64::NAN;
    }
    let counts = ascending(counts);
    let total = counts[last].1;
    if last == 0 || total == 0.0 {
        return f64::NAN;
    }
    let rank = q * total;
    let found = counts[..last].iter().position(|(_, count)| *count >= rank).unwrap_or(last);
    let (end, count) = counts[found];
    match found {
        _ if found == last => counts[last - 1].0,
        0 if end <= 0.0 => end,
        0 => end * (rank / count),
        _ => {
            let (start, below) = counts[found - 1];
            start + (end - start) * ((rank - below) / (count - below))
        }
    }
}

/// Counts that never fall; what differs by rounding is made equal.
fn ascending(counts: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut out = counts.to_vec();
    let mut highest = out[0].1;
    for (_, count) in &mut out[1..] {
        let is_close = (*count - highest).abs() / (count.abs() + highest.abs()) < 1e-12;
        if is_close || *count < highest {
            *count = highest;
        } else {
            highest = *count;
        }
    }
    out
}

fn classic_fraction(lower: f64, upper: f64, counts: &[(f64, f64)]) -> f64 {
    let (last, total) = counts[counts.len() - 1];
    if last != f64::INFINITY || total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value: f64| {
        let mut start = if counts[0].0 > 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let mut below = 0.0;
        for &(end, count) in counts {
            if start >= value {
                return below;
            }
            if end > value {
                let is_open = start == f64::NEG_INFINITY;
                let within = below + (count - below) * (value - start) / (end - start);
                return if is_open { count } else { within };
            }
            (start, below) = (end, count);
        }
        total
    };
    let at_most = |rank: f64| if rank > total { total } else { rank };
    (at_most(rank(upper)) - at_most(rank(lower))) / total
}

/// The zero bucket ends at zero where buckets are on one side only.
fn clipped(histogram: &FloatHistogram, mut bucket: Bucket) -> Bucket {
    match (histogram.positive_buckets.is_empty(), histogram.negative_buckets.is_empty()) {
        (false, true) => bucket.lower = 0.0,
        (true, false) => bucket.upper = 0.0,
        _ => {}
    }
    bucket
}

fn quantile(q: f64, histogram: &FloatHistogram) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if q.is_nan() || histogram.count == 0.0 {
        return f64::NAN;
    }
    // Observations that are not numbers lie above all buckets.
    let has_nan = histogram.sum.is_nan();
    let from_below = has_nan || q < 0.5;
    let mut buckets: Vec<Bucket> = histogram.buckets().collect();
    if !from_below {
        buckets.reverse();
    }
    let mut rank = if from_below { q * histogram.count } else { (1.0 - q) * histogram.count };
    let (mut at, mut so_far) = (None, 0.0);
    for (index, bucket) in buckets.iter().enumerate().filter(|(_, bucket)| bucket.count != 0.0) {
        so_far += bucket.count;
        if so_far >= rank {
            at = Some(index);
            break;
        }
    }
    let Some(last) = buckets.last().copied() else { return f64::NAN };
    let mut bucket = at.map_or(last, |at| buckets[at]);
    if histogram.has_custom_bounds() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return bucket.upper;
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        bucket = clipped(histogram, bucket);
    }
    if so_far > histogram.count {
        so_far = histogram.count;
    }
    if so_far < rank {
        return if has_nan { f64::NAN } else { bucket.upper };
    }
    rank = if from_below { rank - (so_far - bucket.count) } else { so_far - rank };
    if has_nan && at.is_some_and(|at| at + 1 < buckets.len()) {
        // Prometheus goes on to the last one.
        bucket = last;
    }
    let share = rank / bucket.count;
    if histogram.has_custom_bounds() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        bucket.lower + (bucket.upper - bucket.lower) * share
    } else {
        exponential(&bucket, share)
    }
}

fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let buckets: Vec<Bucket> = histogram.buckets().collect();
    let count = if histogram.sum.is_nan() {
        buckets.iter().fold(0.0, |sum, bucket| sum + bucket.count)
    } else {
        histogram.count
    };
    let rank = |value: f64| {
        let mut below = 0.0;
        for bucket in &buckets {
            let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            let bucket = if is_zero { clipped(histogram, *bucket) } else { *bucket };
            let is_linear = is_zero || histogram.has_custom_bounds();
            if bucket.lower >= value {
                return below;
            }
            if bucket.lower < value && bucket.upper > value {
                if is_linear && bucket.lower == f64::NEG_INFINITY {
                    return bucket.count;
                }
                return below + bucket.count * share_below(&bucket, value, is_linear);
            }
            below += bucket.count;
        }
        count
    };
    let at_most = |rank: f64| if rank > count { count } else { rank };
    (at_most(rank(upper)) - at_most(rank(lower))) / histogram.count
}

/// The variance, each observation taken for the middle of its bucket.
pub(crate) fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut sum = (0.0, 0.0);
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_bounds() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let away = middle - mean;
        sum = plus(sum, bucket.count * away * away);
    }
    (sum.0 + sum.1) / histogram.count
}

/// What lies below `at`, or above it.
pub(crate) fn trimmed(histogram: &FloatHistogram, at: f64, keep_below: bool) -> FloatHistogram {
    let mut out = histogram.clone();
    let sides = [
        (histogram.positive_bucket_bounds().collect::<Vec<_>>(), &mut out.positive_buckets, true),
        (histogram.negative_bucket_bounds().collect::<Vec<_>>(), &mut out.negative_buckets, false),
    ];
    let (mut count, mut sum, mut is_changed) = (0.0, 0.0, false);
    let mut counted = [false; 2];
    for (side, (buckets, slots, is_positive)) in sides.into_iter().enumerate() {
        for (bucket, slot) in buckets.iter().zip(slots).filter(|(bucket, _)| bucket.count != 0.0) {
            counted[side] = true;
            let is_linear = histogram.has_custom_bounds();
            let (kept, middle) = part(bucket, at, keep_below, (is_positive, is_linear));
            count += kept;
            sum += middle * kept;
            is_changed |= *slot != kept;
            *slot = kept;
        }
    }
    if histogram.zero_count > 0.0 {
        let mut zero = histogram.zero_bucket();
        match counted {
            [true, false] => zero.lower = 0.0,
            [false, true] => zero.upper = 0.0,
            _ => {}
        }
        let (is_all, is_none) = if keep_below {
            (at >= zero.upper, at <= zero.lower)
        } else {
            (at <= zero.lower, at >= zero.upper)
        };
        let width = zero.upper - zero.lower;
        // Where both hold there is no width, and the side that is kept decides.
        let none_first = keep_below;
        let (kept, middle) = match (is_all, is_none) {
            (true, true) if none_first => (0.0, 0.0),
            (true, _) => (zero.count, (zero.lower + zero.upper) / 2.0),
            (_, true) => (0.0, 0.0),
            _ if keep_below => (zero.count * ((at - zero.lower) / width), (zero.lower + at) / 2.0),
            _ => (zero.count * ((zero.upper - at) / width), (at + zero.upper) / 2.0),
        };
        is_changed |= out.zero_count != kept;
        out.zero_count = kept;
        sum += middle * kept;
        count += kept;
    }
    if is_changed {
        (out.count, out.sum) = (count, sum);
        out.compact();
    }
    out
}

/// How much of a bucket is kept, and the middle of that.
fn part(
    bucket: &Bucket,
    at: f64,
    keep_below: bool,
    (is_positive, is_linear): (bool, bool),
) -> (f64, f64) {
    let Bucket { lower, upper, count, .. } = *bucket;
    let middle = |lower: f64, upper: f64| {
        if is_linear {
            return (lower + upper) / 2.0;
        }
        let mean = (lower * upper).abs().sqrt();
        if is_positive { mean } else { -mean }
    };
    let (is_all, is_none) =
        if keep_below { (upper <= at, lower >= at) } else { (lower >= at, upper <= at) };
    if is_all {
        // Nothing lies in the middle of a bucket without an end.
        let middle = match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) => upper / if upper > 0.0 { 2.0 } else { 1.0 },
            (false, true) => lower,
            (false, false) => middle(lower, upper),
        };
        return (count, middle);
    }
    if is_none || at.is_nan() {
        return (0.0, 0.0);
    }
    if upper == f64::INFINITY && lower > f64::NEG_INFINITY {
        // Above its beginning it is kept as a whole, below its end not at all.
        return if keep_below { (0.0, 0.0) } else { (count, at) };
    }
    if lower == f64::NEG_INFINITY {
        let from_zero = at >= 0.0 && upper > 0.0 && upper < f64::INFINITY;
        return match keep_below {
            true if from_zero && at > 0.0 => (count * at / upper, at / 2.0),
            true if upper <= 0.0 => (count, at),
            false if from_zero => (count * (1.0 - at / upper), (at + upper) / 2.0),
            _ => (0.0, 0.0),
        };
    }
    let below = count * share_below(bucket, at, is_linear);
    if keep_below { (below, middle(lower, at)) } else { (count - below, middle(at, upper)) }
}
