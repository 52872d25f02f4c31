//! `prometheus.WriteRequest` (remote write 1.0).
//!
//! Fields: 1 timeseries {1 labels {1 name, 2 value}, 2 samples {1 value, 2 timestamp},
//! 3 exemplars {1 labels, 2 value, 3 timestamp}, 4 histograms}, 3 metadata {1 type,
//! 2 `metric_family_name`, 4 help, 5 unit}.

use super::field::Fields;
use super::histogram::read_histogram;
use super::{PushedExemplar, PushedMetadata, PushedSample, PushedSeries, WireError};
use crate::encoding::cursor::Cursor;

/// What a request holds beside its series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Series.
    pub series: usize,
    /// Metadata entries.
    pub metadata: usize,
}

/// Takes the series of a request.
pub trait SeriesVisitor<'a> {
    /// Whether the series whose labels stand in the request as these bytes is known: its labels
    /// are not read then.
    fn knows(&mut self, raw_labels: &'a [u8]) -> bool;
    /// A series. Its labels are empty where [`SeriesVisitor::knows`] has just said yes.
    fn visit(&mut self, series: &PushedSeries<'a>);
    /// What the request says of a metric.
    fn describe(&mut self, metadata: PushedMetadata<'a>);
}

/// Has `visitor` visit each series of the request. Series before a damaged part are visited;
/// callers that must not act on half a request collect first.
pub fn visit_series<'a>(
    request: &'a [u8],
    visitor: &mut impl SeriesVisitor<'a>,
) -> Result<Extent, WireError> {
    let mut extent = Extent::default();
    let mut series = PushedSeries::default();
    for field in Fields::new(request) {
        let (number, value) = field?;
        match number {
            1 => {
                read_message(value.bytes()?, visitor, &mut series)?;
                extent.series += 1;
                visitor.visit(&series);
            }
            3 => {
                visitor.describe(metadata(value.bytes()?)?);
                extent.metadata += 1;
            }
            _ => {}
        }
    }
    Ok(extent)
}

fn read_message<'a>(
    message: &'a [u8],
    visitor: &mut impl SeriesVisitor<'a>,
    series: &mut PushedSeries<'a>,
) -> Result<(), WireError> {
    series.clear();
    let labels_len = labels_len(message);
    let (raw_labels, values) = message.split_at(labels_len);
    if labels_len > 0 && visitor.knows(raw_labels) {
        read_series(values, series)?;
        if series.labels.is_empty() {
            series.raw_labels = raw_labels;
            return Ok(());
        }
        // Labels behind samples: legal, and not what is known.
        series.clear();
        read_series(message, series)?;
        // No bytes of their own: the visitor takes it as unknown.
        return Ok(());
    }
    read_series(message, series)?;
    series.raw_labels = raw_labels;
    Ok(())
}

/// Length of the label fields at the front of a series. What does not read ends them; the reader
/// of the fields behind says what is wrong.
fn labels_len(message: &[u8]) -> usize {
    const LABEL: u8 = 1 << 3 | 2;
    let mut at = 0;
    while message.get(at) == Some(&LABEL) {
        let mut cursor = Cursor::new(&message[at + 1..]);
        let len = cursor.uvarint().ok().and_then(|len| usize::try_from(len).ok());
        if len.and_then(|len| cursor.bytes(len).ok()).is_none() {
            break;
        }
        at += 1 + cursor.offset();
    }
    at
}

/// Reads label fields into `labels`; for a series that turned out not to be known after all.
pub fn read_labels<'a>(
    raw_labels: &'a [u8],
    series: &mut PushedSeries<'a>,
) -> Result<(), WireError> {
    series.clear();
    read_series(raw_labels, series)?;
    series.raw_labels = raw_labels;
    Ok(())
}

fn read_series<'a>(message: &'a [u8], series: &mut PushedSeries<'a>) -> Result<(), WireError> {
    for field in Fields::new(message) {
        let (number, value) = field?;
        match number {
            1 => series.labels.push(label(value.bytes()?)?),
            2 => series.samples.push(sample(value.bytes()?)?),
            3 => series.exemplars.push(exemplar(value.bytes()?)?),
            4 => series.histograms.push(read_histogram(value.bytes()?)?),
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

/// A float; both versions number the fields alike, and the second has a start timestamp.
pub(super) fn sample(message: &[u8]) -> Result<PushedSample, WireError> {
    let mut sample = PushedSample::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => sample.value = value.double()?,
            (2, value) => sample.t_ms = value.int64()?,
            (3, value) => sample.start_ms = value.int64()?,
            _ => {}
        }
    }
    Ok(sample)
}

fn exemplar(message: &[u8]) -> Result<PushedExemplar<'_>, WireError> {
    let mut exemplar = PushedExemplar::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => exemplar.labels.push(label(value.bytes()?)?),
            (2, value) => exemplar.value = value.double()?,
            (3, value) => exemplar.t_ms = value.int64()?,
            _ => {}
        }
    }
    Ok(exemplar)
}

fn metadata(message: &[u8]) -> Result<PushedMetadata<'_>, WireError> {
    let mut metadata = PushedMetadata::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => metadata.kind = value.int64()? as u64,
            (2, value) => metadata.family = value.bytes()?,
            (4, value) => metadata.help = value.bytes()?,
            (5, value) => metadata.unit = value.bytes()?,
            _ => {}
        }
    }
    Ok(metadata)
}
