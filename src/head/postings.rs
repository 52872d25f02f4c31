//! The live index: label pairs to series.

use roaring::RoaringBitmap;

use crate::index::LabelIndex;

/// Postings of the series in the head.
#[derive(Debug, Default)]
pub struct LiveIndex {}

impl LabelIndex for LiveIndex {
    fn all(&self) -> RoaringBitmap {
        unreachable!("BUG: not built yet")
    }

    fn postings(&self, _name: &str, _value: &str) -> RoaringBitmap {
        unreachable!("BUG: not built yet")
    }

    fn postings_len(&self, _name: &str, _value: &str) -> u64 {
        unreachable!("BUG: not built yet")
    }

    fn visit_values(&self, _name: &str, _prefix: &str, _visit: &mut dyn FnMut(&str) -> bool) {
        unreachable!("BUG: not built yet")
    }

    fn visit_names(&self, _visit: &mut dyn FnMut(&str)) {
        unreachable!("BUG: not built yet")
    }
}
