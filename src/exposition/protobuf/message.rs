//! The messages of a page, read as far as their family's type needs them.
//!
//! ```text
//! family    1 name, 2 help, 3 type, 4 metric, 5 unit
//! metric    1 label, 2 gauge, 3 counter, 4 summary, 5 untyped, 6 timestamp_ms, 7 histogram
//! counter   1 value, 2 exemplar, 3 start
//! summary   1 count, 2 sum, 3 quantile (1 quantile, 2 value), 4 start
//! histogram 1 count, 2 sum, 3 bucket, 4 count as float, 5 schema, 6 zero threshold, 7 zero count,
//!           8 zero count as float, 9/10/11 negative spans/deltas/counts, 12/13/14 positive ones,
//!           15 start, 16 exemplar
//! bucket    1 count, 2 upper bound, 3 exemplar, 4 count as float
//! span      1 offset, 2 length
//! exemplar  1 label (1 name, 2 value), 2 value, 3 time (1 seconds, 2 nanoseconds)
//! ```
//! Source: `io.prometheus.client`, the client data model.

use super::wire::{Fields, Value, error};
use crate::encoding::varint::unzigzag;
use crate::exposition::openmetrics::PageExemplar;
use crate::exposition::{MetricType, ParseError};
use crate::model::{FloatHistogram, Histogram, IntegerHistogram, Labels, ResetHint, Span};

/// A family without its metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
    pub(super) metric_type: MetricType,
}

/// Reads a family; `metrics` becomes its metric messages.
pub(super) fn read_family<'a>(
    message: &'a [u8],
    metrics: &mut Vec<&'a [u8]>,
) -> Result<Family<'a>, ParseError> {
    metrics.clear();
    let (mut name, mut help, mut unit) = (&[][..], &[][..], &[][..]);
    let mut number_of_type = 0;
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.bytes("Name")?,
            2 => help = value.bytes("Help")?,
            3 => number_of_type = value.varint("Type")?,
            4 => metrics.push(value.bytes("Metric")?),
            5 => unit = value.bytes("Unit")?,
            _ => {}
        }
    }
    if metrics.is_empty() {
        return Ok(Family::default());
    }
    let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| error(format!("invalid metric name: {}", lossy(name))))?;
    let help = std::str::from_utf8(help)
        .map_err(|_| error(format!("invalid help for metric {name:?}: {}", lossy(help))))?;
    let unit = std::str::from_utf8(unit)
        .map_err(|_| error(format!("invalid unit for metric {name:?}: {}", lossy(unit))))?;
    let metric_type = match number_of_type {
        0 => MetricType::Counter,
        1 => MetricType::Gauge,
        2 => MetricType::Summary,
        3 => MetricType::Unknown,
        4 => MetricType::Histogram,
        5 => MetricType::GaugeHistogram,
        other => {
            let number = other as i32;
            return Err(error(format!("unknown metric type for metric {name:?}: {number}")));
        }
    };
    Ok(Family { name, help, unit, metric_type })
}

/// A metric, as far as the type of its family concerns it.
#[derive(Debug, Default)]
pub(super) struct Metric<'a> {
    /// Label messages.
    pub(super) labels: Vec<&'a [u8]>,
    /// 0: not stated.
    pub(super) timestamp_ms: i64,
    /// 0: not known.
    pub(super) start_ms: i64,
    /// Of a counter, gauge or untyped metric.
    pub(super) value: f64,
    /// Of a counter.
    pub(super) exemplar: Option<&'a [u8]>,
    /// Of a summary or histogram.
    pub(super) count: f64,
    /// Of a summary or histogram.
    pub(super) sum: f64,
    /// Of a summary: quantile and value.
    pub(super) quantiles: Vec<(f64, f64)>,
    /// Of a classic histogram.
    pub(super) buckets: Vec<ClassicBucket<'a>>,
    /// Of a native histogram.
    pub(super) native: Native<'a>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ClassicBucket<'a> {
    pub(super) bound: f64,
    pub(super) count: f64,
    pub(super) exemplar: Option<&'a [u8]>,
}

/// What a histogram has beyond its classic part.
#[derive(Debug, Default)]
pub(super) struct Native<'a> {
    count: u64,
    count_float: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    positive: Side,
    negative: Side,
    pub(super) exemplars: Vec<&'a [u8]>,
}

#[derive(Debug, Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl<'a> Metric<'a> {
    /// Reads a metric of a family of that type in place of what was read before.
    pub(super) fn read(
        &mut self,
        message: &'a [u8],
        metric_type: MetricType,
    ) -> Result<(), ParseError> {
        let (mut labels, mut quantiles, mut buckets) = (
            std::mem::take(&mut self.labels),
            std::mem::take(&mut self.quantiles),
            std::mem::take(&mut self.buckets),
        );
        labels.clear();
        quantiles.clear();
        buckets.clear();
        *self = Self { labels, quantiles, buckets, ..Self::default() };
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.labels.push(value.bytes("Label")?),
                2 if metric_type == MetricType::Gauge => self.read_value(value.bytes("Gauge")?)?,
                3 if metric_type == MetricType::Counter => {
                    self.read_counter(value.bytes("Counter")?)?;
                }
                4 if metric_type == MetricType::Summary => {
                    self.read_summary(value.bytes("Summary")?)?;
                }
                5 if metric_type == MetricType::Unknown => {
                    self.read_value(value.bytes("Untyped")?)?;
                }
                6 => self.timestamp_ms = value.varint("TimestampMs")? as i64,
                7 if is_histogram(metric_type) => self.read_histogram(value.bytes("Histogram")?)?,
                _ => {}
            }
        }
        if is_histogram(metric_type) {
            let native = &self.native;
            self.count = float_or(native.count_float, native.count);
        }
        Ok(())
    }

    fn read_value(&mut self, message: &[u8]) -> Result<(), ParseError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                self.value = value.double("Value")?;
            }
        }
        Ok(())
    }

    fn read_counter(&mut self, message: &'a [u8]) -> Result<(), ParseError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.value = value.double("Value")?,
                2 => self.exemplar = Some(value.bytes("Exemplar")?),
                3 => self.start_ms = read_time(value.bytes("StartTimestamp")?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_summary(&mut self, message: &'a [u8]) -> Result<(), ParseError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.count = value.varint("SampleCount")? as f64,
                2 => self.sum = value.double("SampleSum")?,
                3 => {
                    let mut quantile = (0.0, 0.0);
                    let mut fields = Fields::new(value.bytes("Quantile")?);
                    while let Some((number, value)) = fields.next()? {
                        match number {
                            1 => quantile.0 = value.double("Quantile")?,
                            2 => quantile.1 = value.double("Value")?,
                            _ => {}
                        }
                    }
                    self.quantiles.push(quantile);
                }
                4 => self.start_ms = read_time(value.bytes("StartTimestamp")?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_histogram(&mut self, message: &'a [u8]) -> Result<(), ParseError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.next()? {
            let native = &mut self.native;
            match number {
                1 => native.count = value.varint("SampleCount")?,
                2 => self.sum = value.double("SampleSum")?,
                3 => self.buckets.push(read_bucket(value.bytes("Bucket")?)?),
                4 => native.count_float = value.double("SampleCountFloat")?,
                5 => native.schema = unzigzag(value.varint("Schema")?) as i32,
                6 => native.zero_threshold = value.double("ZeroThreshold")?,
                7 => native.zero_count = value.varint("ZeroCount")?,
                8 => native.zero_count_float = value.double("ZeroCountFloat")?,
                9..=11 => native.negative.read(number - 9, value)?,
                12..=14 => native.positive.read(number - 12, value)?,
                15 => self.start_ms = read_time(value.bytes("StartTimestamp")?)?,
                16 => native.exemplars.push(value.bytes("Exemplars")?),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it has a native histogram.
    pub(super) fn is_native(&self) -> bool {
        let native = &self.native;
        !native.positive.spans.is_empty()
            || !native.negative.spans.is_empty()
            || native.zero_threshold > 0.0
            || native.zero_count > 0
    }

    /// Takes the native histogram out.
    pub(super) fn take_native(&mut self, is_gauge: bool) -> Result<Histogram, ParseError> {
        let exemplars = std::mem::take(&mut self.native.exemplars);
        let native = std::mem::take(&mut self.native);
        self.native.exemplars = exemplars;
        let is_float = native.count_float > 0.0 || native.zero_count_float > 0.0;
        for (side, name) in [(&native.positive, "positive"), (&native.negative, "negative")] {
            let buckets = if is_float { side.counts.len() } else { side.deltas.len() };
            let needed: u64 = side.spans.iter().map(|span| u64::from(span.length)).sum();
            if needed != buckets as u64 {
                let text = format!("{name} side: spans require {needed} buckets, have {buckets}");
                return Err(ParseError::Histogram(text));
            }
        }
        let reset_hint = if is_gauge { ResetHint::Gauge } else { ResetHint::Unknown };
        Ok(if is_float {
            let mut histogram = FloatHistogram {
                reset_hint,
                schema: native.schema,
                zero_threshold: native.zero_threshold,
                zero_count: native.zero_count_float,
                count: native.count_float,
                sum: self.sum,
                positive_spans: native.positive.spans,
                negative_spans: native.negative.spans,
                positive_buckets: native.positive.counts,
                negative_buckets: native.negative.counts,
                ..FloatHistogram::default()
            };
            histogram.compact_whole();
            Histogram::Float(histogram)
        } else {
            let mut histogram = IntegerHistogram {
                reset_hint,
                schema: native.schema,
                zero_threshold: native.zero_threshold,
                zero_count: native.zero_count,
                count: native.count,
                sum: self.sum,
                positive_spans: native.positive.spans,
                negative_spans: native.negative.spans,
                positive_deltas: native.positive.deltas,
                negative_deltas: native.negative.deltas,
                ..IntegerHistogram::default()
            };
            histogram.compact(0);
            Histogram::Integer(histogram)
        })
    }
}

impl Side {
    /// `part`: 0 spans, 1 deltas, 2 counts.
    fn read(&mut self, part: u32, value: Value<'_>) -> Result<(), ParseError> {
        match part {
            0 => {
                let mut span = Span { offset: 0, length: 0 };
                let mut fields = Fields::new(value.bytes("Span")?);
                while let Some((number, value)) = fields.next()? {
                    match number {
                        1 => span.offset = unzigzag(value.varint("Offset")?) as i32,
                        2 => span.length = value.varint("Length")? as u32,
                        _ => {}
                    }
                }
                self.spans.push(span);
                Ok(())
            }
            1 => value.varints("Delta", |delta| self.deltas.push(unzigzag(delta))),
            _ => value.doubles("Count", &mut self.counts),
        }
    }
}

pub(super) fn is_histogram(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Histogram | MetricType::GaugeHistogram)
}

/// The float stands before the integer unless it is 0.
fn float_or(float: f64, integer: u64) -> f64 {
    if float == 0.0 { integer as f64 } else { float }
}

fn read_bucket(message: &[u8]) -> Result<ClassicBucket<'_>, ParseError> {
    let mut bucket = ClassicBucket::default();
    let (mut count, mut count_float) = (0, 0.0);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => count = value.varint("CumulativeCount")?,
            2 => bucket.bound = value.double("UpperBound")?,
            3 => bucket.exemplar = Some(value.bytes("Exemplar")?),
            4 => count_float = value.double("CumulativeCountFloat")?,
            _ => {}
        }
    }
    bucket.count = float_or(count_float, count);
    Ok(bucket)
}

/// Milliseconds.
fn read_time(message: &[u8]) -> Result<i64, ParseError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => seconds = value.varint("Seconds")? as i64,
            2 => nanos = value.varint("Nanos")? as i32,
            _ => {}
        }
    }
    Ok(seconds.wrapping_mul(1000).wrapping_add(i64::from(nanos / 1_000_000)))
}

/// Name and value of a label message.
pub(super) fn read_label(message: &[u8]) -> Result<(&str, &str), ParseError> {
    let (mut name, mut text) = ("", "");
    let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let bytes = value.bytes("Name")?;
                name = std::str::from_utf8(bytes)
                    .ok()
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| error(format!("invalid label name: {}", lossy(bytes))))?;
            }
            2 => {
                let bytes = value.bytes("Value")?;
                text = std::str::from_utf8(bytes)
                    .map_err(|_| error(format!("invalid label value: {}", lossy(bytes))))?;
            }
            _ => {}
        }
    }
    Ok((name, text))
}

/// An exemplar message.
pub(super) fn read_exemplar(message: &[u8]) -> Result<PageExemplar, ParseError> {
    let mut exemplar = PageExemplar { labels: Labels::empty(), value: 0.0, t_ms: None };
    let mut labels = Vec::new();
    let mut fields = Fields::new(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => labels.push(read_label(value.bytes("Label")?)?),
            2 => exemplar.value = value.double("Value")?,
            3 => exemplar.t_ms = Some(read_time(value.bytes("Timestamp")?)?),
            _ => {}
        }
    }
    exemplar.labels = Labels::from_pairs(labels);
    Ok(exemplar)
}
