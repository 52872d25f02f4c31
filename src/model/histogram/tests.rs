//! Kinds of histogram, and arithmetic against plain, slow forms.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn integers_become_floats() {
    let integer = IntegerHistogram {
        count: 9,
        sum: 4.5,
        positive_spans: vec![Span { offset: -1, length: 3 }],
        positive_deltas: vec![2, 3, -3],
        ..IntegerHistogram::default()
    };
    let float = Histogram::Integer(integer).to_float();
    assert_eq!((float.count, float.sum), (9.0, 4.5));
    assert_eq!(float.positive_buckets, [2.0, 5.0, 2.0]);
    assert!(!float.has_custom_bounds());
}

#[test]
fn hints_read_back() {
    for hint in [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge] {
        assert_eq!(ResetHint::from_u8(hint.to_u8()), Some(hint));
    }
    assert_eq!(ResetHint::from_u8(4), None);
}

/// A side as a map, which is what the slow forms work on.
type Map = BTreeMap<i32, f64>;

fn span_map(walk: buckets::Indexed<'_>) -> Map {
    walk.collect()
}

fn populated(mut map: Map) -> Map {
    map.retain(|_, count| *count != 0.0);
    map
}

/// Whole counts, so that every order of addition gives the same.
fn side() -> impl Strategy<Value = (Vec<Span>, Vec<f64>)> {
    prop::collection::vec((0..4_i32, prop::collection::vec(0..9_i32, 0..4)), 0..4).prop_map(
        |runs| {
            let mut spans = Vec::new();
            let mut counts = Vec::new();
            for (at, (offset, run)) in runs.into_iter().enumerate() {
                let offset = if at == 0 { offset - 2 } else { offset };
                spans.push(Span { offset, length: run.len() as u32 });
                counts.extend(run.into_iter().map(f64::from));
            }
            (spans, counts)
        },
    )
}

fn exponential() -> impl Strategy<Value = FloatHistogram> {
    let thresholds = prop_oneof![Just(0.0), Just(0.001), Just(0.5), Just(1.5), Just(4.0)];
    (side(), side(), 0..3_i32, thresholds, 0..9_i32).prop_map(
        |(positive, negative, schema, zero_threshold, zero)| {
            let zero_count = f64::from(zero);
            let beyond_zero = |(spans, counts): (Vec<Span>, Vec<f64>)| {
                let kept: Vec<f64> = buckets::Indexed::new(&spans, &counts)
                    .map(|(index, count)| {
                        let lower = bounds::exponential_bound(index - 1, schema);
                        if lower < zero_threshold { 0.0 } else { count }
                    })
                    .collect();
                (spans, kept)
            };
            let (positive, negative) = (beyond_zero(positive), beyond_zero(negative));
            let total = positive.1.iter().chain(&negative.1).fold(0.0, |sum, count| sum + count);
            FloatHistogram {
                schema,
                zero_threshold,
                zero_count,
                count: total + zero_count,
                sum: total / 2.0,
                positive_spans: positive.0,
                positive_buckets: positive.1,
                negative_spans: negative.0,
                negative_buckets: negative.1,
                ..FloatHistogram::default()
            }
        },
    )
}

fn custom() -> impl Strategy<Value = FloatHistogram> {
    let bounds = prop::collection::btree_set(0..6_i32, 0..5);
    (bounds, prop::collection::vec(0..9_i32, 6)).prop_map(|(bounds, counts)| {
        let custom_bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
        let length = custom_bounds.len() + 1;
        let counts: Vec<f64> = counts[..length].iter().copied().map(f64::from).collect();
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: counts.iter().sum(),
            positive_spans: vec![Span { offset: 0, length: length as u32 }],
            positive_buckets: counts,
            custom_bounds: custom_bounds.into(),
            ..FloatHistogram::default()
        }
    })
}

/// Both sides and the zero count, all moved to a schema and a zero threshold.
fn slow_view(histogram: &FloatHistogram, schema: i32, threshold: f64) -> (Map, Map, f64) {
    let mut zero = histogram.zero_count;
    let mut maps = [histogram.positive(), histogram.negative()].map(|walk| {
        let mut map = Map::new();
        for (index, count) in walk {
            let steps = (histogram.schema - schema) as u32;
            let index = (f64::from(index) / f64::from(1 << steps)).ceil() as i32;
            *map.entry(index).or_default() += count;
        }
        map
    });
    for map in &mut maps {
        map.retain(|index, count| {
            let stays = bounds::exponential_bound(*index, schema) > threshold;
            if !stays {
                zero += *count;
            }
            stays
        });
    }
    let [positive, negative] = maps;
    (populated(positive), populated(negative), zero)
}

/// The least zero threshold not below either that cuts no counted bucket.
fn slow_threshold(a: &FloatHistogram, b: &FloatHistogram) -> f64 {
    let mut threshold = a.zero_threshold.max(b.zero_threshold);
    loop {
        let sides = [a, b].into_iter().flat_map(|h| {
            h.positive_bucket_bounds()
                .map(|b| (b.lower, b.upper, b.count))
                .chain(h.negative_bucket_bounds().map(|b| (-b.upper, -b.lower, b.count)))
        });
        let is_cut = |bucket: &(f64, f64, f64)| {
            bucket.2 != 0.0 && bucket.0 < threshold && bucket.1 > threshold
        };
        let moved = sides.filter(is_cut).map(|bucket| bucket.1).fold(threshold, f64::max);
        // Histograms of equal thresholds are left as they are.
        if moved == threshold || a.zero_threshold == b.zero_threshold {
            return threshold;
        }
        threshold = moved;
    }
}

/// Whether the zero bucket of a sum ends at a bound of the coarser schema. COMPAT: elsewhere
/// Prometheus counts what lies between twice.
fn zero_ends_at_a_bound(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    a.schema == b.schema || (a.zero_threshold != 1.5 && b.zero_threshold != 1.5)
}

fn plus(a: &Map, b: &Map, sign: f64) -> Map {
    let mut sum = a.clone();
    for (index, count) in b {
        *sum.entry(*index).or_default() += sign * count;
    }
    populated(sum)
}

proptest! {
    #[test]
    fn sums_are_those_of_maps(a in exponential(), b in exponential(), takes_away in any::<bool>()) {
        prop_assume!(a.zero_threshold != b.zero_threshold || a.zero_threshold == 0.0);
        prop_assume!(zero_ends_at_a_bound(&a, &b));
        let threshold = slow_threshold(&a, &b);
        let schema = a.schema.min(b.schema);
        let sign = if takes_away { -1.0 } else { 1.0 };
        let mut sum = a.clone();
        if takes_away { sum.subtract(&b) } else { sum.add(&b) }.unwrap();
        prop_assert_eq!((sum.schema, sum.zero_threshold), (schema, threshold));
        prop_assert_eq!(sum.count, a.count + sign * b.count);
        let slow_a = slow_view(&a, schema, threshold);
        let slow_b = slow_view(&b, schema, threshold);
        prop_assert_eq!(populated(span_map(sum.positive())), plus(&slow_a.0, &slow_b.0, sign));
        prop_assert_eq!(populated(span_map(sum.negative())), plus(&slow_a.1, &slow_b.1, sign));
        prop_assert_eq!(sum.zero_count, slow_a.2 + sign * slow_b.2);
        sum.compact();
        prop_assert!(!sum.positive_buckets.contains(&0.0) && !sum.negative_buckets.contains(&0.0));
    }

    #[test]
    fn compensated_sums_of_whole_counts_are_plain_ones(
        all in prop::collection::vec(prop_oneof![exponential(), exponential()], 1..5),
    ) {
        let mut plain = all[0].clone();
        let mut sum = HistogramSum::new(all[0].clone());
        let mut mean = HistogramMean::new(all[0].clone());
        for other in &all[1..] {
            plain.add(other).unwrap();
            sum.add(other).unwrap();
            mean.add(other).unwrap();
        }
        let (mut total, mut mean) = (sum.total(), mean.value());
        total.compact();
        plain.compact();
        mean.compact();
        prop_assert!(total.is_same(&plain), "{total} {plain}");
        plain.divide(all.len() as f64);
        prop_assert!(mean.is_same(&plain), "{mean} {plain}");
    }

    #[test]
    fn a_sum_is_no_reset_and_a_part_of_it_is(a in exponential(), b in exponential()) {
        prop_assume!(zero_ends_at_a_bound(&a, &b));
        let mut sum = a.clone();
        sum.add(&b).unwrap();
        prop_assert!(!a.is_reset_since(&a));
        prop_assert!(!sum.is_reset_since(&a), "{sum} {a}");
        if b.count > 0.0 {
            prop_assert!(a.is_reset_since(&sum));
        }
    }

    #[test]
    fn listed_bounds_meet_in_those_of_both(a in custom(), b in custom()) {
        let mut sum = a.clone();
        let reconciled = sum.add(&b).unwrap();
        prop_assert_eq!(reconciled.bounds_differed, a.custom_bounds != b.custom_bounds);
        let common: Vec<f64> =
            a.custom_bounds.iter().copied().filter(|x| b.custom_bounds.contains(x)).collect();
        prop_assert_eq!(&*sum.custom_bounds, &*common);
        // What stands at or below each common bound is the same in sum and parts.
        let below = |h: &FloatHistogram, bound: f64| -> f64 {
            h.buckets().filter(|b| b.upper <= bound).map(|b| b.count).sum()
        };
        for bound in common.into_iter().chain([f64::INFINITY]) {
            prop_assert_eq!(below(&sum, bound), below(&a, bound) + below(&b, bound));
        }
        let mut compensated = HistogramSum::new(a.clone());
        compensated.add(&b).unwrap();
        prop_assert!(compensated.total().is_same(&sum));
        prop_assert!(!sum.is_reset_since(&a));
        prop_assert!(sum.validate().is_ok());
    }
}

#[test]
fn exponential_and_listed_bounds_do_not_add() {
    let listed = FloatHistogram { schema: CUSTOM_BUCKETS_SCHEMA, ..FloatHistogram::default() };
    assert_eq!(FloatHistogram::default().add(&listed), Err(MixedSchemas));
    assert!(listed.is_reset_since(&FloatHistogram::default()));
}

#[test]
fn hints_of_sums() {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    for (a, b, hint, collides) in [
        (Reset, Reset, Reset, false),
        (Reset, NotReset, Unknown, true),
        (NotReset, Unknown, Unknown, false),
        (Unknown, Gauge, Gauge, false),
        (Gauge, Reset, Gauge, false),
    ] {
        let of = |reset_hint| FloatHistogram { reset_hint, ..FloatHistogram::default() };
        let mut sum = of(a);
        assert_eq!(sum.add(&of(b)).unwrap().hints_collide, collides);
        assert_eq!(sum.reset_hint, hint);
        sum.multiply(-1.0);
        assert_eq!(sum.reset_hint, Gauge);
    }
}

#[test]
fn a_mean_survives_an_overflowing_sum() {
    let large = FloatHistogram { count: f64::MAX, sum: 3.0, ..FloatHistogram::default() };
    let mut mean = HistogramMean::new(large.clone());
    mean.add(&large).unwrap();
    mean.add(&large).unwrap();
    let mean = mean.value();
    assert!(mean.count > f64::MAX * 0.999_999 && (mean.sum - 3.0).abs() < 1e-9);
}

#[test]
fn what_is_inconsistent_is_refused() {
    use validate::{HistogramError as E, Side};
    let one = |length| vec![Span { offset: 0, length }];
    let good = FloatHistogram {
        count: 1.0,
        positive_spans: one(1),
        positive_buckets: vec![1.0],
        ..FloatHistogram::default()
    };
    assert_eq!(good.validate(), Ok(()));
    let refused = |change: &dyn Fn(&mut FloatHistogram), error: E| {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(bad.validate(), Err(error));
    };
    refused(&|h| h.schema = 9, E::InvalidSchema(9));
    refused(&|h| h.count = -1.0, E::NegativeCount(-1.0));
    refused(&|h| h.positive_buckets[0] = -2.0, E::NegativeBucket(Side::Positive, 1, -2.0));
    refused(&|h| h.custom_bounds = [1.0].into(), E::UnexpectedBounds);
    refused(
        &|h| h.negative_spans = one(2),
        E::BucketsMismatch { side: Side::Negative, spans: 2, buckets: 0 },
    );
    let custom = |bounds: &'static [f64]| {
        move |h: &mut FloatHistogram| {
            h.schema = CUSTOM_BUCKETS_SCHEMA;
            h.custom_bounds = bounds.into();
        }
    };
    refused(&custom(&[2.0, 1.0]), E::BoundsNotAscending(2.0, 1.0));
    refused(&custom(&[1.0, f64::INFINITY]), E::BoundsInfinite);
    let integer = IntegerHistogram {
        count: 3,
        positive_spans: one(2),
        positive_deltas: vec![1, 1],
        ..IntegerHistogram::default()
    };
    assert_eq!(Histogram::Integer(integer.clone()).validate(), Ok(()));
    let bad = IntegerHistogram { count: 4, ..integer };
    assert_eq!(bad.validate(), Err(E::CountMismatch { buckets: 3, count: 4 }));
}
