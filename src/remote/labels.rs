//! Pushed labels: checked, sorted, in the canonical bytes of [`Labels`].

use std::fmt::Write;

use crate::encoding::varint::write_bytes;
use crate::model::{Exemplar, Labels, METRIC_NAME};
use crate::protowire::{PushedExemplar, PushedSeries};

/// Limits on what one series may carry; each names itself when it is reached.
const LABELS_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 4096;
const VALUE_BYTES_MAX: usize = 1 << 20;

/// The labels of a pushed series, or what is wrong with them. `pairs` and `bytes` are scratch.
pub(super) fn canonical<'a>(
    series: &PushedSeries<'a>,
    pairs: &mut Vec<(&'a [u8], &'a [u8])>,
    bytes: &mut Vec<u8>,
) -> Result<Labels, String> {
    if let Some(fault) = &series.fault {
        return Err(fault.clone());
    }
    if series.labels.len() > LABELS_MAX {
        return Err(format!(
            "{} labels, more than the limit of {LABELS_MAX} labels per series",
            series.labels.len()
        ));
    }
    let mut has_name = false;
    for &(name, value) in &series.labels {
        check(name, value)?;
        has_name |= name == METRIC_NAME.as_bytes() && !value.is_empty();
    }
    if !has_name {
        return Err("the metric name is missing".to_owned());
    }
    pairs.clear();
    pairs.extend_from_slice(&series.labels);
    // Senders have sorted them. UTF-8 has the order of its bytes.
    if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
        pairs.sort_unstable();
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let name = String::from_utf8_lossy(pair[0].0);
            return Err(format!("label {name:?} stands twice"));
        }
    }
    bytes.clear();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        write_bytes(bytes, name);
        write_bytes(bytes, value);
    }
    Labels::from_bytes(bytes).ok_or_else(|| "labels are not sorted".to_owned())
}

/// An exemplar, or what is wrong with it. `bytes` is scratch.
pub(super) fn exemplar(
    pushed: &PushedExemplar<'_>,
    bytes: &mut Vec<u8>,
) -> Result<Exemplar, String> {
    if let Some(fault) = &pushed.fault {
        return Err(fault.clone());
    }
    let mut pairs = pushed.labels.clone();
    for &(name, value) in &pairs {
        check(name, value)?;
    }
    pairs.sort_unstable();
    bytes.clear();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        write_bytes(bytes, name);
        write_bytes(bytes, value);
    }
    let labels = Labels::from_bytes(bytes).ok_or("a label stands twice")?;
    Ok(Exemplar { labels, value: pushed.value, t_ms: pushed.t_ms, is_timed: true })
}

/// Text within its limits.
#[inline]
fn check(name: &[u8], value: &[u8]) -> Result<(), String> {
    text("label name", name)?;
    text("label value", value)?;
    if name.is_empty() {
        return Err("a label name is empty".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "a label name of {} bytes, more than the limit of {NAME_BYTES_MAX}",
            name.len()
        ));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!(
            "a value of label {:?} has {} bytes, more than the limit of {VALUE_BYTES_MAX}",
            String::from_utf8_lossy(name),
            value.len()
        ));
    }
    Ok(())
}

#[inline]
fn text(what: &str, bytes: &[u8]) -> Result<(), String> {
    if bytes.is_ascii() {
        return Ok(());
    }
    std::str::from_utf8(bytes)
        .map(|_| ())
        .map_err(|error| format!("a {what} is not UTF-8 from byte {} on", error.valid_up_to()))
}

/// The labels as they were sent, for an error text; bounded.
pub(super) fn describe(series: &PushedSeries<'_>) -> String {
    const SHOWN_MAX: usize = 20;
    const BYTES_MAX: usize = 200;
    let mut text = String::from("{");
    for (i, (name, value)) in series.labels.iter().take(SHOWN_MAX).enumerate() {
        let separator = if i == 0 { "" } else { ", " };
        let name = String::from_utf8_lossy(&name[..name.len().min(BYTES_MAX)]);
        let value = String::from_utf8_lossy(&value[..value.len().min(BYTES_MAX)]);
        // Writing into a string cannot fail.
        let _ = write!(text, "{separator}{name}={value:?}");
    }
    if series.labels.len() > SHOWN_MAX {
        text.push_str(", …");
    }
    text.push('}');
    text
}
