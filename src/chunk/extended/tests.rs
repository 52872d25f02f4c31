//! Histograms and start timestamps through chunks of every kind.

use proptest::prelude::*;

use super::*;
use crate::encoding::histogram::is_same;
use crate::encoding::histogram::tests::{any_histogram, with_layout_of};
use crate::model::{FloatHistogram, IntegerHistogram};

/// Equal in every bit.
fn assert_same(a: &Samples, b: &Samples) {
    assert_eq!(a.timestamps, b.timestamps);
    let bits = |samples: &Samples| samples.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(a), bits(b));
    assert_eq!(a.histograms.len(), b.histograms.len());
    for (a, b) in a.histograms.iter().zip(&b.histograms) {
        assert!(a.0 == b.0 && is_same(&a.1, &b.1), "{a:?}\n{b:?}");
    }
    let start = |samples: &Samples| (0..samples.len()).map(|i| samples.start_ms(i)).collect();
    let (a, b): (Vec<i64>, Vec<i64>) = (start(a), start(b));
    assert_eq!(a, b);
}

fn round_trip(samples: &Samples) -> Vec<u8> {
    let n = samples.len();
    let mut out = vec![];
    encode_samples(samples, 0..n, Coder::Fast, &mut out);
    for range in [0..n, n / 3..n, 0..n / 2, n / 2..n / 2] {
        let mut found = Samples::default();
        found.push(-1, 0.5);
        let mut wanted = found.clone();
        wanted.extend_from(samples, range.clone());
        decode_samples(&out, &samples.timestamps, range, &mut found).unwrap();
        assert_same(&found, &wanted);
    }
    out
}

fn any_samples() -> impl Strategy<Value = Samples> {
    let sample = (0_u8..8, any_histogram(), 0_i64..3);
    prop::collection::vec(sample, 1..60).prop_map(|samples| {
        let mut all = Samples::default();
        let mut last: Option<Arc<Histogram>> = None;
        for (i, (choice, histogram, start)) in samples.into_iter().enumerate() {
            let t_ms = i as i64 * 1000;
            match (choice, &last) {
                (0, _) => all.push(t_ms, histogram.sum()),
                (1..7, Some(like)) => {
                    all.push_histogram(t_ms, Arc::new(with_layout_of(like, &histogram)));
                }
                _ => {
                    let histogram = Arc::new(histogram);
                    last = Some(Arc::clone(&histogram));
                    all.push_histogram(t_ms, histogram);
                }
            }
            all.set_last_start(start * 7);
        }
        all
    })
}

proptest! {
    #[test]
    fn all_samples_come_back(samples in any_samples()) {
        round_trip(&samples);
    }

    #[test]
    fn floats_with_starts_come_back(
        starts in prop::collection::vec(any::<i64>(), 1..50), shift in 0_u32..64,
    ) {
        let mut samples = Samples::default();
        for (i, start) in starts.into_iter().enumerate() {
            samples.push(i as i64, i as f64 / 4.0);
            samples.set_last_start(start >> shift);
        }
        round_trip(&samples);
    }

    #[test]
    fn wild_bytes_do_not_panic(bytes: Vec<u8>, flags in 0_u8..4, n in 1_usize..200) {
        let payload = [&[kind::EXTENDED, flags], &bytes[..]].concat();
        decode_wild(&payload, n);
    }

    #[test]
    fn damaged_bytes_do_not_panic(
        samples in any_samples(), at: prop::sample::Index, byte: u8,
    ) {
        let mut out = vec![];
        encode_samples(&samples, 0..samples.len(), Coder::Fast, &mut out);
        let at = at.index(out.len());
        out[at] = byte;
        decode_wild(&out, samples.len());
        decode_wild(&out[..at], samples.len());
    }
}

fn decode_wild(payload: &[u8], n: usize) {
    let times: Vec<i64> = (0..n as i64).collect();
    let mut out = Samples::default();
    match decode_samples(payload, &times, 0..n, &mut out) {
        Ok(()) => assert_eq!(out.len(), n),
        Err(_) => assert!(out.is_empty()),
    }
}

fn growing(i: u64, buckets: u32) -> Histogram {
    Histogram::Integer(IntegerHistogram {
        schema: 3,
        zero_threshold: 1e-128,
        count: i * 10,
        sum: i as f64 * 2.5,
        positive_spans: vec![Span { offset: -4, length: buckets }],
        positive_deltas: (0..i64::from(buckets)).map(|b| b % 3 - 1 + i as i64 % 2).collect(),
        ..IntegerHistogram::default()
    })
}

#[test]
fn a_bucket_is_a_column_over_all_layouts() {
    let mut steady = Samples::default();
    let mut changing = Samples::default();
    for i in 0..120 {
        steady.push_histogram(i as i64, Arc::new(growing(i, 40)));
        changing.push_histogram(i as i64, Arc::new(growing(i, 36 + (i / 30) as u32)));
    }
    let (steady, changing) = (round_trip(&steady).len(), round_trip(&changing).len());
    assert!(changing < steady + 200, "{changing} bytes with four layouts, {steady} with one");
}

#[test]
fn plain_floats_stay_what_they_were() {
    let mut samples = Samples::default();
    for i in 0..50 {
        samples.push(i, i as f64);
    }
    let (mut plain, mut found) = (vec![], vec![]);
    encode_values(&samples.values, Coder::Fast, &mut plain);
    encode_samples(&samples, 0..50, Coder::Fast, &mut found);
    assert_eq!(plain, found);
    round_trip(&samples);
}

#[test]
fn many_buckets_make_many_chunks() {
    let mut samples = Samples::default();
    let histogram = Arc::new(Histogram::Float(FloatHistogram {
        positive_spans: vec![Span { offset: 0, length: 1 << 20 }],
        positive_buckets: vec![1.0; 1 << 20],
        ..FloatHistogram::default()
    }));
    for i in 0..9 {
        samples.push_histogram(i, Arc::clone(&histogram));
    }
    assert_eq!(samples_in_chunk(&samples, 0..9), 4);
    assert_eq!(samples_in_chunk(&samples, 8..9), 1);
    assert_eq!(samples_in_chunk(&Samples::default(), 0..0), 0);
}
