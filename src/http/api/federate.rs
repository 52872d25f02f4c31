//! `/federate`: the newest sample of each selected series, as a page for another server to scrape.
//!
//! COMPAT: which samples, their order, the labels added and the formats are Prometheus's. A native
//! histogram can be told in protobuf only and is left out of text; one with custom buckets is
//! told as a classic one. The two textual forms of protobuf, which no server asks for, are not
//! spoken; text is sent instead.

use axum::response::Response;
use http::HeaderMap;
use http::header::ACCEPT;

use super::query::now_ms;
use crate::encoding::varint::zigzag;
use crate::http::params::Params;
use crate::http::reply::{self, ApiError};
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::{
    EscapingScheme, FloatHistogram, FloatStyle, Histogram, Labels, ResetHint, Samples, Span,
    TimeRange, float_text, is_legacy_label_name, is_legacy_metric_name, is_stale, push_float,
};
use crate::promql::parse_selector;
use crate::protowire::field::{write_bytes, write_double, write_int64, write_varint};
use crate::select::{Cancellation, Queryable, SelectError};

const NAME: &str = "__name__";
/// What a series of the page takes besides its labels.
const SERIES_BYTES: u64 = 64;

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct PageFormat {
    is_protobuf: bool,
    escaping: EscapingScheme,
}

impl PageFormat {
    /// What the header `Accept` asks for. COMPAT: the first of its ranges, in the order of their
    /// weights, that names a format decides.
    pub(in crate::http) fn negotiate(headers: &HeaderMap) -> Self {
        let mut format = Self { is_protobuf: false, escaping: EscapingScheme::Underscores };
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut ranges: Vec<(f64, Vec<&str>)> = accept
            .split(',')
            .map(|range| {
                let parts: Vec<&str> = range.split(';').map(str::trim).collect();
                let weight = parts.iter().find_map(|part| part.strip_prefix("q=")?.parse().ok());
                (weight.unwrap_or(1.0), parts)
            })
            .collect();
        ranges.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (_, parts) in ranges {
            let option = |name: &str| {
                let mut pairs = parts.iter().skip(1).filter_map(|part| part.split_once('='));
                pairs.find(|(known, _)| *known == name).map_or("", |(_, value)| value)
            };
            if let Some(escaping) = EscapingScheme::parse(option("escaping")) {
                format.escaping = escaping;
            }
            match parts[0] {
                "application/vnd.google.protobuf"
                    if option("proto") == "io.prometheus.client.MetricFamily"
                        && option("encoding") == "delimited" =>
                {
                    format.is_protobuf = true;
                    break;
                }
                "text/plain" if matches!(option("version"), "" | "0.0.4") => break,
                _ => {}
            }
        }
        format
    }

    /// The header `Content-Type`.
    pub(in crate::http) fn content_type(self) -> &'static str {
        macro_rules! content_type {
            ($start:literal) => {
                match self.escaping {
                    EscapingScheme::AllowUtf8 => concat!($start, "; escaping=allow-utf-8"),
                    EscapingScheme::Underscores => concat!($start, "; escaping=underscores"),
                    EscapingScheme::Dots => concat!($start, "; escaping=dots"),
                    EscapingScheme::Values => concat!($start, "; escaping=values"),
                }
            };
        }
        if self.is_protobuf {
            content_type!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            )
        } else {
            content_type!("text/plain; version=0.0.4; charset=utf-8")
        }
    }
}

/// COMPAT: errors are plain text here.
pub(in crate::http) fn refuse(error: &ApiError) -> Response {
    let status = if error.kind.status() == 400 { 400 } else { 500 };
    reply::text(status, error.message.clone() + "\n")
}

/// The newest sample of a series.
struct Newest {
    labels: Labels,
    t_ms: i64,
    value: f64,
    histogram: Option<FloatHistogram>,
}

/// Prints the page.
pub(in crate::http) fn federate(
    service: &Service,
    params: &Params,
    format: PageFormat,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let parsed: Result<Vec<_>, _> =
        params.all("match[]").map(|text| parse_selector(text, &service.settings.parse)).collect();
    let sets = parsed.map_err(|error| ApiError::bad_data(error.to_string()))?;
    let now_ms = now_ms();
    let lookback_ms = service.engine().options().lookback_delta_ms;
    let range = TimeRange { min_ms: now_ms.saturating_sub(lookback_ms), max_ms: now_ms };
    let source = service.local_source(params)?;
    let mut found: Vec<Newest> = Vec::new();
    let mut held = cancellation.charge();
    let (mut bytes, mut samples) = (0, Samples::default());
    for matchers in &sets {
        let set = source.select(matchers, range, cancellation)?;
        for index in 0..set.len() {
            cancellation.check()?;
            set.read(index, range, &mut samples)?;
            let labels = set.labels(index);
            let Some(newest) = newest(labels, &samples) else { continue };
            bytes += SERIES_BYTES + labels.as_bytes().len() as u64;
            held.set(bytes).map_err(SelectError::from)?;
            found.push(newest);
        }
    }
    if sets.len() > 1 {
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found.dedup_by(|a, b| a.labels == b.labels);
    }
    found.sort_by(|a, b| a.labels.metric_name().cmp(b.labels.metric_name()));
    let external = external_labels(&service.control.external_labels());
    let mut page = Page { format, family: None, buffer: Vec::new() };
    for newest in &found {
        page.push(newest, &external);
        page.flush(sink)?;
    }
    page.end();
    page.flush(sink)
}

fn newest(labels: &Labels, samples: &Samples) -> Option<Newest> {
    let last = samples.len().checked_sub(1)?;
    let (t_ms, value) = (samples.timestamps[last], samples.values[last]);
    let histogram = samples.histogram(last).map(|histogram| match &**histogram {
        Histogram::Integer(integer) => integer.to_float(),
        Histogram::Float(float) => float.clone(),
    });
    let is_gone = match &histogram {
        Some(histogram) => is_stale(histogram.sum),
        None => is_stale(value),
    };
    (!is_gone).then(|| Newest { labels: labels.clone(), t_ms, value, histogram })
}

/// COMPAT: the configured ones, and an empty `instance`, lest the scraping server puts its own.
fn external_labels(configured: &Labels) -> Vec<(String, String)> {
    let mut pairs: Vec<_> =
        configured.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if configured.get("instance").is_none() {
        pairs.push(("instance".to_owned(), String::new()));
        pairs.sort();
    }
    pairs
}

/// What is told of a family before its samples.
#[derive(Debug, PartialEq, Eq)]
struct FamilyHead {
    name: String,
    /// 3: untyped, 4: histogram, 5: gauge histogram.
    kind: u8,
}

/// A page as it grows, family by family.
struct Page {
    format: PageFormat,
    /// The family under way, and in protobuf its metrics.
    family: Option<(FamilyHead, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl Page {
    fn flush(&mut self, sink: &mut Sink) -> Result<(), ApiError> {
        sink.buffer().append(&mut self.buffer);
        sink.flush_if_full()
    }

    fn push(&mut self, newest: &Newest, external: &[(String, String)]) {
        let has_custom_bounds = newest.histogram.as_ref().map(FloatHistogram::has_custom_bounds);
        let name = newest.labels.metric_name();
        if name.is_empty() || (has_custom_bounds == Some(false) && !self.format.is_protobuf) {
            return;
        }
        let kind = match &newest.histogram {
            None => 3,
            Some(histogram) if histogram.reset_hint == ResetHint::Gauge => 5,
            Some(_) => 4,
        };
        let head = FamilyHead { name: name.to_owned(), kind };
        if self.family.as_ref().is_none_or(|(known, _)| *known != head) {
            self.end();
            self.begin(head);
        }
        let own = newest.labels.iter().filter(|(name, value)| *name != NAME && !value.is_empty());
        let added = external.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let added = added.filter(|(name, _)| newest.labels.get(name).is_none());
        let labels: Vec<(String, &str)> = own
            .chain(added)
            .map(|(name, value)| (self.format.escaping.escape(name), value))
            .collect();
        if self.format.is_protobuf {
            self.push_message(newest, &labels);
        } else {
            self.push_lines(newest, &labels);
        }
    }

    fn begin(&mut self, head: FamilyHead) {
        if !self.format.is_protobuf {
            self.buffer.extend_from_slice(b"# TYPE ");
            let name = self.format.escaping.escape(&head.name);
            push_name(&mut self.buffer, &name, is_legacy_metric_name(&name));
            let kind: &[u8] = if head.kind == 3 { b" untyped\n" } else { b" histogram\n" };
            self.buffer.extend_from_slice(kind);
        }
        self.family = Some((head, Vec::new()));
    }

    /// Ends the family under way.
    fn end(&mut self) {
        let Some((head, metrics)) = self.family.take() else { return };
        if self.format.is_protobuf {
            let mut message = Vec::with_capacity(metrics.len() + head.name.len() + 8);
            write_bytes(1, self.format.escaping.escape(&head.name).as_bytes(), &mut message);
            write_int64(3, i64::from(head.kind), &mut message);
            message.extend_from_slice(&metrics);
            write_varint(message.len() as u64, &mut self.buffer);
            self.buffer.extend_from_slice(&message);
        }
    }

    fn push_message(&mut self, newest: &Newest, labels: &[(String, &str)]) {
        let Some((_, metrics)) = &mut self.family else { return };
        let (mut metric, mut part) = (Vec::new(), Vec::new());
        for (name, value) in labels {
            part.clear();
            write_bytes(1, name.as_bytes(), &mut part);
            write_bytes(2, value.as_bytes(), &mut part);
            write_bytes(1, &part, &mut metric);
        }
        part.clear();
        match &newest.histogram {
            None => {
                write_double(1, newest.value, &mut part);
                write_bytes(5, &part, &mut metric);
                write_int64(6, newest.t_ms, &mut metric);
            }
            Some(histogram) => {
                write_histogram(histogram, &mut part);
                write_int64(6, newest.t_ms, &mut metric);
                write_bytes(7, &part, &mut metric);
            }
        }
        write_bytes(4, &metric, metrics);
    }

    fn push_lines(&mut self, newest: &Newest, labels: &[(String, &str)]) {
        let Some(histogram) = &newest.histogram else {
            return self.push_line(newest, "", labels, None, newest.value);
        };
        for (bound, count) in cumulative(histogram) {
            self.push_line(newest, "_bucket", labels, Some(bound), count);
        }
        let custom = &histogram.custom_bounds;
        if custom.last().is_none_or(|last| *last != f64::INFINITY) {
            self.push_line(newest, "_bucket", labels, Some(f64::INFINITY), histogram.count);
        }
        self.push_line(newest, "_sum", labels, None, histogram.sum);
        self.push_line(newest, "_count", labels, None, histogram.count);
    }

    fn push_line(
        &mut self,
        newest: &Newest,
        suffix: &str,
        labels: &[(String, &str)],
        bound: Option<f64>,
        value: f64,
    ) {
        let out = &mut self.buffer;
        let name = self.format.escaping.escape(newest.labels.metric_name()) + suffix;
        let is_plain = is_legacy_metric_name(&name);
        let mut separator = b'{';
        if !is_plain {
            out.push(separator);
            separator = b',';
        }
        push_name(out, &name, is_plain);
        let bound = bound.map(|bound| float_text(bound, FloatStyle::General));
        let le = bound.as_deref().map(|bound| ("le", bound));
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), *value)).chain(le);
        for (name, value) in pairs {
            out.push(separator);
            separator = b',';
            push_name(out, name, is_legacy_label_name(name));
            out.extend_from_slice(b"=\"");
            push_escaped(out, value);
            out.push(b'"');
        }
        if separator == b',' {
            out.push(b'}');
        }
        out.push(b' ');
        push_float(out, value, FloatStyle::General);
        out.extend_from_slice(format!(" {}\n", newest.t_ms).as_bytes());
    }
}

/// A name, in quotes where the old grammar does not have it.
fn push_name(out: &mut Vec<u8>, name: &str, is_plain: bool) {
    if is_plain {
        out.extend_from_slice(name.as_bytes());
        return;
    }
    out.push(b'"');
    push_escaped(out, name);
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' => out.extend_from_slice(b"\\\""),
            _ => out.push(byte),
        }
    }
}

/// Custom bounds with the count of what is at or below each.
fn cumulative(histogram: &FloatHistogram) -> Vec<(f64, f64)> {
    let mut counts = vec![0.0; histogram.custom_bounds.len()];
    let (mut index, mut at) = (0_i64, 0);
    for span in &histogram.positive_spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let count = histogram.positive_buckets.get(at).copied().unwrap_or(0.0);
            if let Some(slot) = usize::try_from(index).ok().and_then(|i| counts.get_mut(i)) {
                *slot = count;
            }
            (index, at) = (index + 1, at + 1);
        }
    }
    let mut sum = 0.0;
    let bounds = histogram.custom_bounds.iter().zip(counts);
    bounds
        .map(|(bound, count)| {
            sum += count;
            (*bound, sum)
        })
        .collect()
}

/// The histogram message of the exposition format.
fn write_histogram(histogram: &FloatHistogram, out: &mut Vec<u8>) {
    write_double(2, histogram.sum, out);
    write_double(4, histogram.count, out);
    if histogram.has_custom_bounds() {
        let mut bucket = Vec::new();
        for (bound, count) in cumulative(histogram) {
            bucket.clear();
            write_double(2, bound, &mut bucket);
            write_double(4, count, &mut bucket);
            write_bytes(3, &bucket, out);
        }
        return;
    }
    write_int64(5, zigzag(i64::from(histogram.schema)) as i64, out);
    write_double(6, histogram.zero_threshold, out);
    write_double(8, histogram.zero_count, out);
    write_spans(9, &histogram.negative_spans, out);
    histogram.negative_buckets.iter().for_each(|count| write_double(11, *count, out));
    write_spans(12, &histogram.positive_spans, out);
    histogram.positive_buckets.iter().for_each(|count| write_double(14, *count, out));
}

fn write_spans(number: u32, spans: &[Span], out: &mut Vec<u8>) {
    let mut message = Vec::new();
    for span in spans {
        message.clear();
        write_int64(1, zigzag(i64::from(span.offset)) as i64, &mut message);
        write_int64(2, i64::from(span.length), &mut message);
        write_bytes(number, &message, out);
    }
}

#[cfg(test)]
mod tests;
