//! Lines that give a series and its values: `metric{label="value"} 1 2+3x4 _ stale {{…}}`.

use super::duration_ms;
use super::histogram::{WrittenHistogram, parse_histograms};
use crate::model::{Labels, MatchOp, stale_nan};
use crate::promql::parse::{ParseOptions, parse_selector};
use crate::promql::script::signed_number;

/// Values that one item may stand for; `1x1000000000` is a mistake.
const REPEATS_MAX: u64 = 1_000_000;

/// A series and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesLine {
    /// The labels.
    pub labels: Labels,
    /// The values, one for each step.
    pub values: Vec<SeriesValue>,
}

/// What stands at one step.
#[derive(Debug, Clone, PartialEq)]
pub enum SeriesValue {
    /// Nothing.
    Omitted,
    /// A float; a staleness marker too.
    Float(f64),
    /// A native histogram.
    Histogram(WrittenHistogram),
}

/// Reads one line.
pub fn parse_series(line: &str) -> Result<SeriesLine, String> {
    let (metric, values) = line.split_at(metric_length(line)?);
    let matchers = parse_selector(metric, &ParseOptions::default()).map_err(|e| e.to_string())?;
    if let Some(other) = matchers.iter().find(|matcher| matcher.op != MatchOp::Equal) {
        return Err(format!("label {:?} is not followed by \"=\"", other.name));
    }
    let labels = Labels::from_pairs(matchers.iter().map(|m| (&m.name, &m.value)));
    let mut rest = values.trim_start();
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (item, after) = rest.split_at(item_length(rest)?);
        push_item(item, &mut values).map_err(|e| format!("{item}: {e}"))?;
        rest = after.trim_start();
    }
    Ok(SeriesLine { labels, values })
}

/// Reads when the samples of a series began to count: milliseconds relative to each sample's time,
/// `None` where that is not known. Items are durations with a sign, as `-30s-1mx2` with a step
/// and repetitions.
pub(super) fn parse_starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for item in text.split_whitespace() {
        let wrong = |error: String| format!("invalid start timestamp {item:?}: {error}");
        let (first, repeats) = split_repeats(item).map_err(wrong)?;
        if first == "_" {
            starts.extend((0..repeats.unwrap_or(1)).map(|_| None));
            continue;
        }
        let (first, step) = first.split_at(first_number_length(first));
        let mut start = signed_duration_ms(first).map_err(wrong)?;
        let step = if step.is_empty() { 0 } else { signed_duration_ms(step).map_err(wrong)? };
        for _ in 0..=repeats.unwrap_or(0) {
            starts.push(Some(start));
            start += step;
        }
    }
    Ok(starts)
}

fn signed_duration_ms(text: &str) -> Result<i64, String> {
    match text.strip_prefix('-') {
        Some(text) => Ok(-duration_ms(text)?),
        None => duration_ms(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Length of the name and the braces at the front of `line`.
fn metric_length(line: &str) -> Result<usize, String> {
    let mut quote = None;
    let mut is_escaped = false;
    let mut in_braces = false;
    for (at, c) in line.char_indices() {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(delimiter) if c == delimiter => quote = None,
            Some(delimiter) => is_escaped = c == '\\' && delimiter != '`',
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '{' => in_braces = true,
                '}' => return Ok(at + 1),
                ' ' | '\t' if !in_braces => {
                    let rest = line[at..].trim_start();
                    // Blanks may stand in front of the braces, but not of a histogram.
                    if !rest.starts_with('{') || rest.starts_with("{{") {
                        return Ok(at);
                    }
                }
                _ => {}
            },
        }
    }
    if in_braces { Err("the braces are not closed".to_owned()) } else { Ok(line.len()) }
}

/// Length of the item at the front of `text`; blanks within a histogram belong to it.
fn item_length(text: &str) -> Result<usize, String> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        let Some(open) = rest[..end].find("{{") else { return Ok(at + end) };
        let Some(close) = rest[open..].find("}}") else {
            return Err("a histogram is not closed".to_owned());
        };
        at += open + close + 2;
    }
}

fn push_item(item: &str, values: &mut Vec<SeriesValue>) -> Result<(), String> {
    let (item, repeats) = split_repeats(item)?;
    let more = repeats.unwrap_or(0);
    if item == "_" {
        let count = repeats.unwrap_or(1);
        values.extend((0..count).map(|_| SeriesValue::Omitted));
    } else if item.starts_with("{{") {
        let histograms = parse_histograms(item, repeats)?;
        values.extend(histograms.into_iter().map(SeriesValue::Histogram));
    } else if item == "stale" {
        values.extend((0..=more).map(|_| SeriesValue::Float(stale_nan())));
    } else {
        let (first, step) = item.split_at(first_number_length(item));
        let mut value = signed_number(first)?;
        let step = if step.is_empty() { None } else { Some(signed_number(step)?) };
        if step.is_some() && repeats.is_none() {
            return Err("a step needs a number of repetitions".to_owned());
        }
        for _ in 0..=more {
            values.push(SeriesValue::Float(value));
            value += step.unwrap_or(0.0);
        }
    }
    Ok(())
}

/// The item without its `x<count>`, and the count.
fn split_repeats(item: &str) -> Result<(&str, Option<u64>), String> {
    let tail = item.rfind("}}").map_or(0, |at| at + 2);
    let Some(x) = item[tail..].rfind('x') else { return Ok((item, None)) };
    let (item, count) = (&item[..tail + x], &item[tail + x + 1..]);
    let count: u64 = count.parse().map_err(|_| format!("{count:?} is no number of repetitions"))?;
    if count > REPEATS_MAX {
        return Err(format!("more than {REPEATS_MAX} repetitions"));
    }
    Ok((item, Some(count)))
}

/// Where the second sign stands that is not an exponent's.
fn first_number_length(item: &str) -> usize {
    let bytes = item.as_bytes();
    let is_sign =
        |at: &usize| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[*at - 1], b'e' | b'E');
    (1..bytes.len()).find(is_sign).unwrap_or(item.len())
}
