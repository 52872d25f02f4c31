//! Bodies of records about what stands beside samples: exemplars and metadata.
//!
//! They name series and metrics by their labels, not by numbers: either may outlive the series in
//! the head, and blocks keep the same bodies.

use super::RecordError;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{write_bytes, write_str, write_varint};
use crate::model::{Exemplar, Labels, Metadata, MetricType};

const NOT_CANONICAL: &str = "labels that are not canonical";

/// Appends an exemplar of the series with these labels.
pub fn write_exemplar(out: &mut Vec<u8>, series: &Labels, exemplar: &Exemplar) {
    write_bytes(out, series.as_bytes());
    write_bytes(out, exemplar.labels.as_bytes());
    write_varint(out, exemplar.t_ms);
    out.extend_from_slice(&exemplar.value.to_le_bytes());
}

/// Reads the next exemplar with the labels of its series; `None` at the end.
pub fn read_exemplar(cursor: &mut Cursor<'_>) -> Result<Option<(Labels, Exemplar)>, RecordError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let series = read_labels(cursor)?;
    let labels = read_labels(cursor)?;
    let t_ms = cursor.varint()?;
    let exemplar = Exemplar { labels, value: cursor.f64()?, t_ms, is_timed: false };
    Ok(Some((series, exemplar)))
}

fn read_labels(cursor: &mut Cursor<'_>) -> Result<Labels, RecordError> {
    let offset = cursor.offset();
    let labels = Labels::from_bytes(cursor.sized_bytes()?);
    labels.ok_or(RecordError { offset, what: NOT_CANONICAL })
}

/// Appends what is said of a metric.
pub fn write_metadata(out: &mut Vec<u8>, metric: &str, metadata: &Metadata) {
    write_str(out, metric);
    out.push(metadata.metric_type.number());
    write_str(out, &metadata.unit);
    write_str(out, &metadata.help);
}

/// Reads the next metric and what is said of it; `None` at the end.
pub fn read_metadata(cursor: &mut Cursor<'_>) -> Result<Option<(String, Metadata)>, RecordError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let metric = cursor.str()?.to_owned();
    let metric_type = MetricType::from_number(u64::from(cursor.u8()?));
    let unit = cursor.str()?.to_owned();
    Ok(Some((metric, Metadata { metric_type, unit, help: cursor.str()?.to_owned() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let series = Labels::from_pairs([("__name__", "m"), ("a", "b")]);
        let labels = Labels::from_pairs([("trace_id", "x")]);
        let exemplar = Exemplar { labels, value: f64::NAN, t_ms: -5, is_timed: false };
        let mut out = Vec::new();
        write_exemplar(&mut out, &series, &exemplar);
        let mut cursor = Cursor::new(&out);
        let (found, read) = read_exemplar(&mut cursor).unwrap().unwrap();
        assert!(found == series && read.is_same(&exemplar));
        assert_eq!(read_exemplar(&mut cursor), Ok(None));
        let metadata = Metadata {
            metric_type: MetricType::Summary,
            unit: "s".to_owned(),
            help: "H.".to_owned(),
        };
        let mut out = Vec::new();
        write_metadata(&mut out, "m", &metadata);
        let mut cursor = Cursor::new(&out);
        assert_eq!(read_metadata(&mut cursor), Ok(Some(("m".to_owned(), metadata))));
        assert_eq!(read_metadata(&mut cursor), Ok(None));
    }
}
