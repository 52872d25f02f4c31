//! `io.prometheus.write.v2.Request` (remote write 2.0).
//!
//! ```text
//! Request   4 symbols, 5 timeseries
//! series    1 labels_refs, 2 samples, 3 histograms, 4 exemplars, 5 metadata
//! sample    1 value, 2 timestamp, 3 start_timestamp
//! exemplar  1 labels_refs, 2 value, 3 timestamp
//! metadata  1 type, 3 help_ref, 4 unit_ref
//! ```
//!
//! Symbol 0 is the empty string; references come in pairs.

use super::field::{Fields, Value};
use super::histogram::read_histogram;
use super::remote_write_v1::sample;
use super::{PushedExemplar, PushedMetadata, PushedSeries, WireError};
use crate::encoding::cursor::Cursor;

/// Calls `visit` for each series of the request; as in version 1. Returns the number of series.
pub fn visit_series<'a>(
    request: &'a [u8],
    mut visit: impl FnMut(&PushedSeries<'a>),
) -> Result<usize, WireError> {
    // The table may stand behind the series that use it.
    let mut symbols: Vec<&'a [u8]> = Vec::new();
    for field in Fields::new(request) {
        if let (4, value) = field? {
            symbols.push(value.bytes()?);
        }
    }
    if symbols.first().is_some_and(|first| !first.is_empty()) {
        return Err(WireError("symbols must start with the empty string".to_owned()));
    }
    let mut count = 0;
    let mut series = PushedSeries::default();
    let mut references = Vec::new();
    for field in Fields::new(request) {
        if let (5, value) = field? {
            series.clear();
            read_series(value.bytes()?, &symbols, &mut references, &mut series)?;
            count += 1;
            visit(&series);
        }
    }
    Ok(count)
}

fn read_series<'a>(
    message: &'a [u8],
    symbols: &[&'a [u8]],
    references: &mut Vec<u64>,
    series: &mut PushedSeries<'a>,
) -> Result<(), WireError> {
    references.clear();
    for field in Fields::new(message) {
        let (number, value) = field?;
        match number {
            1 => read_references(value, references)?,
            2 => series.samples.push(sample(value.bytes()?)?),
            3 => series.histograms.push(read_histogram(value.bytes()?)?),
            4 => series.exemplars.push(exemplar(value.bytes()?, symbols)?),
            5 => {
                let (metadata, fault) = metadata(value.bytes()?, symbols)?;
                series.metadata = Some(metadata);
                if let Some(fault) = fault {
                    series.fault.get_or_insert(fault);
                }
            }
            _ => {}
        }
    }
    match resolve(references, symbols, &mut series.labels) {
        Ok(()) => {}
        Err(fault) => {
            series.fault.get_or_insert(fault);
        }
    }
    Ok(())
}

/// Packed or one by one, as protobuf allows.
fn read_references(value: Value<'_>, references: &mut Vec<u64>) -> Result<(), WireError> {
    match value {
        Value::Varint(reference) => references.push(reference),
        other => {
            let mut packed = Cursor::new(other.bytes()?);
            while !packed.is_empty() {
                references.push(packed.uvarint()?);
            }
        }
    }
    Ok(())
}

fn symbol<'a>(reference: u64, symbols: &[&'a [u8]]) -> Result<&'a [u8], String> {
    usize::try_from(reference).ok().and_then(|index| symbols.get(index)).copied().ok_or_else(|| {
        format!("symbol reference {reference} is beyond the table of {} symbols", symbols.len())
    })
}

fn resolve<'a>(
    references: &[u64],
    symbols: &[&'a [u8]],
    labels: &mut Vec<(&'a [u8], &'a [u8])>,
) -> Result<(), String> {
    if !references.len().is_multiple_of(2) {
        return Err(format!("{} label references, which is no whole pair", references.len()));
    }
    for pair in references.chunks_exact(2) {
        labels.push((symbol(pair[0], symbols)?, symbol(pair[1], symbols)?));
    }
    Ok(())
}

fn exemplar<'a>(message: &[u8], symbols: &[&'a [u8]]) -> Result<PushedExemplar<'a>, WireError> {
    let mut references = Vec::new();
    let mut exemplar = PushedExemplar::default();
    for field in Fields::new(message) {
        match field? {
            (1, value) => read_references(value, &mut references)?,
            (2, value) => exemplar.value = value.double()?,
            (3, value) => exemplar.t_ms = value.int64()?,
            _ => {}
        }
    }
    exemplar.fault = resolve(&references, symbols, &mut exemplar.labels).err();
    Ok(exemplar)
}

/// The metadata, and what is wrong with it.
fn metadata<'a>(
    message: &[u8],
    symbols: &[&'a [u8]],
) -> Result<(PushedMetadata<'a>, Option<String>), WireError> {
    let mut metadata = PushedMetadata::default();
    let mut fault = None;
    for field in Fields::new(message) {
        let (number, value) = field?;
        let (1 | 3 | 4, Value::Varint(content)) = (number, value) else { continue };
        match (number, symbol(content, symbols)) {
            (1, _) => metadata.kind = content,
            (3, Ok(text)) => metadata.help = text,
            (4, Ok(text)) => metadata.unit = text,
            (_, Ok(_)) => {}
            (_, Err(text)) => fault = fault.or(Some(text)),
        }
    }
    Ok((metadata, fault))
}
