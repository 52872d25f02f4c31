//! Classic histograms of a text page given as native ones.
//!
//! Neighbouring series of one histogram are collected, by the names and labels that their family's
//! `# TYPE` line makes theirs; the native histogram is given when something else comes.
//!
//! COMPAT: what is collected, and that the series collected are not given even where no histogram
//! can be made of them, is Prometheus 3.14's. The time and start are those of the series
//! collected, where Prometheus gives the time of what comes next.

use std::mem;
use std::sync::Arc;

use super::MetricType;
use super::classic::ClassicHistogram;
use super::error::ParseError;
use super::openmetrics::PageExemplar;
use super::page::{PageParser, ParseOptions};
use super::text::{Entry, LabelText};
use crate::model::{Labels, METRIC_NAME, parse_float};

/// Reads a text page and converts its classic histograms.
#[derive(Debug)]
pub struct Converter<'a> {
    inner: Box<PageParser<'a>>,
    options: ParseOptions,
    /// Name and type of the last `# TYPE` line.
    family: String,
    metric_type: MetricType,
    collected: Option<Collected<'a>>,
    /// What ended the histogram that was given last.
    waiting: Waiting<'a>,
    /// The histogram that was given last, as long as it is the last entry.
    given: Option<Collected<'a>>,
}

/// What is to be looked at before the page is read on.
#[derive(Debug, Default)]
enum Waiting<'a> {
    #[default]
    Nothing,
    Entry(Entry<'a>),
    EndOfPage,
}

impl<'a> Waiting<'a> {
    fn new(entry: Option<Entry<'a>>) -> Self {
        entry.map_or(Self::EndOfPage, Self::Entry)
    }
}

#[derive(Debug)]
struct Collected<'a> {
    /// Labels of the native histogram.
    labels: Vec<LabelText<'a>>,
    /// The same, to compare with.
    identity: Labels,
    histogram: ClassicHistogram,
    exemplars: Vec<PageExemplar>,
    timestamp_ms: Option<i64>,
    start_ms: i64,
}

/// Which part of a histogram a series is.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl<'a> Converter<'a> {
    /// Converts what `inner` reads.
    pub(super) fn new(inner: PageParser<'a>, options: ParseOptions) -> Self {
        Self {
            inner: Box::new(inner),
            options,
            family: String::new(),
            metric_type: MetricType::Unknown,
            collected: None,
            waiting: Waiting::Nothing,
            given: None,
        }
    }

    /// What reads the page: knows all about an entry that is no histogram.
    pub(super) fn inner(&mut self) -> &mut PageParser<'a> {
        &mut self.inner
    }

    /// The labels of the histogram that came last, if one did.
    pub(super) fn histogram_labels(&self) -> Option<&[LabelText<'a>]> {
        self.given.as_ref().map(|given| &*given.labels)
    }

    /// The exemplars of the histogram that came last, if one did: those that state their time.
    pub(super) fn histogram_exemplars(&self) -> Option<&[PageExemplar]> {
        self.given.as_ref().map(|given| &*given.exemplars)
    }

    /// Whether the entry that came last has exemplars of its own.
    ///
    /// COMPAT: those of collected series are the histogram's.
    pub(super) fn has_exemplars(&self) -> bool {
        match &self.given {
            Some(given) => !given.exemplars.is_empty(),
            None => self.inner.has_exemplars() && self.collected.is_none(),
        }
    }

    /// The start of the histogram that came last, if one did.
    pub(super) fn histogram_start_ms(&self) -> Option<i64> {
        self.given.as_ref().map(|given| given.start_ms)
    }

    /// The next entry; `None` at the end of the page.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        self.given = None;
        loop {
            let (entry, was_waiting) = match mem::take(&mut self.waiting) {
                Waiting::Entry(entry) => (Some(entry), true),
                Waiting::EndOfPage => (None, true),
                Waiting::Nothing => (self.inner.next_entry()?, false),
            };
            if let Some(Entry::Type { name, metric_type }) = &entry {
                self.family = name.clone().into_owned();
                self.metric_type = *metric_type;
            }
            let Some(Entry::Series { value, timestamp_ms, .. }) = entry else {
                if !was_waiting && let Some(histogram) = self.finish() {
                    self.waiting = Waiting::new(entry);
                    return Ok(Some(histogram));
                }
                return Ok(entry);
            };
            let part = self.part()?;
            let is_other = match (&self.collected, &part) {
                (Some(collected), Some((_, _, identity))) => collected.identity != *identity,
                (collected, None) => collected.is_some(),
                (None, Some(_)) => false,
            };
            if is_other && let Some(histogram) = self.finish() {
                self.waiting = Waiting::new(entry);
                return Ok(Some(histogram));
            }
            let Some(part) = part else { return Ok(entry) };
            self.collect(part, value, timestamp_ms)?;
            if self.options.keep_classic {
                return Ok(entry);
            }
        }
    }

    /// Which part of a histogram the current series is, if it is one, and of which.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    fn part(&mut self) -> Result<Option<(Part, Vec<LabelText<'a>>, Labels)>, ParseError> {
        if self.metric_type != MetricType::Histogram {
            return Ok(None);
        }
        let mut labels = self.inner.labels()?;
        let name = labels[0].1.clone();
        let Some(suffix) = name.strip_prefix(self.family.as_str()) else { return Ok(None) };
        let bound = labels.iter().find(|(name, _)| name == "le").map(|(_, bound)| bound);
        let part = match suffix {
            "_bucket" => match bound.and_then(|bound| parse_float(bound)) {
                Some(bound) if !bound.is_nan() => Part::Bucket(bound),
                _ => return Ok(None),
            },
            "_count" => Part::Count,
            "_sum" => Part::Sum,
            _ => return Ok(None),
        };
        labels[0].1 = self.family.clone().into();
        labels.retain(|(name, _)| name != "le");
        debug_assert_eq!(labels[0].0, METRIC_NAME);
        let identity = Labels::from_pairs(labels.iter().map(|(name, value)| (&**name, &**value)));
        Ok(Some((part, labels, identity)))
    }

    fn collect(
        &mut self,
        (part, labels, identity): (Part, Vec<LabelText<'a>>, Labels),
        value: f64,
        timestamp_ms: Option<i64>,
    ) -> Result<(), ParseError> {
        let start_ms = if self.collected.is_none() && self.options.reads_starts {
            self.inner.start_ms()
        } else {
            0
        };
        let exemplars = self.inner.exemplars()?;
        let collected = self.collected.get_or_insert_with(|| Collected {
            labels,
            identity,
            histogram: ClassicHistogram::default(),
            exemplars: Vec::new(),
            timestamp_ms,
            start_ms,
        });
        collected.exemplars.extend(exemplars.into_iter().filter(|e| e.t_ms.is_some()));
        match part {
            Part::Bucket(bound) => collected.histogram.set_bucket(bound, value),
            Part::Count => collected.histogram.set_count(value),
            Part::Sum => collected.histogram.set_sum(value),
        }
        Ok(())
    }

    /// The histogram of what was collected, if one can be made of it.
    fn finish(&mut self) -> Option<Entry<'a>> {
        let mut collected = self.collected.take()?;
        let histogram = std::mem::take(&mut collected.histogram).convert(false).ok()?;
        histogram.validate().ok()?;
        let timestamp_ms = collected.timestamp_ms;
        self.given = Some(collected);
        Some(Entry::Histogram { histogram: Arc::new(histogram), timestamp_ms })
    }
}
