//! Chunks that are differences to other chunks, read along their chain.
//!
//! A chain is followed to its end or to a chunk whose integers are still known, then read back. It
//! has at most [`CHAIN_MAX`] steps, and each lies before the one that depends on it. Damage
//! anywhere in it is an error that names the chunk where it is.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chunk::{ChunkError, Sibling, integers_to_values, read_integers};
use crate::disk::StorageError;
use crate::index::units::UnitFile;

/// Most chunks that one depends on.
pub(super) const CHAIN_MAX: usize = 7;
/// Chunks whose integers are kept: buckets of one histogram are read one after the other.
const KEPT: usize = 32;

/// Integers of chunks read of late. Not for ever the same ones: what is read pushes out the oldest.
#[derive(Debug, Default)]
pub(super) struct KnownIntegers {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By offset: the first integers of the chunk there.
    chunks: Vec<(u64, Arc<[i64]>)>,
    next: usize,
}

impl KnownIntegers {
    /// Integers of the chunk at `offset`, where at least `count` of them are known.
    fn find(&self, offset: u64, count: usize) -> Option<Arc<[i64]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, integers) = kept.chunks.iter().find(|(at, _)| *at == offset)?;
        (integers.len() >= count).then(|| Arc::clone(integers))
    }

    fn keep(&self, offset: u64, integers: &Arc<[i64]>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (offset, Arc::clone(integers));
        let place = kept.chunks.iter().position(|(at, _)| *at == offset);
        if let Some(place) = place {
            kept.chunks[place] = entry;
        } else if kept.chunks.len() < KEPT {
            kept.chunks.push(entry);
        } else {
            let next = kept.next;
            kept.chunks[next] = entry;
            kept.next = (next + 1) % KEPT;
        }
    }
}

/// A chunk of a chain.
#[derive(Debug, Clone, Copy)]
struct Link<'a> {
    offset: u64,
    payload: &'a [u8],
}

/// Appends the values of `range` of the chunk at `offset` to `out`, where it depends on a sibling;
/// the chunk has `n` values. False, and nothing done, where it does not.
pub(super) fn read_values(
    file: &UnitFile,
    (offset, payload): (u64, &[u8]),
    n: usize,
    range: Range<usize>,
    known: &KnownIntegers,
    out: &mut Vec<f64>,
) -> Result<bool, StorageError> {
    let own = Link { offset, payload };
    let damage = |at: u64| move |e: ChunkError| file.corrupt(at, e.to_string());
    let Some(sibling) = Sibling::of(payload, n).map_err(damage(offset))? else {
        return Ok(false);
    };
    let (mut links, mut base) = follow(file, own, sibling, n, range.end, known)?;
    while let Some(link) = links.pop() {
        let mut integers = Vec::new();
        read_integers(link.payload, n, range.end, &base, &mut integers)
            .map_err(damage(link.offset))?;
        base = integers.into();
        known.keep(link.offset, &base);
    }
    integers_to_values(payload, n, &base, range, out).map_err(damage(offset))?;
    Ok(true)
}

/// The chain of `own`, itself first, up to a chunk that depends on nothing (the integers are empty
/// then) or on the integers given.
fn follow<'a>(
    file: &'a UnitFile,
    own: Link<'a>,
    mut sibling: Sibling,
    n: usize,
    count: usize,
    known: &KnownIntegers,
) -> Result<(Vec<Link<'a>>, Arc<[i64]>), StorageError> {
    let mut links = vec![own];
    let mut last = own;
    loop {
        let len = u64::from(sibling.len);
        let offset = last.offset.checked_sub(sibling.gap).and_then(|end| end.checked_sub(len));
        let Some(offset) = offset.filter(|_| len > 0) else {
            return Err(file.corrupt(last.offset, "the chunk's sibling does not lie before it"));
        };
        if let Some(integers) = known.find(offset, count) {
            return Ok((links, integers));
        }
        if links.len() > CHAIN_MAX {
            return Err(file.corrupt(own.offset, "the chunk depends on too many others"));
        }
        last = Link { offset, payload: file.slice(offset, len)? };
        links.push(last);
        match Sibling::of(last.payload, n) {
            Ok(Some(next)) => sibling = next,
            Ok(None) => return Ok((links, Arc::from([]))),
            Err(e) => return Err(file.corrupt(offset, e.to_string())),
        }
    }
}
