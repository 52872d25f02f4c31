//! A column against a plain vector of (row, value).

use proptest::prelude::*;

use super::*;

fn decoded(column: &Column) -> Vec<(u32, u64)> {
    let mut out = vec![];
    column.decode(|row, value| out.push((row, value.to_bits())));
    out
}

fn filled(rows: &[(u32, f64)]) -> Column {
    let mut column = Column::new(0);
    for &(row, value) in rows {
        column.append(row, value);
    }
    column
}

#[test]
fn the_record_is_small() {
    assert!(size_of::<Column>() <= 48);
}

#[test]
fn a_constant_series_has_nothing_on_the_heap() {
    let mut column = Column::new(5);
    assert!(column.is_empty() && column.last_value().is_none());
    for row in 5..70_000 {
        column.append(row, 0.25);
        if row < 60_000 {
            assert_eq!(column.heap_bytes(), 0);
        }
    }
    assert_eq!(column.last(), Some((69_999, 0.25)));
    assert_eq!(column.samples(), 69_995);
    let expected: Vec<_> = (5..70_000).map(|row| (row, 0.25_f64.to_bits())).collect();
    assert_eq!(decoded(&column), expected);
}

#[test]
fn common_deltas_take_one_byte() {
    let counter: Vec<_> = (0..120).map(|i| (i, 1e9 + f64::from(i * 60))).collect();
    assert!(filled(&counter).bytes.len() <= 126);
    let gauge: Vec<_> = (0..120).map(|i| (i, f64::from(200 + i % 13) / 10.0)).collect();
    assert!(filled(&gauge).bytes.len() <= 124);
    let steps: Vec<_> = (0..120).map(|i| (i, f64::from(i / 20))).collect();
    assert!(filled(&steps).bytes.len() <= 12);
}

#[test]
fn gaps_move_the_cursor_when_the_next_value_comes() {
    let mut column = Column::new(10);
    column.append(12, 1.0);
    assert_eq!((column.start_row(), column.cursor()), (12, 13));
    column.append(14, 1.0);
    column.append(1000, 2.0);
    assert_eq!((column.samples(), column.cursor()), (3, 1001));
    let one = 1_f64.to_bits();
    assert_eq!(decoded(&column), [(12, one), (14, one), (1000, 2_f64.to_bits())]);
}

#[test]
fn a_reset_keeps_the_last_value() {
    let mut column = filled(&[(0, 1.5), (1, 2.5), (3, 7.0)]);
    column.reset(4);
    assert!(column.is_empty() && column.last().is_none() && column.heap_bytes() == 0);
    assert_eq!(column.last_value(), Some(7.0));
    column.append(4, 7.0);
    column.append(5, 8.125);
    assert_eq!(decoded(&column), [(4, 7_f64.to_bits()), (5, 8.125_f64.to_bits())]);
}

#[test]
#[should_panic(expected = "rows only grow")]
fn a_row_below_the_cursor_is_a_bug() {
    filled(&[(3, 1.0), (3, 1.0)]);
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => any::<u64>().prop_map(f64::from_bits),
        4 => (-100_i32..100).prop_map(f64::from),
        3 => (any::<i32>(), 0_u8..4).prop_map(|(i, e)| decimal::to_f64(i64::from(i), e)),
        1 => (any::<i64>(), 0_u8..=22).prop_map(|(i, e)| decimal::to_f64(i >> 11, e)),
        1 => any::<f64>(),
        1 => prop::sample::select(vec![
            f64::from_bits(STALE_NAN_BITS), f64::from_bits(NORMAL_NAN_BITS),
            f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::MAX, f64::MIN_POSITIVE,
            9_007_199_254_740_991.0, -9_007_199_254_740_991.0, 9_007_199_254_740_992.0,
        ]),
    ]
}

/// Rows with random gaps; about half of the values repeat the one before.
fn any_rows() -> impl Strategy<Value = Vec<(u32, f64)>> {
    let step = (prop_oneof![8 => Just(1_u32), 2 => 2_u32..4, 1 => 1_u32..100_000], 0..2);
    prop::collection::vec((step, any_value(), 1_u32..40), 0..80).prop_map(|steps| {
        let mut rows = vec![];
        let mut row = 0;
        for ((gap, repeats), value, times) in steps {
            row += gap;
            for _ in 0..if repeats == 0 { 1 } else { times } {
                rows.push((row, value));
                row += 1;
            }
        }
        rows
    })
}

proptest! {
    #[test]
    fn every_value_comes_back(rows in any_rows(), at in 0_usize..2000, len in 0_usize..100) {
        let column = filled(&rows);
        let model: Vec<_> = rows.iter().map(|&(row, value)| (row, value.to_bits())).collect();
        prop_assert_eq!(decoded(&column), model.clone());
        prop_assert_eq!(column.samples() as usize, rows.len());
        let last = column.last().map(|(row, value)| (row, value.to_bits()));
        prop_assert_eq!(last, model.last().copied());
        prop_assert_eq!(column.cursor(), model.last().map_or(0, |(row, _)| row + 1));

        // Any cut of the rows gives that part, from a snapshot as well.
        let row_of = |i: usize| model.get(i).map_or(column.cursor(), |(row, _)| *row);
        let cut = row_of(at % (rows.len() + 1))..row_of(at % (rows.len() + 1) + len);
        let (mut at_rows, mut values) = (vec![], vec![]);
        column.snapshot().decode_into(cut.clone(), &mut at_rows, &mut values);
        let part: Vec<_> = at_rows.into_iter().zip(values.iter().map(|v| v.to_bits())).collect();
        let expected: Vec<_> =
            model.iter().filter(|(row, _)| cut.contains(row)).copied().collect();
        prop_assert_eq!(part, expected);
    }

    #[test]
    fn rows_before_a_seal_are_forgotten(
        rows in any_rows(), more in any_rows(), at in 0..100_000_u32,
    ) {
        let mut column = filled(&rows);
        column.forget_before(at);
        let base = column.cursor();
        let mut model: Vec<_> = rows.into_iter().filter(|(row, _)| *row >= at).collect();
        for (row, value) in more {
            column.append(base + row, value);
            model.push((base + row, value));
        }
        let model: Vec<_> = model.iter().map(|&(row, value)| (row, value.to_bits())).collect();
        prop_assert_eq!(decoded(&column), model);
    }
}

mod rich {
    //! Columns with histograms and start timestamps.

    use std::sync::Arc;

    use super::*;
    use crate::encoding::histogram::is_same;
    use crate::encoding::histogram::tests::{any_histogram, with_layout_of};
    use crate::head::extra::Extra;

    type Sample = (u32, f64, Extra);

    fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
        let gap = prop_oneof![8 => Just(1_u32), 1 => 2_u32..200];
        let sample = (gap, any_value(), 0_u8..9, any_histogram(), 0_i64..3);
        prop::collection::vec(sample, 0..50).prop_map(|steps| {
            let mut samples: Vec<Sample> = vec![];
            let mut row = 0;
            let mut like: Option<Arc<Histogram>> = None;
            for (gap, value, choice, histogram, start) in steps {
                row += gap;
                let histogram = match (choice, &like) {
                    (0..3, _) => None,
                    (3..7, Some(like)) => Some(Arc::new(with_layout_of(like, &histogram))),
                    _ => Some(Arc::new(histogram)),
                };
                let before = samples.last().map_or(0.0, |sample| sample.1);
                let float = if choice == 0 { before } else { value };
                let value = histogram.as_ref().map_or(float, |histogram| histogram.sum());
                like = histogram.clone().or(like);
                let start_ms = if choice % 2 == 0 { 0 } else { start * 1000 };
                samples.push((row, value, Extra { histogram, start_ms }));
            }
            samples
        })
    }

    fn append(column: &mut Column, known: &mut Extra, samples: &[Sample]) {
        for (row, value, extra) in samples {
            if extra.is_none() && !column.is_rich() {
                column.append(*row, *value);
            } else {
                column.append_rich(*row, *value, extra, known);
            }
        }
    }

    fn assert_samples(column: &Column, rows: Range<u32>, wanted: &[Sample]) {
        let mut wanted = wanted.iter().filter(|sample| rows.contains(&sample.0));
        column.snapshot().decode_samples(rows.clone(), |row, found| {
            let (at, value, extra) = wanted.next().unwrap();
            assert_eq!((row, found.value.to_bits()), (*at, value.to_bits()));
            assert_eq!(found.start_ms, extra.start_ms, "row {row}");
            match (found.histogram, &extra.histogram) {
                (Some(found), Some(wanted)) => assert!(is_same(found, wanted)),
                (found, wanted) => assert_eq!(found, wanted.as_ref()),
            }
        });
        assert!(wanted.next().is_none());
    }

    proptest! {
        #[test]
        fn every_sample_comes_back(
            samples in any_samples(), plain in any_rows(), more in any_samples(),
            at in 0_u32..100, seal in 0_u32..400,
        ) {
            // Floats alone first: a column becomes rich in the middle.
            let plain: Vec<Sample> = plain
                .into_iter()
                .map(|(row, value)| (row, value, Extra::default()))
                .collect();
            let (mut column, mut known) = (Column::new(0), Extra::default());
            append(&mut column, &mut known, &plain);
            let base = column.cursor();
            let mut all = plain;
            all.extend(samples.into_iter().map(|(row, v, extra)| (base + row, v, extra)));
            append(&mut column, &mut known, &all[all.partition_point(|s| s.0 < base)..]);
            assert_samples(&column, 0..u32::MAX, &all);
            assert_samples(&column, base + at..base + at + 20, &all);
            let mut values = vec![];
            column.decode(|row, value| values.push((row, value.to_bits())));
            let wanted: Vec<_> = all.iter().map(|s| (s.0, s.1.to_bits())).collect();
            prop_assert_eq!(values, wanted);

            column.forget_before(base + seal);
            all.retain(|sample| sample.0 >= base + seal);
            let end = column.cursor();
            let more: Vec<Sample> =
                more.into_iter().map(|(row, v, extra)| (end + row, v, extra)).collect();
            append(&mut column, &mut known, &more);
            all.extend(more);
            assert_samples(&column, 0..u32::MAX, &all);
        }
    }

    #[test]
    fn a_histogram_that_moves_a_little_takes_little() {
        let (mut column, mut known) = (Column::new(0), Extra::default());
        for row in 0..120_u32 {
            let histogram = Histogram::Integer(crate::model::IntegerHistogram {
                count: u64::from(row) * 10,
                sum: f64::from(row) * 2.5,
                positive_spans: vec![crate::model::Span { offset: 2, length: 40 }],
                positive_deltas: (0..40).map(|i| i64::from(row) * (i % 2)).collect(),
                ..Default::default()
            });
            let histogram = Some(Arc::new(histogram));
            let value = f64::from(row) * 2.5;
            column.append_rich(row, value, &Extra { histogram, start_ms: 5 }, &mut known);
        }
        assert!(column.heap_bytes() < 120 * 60, "{}", column.heap_bytes());
    }
}
