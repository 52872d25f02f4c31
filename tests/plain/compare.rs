//! Answers side by side.

use narthex::model::{FloatHistogram, Labels};
use narthex::promql::engine::Value;

use super::cells::Cell;

/// Labels and values with their times.
pub(crate) type Shown = (Labels, Vec<(i64, Cell)>);

/// What the engine answered.
pub(crate) fn rows(value: Value) -> Vec<Shown> {
    let histogram = |h: &FloatHistogram| Cell::Histogram(h.clone());
    match value {
        Value::Scalar { t_ms, value } => vec![(Labels::empty(), vec![(t_ms, Cell::Float(value))])],
        Value::String { .. } => Vec::new(),
        Value::Vector(samples) => samples
            .into_iter()
            .map(|s| {
                let cell = s.histogram.map_or(Cell::Float(s.value), |h| histogram(&h));
                (s.labels, vec![(s.t_ms, cell)])
            })
            .collect(),
        Value::Matrix(series) => series
            .into_iter()
            .map(|series| {
                let floats = series.samples.timestamps.iter().zip(&series.samples.values);
                let mut cells: Vec<_> =
                    floats.map(|(t_ms, value)| (*t_ms, Cell::Float(*value))).collect();
                cells.extend(series.histograms.iter().map(|(t_ms, h)| (*t_ms, histogram(h))));
                cells.sort_by_key(|cell| cell.0);
                (series.labels, cells)
            })
            .collect(),
    }
}

/// Panics where the two differ; the order of series does not count.
pub(crate) fn assert_same(expected: &[Shown], found: &[Shown], context: impl Fn() -> String) {
    let sorted = |rows: &[Shown]| {
        let mut rows = rows.to_vec();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    };
    let (expected, found) = (sorted(expected), sorted(found));
    let same_row = |(a, b): (&Shown, &Shown)| {
        let same_cell = |(x, y): (&(i64, Cell), &(i64, Cell))| x.0 == y.0 && is_same(&x.1, &y.1);
        a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(same_cell)
    };
    let same = expected.len() == found.len() && expected.iter().zip(&found).all(same_row);
    assert!(same, "{}\nexpected {expected:#?}\nfound {found:#?}", context());
}

/// Whether two values are the same, bit for bit; which NaN one is does not count.
fn is_same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => same_bits(*a, *b),
        (Cell::Histogram(a), Cell::Histogram(b)) => {
            let bounds = |h: &FloatHistogram| h.custom_bounds.iter().copied().collect::<Vec<_>>();
            a.schema == b.schema
                && same_bits(a.count, b.count)
                && same_bits(a.sum, b.sum)
                && same_bits(a.zero_count, b.zero_count)
                && same_bits(a.zero_threshold, b.zero_threshold)
                && bounds(a) == bounds(b)
                && same_buckets(a.positive(), b.positive())
                && same_buckets(a.negative(), b.negative())
        }
        _ => false,
    }
}

/// Buckets that count nothing may be there or not.
fn same_buckets(a: impl Iterator<Item = (i32, f64)>, b: impl Iterator<Item = (i32, f64)>) -> bool {
    let a: Vec<_> = a.filter(|bucket| bucket.1 != 0.0).collect();
    let b: Vec<_> = b.filter(|bucket| bucket.1 != 0.0).collect();
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same_bits(a.1, b.1))
}

fn same_bits(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}
