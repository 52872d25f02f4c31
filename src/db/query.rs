//! A database as a source of queries.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, PoisonError};

use roaring::RoaringBitmap;

use super::{Database, Event, Shared};
use crate::block::{Block, Selection, merge_exemplars};
use crate::disk::StorageError;
use crate::head::HeadIndex;
use crate::index;
use crate::model::{Labels, Matcher, SeriesExemplars, TimeRange};
use crate::prometheus;
use crate::promql::engine::{Engine, Query, QueryError, QueryOptions, QueryRange, QueryResult};
use crate::promql::{ParseError, ParseOptions, parse};
use crate::select::{
    BlockSeries, Cancellation, Charge, DamageObserver, MergedSeries, Queryable, SelectError,
    SeriesSet,
};

/// Asks whether work is to end.
type Check<'a> = &'a dyn Fn() -> Result<(), SelectError>;

/// Watches over one selection: whether it is to end, and what it holds.
struct Watch<'a> {
    cancellation: &'a Cancellation,
    charge: RefCell<Charge>,
}

impl<'a> Watch<'a> {
    fn new(cancellation: &'a Cancellation) -> Self {
        Self { cancellation, charge: RefCell::new(cancellation.charge()) }
    }

    fn check(&self) -> Result<(), SelectError> {
        Ok(self.cancellation.check()?)
    }

    fn check_series(&self, series: usize) -> Result<(), SelectError> {
        self.cancellation.check_series(series as u64)
    }

    /// Does a part of the work, which says now and then how many bytes it holds by then.
    fn hold<T>(
        &self,
        work: impl FnOnce(&dyn Fn(u64) -> Result<(), SelectError>) -> Result<T, SelectError>,
    ) -> Result<T, SelectError> {
        self.check()?;
        let before = self.charge.borrow().bytes();
        work(&|bytes| {
            self.check()?;
            Ok(self.charge.borrow_mut().set(before.saturating_add(bytes))?)
        })
    }

    fn resolve(
        &self,
        head: HeadIndex<'_>,
        matchers: &[Matcher],
    ) -> Result<RoaringBitmap, SelectError> {
        self.check()?;
        let ids = index::resolve(&head, matchers, &|| self.check())?;
        self.cancellation.check_series(ids.len())?;
        Ok(ids)
    }

    /// What is held, for as long as the result is.
    fn charge(self) -> Charge {
        self.charge.into_inner()
    }
}

/// Adds texts, sorted and without duplicates, to others that are charged for.
fn add_texts(
    found: &mut Vec<String>,
    texts: Vec<String>,
    charge: &mut Charge,
) -> Result<(), SelectError> {
    let bytes = texts.iter().map(|text| text.len() + size_of::<String>());
    charge.grow(bytes.sum::<usize>() as u64)?;
    if found.is_empty() {
        *found = texts;
    } else if !texts.is_empty() {
        found.extend(texts);
        // Two ascending runs, which are merged.
        found.sort();
        found.dedup();
    }
    Ok(())
}

impl Shared {
    /// Whether the head may have samples within `range`.
    pub(super) fn head_overlaps(&self, range: TimeRange) -> bool {
        // Before the log is replayed nobody knows how far its samples reach.
        self.head.is_recovering() || self.head.time_range().is_some_and(|head| head.overlaps(range))
    }

    /// What a block answers; one that is damaged answers nothing and is named in `warnings`.
    fn ask<T>(
        &self,
        block: &Block,
        answer: Result<T, SelectError>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<T>, SelectError> {
        match answer {
            Err(SelectError::Storage(error @ StorageError::Corrupt { .. })) => {
                self.blocks.note_damage(block, &error.to_string());
                warnings.push(format!("a block is left out: {error}"));
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// What blocks have of the series that satisfy `matchers`, and what there is to warn of.
    fn select_blocks(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        watch: &Watch<'_>,
    ) -> Result<(Vec<BlockSeries>, Vec<String>), SelectError> {
        let mut warnings = self.blocks.unreadable().to_vec();
        let mut selections = self.select_prometheus(matchers, range, watch, &mut warnings)?;
        for block in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            let answer = watch.hold(|check| block.select(matchers, range, check));
            let selection = self.ask(block, answer, &mut warnings)?;
            let selection = selection.filter(|selection| !selection.is_empty());
            watch.check_series(selection.as_ref().map_or(0, Selection::len))?;
            selections.extend(selection.map(BlockSeries::Own));
        }
        Ok((selections, warnings))
    }

    /// The union of what head and blocks answer about labels.
    fn labels(
        &self,
        range: TimeRange,
        cancellation: &Cancellation,
        head: impl FnOnce(&HeadIndex<'_>, Check<'_>) -> Result<Vec<String>, SelectError>,
        block: impl Fn(&Block, Check<'_>) -> Result<Vec<String>, SelectError>,
        prometheus: impl Fn(&prometheus::Block, Check<'_>) -> Result<Vec<String>, SelectError>,
    ) -> Result<Vec<String>, SelectError> {
        self.check_open()?;
        let check = || cancellation.check().map_err(SelectError::from);
        check()?;
        let mut charge = cancellation.charge();
        let mut found = Vec::new();
        if self.head_overlaps(range) {
            add_texts(&mut found, head(&self.head.index(), &check)?, &mut charge)?;
        }
        for each in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            check()?;
            let answer = self.ask(each, block(each, &check), &mut Vec::new())?;
            add_texts(&mut found, answer.unwrap_or_default(), &mut charge)?;
        }
        for each in self.takeover.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            check()?;
            match prometheus(each, &check) {
                Err(SelectError::Storage(error @ StorageError::Corrupt { .. })) => {
                    self.takeover.note_damage(each, &error);
                }
                answer => add_texts(&mut found, answer?, &mut charge)?,
            }
        }
        Ok(found)
    }
}

impl Shared {
    /// What blocks of Prometheus answer; one whose index is damaged answers nothing.
    fn select_prometheus(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        watch: &Watch<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<BlockSeries>, SelectError> {
        let mut selections = Vec::new();
        for block in self.takeover.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            let mut damaged = |error: StorageError| {
                self.takeover.note_damage(block, &error);
                warnings.push(format!("samples are missing: {error}"));
            };
            match watch.hold(|check| block.select(matchers, range, check, &mut damaged)) {
                Err(SelectError::Storage(error @ StorageError::Corrupt { .. })) => damaged(error),
                selection => {
                    let selection = Some(selection?).filter(|selection| !selection.is_empty());
                    watch.check_series(selection.as_ref().map_or(0, prometheus::Selection::len))?;
                    selections.extend(selection.map(BlockSeries::Prometheus));
                }
            }
        }
        Ok(selections)
    }
}

impl DamageObserver for Shared {
    /// Tells once for each block and head file; a damaged block rests from then on.
    fn found_damage(&self, error: &StorageError) {
        let StorageError::Corrupt { path, .. } = error else { return };
        if let Some(block) = self.blocks.list().iter().find(|b| path.starts_with(b.dir())) {
            return self.blocks.note_damage(block, &error.to_string());
        }
        if let Some(block) = self.takeover.list().iter().find(|b| path.starts_with(b.dir())) {
            return self.takeover.note_damage(block, error);
        }
        let mut known = self.head_damage.lock().unwrap_or_else(PoisonError::into_inner);
        if known.insert(path.clone(), error.to_string()).is_none() {
            drop(known);
            self.options.observer.event(&Event::Warning(format!("{error}; it is left out")));
        }
    }
}

/// Why a query given as text has no answer.
#[derive(Debug)]
pub enum QueryTextError {
    /// It is not PromQL.
    Parse(ParseError),
    /// Its evaluation failed.
    Query(QueryError),
}

impl fmt::Display for QueryTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parse(error) => fmt::Display::fmt(error, f),
            Self::Query(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for QueryTextError {}

/// Queries with the engine's default options; [`Engine`] takes the database as its source where
/// others are wanted.
impl Database {
    /// Evaluates PromQL at one time.
    ///
    /// ```
    /// use narthex::{Database, Labels, Options, Value};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// let t_ms = 1_700_000_000_000;
    /// for room in ["attic", "cellar"] {
    ///     let labels = Labels::from_pairs([("__name__", "temperature"), ("room", room)]);
    ///     db.append(&labels, t_ms, 8.0 + room.len() as f64)??;
    /// }
    /// let answer = db.query("max(temperature)", t_ms + 1000)?;
    /// let Value::Vector(found) = answer.value else { panic!("a vector was asked for") };
    /// assert_eq!(found[0].value, 14.0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn query(&self, text: &str, t_ms: i64) -> Result<QueryResult, QueryTextError> {
        let ast = parse(text, &ParseOptions::default()).map_err(QueryTextError::Parse)?;
        let query = Query { text, ast: &ast };
        let options = QueryOptions::default();
        Engine::default()
            .instant(self, query, t_ms, &options, &Cancellation::new())
            .map_err(QueryTextError::Query)
    }

    /// Evaluates PromQL at each time of `range`.
    ///
    /// ```
    /// use narthex::{Database, Labels, Options, QueryRange, Value};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let db = Database::open(folder.path(), Options::default())?;
    /// let labels = Labels::from_pairs([("__name__", "temperature")]);
    /// let start_ms = 1_700_000_000_000;
    /// for minute in 0..10 {
    ///     db.append(&labels, start_ms + minute * 60_000, minute as f64)??;
    /// }
    /// let range = QueryRange { start_ms, end_ms: start_ms + 540_000, step_ms: 180_000 };
    /// let answer = db.query_range("temperature * 2", range)?;
    /// let Value::Matrix(found) = answer.value else { panic!("a range gives a matrix") };
    /// assert_eq!(found.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn query_range(
        &self,
        text: &str,
        range: QueryRange,
    ) -> Result<QueryResult, QueryTextError> {
        let ast = parse(text, &ParseOptions::default()).map_err(QueryTextError::Parse)?;
        let query = Query { text, ast: &ast };
        let options = QueryOptions::default();
        Engine::default()
            .range(self, query, range, &options, &Cancellation::new())
            .map_err(QueryTextError::Query)
    }
}

/// Samples as they are stored.
///
/// ```
/// use narthex::{Cancellation, Database, Labels, Matcher, Options, Queryable, Samples, TimeRange};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let db = Database::open(folder.path(), Options::default())?;
/// let labels = Labels::from_pairs([("__name__", "temperature"), ("room", "attic")]);
/// db.append(&labels, 1_700_000_000_000, 21.5)??;
///
/// let matchers = [Matcher::equal("room", "attic")];
/// let set = db.select(&matchers, TimeRange::ALL, &Cancellation::new())?;
/// let mut samples = Samples::default();
/// for index in 0..set.len() {
///     assert_eq!(set.labels(index), &labels);
///     set.read(index, TimeRange::ALL, &mut samples)?;
///     assert_eq!(samples.timestamps, [1_700_000_000_000]);
///     assert_eq!(samples.values, [21.5]);
/// }
/// assert_eq!(db.label_values("room", &[], TimeRange::ALL, &Cancellation::new())?, ["attic"]);
/// # Ok(())
/// # }
/// ```
impl Queryable for Database {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let shared = &self.inner.shared;
        shared.check_open()?;
        let watch = Watch::new(cancellation);
        // The head first: what a flush takes out of it afterwards is in the list of blocks.
        let mut head = None;
        if shared.head_overlaps(range) {
            let ids = watch.resolve(shared.head.index(), matchers)?;
            head = Some(watch.hold(|check| shared.head.capture(&ids, range, check))?);
        }
        let (selections, warnings) = shared.select_blocks(matchers, range, &watch)?;
        let observer: Arc<dyn DamageObserver> = shared.clone();
        let merged = MergedSeries::merge(head, selections, warnings, cancellation, watch.charge())?;
        Ok(Box::new(merged.telling(observer)))
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<Labels>, SelectError> {
        let shared = &self.inner.shared;
        shared.check_open()?;
        let watch = Watch::new(cancellation);
        let mut found = Vec::new();
        if shared.head_overlaps(range) {
            let ids = watch.resolve(shared.head.index(), matchers)?;
            found = watch.hold(|check| shared.head.labels_within(&ids, range, check))?;
        }
        let (selections, _) = shared.select_blocks(matchers, range, &watch)?;
        if !selections.is_empty() {
            let charge = watch.charge();
            let merged = MergedSeries::merge(None, selections, Vec::new(), cancellation, charge)?;
            found.extend((0..merged.len()).map(|index| merged.labels(index).clone()));
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        self.inner.shared.labels(
            range,
            cancellation,
            |head, check| index::label_names(head, matchers, check),
            |block, check| block.label_names(matchers, check),
            |block, check| block.label_names(matchers, check),
        )
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        self.inner.shared.labels(
            range,
            cancellation,
            |head, check| index::label_values(head, name, matchers, check),
            |block, check| block.label_values(name, matchers, check),
            |block, check| block.label_values(name, matchers, check),
        )
    }

    fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<SeriesExemplars>, SelectError> {
        let shared = &self.inner.shared;
        shared.check_open()?;
        cancellation.check()?;
        let is_wanted = |series: &Labels| {
            let get = |name: &str| series.get(name).unwrap_or("");
            let meets = |matchers: &Vec<Matcher>| matchers.iter().all(|m| m.matches(get(&m.name)));
            selectors.iter().any(meets)
        };
        let mut found = Vec::new();
        for block in shared.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            cancellation.check()?;
            let answer = block.notes(&*shared.disk).map_err(SelectError::from);
            let Some(notes) = shared.ask(block, answer, &mut Vec::new())? else { continue };
            let mut exemplars = notes.exemplars;
            exemplars.retain_mut(|series| {
                series.exemplars.retain(|exemplar| range.contains(exemplar.t_ms));
                !series.exemplars.is_empty() && is_wanted(&series.series)
            });
            merge_exemplars(&mut found, exemplars);
        }
        merge_exemplars(&mut found, shared.head.exemplars(selectors, range));
        Ok(found)
    }
}
