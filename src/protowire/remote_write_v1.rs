//! `prometheus.WriteRequest` (remote write 1.0).
//!
//! Fields: 1 timeseries {1 labels {1 name, 2 value}, 2 samples {1 value, 2 timestamp},
//! 3 exemplars, 4 histograms}, 3 metadata.

use super::field::Fields;
use super::{PushedSeries, WireError};

/// What a request holds beside its series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Series.
    pub series: usize,
    /// Metadata entries.
    pub metadata: usize,
}

/// Calls `visit` for each series of the request. Series before a damaged part are visited;
/// callers that must not act on half a request call this twice, first with a `visit` that does
/// nothing.
pub fn visit_series<'a>(
    request: &'a [u8],
    mut visit: impl FnMut(&PushedSeries<'a>),
) -> Result<Extent, WireError> {
    let mut extent = Extent::default();
    let mut series = PushedSeries::default();
    for field in Fields::new(request) {
        let (number, value) = field?;
        match number {
            1 => {
                series.clear();
                read_series(value.bytes()?, &mut series)?;
                extent.series += 1;
                visit(&series);
            }
            3 => {
                for field in Fields::new(value.bytes()?) {
                    field?;
                }
                extent.metadata += 1;
            }
            _ => {}
        }
    }
    Ok(extent)
}

fn read_series<'a>(message: &'a [u8], series: &mut PushedSeries<'a>) -> Result<(), WireError> {
    for field in Fields::new(message) {
        let (number, value) = field?;
        match number {
            1 => series.labels.push(label(value.bytes()?)?),
            2 => series.samples.push(sample(value.bytes()?)?),
            3 => {
                exemplar(value.bytes()?)?;
                series.exemplars += 1;
            }
            4 => {
                for field in Fields::new(value.bytes()?) {
                    field?;
                }
                series.histograms += 1;
            }
            _ => {}
        }
    }
    Ok(())
}

fn label(message: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut name, mut content): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(message) {
        match field? {
            (1, value) => name = value.bytes()?,
            (2, value) => content = value.bytes()?,
            _ => {}
        }
    }
    Ok((name, content))
}

/// (value, timestamp); both versions number them alike.
pub(super) fn sample(message: &[u8]) -> Result<(f64, i64), WireError> {
    let (mut number, mut t_ms) = (0.0, 0);
    for field in Fields::new(message) {
        match field? {
            (1, value) => number = value.double()?,
            (2, value) => t_ms = value.int64()?,
            _ => {}
        }
    }
    Ok((number, t_ms))
}

fn exemplar(message: &[u8]) -> Result<(), WireError> {
    for field in Fields::new(message) {
        match field? {
            (1, value) => {
                label(value.bytes()?)?;
            }
            (2, value) => {
                value.double()?;
            }
            (3, value) => {
                value.int64()?;
            }
            _ => {}
        }
    }
    Ok(())
}
