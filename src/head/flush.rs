//! Handing a window to a block and letting it go.
//!
//! The order: [`Head::flushable_window`] says which border is due, [`Head::seal_window`] closes
//! everything below it, the caller captures and writes blocks of all that lies below the border
//! and makes them durable, [`Head::truncate`] lets it go. Failing in between loses nothing: the
//! head keeps it all until `truncate`.

use super::Head;
use crate::disk::StorageError;
use crate::model::TimeRange;

impl Head {
    /// The oldest window (aligned to its length, closed at both ends) when it is due: the newest
    /// sample lies half a window past its end.
    pub fn flushable_window(&self) -> Option<TimeRange> {
        unreachable!("BUG: not built yet")
    }

    /// Raises the lower bound of what is accepted to `border_ms`, waits for appenders opened
    /// before, and seals what lies below. Returns the times of what has to be written before
    /// [`Head::truncate`] (several windows, if late samples are among it); `None`: nothing.
    pub fn seal_window(&self, border_ms: i64) -> Result<Option<TimeRange>, StorageError> {
        let _ = border_ms;
        unreachable!("BUG: not built yet")
    }

    /// Lets go of what [`Head::seal_window`] of the same border closed: samples, head files,
    /// series that ended. Writes a checkpoint.
    pub fn truncate(&self, border_ms: i64) -> Result<(), StorageError> {
        let _ = border_ms;
        unreachable!("BUG: not built yet")
    }
}
