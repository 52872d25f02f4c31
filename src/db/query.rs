//! A database as a source of queries.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError};

use super::{Database, Event, Shared};
use crate::block::{Block, merge_exemplars};
use crate::disk::StorageError;
use crate::head::HeadIndex;
use crate::index;
use crate::model::{Labels, Matcher, SeriesExemplars, TimeRange};
use crate::prometheus;
use crate::promql::engine::{Engine, Query, QueryError, QueryOptions, QueryRange, QueryResult};
use crate::promql::{ParseError, ParseOptions, parse};
use crate::select::{
    BlockSeries, Cancellation, DamageObserver, MergedSeries, Queryable, SelectError, SeriesSet,
};

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
        check: &dyn Fn() -> Result<(), SelectError>,
    ) -> Result<(Vec<BlockSeries>, Vec<String>), SelectError> {
        let mut warnings = self.blocks.unreadable().to_vec();
        let mut selections = self.select_prometheus(matchers, range, check, &mut warnings)?;
        for block in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            let answer = block.select(matchers, range, check);
            let selection = self.ask(block, answer, &mut warnings)?;
            let selection = selection.filter(|selection| !selection.is_empty());
            selections.extend(selection.map(BlockSeries::Own));
        }
        Ok((selections, warnings))
    }

    /// The union of what head and blocks answer about labels.
    fn labels(
        &self,
        range: TimeRange,
        cancellation: &Cancellation,
        head: impl FnOnce(&HeadIndex<'_>) -> Vec<String>,
        block: impl Fn(&Block) -> Result<Vec<String>, StorageError>,
        prometheus: impl Fn(&prometheus::Block) -> Result<Vec<String>, StorageError>,
    ) -> Result<Vec<String>, SelectError> {
        self.check_open()?;
        cancellation.check()?;
        let mut found = BTreeSet::new();
        if self.head_overlaps(range) {
            found.extend(head(&self.head.index()));
        }
        for each in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            cancellation.check()?;
            let answer = block(each).map_err(SelectError::from);
            found.extend(self.ask(each, answer, &mut Vec::new())?.into_iter().flatten());
        }
        for each in self.takeover.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            cancellation.check()?;
            match prometheus(each) {
                Err(error @ StorageError::Corrupt { .. }) => {
                    self.takeover.note_damage(each, &error);
                }
                answer => found.extend(answer?),
            }
        }
        Ok(found.into_iter().collect())
    }
}

impl Shared {
    /// What blocks of Prometheus answer; one whose index is damaged answers nothing.
    fn select_prometheus(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        check: &dyn Fn() -> Result<(), SelectError>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<BlockSeries>, SelectError> {
        let mut selections = Vec::new();
        for block in self.takeover.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            let mut damaged = |error: StorageError| {
                self.takeover.note_damage(block, &error);
                warnings.push(format!("samples are missing: {error}"));
            };
            match block.select(matchers, range, check, &mut damaged) {
                Err(SelectError::Storage(error @ StorageError::Corrupt { .. })) => damaged(error),
                selection => {
                    let selection = Some(selection?).filter(|selection| !selection.is_empty());
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
        let check = || cancellation.check().map_err(SelectError::from);
        check()?;
        // The head first: what a flush takes out of it afterwards is in the list of blocks.
        let mut head = None;
        if shared.head_overlaps(range) {
            let ids = index::resolve(&shared.head.index(), matchers);
            head = Some(shared.head.capture(&ids, range, &check)?);
        }
        let (selections, warnings) = shared.select_blocks(matchers, range, &check)?;
        let observer: Arc<dyn DamageObserver> = shared.clone();
        Ok(Box::new(MergedSeries::new(head, selections, warnings).telling(observer)))
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<Labels>, SelectError> {
        let shared = &self.inner.shared;
        shared.check_open()?;
        let check = || cancellation.check().map_err(SelectError::from);
        check()?;
        let mut found = Vec::new();
        if shared.head_overlaps(range) {
            let ids = index::resolve(&shared.head.index(), matchers);
            found = shared.head.labels_within(&ids, range, &check)?;
        }
        let (selections, _) = shared.select_blocks(matchers, range, &check)?;
        if !selections.is_empty() {
            let merged = MergedSeries::new(None, selections, Vec::new());
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
            |head| index::label_names(head, matchers),
            |block| block.label_names(matchers),
            |block| block.label_names(matchers),
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
            |head| index::label_values(head, name, matchers),
            |block| block.label_values(name, matchers),
            |block| block.label_values(name, matchers),
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
