//! What the plain evaluator computes with.

use narthex::model::{FloatHistogram, Labels, METRIC_NAME};

/// One value.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(FloatHistogram),
}

impl Cell {
    /// The number, if it is one.
    pub(crate) fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    /// The histogram, if it is one.
    pub(crate) fn histogram(&self) -> Option<&FloatHistogram> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }
}

/// A series: at most one cell for each time.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Its labels.
    pub(crate) labels: Labels,
    /// Whether the name is to go at the end of the query.
    pub(crate) drop_name: bool,
    /// One for each time.
    pub(crate) cells: Vec<Option<Cell>>,
}

impl Row {
    /// Whether it has no value.
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.iter().all(Option::is_none)
    }
}

/// What a node of the tree comes to.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    /// One number for each time.
    Scalar(Vec<f64>),
    /// A literal.
    Text(String),
    /// Series.
    Rows(Vec<Row>),
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) &'static str);

pub(crate) type Answer<T> = Result<T, Refused>;

pub(crate) fn is_metadata(name: &str) -> bool {
    name == METRIC_NAME || name == "__type__" || name == "__unit__"
}

/// Joins rows of equal labels; two with a value at the same time are refused.
pub(crate) fn joined(rows: Vec<Row>) -> Answer<Vec<Row>> {
    let mut out: Vec<Row> = Vec::new();
    for row in rows.into_iter().filter(|row| !row.is_empty()) {
        let Some(known) = out.iter_mut().find(|known| known.labels == row.labels) else {
            out.push(row);
            continue;
        };
        for (slot, cell) in known.cells.iter_mut().zip(row.cells) {
            if slot.is_some() && cell.is_some() {
                return Err(Refused("two series of equal labels"));
            }
            *slot = slot.take().or(cell);
        }
    }
    Ok(out)
}
