//! An index file as matchers are resolved against it.

use std::cell::RefCell;

use roaring::RoaringBitmap;

use super::reader::{Entry, IndexFile, Name, SAMPLED, Values, text};
use crate::disk::StorageError;
use crate::encoding::cursor::Cursor;
use crate::index::{LabelIndex, Visit};

/// An index file as a [`LabelIndex`]. That trait knows no errors, so the first one is kept here:
/// what was answered means nothing until [`View::finish`] said `Ok`.
#[derive(Debug)]
pub struct View<'a> {
    index: &'a IndexFile,
    error: RefCell<Option<StorageError>>,
    /// The value visited last and its list: whoever visits asks for the list next.
    last: RefCell<(String, String, u64)>,
}

impl IndexFile {
    /// The index for one question.
    pub fn view(&self) -> View<'_> {
        View { index: self, error: RefCell::default(), last: RefCell::default() }
    }

    fn name(&self, name: &str) -> Option<&Name> {
        let at = self.names.binary_search_by(|known| (*known.name).cmp(name)).ok()?;
        Some(&self.names[at])
    }
}

impl View<'_> {
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

    /// Where the list of a pair stands.
    fn find(&self, name: &str, value: &str) -> Result<Option<u64>, StorageError> {
        {
            let last = self.last.borrow();
            if last.0 == name && last.1 == value && last.2 != 0 {
                return Ok(Some(last.2));
            }
        }
        let mut found = None;
        self.walk(name, value, &mut |each, list_at| {
            if each == value {
                found = Some(list_at);
            }
            each < value
        })?;
        Ok(found)
    }

    /// Visits values of `name` in order, from `from` or a little before it, until `visit` says
    /// false.
    fn walk(
        &self,
        name: &str,
        from: &str,
        visit: &mut dyn FnMut(&str, u64) -> bool,
    ) -> Result<(), StorageError> {
        let Some(known) = self.index.name(name) else { return Ok(()) };
        match &known.values {
            Values::Complete(values) => {
                let start = values.partition_point(|(value, _)| **value < *from);
                for (value, list_at) in &values[start..] {
                    if !visit(value, *list_at) {
                        break;
                    }
                }
                Ok(())
            }
            Values::Sampled(values) => {
                let start = values.partition_point(|(value, _)| **value <= *from);
                let Some((_, at)) = values.get(start.saturating_sub(1)) else { return Ok(()) };
                self.walk_table(*at, name, visit)
            }
        }
    }

    fn walk_table(
        &self,
        at: u64,
        name: &str,
        visit: &mut dyn FnMut(&str, u64) -> bool,
    ) -> Result<(), StorageError> {
        let file = &self.index.file;
        let mut cursor = Cursor::new(file.slice(at, self.index.table.1 - at)?);
        while !cursor.is_empty() {
            let entry = Entry::read(&mut cursor).map_err(|e| file.misread(at, e))?;
            if *text(entry.name) != *name || !visit(&text(entry.value), entry.list_at) {
                break;
            }
        }
        Ok(())
    }
}

impl LabelIndex for View<'_> {
    /// The empty pair stands for all series.
    fn all(&self) -> RoaringBitmap {
        self.postings("", "")
    }

    fn postings(&self, name: &str, value: &str) -> RoaringBitmap {
        self.keep(self.find(name, value).and_then(|list_at| match list_at {
            Some(list_at) => self.index.list(list_at),
            None => Ok(RoaringBitmap::new()),
        }))
    }

    fn postings_len(&self, name: &str, value: &str) -> u64 {
        self.keep(self.find(name, value).and_then(|list_at| match list_at {
            Some(list_at) => self.index.list_len(list_at),
            None => Ok(0),
        }))
    }

    fn values_len(&self, name: &str) -> u64 {
        self.index.name(name).map_or(0, |known| match &known.values {
            Values::Complete(values) => values.len() as u64,
            Values::Sampled(values) => (values.len() * SAMPLED) as u64,
        })
    }

    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> Visit) {
        let walked = self.walk(name, prefix, &mut |value, list_at| {
            if value < prefix {
                return true;
            }
            if !value.starts_with(prefix) {
                return false;
            }
            {
                let mut last = self.last.borrow_mut();
                name.clone_into(&mut last.0);
                value.clone_into(&mut last.1);
                last.2 = list_at;
            }
            // Values stand one by one here, so none is passed over cheaper than by a look.
            visit(value) != Visit::Stop
        });
        self.keep(walked);
    }

    fn visit_names(&self, visit: &mut dyn FnMut(&str)) {
        for known in self.index.names.iter().filter(|known| !known.name.is_empty()) {
            visit(&known.name);
        }
    }
}
