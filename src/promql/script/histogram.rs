//! Native histograms as scripts write them: `{{schema:1 count:3 sum:4.5 buckets:[1 2]}}`.

use std::sync::Arc;

use super::signed_number;
use crate::model::{FloatHistogram, Histogram, ResetHint, Span};

/// A histogram, and whether its counter reset hint was written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenHistogram {
    /// The histogram.
    pub histogram: Arc<Histogram>,
    /// Whether the hint was written; where it was not, any is expected.
    pub hint_given: bool,
}

impl WrittenHistogram {
    pub(super) fn new(histogram: FloatHistogram, hint_given: bool) -> Self {
        Self { histogram: Arc::new(Histogram::Float(histogram)), hint_given }
    }
}

/// Reads one item: a histogram, or one and a step to or from it that is taken `repeats` times.
pub(super) fn parse_histograms(
    item: &str,
    repeats: Option<u64>,
) -> Result<Vec<WrittenHistogram>, String> {
    let more = repeats.unwrap_or(0);
    let close = item.find("}}").ok_or("a histogram is not closed")? + 2;
    let (first, step) = item.split_at(close);
    let (mut histogram, hint_given) = parse(first)?;
    if step.is_empty() {
        let one = WrittenHistogram::new(histogram, hint_given);
        return Ok((0..=more).map(|_| one.clone()).collect());
    }
    let takes_away = match step.as_bytes()[0] {
        b'+' => false,
        b'-' => true,
        _ => return Err(format!("{step:?} is no step")),
    };
    if repeats.is_none() {
        return Err("a step needs a number of repetitions".to_owned());
    }
    let (step, hint_given) = parse(&step[1..])?;
    if histogram.schema > step.schema {
        return Err(format!(
            "error combining histograms: cannot merge from schema {} to {}",
            step.schema, histogram.schema
        ));
    }
    let mut all = vec![WrittenHistogram::new(histogram.clone(), hint_given)];
    for _ in 0..more {
        let combined = if takes_away { histogram.subtract(&step) } else { histogram.add(&step) };
        combined.map_err(|error| error.to_string())?;
        all.push(WrittenHistogram::new(histogram.clone(), hint_given));
    }
    Ok(all)
}

/// Reads `{{…}}`; also whether a hint is in it.
fn parse(text: &str) -> Result<(FloatHistogram, bool), String> {
    let inside = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
    let mut rest = inside.ok_or_else(|| format!("{text:?} is no histogram"))?.trim();
    let mut histogram = FloatHistogram::default();
    let (mut hint_given, mut offset, mut negative_offset) = (false, 0, 0);
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("{rest:?} has no value"))?;
        if seen.contains(&key) {
            return Err(format!("duplicate key {key:?} in histogram"));
        }
        seen.push(key);
        let end = if after.starts_with('[') {
            after.find(']').ok_or_else(|| format!("the list {key:?} is not closed"))? + 1
        } else {
            after.find([' ', '\t']).unwrap_or(after.len())
        };
        let (value, after) = after.split_at(end);
        rest = after.trim_start();
        match key {
            "schema" => histogram.schema = whole(value)?,
            "sum" => histogram.sum = signed_number(value)?,
            "count" => histogram.count = signed_number(value)?,
            "z_bucket" => histogram.zero_count = signed_number(value)?,
            "z_bucket_w" => histogram.zero_threshold = signed_number(value)?,
            "custom_values" => histogram.custom_bounds = list(value)?.into(),
            "buckets" => histogram.positive_buckets = list(value)?,
            "n_buckets" => histogram.negative_buckets = list(value)?,
            "offset" => offset = whole(value)?,
            "n_offset" => negative_offset = whole(value)?,
            "counter_reset_hint" => {
                hint_given = true;
                histogram.reset_hint = hint(value)?;
            }
            _ => return Err(format!("{key:?} is no part of a histogram")),
        }
    }
    histogram.positive_spans = spans(offset, histogram.positive_buckets.len());
    histogram.negative_spans = spans(negative_offset, histogram.negative_buckets.len());
    Ok((histogram, hint_given))
}

fn spans(offset: i32, buckets: usize) -> Vec<Span> {
    if buckets == 0 { Vec::new() } else { vec![Span { offset, length: buckets as u32 }] }
}

fn whole(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("{text:?} is no whole number"))
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let inside = inside.ok_or_else(|| format!("{text:?} is no list"))?;
    inside.split_whitespace().map(signed_number).collect()
}

fn hint(text: &str) -> Result<ResetHint, String> {
    Ok(match text {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        _ => return Err(format!("{text:?} is no hint")),
    })
}
