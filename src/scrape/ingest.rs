//! From a page to a committed row.
//!
//! [`Ingest`] is what is remembered of one target between scrapes: which series each line of its
//! page is, and which of them a staleness marker has to end when they go away. Relabelling and
//! look-ups happen once for each new line.
//!
//! INVARIANT: a slot is `tracked` exactly while the last committed scrape wrote a sample of its
//! series at the scrape's own time; only tracked series get staleness markers.
//!
//! A page that fails anywhere is rejected whole: nothing of it is stored, all tracked series end,
//! and the report says `up 0`.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashSet;

use super::series::{SeriesError, SeriesRules};
use super::sink::{Batch, Sink};
use crate::config::ScrapeConfig;
use crate::disk::StorageError;
use crate::exposition::{FamilyMetadata, LineCache, ParseError, ShapePool, Walk, WalkStep};
use crate::head::{AppendError, CommitOutcome, GroupKey, LimitReached, SeriesRef};
use crate::model::{Labels, stale_nan};

/// The series that each scrape makes; the last three only with `extra_scrape_metrics`.
const REPORTS: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
const PLAIN_REPORTS: usize = 5;

/// Scrapes that metadata outlives its family on the page.
const METADATA_LINGERS: u32 = 10;

/// Why a page was rejected.
#[derive(Debug)]
#[non_exhaustive]
pub enum IngestError {
    /// It is not in the format.
    Parse(ParseError),
    /// One of its series cannot be stored.
    Series(SeriesError),
    /// It has more samples than the job takes; the limit.
    SampleLimit(u64),
    /// The database could not name a series.
    Storage(StorageError),
}

impl fmt::Display for IngestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Series(error) => error.fmt(f),
            Self::SampleLimit(limit) => write!(f, "sample limit exceeded (limit: {limit})"),
            Self::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IngestError {}

/// What a line of the page is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Slot {
    /// Not looked up yet, or its series has left the head.
    #[default]
    Unresolved,
    /// Relabelling drops it.
    Dropped,
    Series {
        series: SeriesRef,
        is_tracked: bool,
    },
}

/// What became of a scrape.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Samples on the page, as far as it was read.
    pub scraped: usize,
    /// Of these, left after relabelling.
    pub post_relabeling: usize,
    /// Lines that were not on the page before.
    pub series_added: usize,
    /// Samples dropped singly because they are older than the series' last.
    pub out_of_order: usize,
    /// Samples dropped singly because the series has one at that time.
    pub duplicates: usize,
    /// Samples dropped singly because they are too old or too far in the future.
    pub out_of_bounds: usize,
    /// Samples dropped singly because a limit of the storage keeps their series out.
    pub over_limit: usize,
    /// The first such limit.
    pub limit: Option<LimitReached>,
    /// Why the page was rejected, if it was.
    pub error: Option<IngestError>,
}

/// The values that a scrape reports about itself.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// When the scrape began, to the end of its parsing.
    pub duration_seconds: f64,
    /// The target's timeout.
    pub timeout_seconds: f64,
    /// Bytes of the page; 0 where there is none, -1 where there were too many.
    pub body_bytes: f64,
}

/// What is remembered of one target.
#[derive(Debug)]
pub struct Ingest {
    config: Arc<ScrapeConfig>,
    rules: SeriesRules,
    group: GroupKey,
    cache: LineCache<Slot>,
    reports: [Option<SeriesRef>; REPORTS.len()],
    metadata: Arc<[FamilyMetadata]>,
    /// Families that left the page, and for how many more scrapes they are told.
    lingering: Vec<(FamilyMetadata, u32)>,
}

impl Ingest {
    /// Nothing remembered yet of the target with these labels.
    pub fn new(
        config: Arc<ScrapeConfig>,
        group: GroupKey,
        target: Labels,
        shapes: &ShapePool,
    ) -> Self {
        Self {
            rules: SeriesRules::new(Arc::clone(&config), target),
            config,
            group,
            cache: LineCache::new(shapes),
            reports: [None; REPORTS.len()],
            metadata: Arc::default(),
            lingering: Vec::new(),
        }
    }

    /// Goes on under another configuration, one that treats series alike
    /// ([`Ingest::survives`]).
    pub fn set_config(&mut self, config: Arc<ScrapeConfig>, target: Labels) {
        self.rules = SeriesRules::new(Arc::clone(&config), target);
        self.config = config;
    }

    /// Whether what was learned under the configuration `before` holds under `after`.
    pub fn survives(before: &ScrapeConfig, after: &ScrapeConfig) -> bool {
        let mut before = before.clone();
        before.scrape_interval_ms = after.scrape_interval_ms;
        before.scrape_timeout_ms = after.scrape_timeout_ms;
        before.sample_limit = after.sample_limit;
        before.body_size_limit = after.body_size_limit;
        before.http_client = after.http_client.clone();
        before.static_configs.clone_from(&after.static_configs);
        before.file_sd_configs.clone_from(&after.file_sd_configs);
        before.relabel_configs.clone_from(&after.relabel_configs);
        before == *after
    }

    /// Hands out HELP and TYPE of the families on the page, and of those that were there lately.
    pub fn publish_metadata(
        &self,
        current: &mut Arc<[FamilyMetadata]>,
        lingering: &mut Vec<FamilyMetadata>,
    ) {
        if !Arc::ptr_eq(current, &self.metadata) {
            *current = Arc::clone(&self.metadata);
        }
        if !lingering.is_empty() || !self.lingering.is_empty() {
            *lingering = self.lingering.iter().map(|(family, _)| family.clone()).collect();
        }
    }

    /// Stores a page whose scrape began at `t_ms`, or notes that there is none, and the report.
    /// `report` is asked once the page is parsed. An error is one of the database: nothing was
    /// stored.
    pub fn scrape(
        &mut self,
        sink: &dyn Sink,
        page: Option<&[u8]>,
        t_ms: i64,
        report: impl FnOnce() -> Report,
    ) -> Result<Ingested, StorageError> {
        let mut ingested = Ingested::default();
        let Some(page) = page else {
            self.store_failure(sink, t_ms, &report(), &ingested)?;
            return Ok(ingested);
        };
        let mut batch = sink.begin(&self.group)?;
        let mut walk = self.cache.walk(page);
        let mut pass = Pass::new(&self.config, &self.rules, t_ms);
        if let Err(error) = pass.read(&mut walk, &mut *batch, &mut ingested) {
            drop(batch);
            ingested.error = Some(error);
            self.store_failure(sink, t_ms, &report(), &ingested)?;
            return Ok(ingested);
        }
        let Pass { slots, tracked, .. } = pass;
        append_gone(&walk, &mut *batch, t_ms);
        let values = report_values(&self.config, &report(), &ingested, true);
        append_reports(&mut self.reports, &self.rules, &values, t_ms, &mut *batch)?;
        let outcome = batch.commit()?;
        for (slot, is_tracked) in tracked {
            if let Slot::Series { series, .. } = walk.payload(slot) {
                walk.set_payload(slot, Slot::Series { series, is_tracked });
            }
        }
        let has_unknown = judge(&mut walk, &slots, &outcome, &mut ingested);
        walk.finish();
        self.age_metadata();
        if has_unknown {
            self.store_again(sink, page, t_ms, &values)?;
        }
        Ok(ingested)
    }

    /// Ends all tracked series and reports `up 0`.
    fn store_failure(
        &mut self,
        sink: &dyn Sink,
        t_ms: i64,
        report: &Report,
        ingested: &Ingested,
    ) -> Result<(), StorageError> {
        let values = report_values(&self.config, report, ingested, false);
        self.end_all(sink, t_ms, &values)
    }

    /// The target is gone: ends its series, the reports included. Markers that are older than a
    /// sample some other loop has written meanwhile are refused by the database, as they should.
    pub fn end(&mut self, sink: &dyn Sink, t_ms: i64) -> Result<(), StorageError> {
        let reports = if self.config.extra_scrape_metrics { REPORTS.len() } else { PLAIN_REPORTS };
        self.end_all(sink, t_ms, &vec![stale_nan(); reports])
    }

    fn end_all(&mut self, sink: &dyn Sink, t_ms: i64, reports: &[f64]) -> Result<(), StorageError> {
        let mut batch = sink.begin(&self.group)?;
        for slot in self.cache.payloads_mut() {
            if let Slot::Series { series, is_tracked: true } = *slot {
                batch.append(series, t_ms, stale_nan());
            }
        }
        append_reports(&mut self.reports, &self.rules, reports, t_ms, &mut *batch)?;
        let outcome = batch.commit()?;
        let is_unknown = |(_, error): &(usize, AppendError)| *error == AppendError::UnknownSeries;
        if outcome.rejected.iter().any(is_unknown) {
            // Which of them does not matter: a marker has nothing to end there, reports are new.
            self.reports = Default::default();
            let mut batch = sink.begin(&self.group)?;
            append_reports(&mut self.reports, &self.rules, reports, t_ms, &mut *batch)?;
            batch.commit()?;
        }
        for slot in self.cache.payloads_mut() {
            if let Slot::Series { is_tracked, .. } = slot {
                *is_tracked = false;
            }
        }
        Ok(())
    }

    /// Some series had left the head: their lines are unresolved now, and this stores them, with
    /// the reports.
    fn store_again(
        &mut self,
        sink: &dyn Sink,
        page: &[u8],
        t_ms: i64,
        reports: &[f64],
    ) -> Result<(), StorageError> {
        self.reports = Default::default();
        let mut batch = sink.begin(&self.group)?;
        let mut walk = self.cache.walk(page);
        let mut pass = Pass::new(&self.config, &self.rules, t_ms);
        // The page was read well a moment ago.
        if pass.read_unresolved(&mut walk, &mut *batch).is_err() {
            return Ok(());
        }
        append_reports(&mut self.reports, &self.rules, reports, t_ms, &mut *batch)?;
        batch.commit()?;
        walk.finish();
        Ok(())
    }

    fn age_metadata(&mut self) {
        let current = self.cache.metadata();
        for (_, left) in &mut self.lingering {
            *left -= 1;
        }
        if !Arc::ptr_eq(&current, &self.metadata) {
            let names: HashSet<&str> = current.iter().map(|family| &*family.name).collect();
            self.lingering.retain(|(family, _)| !names.contains(&*family.name));
            let gone = self.metadata.iter().filter(|family| !names.contains(&*family.name));
            self.lingering.extend(gone.map(|family| (family.clone(), METADATA_LINGERS)));
            self.metadata = Arc::clone(&current);
        }
        self.lingering.retain(|(_, left)| *left > 0);
    }
}

/// One reading of a page.
struct Pass<'a> {
    config: &'a ScrapeConfig,
    rules: &'a SeriesRules,
    t_ms: i64,
    /// The slot of each sample appended, in order.
    slots: Vec<usize>,
    /// Slots to be tracked from now on or no more, once the commit has gone well.
    tracked: Vec<(usize, bool)>,
}

impl<'a> Pass<'a> {
    fn new(config: &'a ScrapeConfig, rules: &'a SeriesRules, t_ms: i64) -> Self {
        Self { config, rules, t_ms, slots: Vec::new(), tracked: Vec::new() }
    }

    fn read(
        &mut self,
        walk: &mut Walk<'_, Slot>,
        batch: &mut dyn Batch,
        ingested: &mut Ingested,
    ) -> Result<(), IngestError> {
        let limit = match self.config.sample_limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let mut ended = Vec::new();
        let mut duplicates = 0;
        while let Some(line) = walk.next_line().map_err(IngestError::Parse)? {
            ingested.scraped += 1;
            let own_time = line.timestamp_ms.filter(|_| self.config.honor_timestamps);
            let is_within = ingested.post_relabeling - duplicates < limit;
            let mut slot = walk.payload(line.slot);
            if slot == Slot::Unresolved {
                slot = self.resolve(walk, batch, is_within)?;
                walk.set_payload(line.slot, slot);
                let is_new = line.step == WalkStep::New && is_within && slot != Slot::Dropped;
                ingested.series_added += usize::from(is_new);
            }
            if slot == Slot::Dropped {
                continue;
            }
            ingested.post_relabeling += 1;
            if line.step == WalkStep::Repeat && own_time.is_none() {
                duplicates += 1;
                continue;
            }
            let Slot::Series { series, is_tracked } = slot else { continue };
            if !is_within {
                continue;
            }
            batch.append(series, own_time.unwrap_or(self.t_ms), line.value);
            self.slots.push(line.slot);
            let tracks = own_time.is_none() || self.config.track_timestamps_staleness;
            if tracks != is_tracked {
                self.tracked.push((line.slot, tracks));
                if is_tracked {
                    ended.push(series);
                }
            }
        }
        ingested.duplicates = duplicates;
        if ingested.post_relabeling - duplicates > limit {
            return Err(IngestError::SampleLimit(self.config.sample_limit));
        }
        // From now on these carry times of their own: what was theirs at ours ends.
        for series in ended {
            batch.append(series, self.t_ms, stale_nan());
        }
        Ok(())
    }

    /// Looks up what is unresolved, and appends that alone.
    fn read_unresolved(
        &mut self,
        walk: &mut Walk<'_, Slot>,
        batch: &mut dyn Batch,
    ) -> Result<(), IngestError> {
        while let Some(line) = walk.next_line().map_err(IngestError::Parse)? {
            if walk.payload(line.slot) != Slot::Unresolved {
                continue;
            }
            let own_time = line.timestamp_ms.filter(|_| self.config.honor_timestamps);
            let mut slot = self.resolve(walk, batch, true)?;
            if let Slot::Series { series, is_tracked } = &mut slot {
                batch.append(*series, own_time.unwrap_or(self.t_ms), line.value);
                *is_tracked = own_time.is_none() || self.config.track_timestamps_staleness;
            }
            walk.set_payload(line.slot, slot);
        }
        Ok(())
    }

    /// What the last line is. Beyond the sample limit it is checked but not looked up, so that a
    /// page that is too long creates no series for its end.
    fn resolve(
        &self,
        walk: &Walk<'_, Slot>,
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
                Ok(Slot::Series { series, is_tracked: false })
            }
        }
    }
}

/// Staleness markers for the tracked series that the page lacks. Another line may have become the
/// same series: its labels in another order, for instance.
fn append_gone(walk: &Walk<'_, Slot>, batch: &mut dyn Batch, t_ms: i64) {
    let tracked = |slot: Slot| match slot {
        Slot::Series { series, is_tracked: true } => Some(series),
        _ => None,
    };
    let any = |slot: Slot| match slot {
        Slot::Series { series, .. } => Some(series),
        _ => None,
    };
    let gone: Vec<SeriesRef> = walk.gone().into_iter().filter_map(tracked).collect();
    if gone.is_empty() {
        return;
    }
    let mut ended: HashSet<SeriesRef> = gone.iter().copied().collect();
    for series in walk.met_payloads().filter_map(any) {
        ended.remove(&series);
    }
    for series in gone {
        if ended.remove(&series) {
            batch.append(series, t_ms, stale_nan());
        }
    }
}

fn report_values(
    config: &ScrapeConfig,
    report: &Report,
    ingested: &Ingested,
    is_up: bool,
) -> Vec<f64> {
    let mut values = vec![
        f64::from(u8::from(is_up)),
        report.duration_seconds,
        ingested.scraped as f64,
        ingested.post_relabeling as f64,
        ingested.series_added as f64,
    ];
    if config.extra_scrape_metrics {
        values.extend([report.timeout_seconds, config.sample_limit as f64, report.body_bytes]);
    }
    values
}

fn append_reports(
    known: &mut [Option<SeriesRef>; REPORTS.len()],
    rules: &SeriesRules,
    values: &[f64],
    t_ms: i64,
    batch: &mut dyn Batch,
) -> Result<(), StorageError> {
    for ((series, name), value) in known.iter_mut().zip(REPORTS).zip(values) {
        let series = if let Some(known) = *series {
            known
        } else {
            let found = batch.series(&rules.report(name))?;
            *series = Some(found).filter(|found| found.refusal().is_none());
            found
        };
        batch.append(series, t_ms, *value);
    }
    Ok(())
}

/// Books the verdicts of a commit; true where series turned out to have left the head.
fn judge(
    walk: &mut Walk<'_, Slot>,
    slots: &[usize],
    outcome: &CommitOutcome,
    ingested: &mut Ingested,
) -> bool {
    let mut has_unknown = false;
    for (at, error) in &outcome.rejected {
        // What comes after the page's samples are markers and reports. That another loop has
        // written later ones is no news; that a series is unknown is.
        let slot = slots.get(*at);
        match error {
            AppendError::UnknownSeries => {
                has_unknown = true;
                if let Some(slot) = slot {
                    walk.set_payload(*slot, Slot::Unresolved);
                }
                continue;
            }
            AppendError::LimitReached(limit) => {
                ingested.over_limit += 1;
                ingested.limit.get_or_insert(*limit);
                if let Some(slot) = slot {
                    // There may be room the next time.
                    walk.set_payload(*slot, Slot::Unresolved);
                }
                continue;
            }
            _ if slot.is_none() => {}
            AppendError::OutOfOrder => ingested.out_of_order += 1,
            AppendError::Duplicate => ingested.duplicates += 1,
            _ => ingested.out_of_bounds += 1,
        }
        let Some(slot) = slot else { continue };
        if let Slot::Series { series, is_tracked: true } = walk.payload(*slot) {
            walk.set_payload(*slot, Slot::Series { series, is_tracked: false });
        }
    }
    has_unknown
}

#[cfg(test)]
pub(in crate::scrape) mod tests;
