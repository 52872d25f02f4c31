//! What was deleted from a block.
//!
//! A block never changes, so what is deleted from it stands beside it: for each interval the
//! series, by their numbers in the block, of which it is hidden. The numbers are ordinals in a
//! block of ours; another kind of block may number its series as it likes, as long as it does so
//! the same way every time. Bytes: `storage-format.md`, section 8.6.

use roaring::RoaringBitmap;

use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{write_uvarint, write_varint};
use crate::model::{Samples, TimeRange};

const MAGIC: [u8; 8] = *b"NXTOMB\r\n";
/// Version of the file.
pub const TOMBSTONES_VERSION: u32 = 1;
const CRC_BYTES: usize = 4;

/// Hidden intervals of the series of one block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tombstones {
    entries: Vec<Entry>,
    /// All series of which something is hidden.
    series: RoaringBitmap,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    range: TimeRange,
    series: RoaringBitmap,
}

/// Why bytes are no tombstones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTombstones {
    /// At which byte.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
    /// The version, where that is what is wrong.
    pub version: Option<u32>,
}

impl Tombstones {
    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Number of series of which something is hidden.
    pub fn series_count(&self) -> u64 {
        self.series.len()
    }

    /// Hides `range` of `series`.
    pub fn hide(&mut self, series: &RoaringBitmap, range: TimeRange) {
        if series.is_empty() || range.min_ms > range.max_ms {
            return;
        }
        self.series |= series;
        if let Some(same) = self.entries.iter_mut().find(|entry| entry.range == range) {
            same.series |= series;
            return;
        }
        let joins = |entry: &&mut Entry| {
            range.min_ms <= entry.range.max_ms.saturating_add(1)
                && entry.range.min_ms <= range.max_ms.saturating_add(1)
                && entry.series == *series
        };
        if let Some(longer) = self.entries.iter_mut().find(joins) {
            longer.range.min_ms = longer.range.min_ms.min(range.min_ms);
            longer.range.max_ms = longer.range.max_ms.max(range.max_ms);
            return;
        }
        self.entries.push(Entry { range, series: series.clone() });
    }

    /// Intervals hidden of one series: ascending, without a millisecond in common.
    pub fn of(&self, series: u32) -> Vec<TimeRange> {
        if !self.series.contains(series) {
            return Vec::new();
        }
        let own = self.entries.iter().filter(|entry| entry.series.contains(series));
        let mut ranges: Vec<TimeRange> = own.map(|entry| entry.range).collect();
        ranges.sort_unstable_by_key(|range| range.min_ms);
        ranges.dedup_by(|next, before| {
            let joins = next.min_ms <= before.max_ms.saturating_add(1);
            if joins {
                before.max_ms = before.max_ms.max(next.max_ms);
            }
            joins
        });
        ranges
    }

    /// Takes what is hidden of `series` out of `samples`.
    pub fn apply(&self, series: u32, samples: &mut Samples) {
        let hidden = self.of(series);
        if !hidden.is_empty() {
            samples.retain(|t_ms| !hidden.iter().any(|range| range.contains(t_ms)));
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&TOMBSTONES_VERSION.to_le_bytes());
        for Entry { range, series } in &self.entries {
            write_varint(&mut out, range.min_ms);
            write_varint(&mut out, range.max_ms);
            let mut series = series.clone();
            series.optimize();
            write_uvarint(&mut out, series.serialized_size() as u64);
            series.serialize_into(&mut out).expect("BUG: writing to memory succeeds");
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotTombstones> {
        let bad = |at, what| Err(NotTombstones { at, what, version: None });
        let begin = MAGIC.len() + 4;
        let Some(end) = bytes.len().checked_sub(CRC_BYTES).filter(|&end| end >= begin) else {
            return bad(bytes.len(), "the file is too short");
        };
        let (body, crc) = bytes.split_at(end);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return bad(end, "the checksum does not check");
        }
        if body[..MAGIC.len()] != MAGIC {
            return bad(0, "not a file of tombstones");
        }
        let version = body[MAGIC.len()..begin].iter().rev().fold(0, |v, &b| v << 8 | u32::from(b));
        if version != TOMBSTONES_VERSION {
            let (at, what) = (MAGIC.len(), "no such version");
            return Err(NotTombstones { at, what, version: Some(version) });
        }
        Self::decode_entries(&body[begin..]).map_err(|(at, what)| NotTombstones {
            at: begin + at,
            what,
            version: None,
        })
    }

    fn decode_entries(bytes: &[u8]) -> Result<Self, (usize, &'static str)> {
        let mut found = Self::default();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let at = cursor.offset();
            let short = |_| (at, "an entry is cut off");
            let min_ms = cursor.varint().map_err(short)?;
            let max_ms = cursor.varint().map_err(short)?;
            let len = usize::try_from(cursor.uvarint().map_err(short)?).unwrap_or(usize::MAX);
            let series = cursor.bytes(len).map_err(short)?;
            let series = RoaringBitmap::deserialize_from(series)
                .map_err(|_| (at, "a set of series does not read"))?;
            if min_ms > max_ms || series.is_empty() {
                return Err((at, "an entry that hides nothing"));
            }
            found.hide(&series, TimeRange { min_ms, max_ms });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(series: &[u32]) -> RoaringBitmap {
        series.iter().copied().collect()
    }

    #[test]
    fn intervals_of_a_series_are_joined() {
        let mut tombstones = Tombstones::default();
        tombstones.hide(&set(&[1, 2]), TimeRange { min_ms: 10, max_ms: 20 });
        tombstones.hide(&set(&[2, 3]), TimeRange { min_ms: 15, max_ms: 30 });
        tombstones.hide(&set(&[2]), TimeRange { min_ms: 40, max_ms: 50 });
        tombstones.hide(&set(&[2]), TimeRange { min_ms: 31, max_ms: 35 });
        tombstones.hide(&set(&[]), TimeRange::ALL);
        let range = |min_ms, max_ms| TimeRange { min_ms, max_ms };
        assert_eq!(tombstones.of(1), [range(10, 20)]);
        assert_eq!(tombstones.of(2), [range(10, 35), range(40, 50)]);
        assert_eq!(tombstones.of(3), [range(15, 30)]);
        assert_eq!(tombstones.of(4), []);
        assert_eq!(tombstones.series_count(), 3);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        let mut tombstones = Tombstones::default();
        tombstones.hide(&set(&[1, 70_000]), TimeRange::ALL);
        tombstones.hide(&(0..100_000).collect(), TimeRange { min_ms: -5, max_ms: 7 });
        let bytes = tombstones.encode();
        assert!(bytes.len() < 200, "{} bytes", bytes.len());
        assert_eq!(Tombstones::decode(&bytes), Ok(tombstones));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(Tombstones::decode(&damaged).is_err());
            assert!(Tombstones::decode(&bytes[..at]).is_err());
        }
        let mut newer = bytes[..bytes.len() - CRC_BYTES].to_vec();
        newer[MAGIC.len()] = 9;
        let crc = crc32fast::hash(&newer);
        newer.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(Tombstones::decode(&newer).unwrap_err().version, Some(9));
    }

    proptest! {
        #[test]
        fn what_is_hidden_is_hidden(
            hidden in proptest::collection::vec(
                (proptest::collection::vec(0_u32..5, 0..4), 0_i64..30, 0_i64..30), 0..8),
        ) {
            let mut tombstones = Tombstones::default();
            let mut model = BTreeSet::new();
            for (series, min_ms, max_ms) in hidden {
                tombstones.hide(&set(&series), TimeRange { min_ms, max_ms });
                model.extend(series.iter().flat_map(|&s| (min_ms..=max_ms).map(move |t| (s, t))));
            }
            let back = Tombstones::decode(&tombstones.encode()).unwrap();
            for series in 0..5 {
                for tombstones in [&tombstones, &back] {
                    let mut samples = Samples::default();
                    (0..30).for_each(|t| samples.push(t, t as f64));
                    tombstones.apply(series, &mut samples);
                    let is_kept = |t: &i64| !model.contains(&(series, *t));
                    let kept: Vec<i64> = (0..30).filter(is_kept).collect();
                    prop_assert_eq!(samples.timestamps, kept);
                }
            }
        }

        #[test]
        fn wild_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = Tombstones::decode_entries(&bytes);
            let _ = Tombstones::decode(&bytes);
        }
    }
}
