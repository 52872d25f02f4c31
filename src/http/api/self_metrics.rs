//! `status/self_metrics`: own metrics as JSON, one object a family.
//!
//! COMPAT: the JSON form of Prometheus's exposition protobuf: whole numbers of 64 bits are text,
//! numbers that are none have names, and the bucket without a bound is left out.

use super::success;
use crate::exposition::{Family, MetricType, SampleLine};
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::{FloatStyle, float_text};
use crate::regex::Regex;

/// `status/self_metrics`: those whose name `metric_name_pattern` matches as a whole.
pub(in crate::http) fn self_metrics(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let pattern = match params.text("metric_name_pattern") {
        "" => None,
        // COMPAT: so that texts of errors quote what Prometheus's quote.
        pattern => Some(Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
            ApiError::bad_data(format!("invalid metric_name_pattern: {error}"))
        })?),
    };
    let mut families = service.control.metrics();
    families.retain(|f| pattern.as_ref().is_none_or(|pattern| pattern.is_match(&f.name)));
    let data = |sink: &mut Sink| {
        let out = sink.buffer();
        out.push(b'[');
        for (i, family) in families.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            push_family(out, family);
        }
        out.push(b']');
        Ok(())
    };
    success(sink, data, &[], &[])
}

fn push_family(out: &mut Vec<u8>, family: &Family) {
    out.extend_from_slice(b"{\"name\":");
    json::push_str(out, &family.name);
    out.extend_from_slice(b",\"help\":");
    json::push_str(out, &family.help);
    let (kind, field): (&str, &[u8]) = match family.metric_type {
        MetricType::Counter => ("COUNTER", b"counter"),
        MetricType::Gauge => ("GAUGE", b"gauge"),
        MetricType::Histogram => ("HISTOGRAM", b"histogram"),
        MetricType::Summary => ("SUMMARY", b"summary"),
        _ => ("UNTYPED", b"untyped"),
    };
    out.extend_from_slice(b",\"type\":");
    json::push_str(out, kind);
    out.extend_from_slice(b",\"metric\":[");
    for (i, samples) in series(&family.samples).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.push(b'{');
        push_labels(out, &own_labels(&samples[0]));
        out.push(b'"');
        out.extend_from_slice(field);
        out.extend_from_slice(b"\":{");
        push_samples(out, samples);
        out.extend_from_slice(b"}}");
    }
    out.extend_from_slice(b"]}");
}

/// The labels but the one that a histogram or summary adds to tell its samples apart.
fn own_labels(sample: &SampleLine) -> Vec<(&str, &str)> {
    let mut labels: Vec<(&str, &str)> = sample
        .labels
        .iter()
        .filter(|(name, _)| part_name(sample) != Some(name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    labels.sort_unstable();
    labels
}

/// The name of the label that tells samples of one histogram or summary apart.
fn part_name(sample: &SampleLine) -> Option<&'static str> {
    match sample.suffix {
        "_bucket" => Some("le"),
        "" => Some("quantile"),
        _ => None,
    }
}

/// The samples of one series after another: they stand together, buckets and quantiles first.
fn series(samples: &[SampleLine]) -> impl Iterator<Item = &[SampleLine]> {
    samples.chunk_by(|a, b| {
        !b.suffix.is_empty() && own_labels(a) == own_labels(b) || is_quantile(a, b)
    })
}

fn is_quantile(a: &SampleLine, b: &SampleLine) -> bool {
    let has_one = |sample: &SampleLine| sample.labels.iter().any(|(name, _)| name == "quantile");
    a.suffix.is_empty() && has_one(a) && has_one(b) && own_labels(a) == own_labels(b)
}

fn push_labels(out: &mut Vec<u8>, labels: &[(&str, &str)]) {
    if labels.is_empty() {
        return;
    }
    out.extend_from_slice(b"\"label\":[");
    for (i, (name, value)) in labels.iter().enumerate() {
        out.extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
        json::push_str(out, name);
        out.extend_from_slice(b",\"value\":");
        json::push_str(out, value);
        out.push(b'}');
    }
    out.extend_from_slice(b"],");
}

/// What the samples of one series say: one value, or a count, a sum and parts.
fn push_samples(out: &mut Vec<u8>, samples: &[SampleLine]) {
    let value_of = |suffix: &str| samples.iter().find(|s| s.suffix == suffix).map(|s| s.value);
    let Some(count) = value_of("_count") else {
        out.extend_from_slice(b"\"value\":");
        push_number(out, samples[0].value);
        return;
    };
    out.extend_from_slice(format!("\"sampleCount\":\"{count}\",\"sampleSum\":").as_bytes());
    push_number(out, value_of("_sum").unwrap_or_default());
    push_parts(out, b"bucket", samples, |out, sample, bound| {
        let total = sample.value;
        out.extend_from_slice(format!("{{\"cumulativeCount\":\"{total}\",").as_bytes());
        out.extend_from_slice(b"\"upperBound\":");
        push_number(out, bound);
    });
    push_parts(out, b"quantile", samples, |out, sample, quantile| {
        out.extend_from_slice(b"{\"quantile\":");
        push_number(out, quantile);
        out.extend_from_slice(b",\"value\":");
        push_number(out, sample.value);
    });
}

/// The buckets or the quantiles, where there are any.
fn push_parts(
    out: &mut Vec<u8>,
    field: &[u8],
    samples: &[SampleLine],
    push: impl Fn(&mut Vec<u8>, &SampleLine, f64),
) {
    let name = if field == b"bucket" { "le" } else { "quantile" };
    let parts: Vec<(&SampleLine, f64)> = samples
        .iter()
        .filter(|sample| part_name(sample) == Some(name))
        .filter_map(|sample| {
            let (_, bound) = sample.labels.iter().find(|(label, _)| label == name)?;
            // Bounds were printed from numbers.
            Some((sample, bound.parse::<f64>().ok().filter(|bound| bound.is_finite())?))
        })
        .collect();
    if parts.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(field);
    out.extend_from_slice(b"\":[");
    for (i, (sample, bound)) in parts.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push(out, sample, bound);
        out.push(b'}');
    }
    out.push(b']');
}

fn push_number(out: &mut Vec<u8>, number: f64) {
    let text = match number {
        f64::INFINITY => "\"Infinity\"".to_owned(),
        f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
        _ if number.is_nan() => "\"NaN\"".to_owned(),
        _ => float_text(number, FloatStyle::Api),
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(suffix: &'static str, labels: &[(&str, &str)], value: f64) -> SampleLine {
        let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        SampleLine { suffix, labels, value }
    }

    fn printed(metric_type: MetricType, samples: Vec<SampleLine>) -> String {
        let family = Family { name: "x".to_owned(), help: "X.".to_owned(), metric_type, samples };
        let mut out = Vec::new();
        push_family(&mut out, &family);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_by_labels() {
        let samples = vec![line("", &[("b", "1"), ("a", "2")], 1.0), line("", &[], f64::NAN)];
        assert_eq!(
            printed(MetricType::Counter, samples),
            concat!(
                r#"{"name":"x","help":"X.","type":"COUNTER","metric":[{"label":[{"name":"a","#,
                r#""value":"2"},{"name":"b","value":"1"}],"counter":{"value":1}},"#,
                r#"{"counter":{"value":"NaN"}}]}"#
            )
        );
    }

    #[test]
    fn histograms_without_the_bucket_that_has_no_bound() {
        let samples = vec![
            line("_bucket", &[("a", "1"), ("le", "0.5")], 3.0),
            line("_bucket", &[("a", "1"), ("le", "+Inf")], 4.0),
            line("_sum", &[("a", "1")], 2.5),
            line("_count", &[("a", "1")], 4.0),
            line("_bucket", &[("a", "2"), ("le", "+Inf")], 0.0),
            line("_sum", &[("a", "2")], 0.0),
            line("_count", &[("a", "2")], 0.0),
        ];
        assert_eq!(
            printed(MetricType::Histogram, samples),
            concat!(
                r#"{"name":"x","help":"X.","type":"HISTOGRAM","metric":[{"label":[{"name":"a","#,
                r#""value":"1"}],"histogram":{"sampleCount":"4","sampleSum":2.5,"#,
                r#""bucket":[{"cumulativeCount":"3","upperBound":0.5}]}},{"label":[{"name":"a","#,
                r#""value":"2"}],"histogram":{"sampleCount":"0","sampleSum":0}}]}"#
            )
        );
    }

    #[test]
    fn summaries_with_and_without_quantiles() {
        let samples = vec![
            line("", &[("quantile", "0.5")], f64::NAN),
            line("", &[("quantile", "0.9")], 7.0),
            line("_sum", &[], 1.5),
            line("_count", &[], 2.0),
            line("_sum", &[("a", "1")], 1.0),
            line("_count", &[("a", "1")], 1.0),
        ];
        assert_eq!(
            printed(MetricType::Summary, samples),
            concat!(
                r#"{"name":"x","help":"X.","type":"SUMMARY","#,
                r#""metric":[{"summary":{"sampleCount":"2","sampleSum":1.5,"#,
                r#""quantile":[{"quantile":0.5,"value":"NaN"},{"quantile":0.9,"value":7}]}},"#,
                r#"{"label":[{"name":"a","value":"1"}],"summary":{"sampleCount":"1","#,
                r#""sampleSum":1}}]}"#
            )
        );
    }
}
