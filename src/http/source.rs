//! What a request's queries read: the database, within the scope of whoever asks.

use crate::db::Database;
use crate::model::{Labels, Matcher, SeriesExemplars, TimeRange};
use crate::select::{Cancellation, Queryable, SelectError, SeriesSet};

/// The database, bounded to the series that satisfy all matchers of `scope`.
///
/// INVARIANT: every way to it adds the scope to what is asked for, so no text of a query reaches
/// beyond it.
pub(super) struct Source<'a> {
    database: &'a Database,
    scope: &'a [Matcher],
}

impl<'a> Source<'a> {
    /// An empty `scope` bounds nothing.
    pub(super) fn new(database: &'a Database, scope: &'a [Matcher]) -> Self {
        Self { database, scope }
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
        self.database.select(&self.within(matchers), range, cancellation)
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<Labels>, SelectError> {
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
