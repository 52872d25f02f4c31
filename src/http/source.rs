//! What a request's queries read: the database and, beside it, other servers, within the scope of
//! whoever asks.
//!
//! COMPAT: names and values of labels are those of the own storage only.

use std::sync::Arc;

use super::api::query::now_ms;
use crate::db::Database;
use crate::model::{Labels, Matcher, SeriesExemplars, TimeRange};
use crate::remote::{RemoteSources, SeriesWithRemote};
use crate::select::{Cancellation, Queryable, SelectError, SeriesSet};

/// COMPAT: how long after the first block's begin the own storage is taken to have everything.
const MARGIN_MS: i64 = 4 * 3_600_000;

/// The database, bounded to the series that satisfy all matchers of `scope`.
///
/// INVARIANT: every way to it adds the scope to what is asked for, so no text of a query reaches
/// beyond it.
pub(super) struct Source<'a> {
    database: &'a Database,
    scope: &'a [Matcher],
    remote: Option<Arc<RemoteSources>>,
}

impl<'a> Source<'a> {
    /// An empty `scope` bounds nothing.
    pub(super) fn new(
        database: &'a Database,
        scope: &'a [Matcher],
        remote: Option<Arc<RemoteSources>>,
    ) -> Self {
        Self { database, scope, remote }
    }

    /// From when on the own storage has everything: its first block, or now, and a while.
    fn local_start_ms(&self) -> i64 {
        let blocks = self.database.stats().blocks;
        let first = blocks.iter().map(|block| block.range.min_ms).min();
        first.unwrap_or_else(now_ms).saturating_add(MARGIN_MS)
    }

    fn within(&self, matchers: &[Matcher]) -> Vec<Matcher> {
        [matchers, self.scope].concat()
    }
}

impl Queryable for Source<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let matchers = self.within(matchers);
        let local = self.database.select(&matchers, range, cancellation)?;
        let Some(remote) = &self.remote else { return Ok(local) };
        let mut answer = remote.select(&matchers, range, self.local_start_ms(), cancellation)?;
        for series in &mut answer.sets {
            // Another server may understand a matcher in its own way.
            series.retain(|series| {
                self.scope.iter().all(|m| m.matches(series.labels.get(&m.name).unwrap_or("")))
            });
        }
        Ok(Box::new(SeriesWithRemote::new(local, answer, cancellation)?))
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<Labels>, SelectError> {
        if self.remote.is_some() {
            let set = self.select(matchers, range, cancellation)?;
            return Ok((0..set.len()).map(|index| set.labels(index).clone()).collect());
        }
        Queryable::series(self.database, &self.within(matchers), range, cancellation)
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        self.database.label_names(&self.within(matchers), range, cancellation)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        self.database.label_values(name, &self.within(matchers), range, cancellation)
    }

    fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<SeriesExemplars>, SelectError> {
        let within: Vec<_> = selectors.iter().map(|matchers| self.within(matchers)).collect();
        self.database.exemplars(&within, range, cancellation)
    }
}
