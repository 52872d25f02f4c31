//! The shape of a page: the prefixes of its lines in their order, held once for all targets of a
//! pool that serve the same ones.
//!
//! A sample's prefix is its name and labels as written; a comment is a prefix as a whole, its
//! newline included. Of a shape that one target alone has, only seeded
//! hashes of the prefixes are kept: two prefixes of equal length and hash are taken for the same
//! (2^-64 by accident, and the seed is random for each pool, so that nobody can aim). When a
//! second target shows the same shape its text is kept too, and comparing becomes a `memcmp`.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use hashbrown::{DefaultHashBuilder, HashMap};

use super::MetricType;
use super::page::PageParser;
use super::text::Entry;

/// What a prefix says beyond its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    Sample,
    /// A sample whose prefix stood earlier on the page already.
    Repeat,
    Comment,
    Type(MetricType),
}

/// One line of a shape in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineKey {
    pub(super) hash: u64,
    /// Where the prefix begins in the text of all prefixes.
    offset: u32,
    /// The length in the lower 24 bits, the kind above.
    len_and_kind: u32,
}

const KINDS: [LineKind; 11] = [
    LineKind::Sample,
    LineKind::Repeat,
    LineKind::Comment,
    LineKind::Type(MetricType::Counter),
    LineKind::Type(MetricType::Gauge),
    LineKind::Type(MetricType::Histogram),
    LineKind::Type(MetricType::Summary),
    LineKind::Type(MetricType::Unknown),
    LineKind::Type(MetricType::GaugeHistogram),
    LineKind::Type(MetricType::Info),
    LineKind::Type(MetricType::StateSet),
];

impl LineKey {
    /// `len` is below 2^24: the parser refuses longer lines.
    pub(super) fn new(hash: u64, len: usize, kind: LineKind) -> Self {
        let kind = KINDS.iter().position(|k| *k == kind).expect("BUG: every kind is listed");
        assert!(len < 1 << 24, "BUG: line longer than the parser allows");
        Self { hash, offset: 0, len_and_kind: len as u32 | (kind as u32) << 24 }
    }

    pub(super) fn at_offset(self, offset: u32) -> Self {
        Self { offset, ..self }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        (self.len_and_kind & 0xff_ffff) as usize
    }

    #[inline]
    pub(super) fn kind(self) -> LineKind {
        KINDS[(self.len_and_kind >> 24) as usize]
    }
}

/// HELP, TYPE and UNIT of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FamilyMetadata {
    /// Name of the family.
    pub name: String,
    /// Its type.
    pub metric_type: MetricType,
    /// Its help text; empty where there is none.
    pub help: String,
    /// What it is measured in; empty where that is not said.
    pub unit: String,
}

#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) keys: Box<[LineKey]>,
    text: OnceLock<Box<[u8]>>,
    pub(super) metadata: Arc<[FamilyMetadata]>,
}

impl Shape {
    /// The prefix of `key` where the text is kept.
    #[inline]
    pub(super) fn text(&self) -> Option<&[u8]> {
        self.text.get().map(|text| &**text)
    }

    /// Whether `candidate`, of the length that `key` has, is its prefix.
    #[inline]
    pub(super) fn is_prefix(
        &self,
        key: &LineKey,
        candidate: &[u8],
        hasher: &DefaultHashBuilder,
    ) -> bool {
        match self.text() {
            Some(text) => {
                let start = key.offset as usize;
                text.get(start..start + key.len()) == Some(candidate)
            }
            None => hasher.hash_one(candidate) == key.hash,
        }
    }

    fn heap_bytes(&self) -> usize {
        let texts: usize =
            self.metadata.iter().map(|m| m.name.len() + m.help.len() + m.unit.len()).sum();
        size_of_val(&*self.keys)
            + self.text().map_or(0, <[u8]>::len)
            + size_of_val(&*self.metadata)
            + texts
    }
}

/// The shapes that the targets of one pool serve. Clones are handles to the same pool.
#[derive(Debug, Clone, Default)]
pub struct ShapePool(Arc<PoolInner>);

#[derive(Debug, Default)]
struct PoolInner {
    hasher: DefaultHashBuilder,
    shapes: Mutex<HashMap<u64, Weak<Shape>>>,
}

impl ShapePool {
    /// An empty pool with a seed of its own.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn hasher(&self) -> &DefaultHashBuilder {
        &self.0.hasher
    }

    /// The shape with these keys: one that another target has already, which then keeps the text
    /// that `text` gives, or a new one.
    pub(super) fn intern(
        &self,
        keys: Vec<LineKey>,
        metadata: Arc<[FamilyMetadata]>,
        text: impl FnOnce(&[LineKey]) -> Option<Box<[u8]>>,
    ) -> Arc<Shape> {
        let mut summary = Vec::with_capacity(keys.len());
        summary.extend(keys.iter().map(|key| key.hash));
        let hash = self.hasher().hash_one(&summary);
        let mut shapes = self.0.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shapes.get(&hash).and_then(Weak::upgrade)
            && *known.keys == *keys
            && *known.metadata == *metadata
        {
            if known.text.get().is_none()
                && let Some(text) = text(&keys)
            {
                known.text.get_or_init(|| text);
            }
            return known;
        }
        if shapes.len() == shapes.capacity() {
            shapes.retain(|_, shape| shape.strong_count() > 0);
        }
        let shape =
            Arc::new(Shape { keys: keys.into_boxed_slice(), text: OnceLock::new(), metadata });
        shapes.insert(hash, Arc::downgrade(&shape));
        shape
    }

    /// Number of shapes that some target has, and the bytes that they hold.
    pub fn usage(&self) -> (usize, usize) {
        let shapes = self.0.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        let live = shapes.values().filter_map(Weak::upgrade);
        live.fold((0, 0), |(count, bytes), shape| (count + 1, bytes + shape.heap_bytes()))
    }
}

pub(super) fn is_sample(key: LineKey) -> bool {
    matches!(key.kind(), LineKind::Sample | LineKind::Repeat)
}

/// What every family of a page that parses says of itself.
pub(super) fn collect_metadata(mut parser: PageParser<'_>) -> Arc<[FamilyMetadata]> {
    let mut families: Vec<FamilyMetadata> = Vec::new();
    let mut places = hashbrown::HashMap::<String, usize>::new();
    let mut family = |families: &mut Vec<FamilyMetadata>, name: &str| {
        *places.entry_ref(name).or_insert_with(|| {
            families.push(FamilyMetadata { name: name.to_owned(), ..FamilyMetadata::default() });
            families.len() - 1
        })
    };
    while let Ok(Some(entry)) = parser.next_entry() {
        match entry {
            Entry::Help { name, text } => {
                let at = family(&mut families, &name);
                families[at].help = text.into_owned();
            }
            Entry::Type { name, metric_type } => {
                let at = family(&mut families, &name);
                families[at].metric_type = metric_type;
            }
            Entry::Unit { name, unit } => {
                let at = family(&mut families, &name);
                families[at].unit = unit.into_owned();
            }
            Entry::Series { .. } | Entry::Histogram { .. } | Entry::Comment(_) => {}
        }
    }
    families.into()
}

/// The prefixes of `keys` one after the other, found again on the page they come from.
pub(super) fn collect_text(
    page: &[u8],
    keys: &[LineKey],
    hasher: &DefaultHashBuilder,
) -> Option<Box<[u8]>> {
    let mut text = Vec::with_capacity(keys.iter().map(|key| key.len()).sum());
    let mut at = 0;
    for key in keys {
        let end = loop {
            while matches!(page.get(at), Some(b' ' | b'\t' | b'\n')) {
                at += 1;
            }
            let end = at + key.len();
            if hasher.hash_one(page.get(at..end)?) == key.hash {
                break end;
            }
            at += page[at..].iter().position(|b| *b == b'\n')? + 1;
        };
        text.extend_from_slice(&page[at..end]);
        at = end;
        if is_sample(*key) {
            at += page[at..].iter().position(|b| *b == b'\n').unwrap_or(0);
        }
    }
    Some(text.into_boxed_slice())
}
