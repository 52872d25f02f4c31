//! Labels to series: symbols, postings, the index file of a block.
//!
//! [`LabelIndex`] is what the live index of the head and the index file of a block have in common;
//! matchers are resolved against it once, for both (`resolve.rs`).

mod cache;
mod derive;
mod dictionary;
mod format;
mod postings;
mod reader;
mod resolve;
mod rows;
mod shapes;
#[cfg(test)]
mod tests;
pub mod units;
mod verify;
mod view;
mod watch;
mod writer;

use roaring::{MultiOps, RoaringBitmap};

use crate::model::Matcher;

pub use format::INDEX;
pub use reader::{IndexReader, RowReader};
pub use resolve::{label_names, label_values, resolve};
pub use rows::ChunkRef;
pub use verify::write_patched;
pub use view::IndexView;
pub use writer::IndexWriter;

/// How a visit of values goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// With the next value.
    Next,
    /// With the next value that does not begin with this many bytes of the one visited; those
    /// between may be left out.
    Past(usize),
    /// Not at all.
    Stop,
}

/// Whether the series of a value are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// They are.
    Taken,
    /// They are not.
    Refused,
    /// They are not, nor are those of any value that begins with this many bytes of this one.
    RefusedPrefix(usize),
    /// They are not, and no further value is looked at.
    Stop,
}

/// Label pairs and the series that carry them. Series are numbers: ids in the head, ordinals in a
/// block. Implementations may look at what they hold in several steps, and change in between:
/// what is there all the time is found.
pub trait LabelIndex {
    /// All series.
    fn all(&self) -> RoaringBitmap;

    /// Series with exactly this pair; empty where there is none.
    fn postings(&self, name: &str, value: &str) -> RoaringBitmap;

    /// How many series `postings` would give, or a bound above it; must be cheap.
    fn postings_len(&self, name: &str, value: &str) -> u64;

    /// Number of values of `name`, or a bound above it; must be cheap.
    fn values_len(&self, name: &str) -> u64;

    /// Calls `visit` for each value of `name` that begins with `prefix`, in no order that callers
    /// may rely on, as long as it says so. A value may be visited twice.
    fn visit_values(&self, name: &str, prefix: &str, visit: &mut dyn FnMut(&str) -> Visit);

    /// Calls `visit` for each label name.
    fn visit_names(&self, visit: &mut dyn FnMut(&str));

    /// The series of those values of `name` that begin with `prefix` and that `judge` takes.
    fn union(
        &self,
        name: &str,
        prefix: &str,
        judge: &mut dyn FnMut(&str) -> Judged,
    ) -> RoaringBitmap {
        /// Lists held at once before they are united.
        const LISTS_MAX: usize = 256;
        let mut union = RoaringBitmap::new();
        let mut lists = Vec::new();
        self.visit_values(name, prefix, &mut |value| match judge(value) {
            Judged::Taken => {
                lists.push(self.postings(name, value));
                if lists.len() == LISTS_MAX {
                    union |= lists.drain(..).union();
                }
                Visit::Next
            }
            Judged::Refused => Visit::Next,
            Judged::RefusedPrefix(len) => Visit::Past(len),
            Judged::Stop => Visit::Stop,
        });
        union | lists.union()
    }

    /// Series that have a label `name`.
    fn carriers(&self, name: &str) -> RoaringBitmap {
        self.union(name, "", &mut |_| Judged::Taken)
    }

    /// What [`LabelIndex::visit_rows`] costs for so many series, measured in values that are
    /// visited and judged.
    fn rows_cost(&self, _series: u64) -> u64 {
        u64::MAX
    }

    /// Calls `visit` for each of `series` with its value of `name`, empty where it has none.
    fn visit_rows(&self, series: &RoaringBitmap, name: &str, visit: &mut dyn FnMut(u32, &str)) {
        let mut rest = series.clone();
        self.visit_values(name, "", &mut |value| {
            for id in self.postings(name, value) & series {
                rest.remove(id);
                visit(id, value);
            }
            Visit::Next
        });
        rest.into_iter().for_each(|id| visit(id, ""));
    }

    /// Names of all labels of `series`, in no order.
    fn names_of(&self, series: &RoaringBitmap) -> Vec<String> {
        let mut names = Vec::new();
        self.visit_names(&mut |name| names.push(name.to_owned()));
        names.retain(|name| {
            let mut is_carried = false;
            self.visit_values(name, "", &mut |value| {
                is_carried = !series.is_disjoint(&self.postings(name, value));
                if is_carried { Visit::Stop } else { Visit::Next }
            });
            is_carried
        });
        names
    }

    /// What `make` gives for `matcher`, or gave before, where the index never changes and
    /// remembers it. Nothing where `make` gives nothing, which is not remembered.
    fn remembered(
        &self,
        _matcher: &Matcher,
        make: &mut dyn FnMut() -> Option<RoaringBitmap>,
    ) -> RoaringBitmap {
        make().unwrap_or_default()
    }
}
