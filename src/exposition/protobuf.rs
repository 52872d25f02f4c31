//! The protobuf format: metric families, each behind its length as a varint.
//!
//! A family is given as the entries that a text page would have: its metadata, then a series for
//! each number of each metric, or a native histogram.
//!
//! COMPAT: names of series, order, what counts as a native histogram and error texts are
//! Prometheus 3.14's. Each metric is judged by itself, where Prometheus stores the native
//! histograms of a family as classic ones while they follow a metric that has none.
//!
//! INVARIANT: after an error the parser is spent; callers reject the page as a whole.

mod message;
mod wire;

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use self::message::{Family, Metric, is_histogram, read_exemplar, read_family, read_label};
use self::wire::error;
use super::MetricType;
use super::classic::ClassicHistogram;
use super::error::ParseError;
use super::family::add_type_and_unit;
use super::float::format_openmetrics;
use super::openmetrics::PageExemplar;
use super::page::ParseOptions;
use super::text::{Entry, LINE_BYTES_MAX, LabelText, build_labels};
use crate::encoding::cursor::Cursor;
use crate::model::{LabelsBuilder, METRIC_NAME};

/// Bytes that the length before a family may take.
const LENGTH_BYTES_MAX: usize = 5;

/// Which entry comes next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Family,
    Unit,
    Type,
    Metric,
    /// A part of the current metric.
    Part(Part),
}

/// A part of a metric that is a series.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Value,
    Count,
    Sum,
    /// A quantile or bucket, by its index.
    Bound(usize),
    /// The bucket that the page leaves out because the count says it.
    Infinite,
    Native,
    /// The classic histogram as a native one.
    Converted,
}

/// Reads a page from front to back.
#[derive(Debug)]
pub struct ProtobufParser<'a> {
    page: &'a [u8],
    position: usize,
    options: ParseOptions,
    family: Family<'a>,
    metrics: Vec<&'a [u8]>,
    metrics_read: usize,
    metric: Metric<'a>,
    /// Bytes of the current metric's labels.
    labels_len: usize,
    labels_hash: u64,
    /// The metric whose labels are hashed: the end of its family, its number.
    hashed: (usize, usize),
    /// Whether the current metric has a native histogram that is wanted.
    is_native: bool,
    step: Step,
    /// The part that was given last.
    part: Part,
}

impl<'a> ProtobufParser<'a> {
    /// A parser of the whole page.
    pub fn new(page: &'a [u8], options: ParseOptions) -> Self {
        Self {
            page,
            position: 0,
            options,
            family: Family::default(),
            metrics: Vec::new(),
            metrics_read: 0,
            metric: Metric::default(),
            labels_len: 0,
            labels_hash: 0,
            hashed: (0, 0),
            is_native: false,
            step: Step::Family,
            part: Part::Value,
        }
    }

    /// The type of the current family.
    pub fn metric_type(&self) -> MetricType {
        self.family.metric_type
    }

    /// The next entry; `None` at the end of the page.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            let name = Cow::Borrowed(self.family.name);
            match self.step {
                Step::Family => {
                    if !self.read_family()? {
                        return Ok(None);
                    }
                    if self.metrics.is_empty() {
                        continue;
                    }
                    self.step = if self.family.unit.is_empty() { Step::Type } else { Step::Unit };
                    let name = Cow::Borrowed(self.family.name);
                    return Ok(Some(Entry::Help { name, text: self.family.help.into() }));
                }
                Step::Unit => {
                    self.step = Step::Type;
                    return Ok(Some(Entry::Unit { name, unit: self.family.unit.into() }));
                }
                Step::Type => {
                    self.step = Step::Metric;
                    let metric_type = self.family.metric_type;
                    return Ok(Some(Entry::Type { name, metric_type }));
                }
                Step::Metric => self.read_metric()?,
                Step::Part(part) => {
                    self.part = part;
                    return self.give(part).map(Some);
                }
            }
        }
    }

    /// Reads the next family; `false` where there is none.
    fn read_family(&mut self) -> Result<bool, ParseError> {
        let rest = &self.page[self.position..];
        if rest.is_empty() {
            return Ok(false);
        }
        let mut cursor = Cursor::new(rest);
        let length = cursor.uvarint().ok().filter(|_| cursor.offset() <= LENGTH_BYTES_MAX);
        let length = length.ok_or_else(|| error("clientpb: invalid varint encountered"))?;
        let start = cursor.offset();
        let message = usize::try_from(length).ok().and_then(|len| cursor.bytes(len).ok());
        let message = message.ok_or_else(|| {
            let (expected, got) = (length.saturating_add(start as u64), rest.len());
            error(format!(
                "clientpb: insufficient length of buffer, expected at least {expected} bytes, \
                 got {got} bytes"
            ))
        })?;
        self.position += cursor.offset();
        self.family = read_family(message, &mut self.metrics)?;
        self.metrics_read = 0;
        Ok(true)
    }

    fn read_metric(&mut self) -> Result<(), ParseError> {
        let Some(message) = self.metrics.get(self.metrics_read) else {
            self.step = Step::Family;
            return Ok(());
        };
        self.metrics_read += 1;
        self.metric.read(message, self.family.metric_type)?;
        let labels_len: usize = self.metric.labels.iter().map(|label| label.len()).sum();
        self.labels_len = labels_len + self.family.name.len();
        if self.labels_len > LINE_BYTES_MAX {
            return Err(ParseError::LineTooLong(self.labels_len));
        }
        let metric_type = self.family.metric_type;
        self.is_native =
            is_histogram(metric_type) && self.options.native_histograms && self.metric.is_native();
        let part = if metric_type == MetricType::Summary {
            Part::Count
        } else if !is_histogram(metric_type) {
            Part::Value
        } else if self.is_native {
            Part::Native
        } else if self.converts() && !self.options.keep_classic {
            Part::Converted
        } else {
            Part::Count
        };
        self.step = Step::Part(part);
        Ok(())
    }

    /// Whether the current histogram, a classic one, is to become a native one.
    fn converts(&self) -> bool {
        self.options.convert_classic && !self.is_native
    }

    /// The entry of a part; moves on to the next one.
    fn give(&mut self, part: Part) -> Result<Entry<'a>, ParseError> {
        let stated_ms = self.metric.timestamp_ms;
        let timestamp_ms = (stated_ms != 0).then_some(stated_ms);
        let is_gauge = self.family.metric_type == MetricType::GaugeHistogram;
        let histogram = match part {
            Part::Native => {
                let histogram = self.metric.take_native(is_gauge);
                histogram.map_err(|error| self.about_histogram(&error))?
            }
            Part::Converted => {
                let mut classic = ClassicHistogram::default();
                classic.set_count(self.metric.count);
                classic.set_sum(self.metric.sum);
                for bucket in &self.metric.buckets {
                    classic.set_bucket(bucket.bound, bucket.count);
                }
                classic.convert(is_gauge).map_err(ParseError::Histogram)?
            }
            _ => {
                let value = self.value(part);
                self.step = self.next_part(part).map_or(Step::Metric, Step::Part);
                return Ok(Entry::Series { text: &[], value, timestamp_ms });
            }
        };
        let keeps_classic =
            part == Part::Native && self.options.keep_classic && !self.metric.buckets.is_empty();
        self.step = if keeps_classic { Step::Part(Part::Count) } else { Step::Metric };
        Ok(Entry::Histogram { histogram: Arc::new(histogram), timestamp_ms })
    }

    fn about_histogram(&self, error: &ParseError) -> ParseError {
        ParseError::Histogram(format!("histogram {:?}: {error}", self.family.name))
    }

    fn value(&self, part: Part) -> f64 {
        let metric = &self.metric;
        match part {
            Part::Count | Part::Infinite => metric.count,
            Part::Sum => metric.sum,
            Part::Bound(at) if self.family.metric_type == MetricType::Summary => {
                metric.quantiles[at].1
            }
            Part::Bound(at) => metric.buckets[at].count,
            Part::Value | Part::Native | Part::Converted => metric.value,
        }
    }

    /// What follows a part that is a series; `None`: the next metric.
    fn next_part(&mut self, part: Part) -> Option<Part> {
        let next = match part {
            Part::Value | Part::Native | Part::Converted => return None,
            Part::Count => return Some(Part::Sum),
            Part::Sum => 0,
            Part::Bound(at) => at + 1,
            Part::Infinite => usize::MAX,
        };
        if self.family.metric_type == MetricType::Summary {
            return (next < self.metric.quantiles.len()).then_some(Part::Bound(next));
        }
        let is_last = |at: usize| self.metric.buckets[at].bound == f64::INFINITY;
        let is_done = part == Part::Infinite || matches!(part, Part::Bound(at) if is_last(at));
        if !is_done {
            let has_more = next < self.metric.buckets.len();
            return Some(if has_more { Part::Bound(next) } else { Part::Infinite });
        }
        self.converts().then_some(Part::Converted)
    }

    /// The labels of the entry that came last, a series or a histogram; values may be empty.
    pub fn labels(&self) -> Result<Vec<LabelText<'a>>, ParseError> {
        let name = self.family.name;
        let is_summary = self.family.metric_type == MetricType::Summary;
        let name = match self.part {
            Part::Count => Cow::Owned(format!("{name}_count")),
            Part::Sum => Cow::Owned(format!("{name}_sum")),
            Part::Bound(_) | Part::Infinite if !is_summary => Cow::Owned(format!("{name}_bucket")),
            _ => Cow::Borrowed(name),
        };
        let mut labels = vec![(Cow::Borrowed(METRIC_NAME), name)];
        for label in &self.metric.labels {
            let (name, value) = read_label(label)?;
            labels.push((Cow::Borrowed(name), Cow::Borrowed(value)));
        }
        if self.options.type_and_unit_labels {
            let unit = Cow::Borrowed(self.family.unit);
            add_type_and_unit(&mut labels, self.family.metric_type, unit);
        }
        let bound = match self.part {
            Part::Bound(at) if is_summary => Some(("quantile", self.metric.quantiles[at].0)),
            Part::Bound(at) => Some(("le", self.metric.buckets[at].bound)),
            Part::Infinite => Some(("le", f64::INFINITY)),
            _ => None,
        };
        if let Some((name, bound)) = bound {
            labels.push((Cow::Borrowed(name), Cow::Owned(format_openmetrics(bound))));
        }
        Ok(labels)
    }

    /// [`ProtobufParser::labels`] as a builder; an error where a label that is not empty stands
    /// twice.
    pub fn labels_builder(&self) -> Result<LabelsBuilder, ParseError> {
        build_labels(self.labels()?)
    }

    /// The exemplars of the entry that came last. Those of a native histogram that state no time
    /// are left out.
    pub fn exemplars(&self) -> Result<Vec<PageExemplar>, ParseError> {
        let metric = &self.metric;
        let mut exemplars = Vec::new();
        match self.part {
            Part::Value => exemplars.extend(metric.exemplar),
            Part::Bound(at) if self.family.metric_type != MetricType::Summary => {
                exemplars.extend(metric.buckets[at].exemplar);
            }
            Part::Native | Part::Converted => {
                exemplars.extend_from_slice(&metric.native.exemplars);
                if exemplars.is_empty() {
                    exemplars.extend(metric.buckets.iter().filter_map(|bucket| bucket.exemplar));
                }
                let mut read =
                    exemplars.iter().map(|e| read_exemplar(e)).collect::<Result<Vec<_>, _>>()?;
                read.retain(|exemplar| exemplar.t_ms.is_some());
                return Ok(read);
            }
            _ => {}
        }
        exemplars.iter().map(|exemplar| read_exemplar(exemplar)).collect()
    }

    /// Whether the entry that came last may have exemplars.
    pub fn has_exemplars(&self) -> bool {
        match self.part {
            Part::Value => self.metric.exemplar.is_some(),
            Part::Bound(at) if self.family.metric_type != MetricType::Summary => {
                self.metric.buckets[at].exemplar.is_some()
            }
            Part::Native | Part::Converted => {
                !self.metric.native.exemplars.is_empty()
                    || self.metric.buckets.iter().any(|bucket| bucket.exemplar.is_some())
            }
            _ => false,
        }
    }

    /// When the entry that came last began to count, in milliseconds; 0: not known.
    pub fn start_ms(&self) -> i64 {
        self.metric.start_ms
    }

    /// What knows the series of the entry that came last again on the next page: a hash of what
    /// makes its labels, and how many bytes that are.
    pub(super) fn key(&self, hasher: &impl BuildHasher) -> (u64, usize) {
        let (kind, bound) = match self.part {
            Part::Value | Part::Native | Part::Converted => (0_u8, 0),
            Part::Count => (1, 0),
            Part::Sum => (2, 0),
            Part::Bound(at) if self.family.metric_type == MetricType::Summary => {
                (3, self.metric.quantiles[at].0.to_bits())
            }
            Part::Bound(at) => (3, self.metric.buckets[at].bound.to_bits()),
            Part::Infinite => (3, f64::INFINITY.to_bits()),
        };
        let mut hash = hasher.build_hasher();
        hash.write_u64(self.labels_hash);
        hash.write_u8(kind);
        hash.write_u64(bound);
        (hash.finish(), self.labels_len)
    }

    /// Takes note of the current metric's labels; see [`ProtobufParser::key`].
    pub(super) fn hash_labels(&mut self, hasher: &impl BuildHasher) {
        if self.hashed == (self.position, self.metrics_read) {
            return;
        }
        self.hashed = (self.position, self.metrics_read);
        let mut hash = hasher.build_hasher();
        hash.write_usize(self.family.name.len());
        hash.write(self.family.name.as_bytes());
        for label in &self.metric.labels {
            hash.write_usize(label.len());
            hash.write(label);
        }
        self.labels_hash = hash.finish();
    }
}

#[cfg(test)]
mod tests;
