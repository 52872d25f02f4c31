//! An index file as a [`LabelIndex`].

use std::cell::RefCell;

use hashbrown::HashMap;
use roaring::{MultiOps, RoaringBitmap};

use super::cache::Asked;
use super::dictionary::PostingsRef;
use super::postings::postings_len;
use super::reader::IndexReader;
use super::{Judged, LabelIndex, Visit};
use crate::disk::StorageError;
use crate::model::Matcher;

/// What reading the row of one series costs, measured in values of a dictionary.
const ROW_COST: u64 = 8;

/// An index file as a [`LabelIndex`]. That trait knows no errors, so the first one is kept here:
/// what was answered means nothing until [`IndexView::finish`] said `Ok`.
#[derive(Debug)]
pub struct IndexView<'a> {
    index: &'a IndexReader,
    error: RefCell<Option<StorageError>>,
    /// The value visited last and its list: whoever visits asks for the list next.
    last: RefCell<(String, String, PostingsRef)>,
}

impl<'a> IndexView<'a> {
    pub(super) fn new(index: &'a IndexReader) -> Self {
        Self { index, error: RefCell::default(), last: RefCell::default() }
    }

    /// The first error that stood behind an answer.
    pub fn finish(self) -> Result<(), StorageError> {
        self.error.into_inner().map_or(Ok(()), Err)
    }

    fn keep<T: Default>(&self, result: Result<T, StorageError>) -> T {
        result.unwrap_or_else(|error| {
            self.error.borrow_mut().get_or_insert(error);
            T::default()
        })
    }

    fn find(&self, name: &str, value: &str) -> Result<Option<PostingsRef>, StorageError> {
        let last = self.last.borrow();
        if last.0 == name && last.1 == value && !value.is_empty() {
            return Ok(Some(last.2));
        }
        let Some(name) = self.index.name(name) else { return Ok(None) };
        self.index.dictionary(&self.index.names[name as usize])?.find(value)
    }

    /// What `make` gives, or gave before. What an error stands behind is not kept.
    fn cached(
        &self,
        asked: Asked,
        make: &mut dyn FnMut() -> Option<RoaringBitmap>,
    ) -> RoaringBitmap {
        if let Some(known) = self.index.cache.find(&asked) {
            return (*known).clone();
        }
        let Some(made) = make() else { return RoaringBitmap::new() };
        if self.error.borrow().is_none() {
            self.index.cache.keep(asked, made.clone().into());
        }
        made
    }

    fn unite(
        &self,
        name: u32,
        prefix: &str,
        judge: &mut dyn FnMut(&str) -> Judged,
    ) -> Result<RoaringBitmap, StorageError> {
        /// Lists held at once before they are united.
        const LISTS_MAX: usize = 256;
        let (mut union, mut lists) = (RoaringBitmap::new(), Vec::new());
        let mut failed = None;
        let dictionary = self.index.dictionary(&self.index.names[name as usize])?;
        dictionary.visit(prefix, |value, list| {
            match judge(value) {
                Judged::Taken => {}
                Judged::Refused => return Visit::Next,
                Judged::RefusedPrefix(len) => return Visit::Past(len),
                Judged::Stop => return Visit::Stop,
            }
            match self.index.read_list(list) {
                Ok(list) => lists.push(list),
                Err(error) => {
                    failed = Some(error);
                    return Visit::Stop;
                }
            }
            if lists.len() == LISTS_MAX {
                union |= lists.iter().map(|list| &**list).union();
                lists.clear();
            }
            Visit::Next
        })?;
        match failed {
            Some(error) => Err(error),
            None => Ok(union | lists.iter().map(|list| &**list).union()),
        }
    }

    fn read_rows(
        &self,
        series: &RoaringBitmap,
        name: &str,
        visit: &mut dyn FnMut(u32, &str),
    ) -> Result<(), StorageError> {
        let Some(name) = self.index.name(name) else {
            series.iter().for_each(|ordinal| visit(ordinal, ""));
            return Ok(());
        };
        let dictionary = self.index.dictionary(&self.index.names[name as usize])?;
        let mut rows = self.index.rows();
        let mut values: HashMap<u32, String> = HashMap::new();
        for ordinal in series {
            let Some(rank) = rows.rank(ordinal, name)? else {
                visit(ordinal, "");
                continue;
            };
            if !values.contains_key(&rank) {
                let mut value = Vec::new();
                dictionary.value(rank, &mut value)?;
                let value = String::from_utf8(value);
                let bad = |_| self.index.inconsistent("a value is not UTF-8");
                values.insert(rank, value.map_err(bad)?);
            }
            visit(ordinal, &values[&rank]);
        }
        Ok(())
    }

    fn read_names(&self, series: &RoaringBitmap) -> Result<Vec<String>, StorageError> {
        let mut rows = self.index.rows();
        let mut is_met = vec![false; self.index.shapes.len()];
        let mut left = is_met.len();
        for ordinal in series {
            let shape = rows.shape(ordinal)?;
            left -= usize::from(!std::mem::replace(&mut is_met[shape], true));
            if left == 0 {
                break;
            }
        }
        let met = self.index.shapes.iter().zip(is_met).filter(|(_, is_met)| *is_met);
        let mut names: Vec<u32> = met.flat_map(|(shape, _)| shape.names.iter().copied()).collect();
        names.sort_unstable();
        names.dedup();
        let text = |name: u32| self.index.names[name as usize].name.to_string();
        Ok(names.into_iter().map(text).collect())
    }
}

impl LabelIndex for IndexView<'_> {
    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.index.series_count());
        all
    }

    fn postings(&self, name: &str, value: &str) -> RoaringBitmap {
        self.keep(self.find(name, value).and_then(|list| {
            let list = list.map(|list| self.index.read_list(list)).transpose()?;
            Ok(list.map(|list| (*list).clone()).unwrap_or_default())
        }))
    }

    fn postings_len(&self, name: &str, value: &str) -> u64 {
        self.keep(self.find(name, value).and_then(|list| {
            let Some(list) = list else { return Ok(0) };
            Ok(postings_len(self.index.list_bytes(list)?).unwrap_or(0))
        }))
    }

    fn values_len(&self, name: &str) -> u64 {
        let name = self.index.name(name).map(|name| &self.index.names[name as usize]);
        name.map_or(0, |name| u64::from(name.value_count))
    }

    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> Visit) {
        let Some(number) = self.index.name(name) else { return };
        let dictionary = self.index.dictionary(&self.index.names[number as usize]);
        let visited = dictionary.and_then(|dictionary| {
            dictionary.visit(prefix, |value, list| {
                {
                    let mut last = self.last.borrow_mut();
                    name.clone_into(&mut last.0);
                    value.clone_into(&mut last.1);
                    last.2 = list;
                }
                visit(value)
            })
        });
        self.keep(visited);
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        for entry in &self.index.names {
            visit(&entry.name);
        }
    }

    fn union(
        &self,
        name: &str,
        prefix: &str,
        judge: &mut dyn FnMut(&str) -> Judged,
    ) -> RoaringBitmap {
        let Some(name) = self.index.name(name) else { return RoaringBitmap::new() };
        self.keep(self.unite(name, prefix, judge))
    }

    fn carriers(&self, name: &str) -> RoaringBitmap {
        let Some(number) = self.index.name(name) else { return RoaringBitmap::new() };
        let mut all = || Some(self.keep(self.unite(number, "", &mut |_| Judged::Taken)));
        self.cached(Asked::Carriers(number), &mut all)
    }

    fn rows_cost(&self, series: u64) -> u64 {
        series.saturating_mul(ROW_COST)
    }

    fn visit_rows(&self, series: &RoaringBitmap, name: &str, visit: &mut dyn FnMut(u32, &str)) {
        self.keep(self.read_rows(series, name, visit));
    }

    fn names_of(&self, series: &RoaringBitmap) -> Vec<String> {
        self.keep(self.read_names(series))
    }

    fn remembered(
        &self,
        matcher: &Matcher,
        make: &mut dyn FnMut() -> Option<RoaringBitmap>,
    ) -> RoaringBitmap {
        self.cached(Asked::Matcher(matcher.to_string()), make)
    }
}
