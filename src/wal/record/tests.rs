//! Entries of records come back as they were written.

use super::*;
use crate::encoding::histogram::tests::any_histogram;
use proptest::prelude::*;

#[derive(Default)]
struct Rows {
    last: std::collections::HashMap<u32, u64>,
    seen: Vec<(i64, bool, ReadSample)>,
}

impl RowsSink for Rows {
    fn previous(&self, slot: u32) -> u64 {
        self.last.get(&slot).copied().unwrap_or(0)
    }

    fn sample(&mut self, t_ms: i64, is_late: bool, sample: ReadSample) {
        self.last.insert(sample.slot, sample.bits);
        self.seen.push((t_ms, is_late, sample));
    }
}

#[test]
fn tables_come_back() {
    let series = vec![5, 0, u32::MAX];
    let shape = Shape { group: 4, version: 9, is_full: true, first_slot: 0, series };
    let mut out = Vec::new();
    write_shape(&mut out, &shape);
    assert_eq!(read_shape(&mut Cursor::new(&out)), Ok(shape));
    let entry = DeletionEntry { id: 7, min_ms: i64::MIN, max_ms: i64::MAX, below_file: 300 };
    let mut out = Vec::new();
    write_deletion(&mut out, entry);
    assert_eq!(read_deletion(&mut Cursor::new(&out)), Ok(Some(entry)));
}

/// How it is written, bits, histogram, start.
fn any_sample() -> impl Strategy<Value = (u8, u64, Option<Histogram>, Option<i64>)> {
    let histogram = prop::option::weighted(0.1, any_histogram());
    let start_ms = prop::option::weighted(0.1, any::<i64>());
    (0_u8..4, any::<u64>(), histogram, start_ms)
}

proptest! {
    #[test]
    fn rows_come_back(
        rows in prop::collection::vec(
            (any::<i64>(), any::<bool>(),
             prop::collection::btree_map(0_u32..300, any_sample(), 0..300)),
            0..5),
        source: Option<u16>,
    ) {
        let source = source.map(u32::from);
        let header = RowsHeader { group: 3, number: 9, previous: 7, slots: 300, source };
        let mut out = Vec::new();
        let mut writer = RowsWriter::begin(&mut out, header);
        let mut last = std::collections::HashMap::new();
        let mut expected = Vec::new();
        for (t_ms, is_late, samples) in &rows {
            let mut row = Vec::new();
            for (&slot, (how, bits, histogram, start_ms)) in samples {
                let previous = last.get(&slot).copied().unwrap_or(0);
                let bits = if *how == 1 { previous } else { *bits };
                let bits = histogram.as_ref().map_or(bits, |h| h.sum().to_bits());
                let (histogram, start_ms) = (histogram.as_ref(), *start_ms);
                let is_absolute = *how == 0;
                row.push(RowSample { slot, previous, bits, is_absolute, histogram, start_ms });
                last.insert(slot, bits);
                let histogram = histogram.cloned();
                let sample = ReadSample { slot, bits, is_absolute, histogram, start_ms };
                expected.push((*t_ms, *is_late, sample));
            }
            writer.row(*t_ms, *is_late, row.iter().copied());
        }
        let mut cursor = Cursor::new(&out);
        prop_assert_eq!(read_rows_header(&mut cursor), Ok(header));
        let mut sink = Rows::default();
        prop_assert_eq!(read_rows(&mut cursor, 300, &mut sink), Ok(()));
        // A sum may be no number, which equals nothing.
        prop_assert_eq!(format!("{:?}", sink.seen), format!("{expected:?}"));
    }

    #[test]
    fn wild_bytes_do_not_panic(bytes: Vec<u8>) {
        read_any(&bytes);
    }
}
