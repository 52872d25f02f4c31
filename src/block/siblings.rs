//! Which chunk before it a chunk is best written as a difference to.
//!
//! Two sorts of siblings are looked for, both among chunks with the same rows of the same column:
//! any chunk whose values take exactly the same steps, and the neighbouring buckets of a histogram
//! (by `le`), below and above. What is kept of earlier chunks is bounded: places of steps in a
//! table in which newer ones push out older ones, and the integers of buckets up to
//! [`KEPT_BYTES_MAX`], of the current metric only (the buckets of one histogram may lie far apart
//! in the order of labels, but not beyond their metric).

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;

use super::chain::CHAIN_MAX;
use crate::chunk::{Coder, Decimals, Sibling, read_integers};
use crate::model::Labels;

/// A power of two: entries of the table of steps, 56 bytes each.
const STEPS_KEPT: usize = 1 << 16;
/// Bytes of packed integers of buckets.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// Payloads up to here gain nothing from a sibling.
const SMALL: usize = 10;
/// A difference must save one byte in so many, for it takes more time to read.
const WORTH: usize = 16;

/// Where a chunk lies, and which rows it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    /// From the start of the chunk file.
    pub(super) offset: u64,
    /// Number of the column.
    pub(super) column: u32,
    /// First row.
    pub(super) start: u32,
}

/// A chunk that is written.
#[derive(Debug, Clone, Copy)]
struct Place {
    spot: Spot,
    count: u32,
    len: u32,
    /// How many chunks it depends on.
    depth: u8,
}

impl Place {
    fn fits(&self, spot: Spot, count: usize) -> bool {
        (self.spot.column, self.spot.start, self.count as usize) == (spot.column, spot.start, count)
            && usize::from(self.depth) < CHAIN_MAX
    }

    fn seen_from(&self, spot: Spot) -> Sibling {
        let end = self.spot.offset + u64::from(self.len);
        Sibling { gap: spot.offset - end, len: self.len }
    }
}

/// A chunk by its steps.
#[derive(Debug, Clone, Copy)]
struct Stepped {
    place: Place,
    hashes: (u64, u64),
    first: i64,
}

/// A bucket of a histogram.
#[derive(Debug)]
struct Bucket {
    le: f64,
    /// Ascending by offset: place and packed integers.
    chunks: Vec<(Place, Box<[u8]>)>,
}

/// Finds siblings while a block is written.
#[derive(Debug)]
pub(super) struct Siblings {
    coder: Coder,
    keys: (u64, u64),
    /// By the low bits of the first hash. Empty until there is something to remember.
    steps: Vec<Option<Stepped>>,
    metric: String,
    hasher: RandomState,
    histograms: HashMap<u64, Vec<Bucket>>,
    kept_bytes: usize,
    /// The histogram and bound of the current series, where it is a bucket.
    bucket: Option<(u64, f64)>,
    /// Memory used again.
    base: Vec<i64>,
    payload: Vec<u8>,
}

impl Siblings {
    pub(super) fn new(coder: Coder) -> Self {
        let key = |salt: u64| RandomState::new().hash_one(salt) | 1;
        Self {
            coder,
            keys: (key(1), key(2)),
            steps: Vec::new(),
            metric: String::new(),
            hasher: RandomState::new(),
            histograms: HashMap::new(),
            kept_bytes: 0,
            bucket: None,
            base: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Says that the chunks to come are those of the series `labels`.
    pub(super) fn begin_series(&mut self, labels: &Labels) {
        let le = labels.get("le").and_then(|le| le.parse::<f64>().ok());
        self.bucket = None;
        let Some(le) = le.filter(|le| !le.is_nan()) else { return };
        if labels.metric_name() != self.metric {
            labels.metric_name().clone_into(&mut self.metric);
            self.forget();
        }
        let others: Vec<(&[u8], &[u8])> =
            labels.iter_bytes().filter(|(name, _)| *name != b"le").collect();
        self.bucket = Some((self.hasher.hash_one(others), le));
    }

    fn forget(&mut self) {
        self.histograms.clear();
        self.kept_bytes = 0;
    }

    /// Writes the chunk that will lie at `spot` over `payload`.
    pub(super) fn write(&mut self, decimals: &Decimals, spot: Spot, payload: &mut Vec<u8>) {
        payload.clear();
        decimals.write(self.coder, payload);
        if payload.len() <= SMALL {
            return;
        }
        let ints = decimals.ints();
        let hashes = hash_steps(ints, self.keys);
        let mut depth = self.write_as_same(decimals, spot, hashes, payload);
        let is_new = depth.is_none();
        if depth.is_none() {
            depth = self.write_as_bucket(decimals, spot, payload);
        }
        let depth = depth.unwrap_or(0);
        let place = Place { spot, count: ints.len() as u32, len: payload.len() as u32, depth };
        if is_new {
            self.steps.resize(STEPS_KEPT, None);
            self.steps[hashes.0 as usize & (STEPS_KEPT - 1)] =
                Some(Stepped { place, hashes, first: ints[0] });
        }
        self.keep(decimals, place);
    }

    /// Takes a chunk with the same steps, if there is one; the depth then.
    fn write_as_same(
        &mut self,
        decimals: &Decimals,
        spot: Spot,
        hashes: (u64, u64),
        payload: &mut Vec<u8>,
    ) -> Option<u8> {
        let ints = decimals.ints();
        let same = (*self.steps.get(hashes.0 as usize & (STEPS_KEPT - 1))?)?;
        if same.hashes != hashes || !same.place.fits(spot, ints.len()) {
            return None;
        }
        let distance = ints[0].wrapping_sub(same.first);
        self.base.clear();
        self.base.extend(ints.iter().map(|int| int.wrapping_sub(distance)));
        self.try_beside(decimals, same.place, spot, payload)
    }

    /// Takes a neighbour in the histogram, if one pays; the depth then.
    fn write_as_bucket(
        &mut self,
        decimals: &Decimals,
        spot: Spot,
        payload: &mut Vec<u8>,
    ) -> Option<u8> {
        let (histogram, le) = self.bucket?;
        let count = decimals.ints().len();
        let (mut below, mut above) = (None, None);
        let buckets = self.histograms.get(&histogram)?;
        for bucket in buckets {
            let fits = |chunk: &&(Place, Box<[u8]>)| chunk.0.fits(spot, count);
            let Some(chunk) = bucket.chunks.iter().rev().find(fits) else { continue };
            let nearest = if bucket.le < le { &mut below } else { &mut above };
            let distance = (bucket.le - le).abs();
            if nearest.is_none_or(|(least, _)| distance < least) {
                *nearest = Some((distance, chunk));
            }
        }
        let nearest: Vec<(Place, Vec<i64>)> = [below, above]
            .into_iter()
            .flatten()
            .filter_map(|(_, (place, packed))| {
                let mut ints = Vec::new();
                read_integers(packed, count, count, &[], &mut ints).ok()?;
                Some((*place, ints))
            })
            .collect();
        let mut depth = None;
        for (place, ints) in nearest {
            self.base = ints;
            depth = self.try_beside(decimals, place, spot, payload).or(depth);
        }
        depth
    }

    /// Writes the difference to `base`, the integers at `place`, over `payload` where that pays.
    fn try_beside(
        &mut self,
        decimals: &Decimals,
        place: Place,
        spot: Spot,
        payload: &mut Vec<u8>,
    ) -> Option<u8> {
        self.payload.clear();
        let sibling = place.seen_from(spot);
        decimals.write_beside(&self.base, sibling, self.coder, &mut self.payload);
        if self.payload.len() + payload.len() / WORTH >= payload.len() {
            return None;
        }
        std::mem::swap(payload, &mut self.payload);
        Some(place.depth + 1)
    }

    /// Remembers a chunk of a bucket for those that come.
    fn keep(&mut self, decimals: &Decimals, place: Place) {
        let Some((histogram, le)) = self.bucket else { return };
        let mut packed = Vec::new();
        decimals.write(Coder::Fast, &mut packed);
        self.kept_bytes += packed.len() + size_of::<(Place, Box<[u8]>)>();
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.forget();
            return;
        }
        let buckets = self.histograms.entry(histogram).or_default();
        match buckets.last_mut() {
            Some(bucket) if bucket.le == le => bucket.chunks.push((place, packed.into())),
            _ => buckets.push(Bucket { le, chunks: vec![(place, packed.into())] }),
        }
    }
}

/// Two independent hashes of the differences between neighbours.
fn hash_steps(ints: &[i64], keys: (u64, u64)) -> (u64, u64) {
    let mix = |state: u64, word: u64, key: u64| {
        let product = u128::from(state ^ word) * u128::from(key);
        (product >> 64) as u64 ^ product as u64 ^ state.rotate_left(23)
    };
    let steps = ints.windows(2).map(|w| w[1].wrapping_sub(w[0]) as u64);
    let (a, b) = steps
        .fold(keys, |(a, b), step| (mix(a, step, keys.1), mix(b, step.rotate_left(32), keys.0)));
    (mix(a, ints.len() as u64, keys.1), b)
}
