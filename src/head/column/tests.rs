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
