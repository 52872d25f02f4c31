//! Pushed labels: checked, sorted, in the canonical bytes of [`Labels`].

use std::fmt::Write;

use crate::encoding::varint::write_bytes;
use crate::model::{Labels, METRIC_NAME};
use crate::protowire::PushedSeries;

/// Limits on what one series may carry; each names itself when it is reached.
const LABELS_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 4096;
const VALUE_BYTES_MAX: usize = 1 << 20;

/// The labels of a pushed series, or what is wrong with them.
pub(super) fn canonical(
    series: &PushedSeries<'_>,
    pairs: &mut Vec<(String, String)>,
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
    pairs.clear();
    let mut has_name = false;
    for (name, value) in &series.labels {
        let (name, value) = (text("label name", name)?, text("label value", value)?);
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
                "a value of label {name:?} has {} bytes, more than the limit of {VALUE_BYTES_MAX}",
                value.len()
            ));
        }
        has_name |= name == METRIC_NAME && !value.is_empty();
        pairs.push((name.to_owned(), value.to_owned()));
    }
    if !has_name {
        return Err("the metric name is missing".to_owned());
    }
    pairs.sort_unstable();
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("label {:?} stands twice", pair[0].0));
    }
    bytes.clear();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        write_bytes(bytes, name.as_bytes());
        write_bytes(bytes, value.as_bytes());
    }
    Labels::from_bytes(bytes).ok_or_else(|| "labels are not sorted".to_owned())
}

fn text<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(bytes)
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
