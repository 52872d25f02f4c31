//! Columns that are rows of another one.
//!
//! Which vector a vector may be taken from is found by landmarks: each eighth of a window has one,
//! the time in it whose hash is least. Two vectors that are equal in an eighth have the same one
//! there, and targets are scraped at milliseconds of their own; so a few look-ups find the group's
//! vector among any number. What is found is compared row by row.
//!
//! Bytes: kind 2, how many columns before this one its base is (uvarint), rows of the base before
//! the first one taken (uvarint), then, until all rows are there: rows taken in a run (uvarint),
//! and unless they were the last, rows left out (uvarint).

use hashbrown::HashMap;

use crate::chunk::decode_timestamps;
use crate::encoding::cursor::{Cursor, CursorError};
use crate::encoding::varint::write_uvarint;

/// The kind, where timestamps have theirs.
const SUBSET: u8 = 2;
/// Landmarks of a window.
const LANDMARKS: i64 = 8;
/// Runs of a subset at most: with more of them a vector of its own is not larger.
const RUNS_MAX: usize = 64;
/// Bytes of columns kept to take others from; beyond that nothing new is remembered.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Columns that others may be taken from.
#[derive(Debug)]
pub(super) struct Bases {
    landmark_ms: i64,
    /// The column, and its place among those kept, by landmark.
    by_landmark: HashMap<i64, usize>,
    kept: Vec<Base>,
    kept_bytes: usize,
    /// The one decoded last.
    decoded: Option<(usize, Vec<i64>)>,
}

#[derive(Debug)]
struct Base {
    number: u32,
    rows: usize,
    payload: Box<[u8]>,
}

impl Bases {
    pub(super) fn new(window_ms: i64) -> Self {
        Self {
            landmark_ms: (window_ms / LANDMARKS).max(1),
            by_landmark: HashMap::new(),
            kept: Vec::new(),
            kept_bytes: 0,
            decoded: None,
        }
    }

    /// One time of each stretch of the vector, ascending.
    fn landmarks(&self, timestamps: &[i64]) -> Vec<i64> {
        let hash = |t: i64| (t as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let stretches = timestamps
            .chunk_by(|a, b| a.div_euclid(self.landmark_ms) == b.div_euclid(self.landmark_ms));
        // A vector may be longer than a window; a bound holds whatever its times are.
        let stretches = stretches.take(4 * LANDMARKS as usize);
        stretches.filter_map(|times| times.iter().copied().min_by_key(|t| hash(*t))).collect()
    }

    /// Remembers column `number`, whose payload is no subset.
    pub(super) fn add(&mut self, timestamps: &[i64], number: u32, payload: &[u8]) {
        self.kept_bytes += payload.len() + size_of::<Base>() + LANDMARKS as usize * 24;
        if self.kept_bytes > KEPT_BYTES_MAX || timestamps.len() < 2 {
            return;
        }
        let place = self.kept.len();
        let rows = timestamps.len();
        self.kept.push(Base { number, rows, payload: payload.into() });
        for landmark in self.landmarks(timestamps) {
            let known = self.by_landmark.entry(landmark).or_insert(place);
            if self.kept[*known].rows < rows {
                *known = place;
            }
        }
    }

    /// Appends `timestamps` as a part of a column before `number`, if there is one that they are a
    /// part of.
    pub(super) fn write_subset(
        &mut self,
        timestamps: &[i64],
        number: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut places: Vec<usize> = self
            .landmarks(timestamps)
            .iter()
            .filter_map(|landmark| self.by_landmark.get(landmark).copied())
            .collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().any(|place| self.write_part_of(place, timestamps, number, out))
    }

    fn write_part_of(
        &mut self,
        place: usize,
        timestamps: &[i64],
        number: u32,
        out: &mut Vec<u8>,
    ) -> bool {
        let base = &self.kept[place];
        if base.rows <= timestamps.len() {
            return false;
        }
        if self.decoded.as_ref().is_none_or(|(decoded, _)| *decoded != place) {
            let mut times = Vec::new();
            let read = decode_timestamps(&base.payload, base.rows, &mut times);
            read.expect("BUG: a column reads as it was written");
            self.decoded = Some((place, times));
        }
        let (_, times) = self.decoded.as_ref().expect("BUG: decoded above");
        let Some(runs) = runs_of(timestamps, times) else { return false };
        out.push(SUBSET);
        write_uvarint(out, u64::from(number - base.number));
        for rows in &runs {
            write_uvarint(out, *rows as u64);
        }
        true
    }
}

/// Rows of `base` left out and taken in turn, beginning with those left out, until all of `part`
/// are taken. `None` where it is no part of it, or in too many runs.
fn runs_of(part: &[i64], base: &[i64]) -> Option<Vec<usize>> {
    let mut runs = vec![base.partition_point(|t| *t < part[0])];
    let mut row = runs[0];
    let mut rest = part;
    while !rest.is_empty() {
        let taken = rest.iter().zip(&base[row..]).take_while(|(a, b)| a == b).count();
        if taken == 0 || runs.len() > 2 * RUNS_MAX {
            return None;
        }
        runs.push(taken);
        row += taken;
        rest = &rest[taken..];
        if let Some(next) = rest.first() {
            let left_out = base[row..].partition_point(|t| t < next);
            runs.push(left_out);
            row += left_out;
        }
    }
    Some(runs)
}

/// Whether the payload of a column is a list of runs.
pub(super) fn is_subset(payload: &[u8]) -> bool {
    payload.first() == Some(&SUBSET)
}

/// The `rows` times of a subset. `base` reads the column so many before; `damaged` makes an error
/// of what is wrong.
pub(super) fn read_subset<E>(
    payload: &[u8],
    rows: usize,
    base: impl FnOnce(u32) -> Result<Vec<i64>, E>,
    damaged: impl Fn(&'static str) -> E,
) -> Result<Vec<i64>, E> {
    const OUTSIDE: &str = "rows are taken that the base does not have";
    let misread = |e: CursorError| damaged(e.what());
    let mut cursor = Cursor::new(payload);
    cursor.skip(1).map_err(misread)?;
    let times = base(cursor.uvarint_u32().map_err(misread)?)?;
    let mut rest = times.as_slice();
    let mut taken = Vec::with_capacity(rows.min(times.len()));
    while taken.len() < rows {
        let left_out = cursor.uvarint_max(rest.len()).map_err(misread)?;
        rest = &rest[left_out..];
        let count = cursor.uvarint_max(rest.len()).map_err(misread)?;
        if count == 0 || count > rows - taken.len() {
            return Err(damaged(OUTSIDE));
        }
        let (run, behind) = rest.split_at(count);
        taken.extend_from_slice(run);
        rest = behind;
    }
    cursor.finish().map_err(misread)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Coder, encode_timestamps};
    use proptest::prelude::*;

    fn bases(columns: &[&[i64]]) -> Bases {
        let mut bases = Bases::new(7_200_000);
        for (number, times) in (0..).zip(columns) {
            let mut payload = vec![];
            encode_timestamps(times, Coder::Dense, &mut payload);
            bases.add(times, number, &payload);
        }
        bases
    }

    fn grid(phase: i64) -> Vec<i64> {
        (0..480).map(|i| 1_700_000_000_000 + phase + i * 15_000 + i * i % 7).collect()
    }

    #[test]
    fn late_early_and_away_are_a_few_bytes() {
        let columns: Vec<Vec<i64>> = (0..50).map(|i| grid(i * 31)).collect();
        let mut bases = bases(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let all = &columns[17];
        let away: Vec<i64> = [&all[3..100], &all[140..300], &all[301..]].concat();
        for part in [&all[200..], &all[..280], &all[90..390], away.as_slice()] {
            let mut out = vec![];
            assert!(bases.write_subset(part, 50, &mut out));
            assert!(out.len() <= 12, "{} bytes", out.len());
            let read = read_subset(
                &out,
                part.len(),
                |back| Ok(columns[50 - back as usize].clone()),
                |e| e,
            );
            assert_eq!(read.as_deref(), Ok(part));
        }
        let mut strange = all[200..].to_vec();
        strange[100] += 1;
        assert!(!bases.write_subset(&strange, 50, &mut vec![]));
        let every_other: Vec<i64> = all.iter().copied().step_by(2).collect();
        assert!(!bases.write_subset(&every_other, 50, &mut vec![]));
    }

    proptest! {
        #[test]
        fn every_part_comes_back(
            steps in prop::collection::vec(1_i64..100_000, 2..200), kept: u128, salt: u64,
        ) {
            let mut t = 1_700_000_000_000 + (salt % 10_000) as i64;
            let all: Vec<i64> = steps.iter().map(|step| { t += step; t }).collect();
            let is_kept = |i: usize| kept >> (i / 3 % 128) & 1 == 1;
            let part: Vec<i64> =
                (0..all.len()).filter(|i| is_kept(*i)).map(|i| all[i]).collect();
            let mut out = vec![];
            if !part.is_empty() && bases(&[&all]).write_subset(&part, 1, &mut out) {
                let read = read_subset(&out, part.len(), |_| Ok(all.clone()), |e| e);
                prop_assert_eq!(read.as_deref(), Ok(part.as_slice()));
            } else {
                let is_whole = part.len() == all.len();
                prop_assert!(part.is_empty() || is_whole || part.len() < all.len() * 9 / 10);
            }
        }

        #[test]
        fn wild_bytes_give_rows_or_an_error(bytes: Vec<u8>, rows in 1_usize..99) {
            let read = read_subset(&bytes, rows, |_| Ok((0..50).collect()), |e| e);
            prop_assert!(read.is_err() || read.is_ok_and(|times| times.len() == rows));
        }
    }
}
