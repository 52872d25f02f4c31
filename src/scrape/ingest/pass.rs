//! One reading of a page: each line to its series, each sample to the batch.

use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;

use super::super::series::SeriesRules;
use super::super::sink::Batch;
use super::origin::{self, Counted, Origin};
use super::{IngestError, IngestOptions, Ingested, Slot};
use crate::config::ScrapeConfig;
use crate::exposition::{Line, ParseError, Walk, WalkStep};
use crate::head::SeriesRef;
use crate::model::{FloatHistogram, Histogram, IntegerHistogram, ResetHint, stale_nan};

/// See the module's description.
pub(super) struct Pass<'a> {
    config: &'a ScrapeConfig,
    options: IngestOptions,
    rules: &'a SeriesRules,
    t_ms: i64,
    /// When series began to count, where that is made up.
    origins: &'a mut HashMap<SeriesRef, Origin>,
    /// The finest schema of native histograms.
    schema_max: i32,
    /// Whether values without a start are stored as they stand on the page.
    is_plain: bool,
    /// The slot of each sample appended, in order; [`NO_SLOT`]: the zero with which a counter
    /// begins.
    pub(super) slots: Vec<u32>,
    /// Slots to be tracked from now on or no more, once the commit has gone well.
    pub(super) tracked: Vec<(usize, bool)>,
    /// The exemplars of each series: numbers of their calls.
    pub(super) exemplar_runs: Vec<Range<usize>>,
    /// What counts towards `sample_limit`.
    counted: usize,
    has_too_many_buckets: bool,
}

/// In [`Pass::slots`]: a sample that belongs to no line.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// The form in which slots are kept; nobody serves so many lines that it does not do.
fn short(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(NO_SLOT)
}

/// A sample to append.
struct Sample {
    series: SeriesRef,
    t_ms: i64,
    value: f64,
    histogram: Option<Arc<Histogram>>,
    /// 0: not known.
    start_ms: i64,
}

/// A limit of the configuration, where 0 sets none.
fn bound(limit: u64) -> usize {
    if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) }
}

/// COMPAT: the schema whose buckets grow by at least `factor`.
fn schema_for(factor: f64) -> i32 {
    let factor = if factor <= 1.0 { 1.002_71 } else { factor };
    (-factor.log2().log2()).floor().clamp(-4.0, 8.0) as i32
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        config: &'a ScrapeConfig,
        options: IngestOptions,
        rules: &'a SeriesRules,
        (t_ms, origins): (i64, &'a mut HashMap<SeriesRef, Origin>),
    ) -> Self {
        Self {
            config,
            options,
            rules,
            t_ms,
            is_plain: origins.is_empty() && !options.synthesizes_starts,
            origins,
            schema_max: schema_for(config.native_histogram_min_bucket_factor),
            slots: Vec::new(),
            tracked: Vec::new(),
            exemplar_runs: Vec::new(),
            counted: 0,
            has_too_many_buckets: false,
        }
    }

    pub(super) fn read(
        &mut self,
        walk: &mut Walk<'_, Slot>,
        batch: &mut dyn Batch,
        ingested: &mut Ingested,
    ) -> Result<(), IngestError> {
        let limit = bound(self.config.sample_limit);
        let mut ended = Vec::new();
        self.prepare(walk);
        while let Some(line) = walk.next_line().map_err(IngestError::Parse)? {
            ingested.scraped += 1;
            let own_time = line.timestamp_ms.filter(|_| self.config.honor_timestamps);
            let is_within = self.counted < limit;
            let mut slot = walk.payload(line.slot);
            let is_new = slot == Slot::Unresolved && line.step == WalkStep::New;
            if slot == Slot::Unresolved {
                slot = self.resolve(walk, batch, is_within).inspect_err(|error| {
                    ingested.scraped -= usize::from(is_of_message(error));
                })?;
                walk.set_payload(line.slot, slot);
            }
            if slot == Slot::Dropped {
                continue;
            }
            if line.step == WalkStep::Repeat && own_time.is_none() {
                ingested.post_relabeling += 1;
                ingested.duplicates += 1;
                continue;
            }
            let histogram = if line.is_histogram { self.histogram(walk)? } else { None };
            ingested.post_relabeling += 1;
            if line.is_histogram && histogram.is_none() {
                continue;
            }
            let is_added = is_new && is_within && !self.has_too_many_buckets;
            ingested.series_added += usize::from(is_added);
            self.counted += 1;
            let Slot::Series { series, is_tracked } = slot else { continue };
            if !is_within {
                continue;
            }
            let t_ms = own_time.unwrap_or(self.t_ms);
            if !self.store(walk, batch, line, (series, t_ms, histogram))? {
                continue;
            }
            // A series whose start is made up ends in any case, and its start with it.
            let tracks = own_time.is_none()
                || self.config.track_timestamps_staleness
                || self.origins.contains_key(&series);
            if tracks != is_tracked {
                self.tracked.push((line.slot, tracks));
                if is_tracked {
                    ended.push(series);
                }
            }
        }
        if self.counted > limit {
            return Err(IngestError::SampleLimit(self.config.sample_limit));
        }
        if self.has_too_many_buckets {
            return Err(IngestError::BucketLimit(self.config.native_histogram_bucket_limit));
        }
        // From now on these carry times of their own: what was theirs at ours ends.
        for series in ended {
            batch.append(series, self.t_ms, stale_nan());
        }
        Ok(())
    }

    /// Has the page tell of families, where that is needed to know what counts.
    fn prepare(&self, walk: &mut Walk<'_, Slot>) {
        if self.options.synthesizes_starts {
            walk.keep_families();
        }
    }

    /// Appends what a line says of its series; `false` where that is not stored.
    fn store(
        &mut self,
        walk: &mut Walk<'_, Slot>,
        batch: &mut dyn Batch,
        line: Line,
        (series, t_ms, histogram): (SeriesRef, i64, Option<Arc<Histogram>>),
    ) -> Result<bool, IngestError> {
        let start_ms = walk.start_ms();
        if self.is_plain && start_ms == 0 && histogram.is_none() {
            batch.append(series, t_ms, line.value);
            self.slots.push(short(line.slot));
        } else {
            let sample = Sample { series, t_ms, value: line.value, histogram, start_ms };
            let Some(sample) = self.with_start(sample) else { return Ok(false) };
            self.append(batch, line.slot, sample);
        }
        if line.has_exemplars {
            self.append_exemplars(walk, batch, line, (series, t_ms))?;
        }
        Ok(true)
    }

    /// The sample as counted from a start that is made up, where its page says none and it counts;
    /// `None` for the first of a series, from which the others are counted.
    fn with_start(&mut self, sample: Sample) -> Option<Sample> {
        if sample.start_ms != 0 {
            return Some(sample);
        }
        let Some(origin) = self.origins.get_mut(&sample.series) else { return Some(sample) };
        let counted = origin.count(sample.t_ms, sample.value, sample.histogram.as_ref())?;
        let Counted { start_ms, value, histogram } = counted;
        Some(Sample { value, histogram, start_ms, ..sample })
    }

    fn append(&mut self, batch: &mut dyn Batch, slot: usize, sample: Sample) {
        let Sample { series, t_ms, value, histogram, start_ms } = sample;
        if self.options.injects_zeros && start_ms != 0 && start_ms < t_ms {
            // Where the series goes on since then the database refuses it, as it should.
            match &histogram {
                Some(histogram) => batch.append_histogram(series, start_ms, zero_of(histogram)),
                None => batch.append(series, start_ms, 0.0),
            }
            batch.set_last_in_order();
            self.slots.push(NO_SLOT);
        }
        match histogram {
            Some(histogram) => batch.append_histogram(series, t_ms, histogram),
            None => batch.append(series, t_ms, value),
        }
        if self.options.synthesizes_starts {
            batch.set_last_in_order();
        }
        if self.options.stores_starts && start_ms != 0 {
            batch.set_last_start(start_ms);
        }
        self.slots.push(short(slot));
    }

    /// The histogram of the last line as it is stored; `None` where it has too many buckets.
    fn histogram(
        &mut self,
        walk: &mut Walk<'_, Slot>,
    ) -> Result<Option<Arc<Histogram>>, IngestError> {
        let histogram = walk.take_histogram().expect("BUG: the line is a histogram");
        let mut known = if histogram.schema() > 8 {
            Arc::new(histogram.in_known_resolution())
        } else {
            histogram
        };
        let limit = bound(self.config.native_histogram_bucket_limit);
        known.validate().map_err(IngestError::Histogram)?;
        if known.schema() > self.schema_max || known.buckets_len() > limit {
            let fitting = Arc::make_mut(&mut known);
            fitting.reduce_resolution(self.schema_max);
            if !fitting.fit_buckets(limit) {
                // COMPAT: counting goes on, to tell how many samples there are.
                self.has_too_many_buckets = true;
                return Ok(None);
            }
        }
        Ok(Some(known))
    }

    /// Appends the exemplars of the last line, times ascending.
    fn append_exemplars(
        &mut self,
        walk: &mut Walk<'_, Slot>,
        batch: &mut dyn Batch,
        line: Line,
        (series, t_ms): (SeriesRef, i64),
    ) -> Result<(), IngestError> {
        let mut exemplars = walk.exemplars().map_err(IngestError::Parse)?;
        if line.is_histogram {
            // COMPAT: without a time it cannot be told whether it is a new one.
            exemplars.retain(|exemplar| exemplar.t_ms.is_some());
        }
        exemplars.sort_by(|a, b| {
            let key = |e: &crate::exposition::PageExemplar| e.t_ms.unwrap_or(t_ms);
            key(a).cmp(&key(b)).then_with(|| a.value.total_cmp(&b.value))
        });
        let first = self.exemplar_runs.last().map_or(0, |run| run.end);
        if !exemplars.is_empty() {
            self.exemplar_runs.push(first..first + exemplars.len());
        }
        for exemplar in exemplars {
            batch.append_exemplar(series, exemplar.at(t_ms));
        }
        Ok(())
    }

    /// Looks up what is unresolved, and appends that alone.
    pub(super) fn read_unresolved(
        &mut self,
        walk: &mut Walk<'_, Slot>,
        batch: &mut dyn Batch,
    ) -> Result<(), IngestError> {
        self.prepare(walk);
        while let Some(line) = walk.next_line().map_err(IngestError::Parse)? {
            if walk.payload(line.slot) != Slot::Unresolved {
                continue;
            }
            let own_time = line.timestamp_ms.filter(|_| self.config.honor_timestamps);
            let mut slot = self.resolve(walk, batch, true)?;
            let histogram = if line.is_histogram { self.histogram(walk)? } else { None };
            if let Slot::Series { series, is_tracked } = &mut slot {
                let (t_ms, value) = (own_time.unwrap_or(self.t_ms), line.value);
                let start_ms = walk.start_ms();
                let sample = Sample { series: *series, t_ms, value, histogram, start_ms };
                if let Some(sample) = self.with_start(sample) {
                    self.append(batch, line.slot, sample);
                }
                *is_tracked = own_time.is_none() || self.config.track_timestamps_staleness;
            }
            walk.set_payload(line.slot, slot);
        }
        Ok(())
    }

    /// What the last line is. Beyond the sample limit it is checked but not looked up, so that a
    /// page that is too long creates no series for its end.
    fn resolve(
        &mut self,
        walk: &mut Walk<'_, Slot>,
        batch: &mut dyn Batch,
        is_within: bool,
    ) -> Result<Slot, IngestError> {
        let scraped = walk.labels_builder().map_err(IngestError::Parse)?;
        let labels = self.rules.apply(scraped, || walk.labels()).map_err(IngestError::Series)?;
        match labels {
            None => Ok(Slot::Dropped),
            Some(_) if !is_within => Ok(Slot::Unresolved),
            Some(labels) => {
                let series = batch.series(&labels).map_err(IngestError::Storage)?;
                if self.options.synthesizes_starts
                    && series.refusal().is_none()
                    && origin::counts(labels.metric_name(), walk.about())
                {
                    self.origins.entry(series).or_default();
                }
                Ok(Slot::Series { series, is_tracked: false })
            }
        }
    }
}

/// COMPAT: labels of a protobuf message are read before its sample counts.
fn is_of_message(error: &IngestError) -> bool {
    matches!(error, IngestError::Parse(ParseError::Message(_)))
}

/// The empty histogram with which a counter of the same layout begins.
fn zero_of(histogram: &Histogram) -> Arc<Histogram> {
    Arc::new(match histogram {
        Histogram::Integer(h) => Histogram::Integer(IntegerHistogram {
            reset_hint: ResetHint::Reset,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            custom_bounds: Arc::clone(&h.custom_bounds),
            ..IntegerHistogram::default()
        }),
        Histogram::Float(h) => Histogram::Float(FloatHistogram {
            reset_hint: ResetHint::Reset,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            custom_bounds: Arc::clone(&h.custom_bounds),
            ..FloatHistogram::default()
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_choose_the_schema_that_prometheus_chooses() {
        for (factor, schema) in [
            (0.0, 8),
            (1.0027, 8),
            (1.0055, 6),
            (1.1, 2),
            (2.0, 0),
            (4.0, -1),
            (65536.0, -4),
            (1e300, -4),
        ] {
            assert_eq!(schema_for(factor), schema, "{factor}");
        }
    }
}
