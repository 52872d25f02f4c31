//! The timestamps of a column: an even grid and what strays from it.
//!
//! The first byte tells the kind: 0, a stream ([`super::ints`]) of the timestamps; 1, a step
//! (varint) and a stream of what each timestamp has above `index · step`. An even grid is linear
//! under kind 0; late and early rows leave small numbers under kind 1; rows left out shift the
//! grid, which the stream takes as one step.

use super::ints::{self, Stream};
use super::{ChunkError, Coder, SAMPLES_PER_CHUNK_MAX, check_count};
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::write_varint;

const PLAIN: u8 = 0;
const GRID: u8 = 1;

/// Appends the payload of `timestamps`: milliseconds, in any order; ascending ones get small.
///
/// # Panics
/// If there are none, or more than [`SAMPLES_PER_CHUNK_MAX`].
pub fn encode_timestamps(timestamps: &[i64], coder: Coder, out: &mut Vec<u8>) {
    assert!(
        (1..=SAMPLES_PER_CHUNK_MAX).contains(&timestamps.len()),
        "BUG: a chunk has 1 to {SAMPLES_PER_CHUNK_MAX} samples"
    );
    let start = out.len();
    out.push(PLAIN);
    ints::encode(timestamps, coder, out);
    if Stream::read(&mut Cursor::new(&out[start + 1..])).is_ok_and(|s| s.is_straight()) {
        return;
    }
    let step = middle_step(timestamps);
    let mut grid = 0_i64;
    let strays: Vec<i64> = timestamps
        .iter()
        .map(|t| {
            let stray = t.wrapping_sub(grid);
            grid = grid.wrapping_add(step);
            stray
        })
        .collect();
    let end = out.len();
    out.push(GRID);
    write_varint(out, step);
    ints::encode(&strays, coder, out);
    if out.len() - end < end - start {
        out.drain(start..end);
    } else {
        out.truncate(end);
    }
}

/// The median of the differences.
fn middle_step(timestamps: &[i64]) -> i64 {
    let mut steps: Vec<i64> = timestamps.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let middle = steps.len() / 2;
    if steps.is_empty() { 0 } else { *steps.select_nth_unstable(middle).1 }
}

/// Appends the `n` timestamps of `payload` to `out`, which after an error is as before.
pub fn decode_timestamps(payload: &[u8], n: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    check_count(n)?;
    let before = out.len();
    let result = decode(payload, n, out);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

fn decode(payload: &[u8], n: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let mut cursor = Cursor::new(payload);
    let step = match cursor.u8()? {
        PLAIN => 0,
        GRID => cursor.varint()?,
        kind => return Err(ChunkError::NeedsNewerReader(kind)),
    };
    let stream = Stream::read(&mut cursor)?;
    out.reserve(n);
    let mut grid = 0_i64;
    stream.values(&mut cursor, n, n, |values| {
        out.extend(values.iter().map(|value| {
            let timestamp = value.wrapping_add(grid);
            grid = grid.wrapping_add(step);
            timestamp
        }));
    })?;
    Ok(cursor.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(timestamps: &[i64]) -> usize {
        round_trip_under(timestamps, Coder::Dense);
        round_trip_under(timestamps, Coder::Fast)
    }

    fn round_trip_under(timestamps: &[i64], coder: Coder) -> usize {
        let mut out = vec![];
        encode_timestamps(timestamps, coder, &mut out);
        let mut read = vec![5];
        decode_timestamps(&out, timestamps.len(), &mut read).unwrap();
        assert_eq!(read[1..], *timestamps);
        out.len()
    }

    fn noise(i: i64) -> i64 {
        i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 33 & 0xffff
    }

    const START: i64 = 1_700_000_000_000;

    #[test]
    fn grids_are_tiny() {
        let exact: Vec<i64> = (0..480).map(|i| START + 15_000 * i).collect();
        assert!(round_trip(&exact) <= 12);
        let aligned: Vec<i64> = (0..480)
            .map(|i| START + 15_000 * i + if noise(i) % 20 == 0 { noise(i) % 200 } else { 0 })
            .collect();
        assert!(round_trip(&aligned) <= 15 + 480 / 20 * 4);
        let jitter: Vec<i64> = (0..480).map(|i| START + 15_000 * i + noise(i) % 8).collect();
        assert!(round_trip(&jitter) <= 20 + 480 / 2);
        let holes: Vec<i64> =
            (0..480).map(|i| START + 15_000 * (i + i / 100 * 7) + i64::from(i == 9)).collect();
        assert!(round_trip(&holes) <= 60, "{}", round_trip(&holes));
    }

    #[test]
    fn bad_counts_and_kinds_are_refused() {
        let mut out = vec![];
        encode_timestamps(&[1, 2, 3], Coder::Fast, &mut out);
        let mut read = vec![];
        assert!(decode_timestamps(&out, 0, &mut read).is_err());
        assert!(decode_timestamps(&out, 65_536, &mut read).is_err());
        out.push(0);
        assert!(decode_timestamps(&out, 3, &mut read).is_err());
        out[0] = 2;
        assert_eq!(decode_timestamps(&out, 3, &mut read), Err(ChunkError::NeedsNewerReader(2)));
        assert!(read.is_empty());
    }

    proptest! {
        #[test]
        fn every_column_comes_back(
            timestamps in prop::collection::vec(any::<i64>(), 1..300), shift in 0_u32..64,
        ) {
            let mut t = START;
            let timestamps: Vec<i64> = timestamps
                .iter()
                .map(|step| {
                    t = t.wrapping_add(15_000).wrapping_add(step >> shift);
                    t
                })
                .collect();
            round_trip(&timestamps);
        }

        #[test]
        fn wild_bytes_give_timestamps_or_an_error(bytes: Vec<u8>, n in 0_usize..70_000) {
            let mut out = vec![];
            match decode_timestamps(&bytes, n, &mut out) {
                Ok(()) => prop_assert_eq!(out.len(), n),
                Err(_) => prop_assert!(out.is_empty()),
            }
        }
    }
}
