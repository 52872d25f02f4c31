//! Streams of integers: every sequence back under either coder, damage refused.

use super::*;
use crate::chunk::Coder;
use proptest::prelude::*;

fn round_trip_under(values: &[i64], coder: Coder) -> Vec<u8> {
    let mut out = vec![];
    encode(values, coder, &mut out);
    for n in [values.len(), values.len() / 2, 1, 0] {
        let mut cursor = Cursor::new(&out);
        let mut read = vec![];
        let stream = Stream::read(&mut cursor).unwrap();
        stream.values(&mut cursor, n, values.len(), |v| read.extend_from_slice(v)).unwrap();
        assert_eq!(read, values[..n]);
        assert!(n < values.len() || cursor.is_empty());
    }
    out
}

/// Under both coders; the bytes of the fast one.
fn round_trip(values: &[i64]) -> Vec<u8> {
    let dense = round_trip_under(values, Coder::Dense);
    let fast = round_trip_under(values, Coder::Fast);
    assert!(dense.len() <= fast.len() + fast.len() / 16 + 4, "{} {}", dense.len(), fast.len());
    fast
}

fn residual_of(values: &[i64]) -> Residual {
    RESIDUALS[usize::from(round_trip(values)[0] >> RESIDUAL_SHIFT & 7)]
}

#[test]
fn straight_lines_take_no_body() {
    assert_eq!(round_trip(&[7; 1000]).len(), 2);
    assert_eq!(round_trip(&[-3]).len(), 2);
    let line: Vec<i64> = (0..1000).map(|i| 5 + 15_000 * i).collect();
    assert_eq!(round_trip(&line).len(), 5);
}

#[test]
fn each_shape_finds_its_residual() {
    let noise = |i: i64| {
        let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 50 & 1023) as i64
    };
    let counter: Vec<i64> = (0..500).map(|i| 100_000 * i + noise(i)).collect();
    assert_eq!(residual_of(&counter), Residual::DeltaMin);
    let gauge: Vec<i64> = (0..500).map(|i| 1_000_000 + noise(i)).collect();
    assert_eq!(residual_of(&gauge), Residual::ValueMin);
    let curve: Vec<i64> = (0..500).map(|i| i * i * 1000).collect();
    assert_eq!(residual_of(&curve), Residual::DeltaOfDelta);
}

#[test]
fn multiples_are_divided() {
    let pages: Vec<i64> = (0..500).map(|i| (i * 7919 % 251) * 4096).collect();
    let plain: Vec<i64> = pages.iter().map(|p| p / 4096).collect();
    assert!(round_trip(&pages).len() <= round_trip(&plain).len() + 2);
    round_trip(&[0, i64::MIN, 0, i64::MIN, 0, 0]);
}

#[test]
fn unknown_headers_need_a_newer_reader() {
    for header in
        [CODED_IN_FOUR, CODED | 5 << 3, CODED | HUFFMAN | 7 << 3, LINEAR | 0x80, 0x40, HUFFMAN]
    {
        let read = Stream::read(&mut Cursor::new(&[header, 0, 0, 0]));
        assert_eq!(read.unwrap_err(), ChunkError::NeedsNewerReader(header));
    }
}

proptest! {
    #[test]
    fn every_sequence_comes_back(
        values in prop::collection::vec(any::<i64>(), 1..400), shift in 0_u32..64,
        factor in prop_oneof![Just(1_i64), any::<i64>()], sum: bool,
    ) {
        let mut total = 0_i64;
        let values: Vec<i64> = values
            .into_iter()
            .map(|v| {
                let v = (v >> shift).wrapping_mul(factor);
                total = total.wrapping_add(v);
                if sum { total } else { v }
            })
            .collect();
        round_trip(&values);
    }

    #[test]
    fn wild_bytes_give_values_or_an_error(bytes: Vec<u8>, n in 1_usize..700) {
        let mut cursor = Cursor::new(&bytes);
        let mut count = 0;
        if let Ok(stream) = Stream::read(&mut cursor)
            && stream.values(&mut cursor, n, n, |v| count += v.len()).is_ok()
        {
            prop_assert_eq!(count, n);
        }
    }
}
