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

mod origin;
mod pass;
mod report;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use self::origin::Origin;
use self::pass::{NO_SLOT, Pass};
pub use self::report::Report;
use self::report::{PLAIN_REPORTS, REPORTS, append_reports, report_values};
use super::series::{SeriesError, SeriesRules};
use super::sink::{Batch, Sink};
use crate::config::ScrapeConfig;
use crate::disk::StorageError;
use crate::exposition::{
    FamilyMetadata, Format, LineCache, ParseError, ParseOptions, ShapePool, Walk,
};
use crate::head::{AppendError, CommitOutcome, GroupKey, LimitReached, SeriesRef};
use crate::model::{ExemplarError, HistogramError, Labels, Metadata, stale_nan};

/// Scrapes that metadata outlives its family on the page.
const METADATA_LINGERS: u32 = 10;

/// What the parsers and the storage make of pages, beside what the job's configuration says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngestOptions {
    /// How pages are read.
    pub parse: ParseOptions,
    /// Start timestamps are stored with their samples.
    pub stores_starts: bool,
    /// A counter begins with a zero at its start timestamp.
    pub injects_zeros: bool,
    /// Counters whose pages do not say when they began count from their first sample on.
    pub synthesizes_starts: bool,
    /// What pages say of their families is stored.
    pub stores_metadata: bool,
}

/// A page to store, as it was served.
#[derive(Debug, Clone, Copy)]
pub struct PageBytes<'a> {
    /// Its bytes, decompressed.
    pub body: &'a [u8],
    /// The format in which they are.
    pub format: Format,
}

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
    /// One of its native histograms has more buckets than the job takes; the limit.
    BucketLimit(u64),
    /// One of its native histograms is not consistent.
    Histogram(HistogramError),
    /// The database could not name a series.
    Storage(StorageError),
}

impl fmt::Display for IngestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::Series(error) => error.fmt(f),
            Self::SampleLimit(limit) => write!(f, "sample limit exceeded (limit: {limit})"),
            Self::BucketLimit(limit) => {
                write!(f, "histogram bucket limit exceeded (limit: {limit})")
            }
            Self::Histogram(error) => error.fmt(f),
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

impl Slot {
    fn series(self) -> Option<SeriesRef> {
        match self {
            Self::Series { series, .. } => Some(series),
            Self::Unresolved | Self::Dropped => None,
        }
    }
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
    /// Exemplars dropped because their series has later ones.
    pub exemplars_out_of_order: usize,
    /// Samples dropped singly because a limit of the storage keeps their series out.
    pub over_limit: usize,
    /// The first such limit.
    pub limit: Option<LimitReached>,
    /// Why the page was rejected, if it was.
    pub error: Option<IngestError>,
}

/// What is remembered of one target.
#[derive(Debug)]
pub struct Ingest {
    config: Arc<ScrapeConfig>,
    options: IngestOptions,
    rules: SeriesRules,
    group: GroupKey,
    cache: LineCache<Slot>,
    reports: [Option<SeriesRef>; REPORTS.len()],
    metadata: Arc<[FamilyMetadata]>,
    /// What was stored of it.
    metadata_stored: Arc<[FamilyMetadata]>,
    /// Families that left the page, and for how many more scrapes they are told.
    lingering: Vec<(FamilyMetadata, u32)>,
    /// Whether the last page was rejected.
    has_failed: bool,
    /// Where series that count began to, where that is made up.
    origins: HashMap<SeriesRef, Origin>,
}

impl Ingest {
    /// Nothing remembered yet of the target with these labels.
    pub fn new(
        config: Arc<ScrapeConfig>,
        options: IngestOptions,
        (group, target): (GroupKey, Labels),
        shapes: &ShapePool,
    ) -> Self {
        Self {
            rules: SeriesRules::new(Arc::clone(&config), target),
            config,
            options,
            group,
            cache: LineCache::new(shapes),
            reports: [None; REPORTS.len()],
            metadata: Arc::default(),
            metadata_stored: Arc::default(),
            lingering: Vec::new(),
            has_failed: false,
            origins: HashMap::new(),
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
        before.discovery_configs.clone_from(&after.discovery_configs);
        before.relabel_configs.clone_from(&after.relabel_configs);
        before == *after
    }

    /// Whether no page is remembered.
    pub fn is_blank(&self) -> bool {
        self.cache.lines() == 0
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
        page: Option<PageBytes<'_>>,
        t_ms: i64,
        report: impl FnOnce() -> Report,
    ) -> Result<Ingested, StorageError> {
        let mut ingested = Ingested::default();
        let Some(page) = page else {
            self.store_failure(sink, t_ms, &report(), &ingested)?;
            return Ok(ingested);
        };
        let mut batch = sink.begin(&self.group)?;
        let lines = self.cache.lines();
        batch.reserve(lines + REPORTS.len());
        let mut walk = self.cache.walk(page.body, page.format, self.options.parse);
        let mut pass =
            Pass::new(&self.config, self.options, &self.rules, (t_ms, &mut self.origins));
        pass.slots.reserve(lines);
        if let Err(error) = pass.read(&mut walk, &mut *batch, &mut ingested) {
            drop(batch);
            ingested.error = Some(error);
            if std::mem::replace(&mut self.has_failed, true) {
                // Its lines count as new only the first time, though nothing is remembered of them.
                ingested.series_added = 0;
            }
            self.store_failure(sink, t_ms, &report(), &ingested)?;
            return Ok(ingested);
        }
        let Pass { slots, tracked, exemplar_runs, .. } = pass;
        append_gone(&walk, &mut *batch, t_ms);
        if !self.origins.is_empty() {
            forget_origins(&walk, &mut self.origins);
        }
        let values = report_values(&self.config, &report(), &ingested, true);
        append_reports(&mut self.reports, &self.rules, &values, t_ms, &mut *batch)?;
        let outcome = batch.commit()?;
        for (slot, is_tracked) in tracked {
            if let Slot::Series { series, .. } = walk.payload(slot) {
                walk.set_payload(slot, Slot::Series { series, is_tracked });
            }
        }
        let has_unknown = judge(&mut walk, &slots, &outcome, &mut ingested, &mut self.origins);
        ingested.exemplars_out_of_order = late_exemplars(&exemplar_runs, &outcome);
        walk.finish();
        self.has_failed = false;
        self.age_metadata();
        if self.options.stores_metadata {
            self.store_metadata(sink)?;
        }
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
        page: PageBytes<'_>,
        t_ms: i64,
        reports: &[f64],
    ) -> Result<(), StorageError> {
        self.reports = Default::default();
        let mut batch = sink.begin(&self.group)?;
        let mut walk = self.cache.walk(page.body, page.format, self.options.parse);
        let mut pass =
            Pass::new(&self.config, self.options, &self.rules, (t_ms, &mut self.origins));
        // The page was read well a moment ago.
        if pass.read_unresolved(&mut walk, &mut *batch).is_err() {
            return Ok(());
        }
        append_reports(&mut self.reports, &self.rules, reports, t_ms, &mut *batch)?;
        batch.commit()?;
        walk.finish();
        Ok(())
    }

    /// Stores what families say of themselves where that has changed.
    fn store_metadata(&mut self, sink: &dyn Sink) -> Result<(), StorageError> {
        if Arc::ptr_eq(&self.metadata, &self.metadata_stored) {
            return Ok(());
        }
        let mut batch = sink.begin(&self.group)?;
        let before: HashMap<&str, &FamilyMetadata> =
            self.metadata_stored.iter().map(|family| (&*family.name, family)).collect();
        for family in self.metadata.iter() {
            if before.get(&*family.name) != Some(&family) {
                let (help, unit) = (family.help.clone(), family.unit.clone());
                let said = Metadata { metric_type: family.metric_type, unit, help };
                batch.set_metadata(&family.name, said);
            }
        }
        batch.commit()?;
        drop(before);
        self.metadata_stored = Arc::clone(&self.metadata);
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

/// Staleness markers for the tracked series that the page lacks. Another line may have become the
/// same series: its labels in another order, for instance.
fn append_gone(walk: &Walk<'_, Slot>, batch: &mut dyn Batch, t_ms: i64) {
    let tracked = |slot: Slot| match slot {
        Slot::Series { series, is_tracked: true } => Some(series),
        _ => None,
    };
    let gone: Vec<SeriesRef> = walk.gone().into_iter().filter_map(tracked).collect();
    if gone.is_empty() {
        return;
    }
    let mut ended: HashSet<SeriesRef> = gone.iter().copied().collect();
    for series in walk.met_payloads().filter_map(Slot::series) {
        ended.remove(&series);
    }
    for series in gone {
        if ended.remove(&series) {
            batch.append(series, t_ms, stale_nan());
        }
    }
}

/// Forgets when the series began to count that the page lacks.
fn forget_origins(walk: &Walk<'_, Slot>, origins: &mut HashMap<SeriesRef, Origin>) {
    if walk.gone().is_empty() {
        return;
    }
    let met: HashSet<SeriesRef> = walk.met_payloads().filter_map(Slot::series).collect();
    origins.retain(|series, _| met.contains(series));
}

/// Books the verdicts of a commit; true where series turned out to have left the head.
fn judge(
    walk: &mut Walk<'_, Slot>,
    slots: &[u32],
    outcome: &CommitOutcome,
    ingested: &mut Ingested,
    origins: &mut HashMap<SeriesRef, Origin>,
) -> bool {
    let mut has_unknown = false;
    for (at, error) in &outcome.rejected {
        // What comes after the page's samples are markers and reports. That another loop has
        // written later ones is no news; that a series is unknown is.
        let slot = slots.get(*at).filter(|&&slot| slot != NO_SLOT).map(|&slot| slot as usize);
        if let Some(origin) = slot.and_then(|slot| origins.get_mut(&walk.payload(slot).series()?)) {
            // What was counted is not stored: the next sample begins anew.
            *origin = Origin::default();
        }
        match error {
            AppendError::UnknownSeries => {
                has_unknown = true;
                if let Some(slot) = slot {
                    walk.set_payload(slot, Slot::Unresolved);
                }
                continue;
            }
            AppendError::LimitReached(limit) => {
                ingested.over_limit += usize::from(slot.is_some() || *at >= slots.len());
                ingested.limit.get_or_insert(*limit);
                if let Some(slot) = slot {
                    // There may be room the next time.
                    walk.set_payload(slot, Slot::Unresolved);
                }
                continue;
            }
            _ if slot.is_none() => {}
            AppendError::OutOfOrder => ingested.out_of_order += 1,
            AppendError::Duplicate => ingested.duplicates += 1,
            _ => ingested.out_of_bounds += 1,
        }
        let Some(slot) = slot else { continue };
        if let Slot::Series { series, is_tracked: true } = walk.payload(slot) {
            walk.set_payload(slot, Slot::Series { series, is_tracked: false });
        }
    }
    has_unknown
}

/// Exemplars that came late: those of series all of whose exemplars did. `runs` are the numbers of
/// the calls, by series.
fn late_exemplars(runs: &[Range<usize>], outcome: &CommitOutcome) -> usize {
    let rejected = &outcome.exemplars.rejected;
    if rejected.is_empty() {
        return 0;
    }
    let is_late = |call: &usize| {
        let at = rejected.binary_search_by_key(call, |(call, _)| *call);
        at.is_ok_and(|at| rejected[at].1 == ExemplarError::OutOfOrder)
    };
    let late = runs.iter().filter(|run| (*run).clone().all(|call| is_late(&call)));
    late.map(ExactSizeIterator::len).sum()
}

#[cfg(test)]
pub(in crate::scrape) mod tests;
