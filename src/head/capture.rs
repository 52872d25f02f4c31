//! The read side: consistent copies of series for readers that take their time.

use roaring::RoaringBitmap;

use super::{Head, SeriesId};
use crate::disk::StorageError;
use crate::model::{Labels, Samples, TimeRange};

/// Series as they were at the moment of [`Head::capture`]: every commit that had returned by
/// then, whole.
#[derive(Debug)]
pub struct Captured {
    series: Vec<(SeriesId, Labels)>,
}

impl Head {
    /// Captures the series `ids` (unknown ones are left out) that have, or may have, a sample in
    /// `range`. `check` is called every thousand series or so; its error ends the work.
    pub fn capture<E: From<StorageError>>(
        &self,
        ids: &RoaringBitmap,
        range: TimeRange,
        check: &dyn Fn() -> Result<(), E>,
    ) -> Result<Captured, E> {
        let _ = (ids, range, check);
        unreachable!("BUG: not built yet")
    }
}

impl Captured {
    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Labels of series `index`, in the order of ids; panics at `index >= len()`.
    pub fn labels(&self, index: usize) -> &Labels {
        &self.series[index].1
    }

    /// Id of series `index`.
    pub fn id(&self, index: usize) -> SeriesId {
        self.series[index].0
    }

    /// Replaces the content of `out` by the samples of series `index` within `range`, times
    /// strictly ascending, deleted ones left out.
    pub fn read(
        &self,
        index: usize,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<(), StorageError> {
        let _ = (index, range, out);
        unreachable!("BUG: not built yet")
    }
}
