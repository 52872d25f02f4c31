//! A database as a source of queries.

use std::collections::BTreeSet;

use super::{Database, Shared};
use crate::block::Block;
use crate::disk::StorageError;
use crate::index;
use crate::model::{Matcher, TimeRange};
use crate::select::{Cancellation, MergedSeries, Queryable, SelectError, SeriesSet};

impl Shared {
    /// Whether the head may have samples within `range`.
    fn head_overlaps(&self, range: TimeRange) -> bool {
        self.head.time_range().is_some_and(|head| head.overlaps(range))
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

    /// The union of what head and blocks answer about labels.
    fn labels(
        &self,
        range: TimeRange,
        cancellation: &Cancellation,
        head: impl FnOnce(&crate::head::LiveIndex) -> Vec<String>,
        block: impl Fn(&Block) -> Result<Vec<String>, StorageError>,
    ) -> Result<Vec<String>, SelectError> {
        self.check_open()?;
        cancellation.check()?;
        let mut found = BTreeSet::new();
        if self.head_overlaps(range) {
            found.extend(self.head.with_index(head));
        }
        for each in self.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            cancellation.check()?;
            let answer = block(each).map_err(SelectError::from);
            found.extend(self.ask(each, answer, &mut Vec::new())?.into_iter().flatten());
        }
        Ok(found.into_iter().collect())
    }
}

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
            let ids = shared.head.with_index(|index| index::resolve(index, matchers));
            head = Some(shared.head.capture(&ids, range, &check)?);
        }
        let mut warnings = shared.blocks.unreadable().to_vec();
        let mut selections = Vec::new();
        for block in shared.blocks.list().iter().filter(|b| b.meta().range.overlaps(range)) {
            let answer = block.select(matchers, range, &check);
            let selection = shared.ask(block, answer, &mut warnings)?;
            selections.extend(selection.filter(|selection| !selection.is_empty()));
        }
        Ok(Box::new(MergedSeries::new(head, selections, warnings)))
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
        )
    }
}
