//! Matchers to series to samples, over head, sealed chunks and blocks together.
//!
//! [`Queryable`] is the one door upwards: `db` implements it, `promql` and the HTTP API consume
//! it. Sources are known here as concrete types; no trait object stands on the hot path inside.

mod cancellation;
mod memory;
mod merge;
mod sorting;
mod stretches;

use std::fmt;

use crate::disk::StorageError;
use crate::model::{Labels, Matcher, Samples, SeriesExemplars, TimeRange};

pub use crate::block::{Lent, Stretch, Wanted};
pub use cancellation::{Cancellation, Stopped};
pub use memory::{Account, Charge, Limit, LimitReached, MemoryPool, SAMPLE_BYTES};
pub use merge::{BlockSeries, DamageObserver, MergedSeries, merge_samples};
pub use sorting::sort_by;

/// Something that holds series.
pub trait Queryable: Send + Sync {
    /// The series that satisfy all matchers and have, or may have, a sample within `range`.
    /// What was committed before the call is seen whole; what comes later may be missing.
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn SeriesSet>, SelectError>;

    /// Labels of the series that [`Queryable::select`] would give, ascending; cheaper, because no
    /// sample is looked at.
    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<Labels>, SelectError> {
        let set = self.select(matchers, range, cancellation)?;
        Ok((0..set.len()).map(|index| set.labels(index).clone()).collect())
    }

    /// Names of all labels of the series that satisfy `matchers` (none: of all series), sorted.
    fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError>;

    /// Values of label `name`, likewise, sorted.
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError>;

    /// Exemplars within `range` of the series that satisfy all matchers of one of `selectors`,
    /// in ascending order of labels. A source that keeps none has none.
    fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<SeriesExemplars>, SelectError> {
        let _ = (selectors, range);
        Ok(cancellation.check().map(|()| Vec::new())?)
    }
}

/// Selected series in ascending order of labels, without duplicates.
pub trait SeriesSet: Send + Sync + fmt::Debug {
    /// Number of series.
    fn len(&self) -> usize;

    /// Whether no series was selected.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels of series `index`; panics at `index >= len()`.
    fn labels(&self, index: usize) -> &Labels;

    /// Replaces the content of `out` by the samples of series `index` within `range` (which lies
    /// within the range selected), times strictly ascending, staleness markers included.
    fn read(&self, index: usize, range: TimeRange, out: &mut Samples) -> Result<(), SelectError>;

    /// Like [`SeriesSet::read`], but lends the samples where somebody keeps them anyway; `out` is
    /// empty then. Whoever does not want the values may be given others.
    fn read_or_lend(
        &self,
        index: usize,
        (range, wanted): (TimeRange, Wanted),
        out: &mut Samples,
    ) -> Result<Option<Lent>, SelectError> {
        let _ = wanted;
        self.read(index, range, out).map(|()| None)
    }

    /// Gives the samples of series `index` within `range` to `visit`, in the order of time: chunks
    /// that lie whole within it by what their values come to, where that is known, and the samples
    /// of the rest. For folds over long windows, which need not decode what lies inside. Staleness
    /// markers and histograms are among samples only.
    fn visit_stretches(
        &self,
        index: usize,
        range: TimeRange,
        visit: &mut dyn FnMut(Stretch<'_>),
    ) -> Result<(), SelectError> {
        let mut samples = Samples::default();
        self.read(index, range, &mut samples)?;
        if !samples.is_empty() {
            visit(Stretch::Samples(&samples));
        }
        Ok(())
    }

    /// What the reader should know: parts that are damaged and were left out.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a selection gave no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum SelectError {
    /// Reading failed.
    Storage(StorageError),
    /// Nobody waits for the answer any more.
    Stopped(Stopped),
    /// It would take more than it may.
    Limit(LimitReached),
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => fmt::Display::fmt(error, f),
            Self::Stopped(Stopped::Canceled) => f.write_str("canceled"),
            Self::Stopped(Stopped::TimedOut) => f.write_str("timed out"),
            Self::Limit(reached) => fmt::Display::fmt(reached, f),
        }
    }
}

impl std::error::Error for SelectError {}

impl From<StorageError> for SelectError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Stopped> for SelectError {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<LimitReached> for SelectError {
    fn from(reached: LimitReached) -> Self {
        Self::Limit(reached)
    }
}
