//! Chunks read back, wild bytes do not hurt, known bytes are those of Prometheus.

use std::convert::Infallible;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{
    FloatHistogram, Histogram, IntegerHistogram, ResetHint, STALE_NAN_BITS, Span, stale_nan,
};

fn floats(timestamps: &[i64], values: &[f64]) -> Samples {
    let mut data = Vec::new();
    encode_floats(timestamps, values, &mut data);
    let mut out = Samples::default();
    decode(Encoding::Xor, &data, &mut out).expect("it was just written");
    out
}

/// All chunks of the histograms, decoded again; and the header flags of each.
fn histograms(timestamps: &[i64], list: &[Arc<Histogram>]) -> (Samples, Vec<u8>) {
    let (mut out, mut flags) = (Samples::default(), Vec::new());
    encode_histograms::<Infallible>(timestamps, list, &mut |encoding, range, data| {
        let from = out.len();
        decode(encoding, data, &mut out).expect("it was just written");
        let times = &out.timestamps[from..];
        assert_eq!((times[0], times[times.len() - 1]), (range.min_ms, range.max_ms));
        flags.push(data[2] >> 6);
        Ok(())
    })
    .expect("nothing fails");
    (out, flags)
}

fn integer(count: u64, spans: &[(i32, u32)], deltas: &[i64]) -> IntegerHistogram {
    IntegerHistogram {
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 1,
        count,
        sum: count as f64 / 3.0,
        positive_spans: spans.iter().map(|&(offset, length)| Span { offset, length }).collect(),
        positive_deltas: deltas.to_vec(),
        ..IntegerHistogram::default()
    }
}

fn shared(list: impl IntoIterator<Item = IntegerHistogram>) -> Vec<Arc<Histogram>> {
    list.into_iter().map(|h| Arc::new(Histogram::Integer(h))).collect()
}

#[test]
fn floats_have_the_bytes_of_prometheus() {
    // By the rules: count, varint of the time, float, uvarint 15000, `0`; then `0` `0`.
    let mut data = Vec::new();
    encode_floats(&[1000, 16_000, 31_000], &[1.0, 1.0, 1.0], &mut data);
    let expected = [0, 3, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0x98, 0x75, 0];
    assert_eq!(data, expected);
    // A time field of 14 bits and a new window of one bit: `10` `00000000000001` `11` `01100`
    // `000001` `1`.
    data.clear();
    encode_floats(&[0, 1000, 2001], &[1.0, 1.0, 1.5], &mut data);
    assert_eq!(data[13..], [0b0100_0000, 0b0000_0000, 0b1110_1100, 0b0000_0110]);
}

#[test]
fn xor2_is_read() {
    // Header 0x81: the first start is known and changes at sample 1.
    let mut bits = super::super::bits::BitWriter::new(&[0, 4, 0x81]);
    bits.varint(10_000);
    bits.float(stale_nan());
    bits.varint(9_000);
    bits.uvarint(1_000);
    bits.bits(0b110, 3);
    // The baseline is 0, so the difference is the value: 2.0 has one bit, at place 62.
    bits.bits(1, 5);
    bits.bits(1, 6);
    bits.bits(1, 1);
    bits.varbit_int(8_000);
    bits.bits(0b11111, 5);
    bits.varbit_int(1_000);
    bits.bits(0b110, 3);
    bits.bits(-5_i64 as u64, 13);
    bits.bit(false);
    bits.varbit_int(1_000);
    let mut out = Samples::default();
    decode(Encoding::Xor2, &bits.into_bytes(), &mut out).unwrap();
    assert_eq!(out.timestamps, [10_000, 11_000, 12_000, 12_995]);
    let values: Vec<u64> = out.values.iter().map(|v| v.to_bits()).collect();
    let two = 2.0_f64.to_bits();
    assert_eq!(values, [STALE_NAN_BITS, two, STALE_NAN_BITS, two]);
    assert_eq!(out.starts_ms, [1_000, 2_000, 2_000, 2_000]);
}

#[test]
fn growing_histograms_share_a_chunk() {
    let list = shared([
        integer(5, &[(0, 2)], &[2, 1]),
        integer(8, &[(0, 2), (1, 1)], &[2, 1, -1]),
        integer(9, &[(-1, 5)], &[0, 2, 2, -4, 2]),
    ]);
    let (out, flags) = histograms(&[1, 2, 3], &list);
    assert_eq!(flags, [0]);
    for (i, expected) in list.iter().enumerate() {
        let Histogram::Integer(found) = &**out.histogram(i).unwrap() else { panic!("integers") };
        assert_eq!(found.positive_spans, [Span { offset: -1, length: 5 }]);
        assert_eq!(content(out.histogram(i).unwrap()), content(expected));
    }
    assert_eq!(out.histogram(2).unwrap().reset_hint(), ResetHint::NotReset);
}

#[test]
fn chunks_end_where_readers_could_be_misled() {
    let base = || integer(5, &[(0, 2)], &[2, 1]);
    let stale = IntegerHistogram { sum: stale_nan(), ..IntegerHistogram::default() };
    let told = IntegerHistogram { reset_hint: ResetHint::Reset, ..base() };
    let gauge = |count| IntegerHistogram { reset_hint: ResetHint::Gauge, count, ..base() };
    let fewer = integer(6, &[(0, 2)], &[1, 3]);
    let finer = IntegerHistogram { schema: 4, ..base() };
    let list =
        shared([base(), fewer, stale, base(), told, gauge(9), gauge(2), base(), finer.clone()]);
    let times: Vec<i64> = (0..list.len() as i64).map(|i| i * 15_000).collect();
    let (out, flags) = histograms(&times, &list);
    assert_eq!(flags, [0b00, 0b10, 0b00, 0b10, 0b11, 0b00, 0b00]);
    assert_eq!(out.timestamps, times);
    assert!(out.histogram(2).unwrap().is_stale());
    assert_eq!(out.histogram(6), Some(&list[6]));
    let hint = out.histogram(8).unwrap().reset_hint();
    assert_eq!(hint, ResetHint::Unknown);
}

#[test]
fn wide_runs_are_cut() {
    let list = shared((0..250).map(|i| integer(5 + i, &[(0, 2)], &[2, i as i64])));
    let times: Vec<i64> = (0..250).map(|i| 1_700_000_000_000 + i * 15_000).collect();
    let (out, flags) = histograms(&times, &list);
    assert_eq!((out.len(), flags), (250, vec![0b00, 0b01, 0b01]));
}

#[test]
fn custom_buckets_and_thresholds_come_back() {
    let bounds: Arc<[f64]> = [0.005, 0.1, 1.0, 33_554.43, 33_554.431, -2.0, 0.1 + 0.2].into();
    for zero_threshold in [0.0, 1e-128, 2f64.powi(-243), 1024.0, 2048.0, 2f64.powi(-244)] {
        let histogram = FloatHistogram {
            schema: -53,
            zero_threshold,
            count: 7.5,
            sum: -0.0,
            positive_spans: vec![Span { offset: 0, length: 8 }],
            positive_buckets: vec![0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            custom_bounds: Arc::clone(&bounds),
            ..FloatHistogram::default()
        };
        let list = [Arc::new(Histogram::Float(histogram))];
        let (out, _) = histograms(&[5], &list);
        assert_eq!(out.histogram(0), Some(&list[0]), "threshold {zero_threshold}");
    }
}

fn any_integer() -> impl Strategy<Value = IntegerHistogram> {
    let spans = || proptest::collection::vec((-3_i32..5, 0_u32..4), 0..3);
    let count = || proptest::collection::vec(0_i64..9, 12);
    (spans(), spans(), count(), count(), 0_i32..2, any::<u32>(), 0_u8..4).prop_map(
        |(positive, negative, p, n, schema, sum, hint)| {
            let to_spans = |spans: Vec<(i32, u32)>| {
                let spans = spans.into_iter().enumerate().map(|(i, (offset, length))| Span {
                    offset: if i == 0 { offset } else { offset.abs() },
                    length,
                });
                spans.collect::<Vec<_>>()
            };
            let (positive_spans, negative_spans) = (to_spans(positive), to_spans(negative));
            let deltas = |spans: &[Span], counts: &[i64]| {
                let len = spans.iter().map(|s| s.length as usize).sum();
                let mut before = 0;
                let delta = counts.iter().take(len).map(|&count| {
                    let delta = count - before;
                    before = count;
                    delta
                });
                delta.collect::<Vec<_>>()
            };
            IntegerHistogram {
                reset_hint: ResetHint::from_u8(hint).unwrap(),
                schema,
                zero_threshold: 0.5,
                zero_count: p[11] as u64,
                count: p.iter().chain(&n).sum::<i64>() as u64,
                sum: f64::from(sum) / 7.0,
                positive_deltas: deltas(&positive_spans, &p),
                negative_deltas: deltas(&negative_spans, &n),
                positive_spans,
                negative_spans,
                ..IntegerHistogram::default()
            }
        },
    )
}

type Buckets = Vec<(i64, f64)>;

/// Buckets that are not empty.
fn content(histogram: &Histogram) -> (f64, f64, f64, Buckets, Buckets) {
    let h = histogram.to_float();
    let buckets = |spans: &[Span], counts: &[f64]| {
        let (mut next, mut counts) = (0_i64, counts.iter());
        let mut pairs = Vec::new();
        for span in spans {
            next += i64::from(span.offset);
            for _ in 0..span.length {
                pairs.extend(counts.next().filter(|&&c| c != 0.0).map(|&c| (next, c)));
                next += 1;
            }
        }
        pairs
    };
    let positive = buckets(&h.positive_spans, &h.positive_buckets);
    let negative = buckets(&h.negative_spans, &h.negative_buckets);
    (h.count, h.zero_count, h.sum, positive, negative)
}

proptest! {
    #[test]
    fn every_float_comes_back(
        first in -1_i64 << 42..1 << 42,
        steps in proptest::collection::vec((1_i64..1 << 40, 0_u32..40, any::<u64>()), 0..200),
    ) {
        let mut t_ms = first;
        let mut expected = Samples::default();
        for (step, shift, bits) in steps {
            t_ms += (step >> shift).max(1);
            expected.push(t_ms, f64::from_bits(bits));
        }
        let found = floats(&expected.timestamps, &expected.values);
        prop_assert_eq!(found.timestamps, expected.timestamps);
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&found.values), bits(&expected.values));
    }

    #[test]
    fn every_histogram_comes_back(
        list in proptest::collection::vec((any_integer(), any::<bool>()), 0..30),
    ) {
        let list: Vec<Arc<Histogram>> = list.into_iter().map(|(h, is_float)| {
            let integer = Histogram::Integer(h);
            Arc::new(if is_float { Histogram::Float(integer.to_float()) } else { integer })
        }).collect();
        let times: Vec<i64> = (0..list.len() as i64).map(|i| i * i + 7 * i).collect();
        let (out, _) = histograms(&times, &list);
        prop_assert_eq!(&out.timestamps, &times);
        for (i, expected) in list.iter().enumerate() {
            let found = out.histogram(i).unwrap();
            prop_assert_eq!(content(found), content(expected));
            let gauge = |h: &Histogram| h.reset_hint() == ResetHint::Gauge;
            prop_assert_eq!(gauge(found), gauge(expected));
        }
    }

    #[test]
    fn wild_bytes_do_not_panic(encoding in 1_u8..7, data: Vec<u8>) {
        let mut out = Samples::default();
        let encoding = Encoding::from_u8(encoding).unwrap();
        let _ = decode(encoding, &data, &mut out);
        prop_assert!(out.timestamps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
