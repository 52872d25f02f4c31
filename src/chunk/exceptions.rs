//! Values that do not fit the form of their chunk: the staleness marker, NaN, infinities.
//!
//! The list is the number of runs (uvarint), then for each run of equal values: the values between
//! it and the run before (uvarint), then a uvarint whose two low bits tell the value and whose rest
//! is the length less one; with tag 0 eight bytes of value follow. In the stream beneath, values
//! that are listed here may be anything.

use super::ChunkError;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::write_uvarint;
use crate::model::{NORMAL_NAN_BITS, STALE_NAN_BITS};

const RAW: u64 = 0;
const STALE: u64 = 1;
const AS_BEFORE: u64 = 2;
const NAN: u64 = 3;
const TAG_BITS: u32 = 2;

/// A run of equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Index of its first value.
    pub(super) start: usize,
    /// Number of values, at least 1.
    pub(super) len: usize,
    /// Bits of the value.
    pub(super) bits: u64,
}

/// Collects exceptions in ascending order of indexes.
#[derive(Debug, Default)]
pub(super) struct Exceptions {
    runs: Vec<Run>,
    values: usize,
}

impl Exceptions {
    /// Adds the value at `index`, which is above all before.
    pub(super) fn push(&mut self, index: usize, value: f64) {
        let bits = value.to_bits();
        self.values += 1;
        match self.runs.last_mut() {
            Some(run) if run.start + run.len == index && run.bits == bits => run.len += 1,
            _ => self.runs.push(Run { start: index, len: 1, bits }),
        }
    }

    /// Number of values listed.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// Appends the list.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_uvarint(out, self.runs.len() as u64);
        let mut end = 0;
        let mut before = None;
        for run in &self.runs {
            let tag = match run.bits {
                STALE_NAN_BITS => STALE,
                NORMAL_NAN_BITS => NAN,
                bits if before == Some(bits) => AS_BEFORE,
                _ => RAW,
            };
            write_uvarint(out, (run.start - end) as u64);
            write_uvarint(out, ((run.len - 1) as u64) << TAG_BITS | tag);
            if tag == RAW {
                out.extend_from_slice(&run.bits.to_le_bytes());
            }
            before = Some(run.bits);
            end = run.start + run.len;
        }
    }
}

/// Reads a list for `n` values and gives each run to `visit`, ascending.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    n: usize,
    mut visit: impl FnMut(Run),
) -> Result<(), ChunkError> {
    const OUTSIDE: ChunkError = ChunkError::Corrupt("an exception lies outside its chunk");
    let runs = cursor.uvarint_max(n)?;
    let mut end = 0;
    let mut before = None;
    for _ in 0..runs {
        let start = end + cursor.uvarint_max(n)?;
        let token = cursor.uvarint()?;
        let len = usize::try_from(token >> TAG_BITS).unwrap_or(n).min(n) + 1;
        if start + len > n {
            return Err(OUTSIDE);
        }
        let bits = match token & ((1 << TAG_BITS) - 1) {
            STALE => STALE_NAN_BITS,
            NAN => NORMAL_NAN_BITS,
            AS_BEFORE => before.ok_or(ChunkError::Corrupt("no exception stands before"))?,
            _ => cursor.u64()?,
        };
        visit(Run { start, len, bits });
        before = Some(bits);
        end = start + len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stale_marker_takes_three_bytes() {
        let mut list = Exceptions::default();
        list.push(100, f64::from_bits(STALE_NAN_BITS));
        let mut out = vec![];
        list.write(&mut out);
        assert_eq!(out, [1, 100, 1]);
        assert_eq!(read(&mut Cursor::new(&out), 101, |_| ()), Ok(()));
        assert!(read(&mut Cursor::new(&out), 100, |_| ()).is_err());
    }

    #[test]
    fn damage_is_refused() {
        for bytes in [&[][..], &[1], &[1, 0], &[1, 0, 0, 1], &[1, 0, 2], &[1, 9, 1], &[11]] {
            assert!(read(&mut Cursor::new(bytes), 8, |_| ()).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn lists_come_back(picks in prop::collection::btree_map(0_usize..500, 0_usize..5, 0..60)) {
            let values = [f64::NAN, f64::from_bits(STALE_NAN_BITS), f64::INFINITY, -0.0, 1e300];
            let mut list = Exceptions::default();
            for (index, value) in &picks {
                list.push(*index, values[*value]);
            }
            let mut out = vec![];
            list.write(&mut out);
            let mut read_back = vec![];
            let mut cursor = Cursor::new(&out);
            read(&mut cursor, 500, |run| {
                read_back.extend((run.start..run.start + run.len).map(|i| (i, run.bits)));
            }).unwrap();
            let model: Vec<_> = picks.iter().map(|(i, v)| (*i, values[*v].to_bits())).collect();
            prop_assert_eq!(read_back, model);
            prop_assert!(cursor.is_empty());
            prop_assert_eq!(list.values(), picks.len());
        }
    }
}
