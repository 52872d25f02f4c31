//! Chunks as their users see them: every value back, sizes by shape, damage refused.

use proptest::prelude::*;

use super::*;
use crate::model::{NORMAL_NAN_BITS, STALE_NAN_BITS};

fn encoded(values: &[f64]) -> Vec<u8> {
    encoded_under(values, Coder::Fast)
}

fn encoded_under(values: &[f64], coder: Coder) -> Vec<u8> {
    let mut out = vec![0xaa];
    encode_values(values, coder, &mut out);
    out.remove(0);
    out
}

/// Encodes and decodes, whole and in part, under both coders; the payload of the fast one.
fn round_trip(values: &[f64]) -> Vec<u8> {
    let dense = round_trip_under(values, Coder::Dense);
    let fast = round_trip_under(values, Coder::Fast);
    assert!(dense.len() <= fast.len() + fast.len() / 16 + 8);
    fast
}

fn round_trip_under(values: &[f64], coder: Coder) -> Vec<u8> {
    let payload = encoded_under(values, coder);
    let n = values.len();
    for range in [0..n, n / 3..n / 2, n - 1..n, 0..1, n / 2..n / 2] {
        let mut read = vec![1.0];
        decode_values_range(&payload, n, range.clone(), &mut read).unwrap();
        let expected: Vec<u64> = values[range].iter().map(|v| v.to_bits()).collect();
        assert_eq!(read[1..].iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected);
    }
    payload
}

fn kind_of(values: &[f64]) -> u8 {
    round_trip(values)[0] & kind::MASK
}

fn noise(i: u32) -> u32 {
    let mixed = (i ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b1);
    (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b) >> 8
}

fn series(n: u32, value: impl Fn(u32) -> f64) -> Vec<f64> {
    (0..n).map(value).collect()
}

#[test]
fn each_shape_finds_its_kind() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    assert_eq!(kind_of(&[1.0; 500]), kind::DECIMAL);
    assert_eq!(kind_of(&[stale; 5]), kind::CONSTANT);
    assert_eq!(kind_of(&[0.1 + 0.2; 5]), kind::CONSTANT);
    assert_eq!(kind_of(&series(480, |i| f64::from(noise(i) % 1000) / 10.0)), kind::DECIMAL);
    let ended = series(480, |i| if i == 479 { stale } else { f64::from(i) });
    assert_eq!(kind_of(&ended), kind::DECIMAL_EXCEPT);
    let random = series(480, |i| f64::from(noise(i)).sqrt());
    assert_eq!(kind_of(&random), kind::BITS);
    let random_stale = series(480, |i| if i == 7 { stale } else { random[i as usize] });
    assert_eq!(kind_of(&random_stale), kind::EXCEPT);
    let few = series(480, |i| f64::from(2 + noise(i) % 5).sqrt());
    assert_eq!(kind_of(&few), kind::DICTIONARY);
    let mut sum = 0.0;
    let sums: Vec<f64> = (0..480)
        .map(|i| {
            sum += f64::from(noise(i) % 100) / 1000.0;
            sum
        })
        .collect();
    assert_eq!(kind_of(&sums), kind::DECIMAL_ULPS);
    let wild =
        series(50, |i| f64::from_bits(u64::from(noise(i)) << 40 ^ u64::from(noise(!i)) << 7));
    assert_eq!(kind_of(&wild), kind::RAW);
}

#[test]
fn sizes_are_what_the_format_promises() {
    assert!(encoded(&[1.0; 480]).len() <= 3);
    assert!(encoded(&series(480, |i| f64::from(i * 15))).len() <= 4);
    let counter = series(480, |i| 1e6 + f64::from(i * 100 + noise(i) % 16));
    assert!(encoded(&counter).len() <= 340, "{}", encoded(&counter).len());
    let gauge = series(480, |i| f64::from(200 + noise(i) % 16) / 10.0);
    assert!(encoded(&gauge).len() <= 260);
    let pages = series(480, |i| f64::from(noise(i) % 16) * 4096.0);
    assert!(encoded(&pages).len() <= 265);
    let mut ended = counter.clone();
    ended[479] = f64::from_bits(STALE_NAN_BITS);
    assert!(encoded(&ended).len() <= encoded(&counter).len() + 6);
    let mut outlier = gauge.clone();
    outlier[100] = 1.0 / 3.0;
    assert!(encoded(&outlier).len() <= encoded(&gauge).len() + 14);
}

#[test]
fn exponents_up_to_22_come_back() {
    for exponent in 0..=22 {
        let values =
            series(100, |i| crate::encoding::decimal::to_f64(i64::from(noise(i) % 997), exponent));
        assert_eq!(kind_of(&values), kind::DECIMAL, "exponent {exponent}");
        round_trip(&values[..1]);
    }
}

#[test]
fn the_longest_chunk_comes_back() {
    round_trip(&series(SAMPLES_PER_CHUNK_MAX as u32, |i| f64::from(noise(i)) / 7.0));
    round_trip(&vec![f64::from_bits(NORMAL_NAN_BITS); SAMPLES_PER_CHUNK_MAX]);
}

#[test]
fn unknown_kinds_need_a_newer_reader() {
    let mut out = vec![];
    for first in [9, 10, 15, 0x10, 0x17, 0xf4] {
        let read = decode_values(&[first, 0, 0, 0, 0, 0, 0, 0, 0], 1, &mut out);
        assert_eq!(read, Err(ChunkError::NeedsNewerReader(first)));
    }
    let nested = decode_values(&[8, 0, 8, 0, 1, 0, 2], 1, &mut out);
    assert_eq!(nested, Err(ChunkError::NeedsNewerReader(8)));
}

#[test]
fn damage_is_refused_and_leaves_nothing() {
    let values = series(480, |i| if i == 9 { f64::NAN } else { f64::from(noise(i)) / 3.0 });
    let payload = encoded(&values);
    let mut out = vec![2.0];
    for payload in [&payload, &encoded_under(&values, Coder::Dense)] {
        for len in 0..payload.len() {
            assert!(decode_values(&payload[..len], 480, &mut out).is_err());
            assert_eq!(out, [2.0]);
        }
    }
    let mut longer = payload.clone();
    longer.push(0);
    assert!(decode_values(&longer, 480, &mut out).is_err());
    assert!(decode_values(&payload, 0, &mut out).is_err());
    assert!(decode_values(&payload, 65_536, &mut out).is_err());
    assert!(decode_values(&[1 | 15 << 4, 23, 0, 0], 1, &mut out).is_err());
    assert_eq!(out, [2.0]);
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => any::<u64>().prop_map(f64::from_bits),
        3 => any::<i16>().prop_map(f64::from),
        2 => (any::<i32>(), 0_u8..5).prop_map(|(i, e)| f64::from(i) / 10_f64.powi(i32::from(e))),
        1 => prop::sample::select(vec![
            f64::from_bits(STALE_NAN_BITS), f64::from_bits(NORMAL_NAN_BITS),
            f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::MAX, f64::MIN_POSITIVE, 5e-324,
            9_007_199_254_740_991.0, -9_007_199_254_740_992.0,
        ]),
    ]
}

/// Values of one sort with a few of another among them.
fn any_chunk() -> impl Strategy<Value = Vec<f64>> {
    let mixed = prop::collection::vec(any_value(), 1..300);
    let bits = prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..300);
    let decimals = (prop::collection::vec(any::<i32>(), 1..300), 0_u32..31, 0_i32..8).prop_map(
        |(ints, shift, e)| {
            ints.into_iter().map(|i| f64::from(i >> shift) / 10_f64.powi(e)).collect()
        },
    );
    let sums = prop::collection::vec(0.0_f64..10.0, 1..300).prop_map(|steps| {
        let mut sum = 0.0;
        steps
            .into_iter()
            .map(|step| {
                sum += step;
                sum
            })
            .collect::<Vec<_>>()
    });
    let body = prop_oneof![mixed, bits, decimals, sums];
    let strays = prop::collection::vec((any::<prop::sample::Index>(), any_value()), 0..6);
    (body, strays).prop_map(|(mut values, strays)| {
        let n = values.len();
        for (at, value) in strays {
            values[at.index(n)] = value;
        }
        values
    })
}

proptest! {
    #[test]
    fn every_chunk_comes_back(values in any_chunk()) {
        let payload = round_trip(&values);
        prop_assert!(payload.len() <= values.len() * 12 + 20);
    }

    #[test]
    fn wild_bytes_give_values_or_an_error(
        first: u8, bytes: Vec<u8>, n in prop_oneof![1_usize..300, Just(65_535)],
    ) {
        let mut payload = vec![first % 0x60];
        payload.extend(bytes);
        let mut out = vec![];
        match decode_values(&payload, n, &mut out) {
            Ok(()) => prop_assert_eq!(out.len(), n),
            Err(_) => prop_assert!(out.is_empty()),
        }
    }

    #[test]
    fn changed_bytes_give_values_or_an_error(
        values in any_chunk(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
        coder in prop_oneof![Just(Coder::Fast), Just(Coder::Dense)],
    ) {
        let mut payload = encoded_under(&values, coder);
        let at = at.index(payload.len());
        payload[at] = byte;
        payload.truncate(payload.len() - cut.index(payload.len()) / 4);
        let mut out = vec![];
        if decode_values(&payload, values.len(), &mut out).is_ok() {
            prop_assert_eq!(out.len(), values.len());
        }
        let n = values.len();
        let _ = decode_values_range(&payload, n, n / 4..n / 2, &mut out);
    }
}
