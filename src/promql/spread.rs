//! Columns of many series, computed by several threads and handed on in order.
//!
//! Series are independent of one another until they are summed, and sums are taken in the order of
//! series by whoever asked; so the result does not depend on how many threads there were. Threads
//! are few in the whole process ([`Helpers`]), are borrowed only for work that pays for it, and go
//! when it is done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::budget::Budget;
use super::columns::Column;
use super::cuts::CutPool;
use super::engine::QueryError;
use super::functions::window::WindowNotes;
use super::nested::Found;
use super::reading::Reader;
use super::windows::{WORK_PER_CHECK, Windows};
use crate::model::TimeRange;
use crate::select::SAMPLE_BYTES;

/// Series computed at a time, where there are many, and where there are few.
const BATCH: usize = 16;
const BATCH_OF_FEW: usize = 4;
/// Batches that may be done before their turn, for each thread.
const AHEAD: usize = 3;
/// Samples and steps still to go over from which on help is asked for: about half a millisecond,
/// ten times what a thread costs.
const WORK_MIN: usize = 200_000;
/// From here on it is too, where the series so far took so long that those left take two
/// milliseconds: a chunk may have to be decoded, and some functions look at each sample of each
/// window. Less work takes long only where the machine is busy, and nobody helps there: whoever
/// began a batch and was put off holds up all that come after it.
const SLOW_WORK_MIN: usize = 40_000;
const WORK_MIN_NS: u128 = 2_000_000;

/// How many of `len` series are computed at a time.
fn batch_of(len: usize) -> usize {
    if len < 8 * BATCH { BATCH_OF_FEW } else { BATCH }
}

/// Threads that may run beside those that ask queries, in the whole process.
#[derive(Debug)]
pub(super) struct Helpers {
    free: AtomicUsize,
}

impl Helpers {
    /// So many threads at a time.
    pub(super) fn new(threads_max: usize) -> Self {
        Self { free: AtomicUsize::new(threads_max) }
    }

    /// Takes what is free.
    fn borrow(&self, wanted: usize) -> Borrowed<'_> {
        let take = |free: usize| Some(free - free.min(wanted));
        let before = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let free = before.unwrap_or_else(|free| free);
        Borrowed { helpers: self, count: free.min(wanted) }
    }
}

/// What all series of one query are computed with.
#[derive(Debug)]
pub(super) struct Crew<'a> {
    helpers: &'a Helpers,
    cuts: RefCell<CutPool>,
}

impl<'a> Crew<'a> {
    /// A query's, who may ask these for help.
    pub(super) fn new(helpers: &'a Helpers) -> Self {
        Self { helpers, cuts: RefCell::default() }
    }
}

/// Threads that are given back.
struct Borrowed<'a> {
    helpers: &'a Helpers,
    count: usize,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.helpers.free.fetch_add(self.count, Ordering::Relaxed);
    }
}

/// One series, computed.
pub(super) struct Computed {
    /// Which one.
    pub(super) index: usize,
    /// What the function found.
    pub(super) notes: WindowNotes,
    /// What was found about the series inside of a subquery.
    pub(super) found: Option<Found>,
}

/// Takes a series; it may take its column.
type Sink<'s> = dyn FnMut(Computed, &mut Column) -> Result<(), QueryError> + 's;

/// Computes all series of `reader` that have a sample and gives them to `sink`, in order.
pub(super) fn run(
    reader: &Reader<'_>,
    crew: &Crew<'_>,
    budget: &Budget<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), QueryError> {
    let Some(range) = reader.range() else { return Ok(()) };
    let steps = reader.times.grid.steps;
    budget.ensure(1, steps)?;
    // The column, and which samples each window has.
    let walk_bytes = (reader.slots() as u64).saturating_mul(SAMPLE_BYTES);
    budget.charge_bytes(walk_bytes)?;
    let done = run_charged((reader, crew, range), budget, sink);
    budget.release_bytes(walk_bytes);
    done
}

fn run_charged(
    (reader, crew, range): (&Reader<'_>, &Crew<'_>, TimeRange),
    budget: &Budget<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), QueryError> {
    let steps = reader.times.grid.steps;
    let cuts = crew.cuts.borrow_mut().take(&reader.times, reader.width());
    let mut windows = windows_of(reader, budget).with_cuts(cuts);
    let mut column = Column::empty(steps);
    let (len, mut work, began) = (reader.len(), 0_usize, Instant::now());
    let batch = batch_of(len);
    for index in 0..len {
        if index > 0 && index.is_multiple_of(batch) && len - index >= 2 * batch {
            let left = (work / index).saturating_mul(len - index);
            let left_ns = began.elapsed().as_nanos() / index as u128 * (len - index) as u128;
            let by_time = if left < SLOW_WORK_MIN { 0 } else { left_ns / WORK_MIN_NS };
            let wanted = (left / WORK_MIN).max(by_time as usize);
            let wanted = wanted.min((len - index) / batch - 1);
            let borrowed = crew.helpers.borrow(wanted);
            if borrowed.count > 0 {
                let spread = Spread::new(reader, budget, range, index..len);
                return spread.run(borrowed.count, windows, sink);
            }
        }
        budget.check_time()?;
        let held = reader.read(index, range, &mut windows, budget)?;
        work = work.saturating_add(windows.len().saturating_add(reader.slots()));
        let found = windows.take_found();
        if windows.is_empty() && found.is_none() {
            continue;
        }
        budget.charge(held)?;
        let notes = compute(reader, &mut windows, &mut column, budget)?;
        budget.release(held);
        sink(Computed { index, notes, found }, &mut column)?;
    }
    crew.cuts.borrow_mut().put(reader.times, reader.width(), windows.into_cuts());
    Ok(())
}

fn windows_of(reader: &Reader<'_>, budget: &Budget<'_>) -> Windows {
    Windows::new(reader.stats_only).watching(budget.cancellation())
}

/// Makes the column of what was read.
fn compute(
    reader: &Reader<'_>,
    windows: &mut Windows,
    column: &mut Column,
    budget: &Budget<'_>,
) -> Result<WindowNotes, QueryError> {
    let mut notes = WindowNotes::default();
    if windows.is_empty() {
        column.reset(reader.times.grid.steps);
        return Ok(notes);
    }
    reader.compute(windows, column, &mut notes, budget)?;
    // Whoever looks at histograms looks more often.
    if windows.has_histograms()
        || windows.in_windows() + reader.times.grid.steps as u64 >= WORK_PER_CHECK as u64
    {
        budget.cancellation().check()?;
    }
    Ok(notes)
}

type Batch = Vec<(Computed, Column)>;

/// Work that several threads do.
struct Spread<'a> {
    reader: &'a Reader<'a>,
    budget: &'a Budget<'a>,
    range: TimeRange,
    series: Range<usize>,
    /// Series computed at a time.
    batch: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The first batch that nobody has begun.
    next: usize,
    /// Batches whose turn has not come.
    done: BTreeMap<usize, Result<Batch, QueryError>>,
    /// Batches handed on.
    handed_on: usize,
    /// Whether nothing more is wanted.
    is_over: bool,
}

/// What a thread is to do next.
enum Task {
    Compute(usize),
    Wait,
    Leave,
}

impl<'a> Spread<'a> {
    fn new(
        reader: &'a Reader<'a>,
        budget: &'a Budget<'a>,
        range: TimeRange,
        series: Range<usize>,
    ) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let batch = batch_of(reader.len());
        Self { reader, budget, range, series, batch, state, changed }
    }

    fn run(&self, helpers: usize, windows: Windows, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        let ahead = AHEAD * (helpers + 1);
        // Columns are charged once they are done; what stands inside of them is never handed on.
        let inside_bytes = (self.reader.inside_slots() as u64).saturating_mul(SAMPLE_BYTES);
        let mut charged = 0;
        let done = std::thread::scope(|scope| {
            // However this ends, helpers leave.
            let _over = Over(self);
            for _ in 0..helpers {
                // Without a thread, or room for what it holds, the work is done here.
                if self.budget.charge_bytes(inside_bytes).is_err() {
                    break;
                }
                charged += inside_bytes;
                let _ = std::thread::Builder::new()
                    .name("query".to_owned())
                    .spawn_scoped(scope, || self.help(ahead));
            }
            self.hand_on(ahead, windows, sink)
        });
        self.budget.release_bytes(charged);
        done
    }

    fn batches(&self) -> usize {
        self.series.len().div_ceil(self.batch)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(&self, state: &mut State, ahead: usize) -> Task {
        if state.is_over || state.next >= self.batches() {
            return Task::Leave;
        }
        if state.next >= state.handed_on + ahead {
            return Task::Wait;
        }
        state.next += 1;
        Task::Compute(state.next - 1)
    }

    fn help(&self, ahead: usize) {
        // A panic here must not leave the others waiting.
        let _over = OverOnPanic(self);
        let mut windows = windows_of(self.reader, self.budget);
        let mut state = self.lock();
        loop {
            match self.task(&mut state, ahead) {
                Task::Leave => return,
                Task::Wait => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Task::Compute(batch) => {
                    drop(state);
                    let computed = self.compute(batch, &mut windows);
                    state = self.lock();
                    state.done.insert(batch, computed);
                    self.changed.notify_all();
                }
            }
        }
    }

    /// Hands on batch after batch, and computes while the next one is not done.
    fn hand_on(
        &self,
        ahead: usize,
        mut windows: Windows,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let mut state = self.lock();
        while state.handed_on < self.batches() {
            let turn = state.handed_on;
            if let Some(batch) = state.done.remove(&turn) {
                drop(state);
                self.give(batch?, sink)?;
                state = self.lock();
                state.handed_on += 1;
                self.changed.notify_all();
                continue;
            }
            match self.task(&mut state, ahead) {
                Task::Compute(batch) => {
                    drop(state);
                    let computed = self.compute(batch, &mut windows);
                    state = self.lock();
                    state.done.insert(batch, computed);
                }
                Task::Leave if state.is_over => {
                    // The scope's end passes the panic on.
                    return Err(QueryError::execution("a part of the query failed"));
                }
                Task::Leave | Task::Wait => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        Ok(())
    }

    fn give(&self, batch: Batch, sink: &mut Sink<'_>) -> Result<(), QueryError> {
        for (computed, mut column) in batch {
            self.budget.release_bytes(bytes_of(&column));
            sink(computed, &mut column)?;
        }
        Ok(())
    }

    fn compute(&self, batch: usize, windows: &mut Windows) -> Result<Batch, QueryError> {
        let Self { reader, budget, range, series, batch: size, .. } = self;
        let begin = series.start + batch * size;
        let mut computed = Vec::with_capacity(*size);
        for index in begin..(begin + size).min(series.end) {
            budget.check_time()?;
            let held = reader.read(index, *range, windows, budget)?;
            let found = windows.take_found();
            if windows.is_empty() && found.is_none() {
                continue;
            }
            // What a thread holds for a moment is not charged, only looked at: how many samples a
            // query may hold must not depend on the number of threads.
            budget.ensure(1, held)?;
            let mut column = Column::empty(0);
            let notes = compute(reader, windows, &mut column, budget)?;
            budget.charge_bytes(bytes_of(&column))?;
            computed.push((Computed { index, notes, found }, column));
        }
        Ok(computed)
    }
}

fn bytes_of(column: &Column) -> u64 {
    column.cost() as u64 * SAMPLE_BYTES
}

/// Ends the work of all threads.
struct Over<'s, 'a>(&'s Spread<'a>);

impl Drop for Over<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_over = true;
        let left = std::mem::take(&mut state.done);
        drop(state);
        self.0.changed.notify_all();
        for (_, column) in left.into_values().flatten().flatten() {
            self.0.budget.release_bytes(bytes_of(&column));
        }
    }
}

/// The same where a thread panics.
struct OverOnPanic<'s, 'a>(&'s Spread<'a>);

impl Drop for OverOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(Over(self.0));
        }
    }
}

#[cfg(test)]
mod tests;
