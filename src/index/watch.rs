//! An index whose answers can be broken off: a dictionary may have millions of values, and an
//! expression may take its time for each.

use std::cell::{Cell, RefCell};

use roaring::RoaringBitmap;

use super::{Judged, LabelIndex, Visit};
use crate::model::Matcher;

/// Values and rows looked at between two checks.
const VISITS_PER_CHECK: u32 = 256;

/// Passes on what `index` says until `check` fails; what it says from then on means nothing.
pub(super) struct Watched<'a, I, E> {
    index: &'a I,
    check: &'a dyn Fn() -> Result<(), E>,
    visits_left: Cell<u32>,
    error: RefCell<Option<E>>,
}

impl<'a, I: LabelIndex, E> Watched<'a, I, E> {
    pub(super) fn new(index: &'a I, check: &'a dyn Fn() -> Result<(), E>) -> Self {
        let visits_left = Cell::new(VISITS_PER_CHECK);
        Self { index, check, visits_left, error: RefCell::new(None) }
    }

    /// `answer`, or why it is none.
    pub(super) fn finish<T>(self, answer: T) -> Result<T, E> {
        self.error.into_inner().map_or(Ok(answer), Err)
    }

    fn is_stopped(&self) -> bool {
        self.error.borrow().is_some()
    }

    /// Counts one visit; `true` where there are to be no more.
    fn stops(&self) -> bool {
        let left = self.visits_left.get() - 1;
        self.visits_left.set(left);
        if left == 0 {
            self.visits_left.set(VISITS_PER_CHECK);
            if let Err(error) = (self.check)() {
                self.error.borrow_mut().get_or_insert(error);
            }
        }
        self.is_stopped()
    }
}

impl<I: LabelIndex, E> LabelIndex for Watched<'_, I, E> {
    fn all(&self) -> RoaringBitmap {
        self.index.all()
    }

    fn postings(&self, name: &str, value: &str) -> RoaringBitmap {
        // A list of values asks for one after the other.
        if self.stops() { RoaringBitmap::new() } else { self.index.postings(name, value) }
    }

    fn postings_len(&self, name: &str, value: &str) -> u64 {
        if self.stops() { 0 } else { self.index.postings_len(name, value) }
    }

    fn values_len(&self, name: &str) -> u64 {
        self.index.values_len(name)
    }

    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> Visit) {
        self.index.visit_values(name, prefix, &mut |value| {
            if self.stops() { Visit::Stop } else { visit(value) }
        });
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        self.index.visit_names(visit);
    }

    fn union(
        &self,
        name: &str,
        prefix: &str,
        judge: &mut dyn FnMut(&str) -> Judged,
    ) -> RoaringBitmap {
        self.index.union(name, prefix, &mut |value| {
            if self.stops() { Judged::Stop } else { judge(value) }
        })
    }

    fn carriers(&self, name: &str) -> RoaringBitmap {
        self.index.carriers(name)
    }

    fn rows_cost(&self, series: u64) -> u64 {
        self.index.rows_cost(series)
    }

    fn visit_rows(&self, series: &RoaringBitmap, name: &str, visit: &mut dyn FnMut(u32, &str)) {
        self.index.visit_rows(series, name, &mut |id, value| {
            if !self.stops() {
                visit(id, value);
            }
        });
    }

    fn names_of(&self, series: &RoaringBitmap) -> Vec<String> {
        self.index.names_of(series)
    }

    fn remembered(
        &self,
        matcher: &Matcher,
        make: &mut dyn FnMut() -> Option<RoaringBitmap>,
    ) -> RoaringBitmap {
        self.index.remembered(matcher, &mut || make().filter(|_| !self.is_stopped()))
    }
}
