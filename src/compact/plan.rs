//! Which blocks are merged next.
//!
//! COMPAT: the decisions are those of Prometheus's levelled compaction: windows of the smallest
//! length times 3^n up to the limit, aligned to the epoch; the newest block rests; blocks that
//! overlap are merged first, whatever their level. A pure function, so that it can be tested
//! without a file.

use crate::block::Ulid;
use crate::model::TimeRange;

/// What the plan needs to know of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub ulid: Ulid,
    /// First and last sample.
    pub range: TimeRange,
    /// A damaged block is left as it is: a merge would lose what can still be read around the
    /// damage.
    pub is_damaged: bool,
}

/// The blocks to merge next, at least two; `None` where nothing is to be done. With
/// `with_newest` the newest block and windows that are not over take part.
pub fn plan(
    candidates: &[Candidate],
    window_ms: i64,
    limit_ms: i64,
    with_newest: bool,
) -> Option<Vec<Ulid>> {
    let mut sound: Vec<Candidate> =
        candidates.iter().filter(|block| !block.is_damaged).copied().collect();
    sound.sort_by_key(|block| (block.range.min_ms, block.range.max_ms, block.ulid));
    overlapping(&sound, window_ms, limit_ms)
        .or_else(|| levelled(&sound, window_ms, limit_ms, with_newest))
}

/// The windows that a block touches, as a half-open span.
fn span(range: TimeRange, window_ms: i64) -> (i64, i64) {
    let start = range.min_ms.div_euclid(window_ms).saturating_mul(window_ms);
    let end = range.max_ms.div_euclid(window_ms).saturating_add(1).saturating_mul(window_ms);
    (start, end)
}

/// The first run of blocks that share windows. What they cover together stays within the limit,
/// or within the longest of them.
fn overlapping(blocks: &[Candidate], window_ms: i64, limit_ms: i64) -> Option<Vec<Ulid>> {
    let mut run: Vec<Ulid> = Vec::new();
    let mut covered = (i64::MIN, i64::MIN);
    let mut longest = 0;
    for block in blocks {
        let (start, end) = span(block.range, window_ms);
        let length = end.saturating_sub(start);
        let joined = end.max(covered.1).saturating_sub(covered.0);
        let fits = joined <= limit_ms.max(longest).max(length);
        if !run.is_empty() && start < covered.1 && fits {
            run.push(block.ulid);
            covered.1 = covered.1.max(end);
            longest = longest.max(length);
            continue;
        }
        if run.len() > 1 {
            return Some(run);
        }
        if run.is_empty() || end > covered.1 || start >= covered.1 {
            run = vec![block.ulid];
            covered = (start, end);
            longest = length;
        }
    }
    (run.len() > 1).then_some(run)
}

/// The blocks of the first longer window that has more than one and is over.
fn levelled(
    blocks: &[Candidate],
    window_ms: i64,
    limit_ms: i64,
    with_newest: bool,
) -> Option<Vec<Ulid>> {
    let newest = blocks.iter().map(|block| span(block.range, window_ms).0).max()?;
    let mut length = window_ms.checked_mul(3)?;
    while length <= limit_ms {
        let mut at = 0;
        while at < blocks.len() {
            let window = span(blocks[at].range, length);
            let fits = |block: &&Candidate| {
                let own = span(block.range, window_ms);
                own.0 >= window.0 && own.1 <= window.0.saturating_add(length)
            };
            let group: Vec<&Candidate> = blocks[at..].iter().take_while(fits).collect();
            at += group.len().max(1);
            let takes_newest = group.iter().any(|b| span(b.range, window_ms).0 == newest);
            if group.len() < 2 || (takes_newest && !with_newest) {
                continue;
            }
            let end = group.iter().map(|b| span(b.range, window_ms).1).max();
            let start = span(group[0].range, window_ms).0;
            let is_full = end.is_some_and(|end| end - start == length);
            let is_over = window.0.saturating_add(length) <= newest;
            if is_full || is_over || with_newest {
                return Some(group.into_iter().map(|block| block.ulid).collect());
            }
        }
        length = length.checked_mul(3)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = 3_600_000;
    const LIMIT: i64 = 36 * H;

    fn blocks(hours: &[(i64, i64)]) -> Vec<Candidate> {
        let mut last = None;
        let mut block = |&(from, to): &(i64, i64)| {
            let ulid = Ulid::new(1, last);
            last = Some(ulid);
            let range = TimeRange { min_ms: from * H, max_ms: to * H - 1 };
            Candidate { ulid, range, is_damaged: false }
        };
        hours.iter().map(&mut block).collect()
    }

    fn planned(blocks: &[Candidate], with_newest: bool) -> Vec<usize> {
        let plan = plan(blocks, 2 * H, LIMIT, with_newest).unwrap_or_default();
        plan.iter().map(|ulid| blocks.iter().position(|b| b.ulid == *ulid).unwrap()).collect()
    }

    #[test]
    fn three_windows_wait_for_the_fourth() {
        let list = blocks(&[(0, 2), (2, 4), (4, 6), (6, 8)]);
        assert_eq!(planned(&list[..2], false), [0_usize; 0]);
        assert_eq!(planned(&list[..3], false), [0_usize; 0]);
        assert_eq!(planned(&list, false), [0, 1, 2]);
        assert_eq!(planned(&list[..2], true), [0, 1]);
    }

    #[test]
    fn a_gap_does_not_hold_up_a_window_that_is_over() {
        assert_eq!(planned(&blocks(&[(0, 2), (4, 6), (12, 14)]), false), [0, 1]);
        assert_eq!(planned(&blocks(&[(0, 2), (12, 14)]), false), [0_usize; 0]);
    }

    #[test]
    fn levels_go_up_to_the_limit() {
        let list = blocks(&[(0, 6), (6, 12), (12, 18), (18, 20)]);
        assert_eq!(planned(&list, false), [0, 1, 2]);
        let list = blocks(&[(0, 18), (18, 36), (36, 54), (54, 56)]);
        assert_eq!(planned(&list, false), [0_usize; 0]);
    }

    #[test]
    fn overlap_comes_first_and_takes_the_newest_too() {
        assert_eq!(planned(&blocks(&[(0, 2), (2, 4), (4, 6), (4, 5)]), false), [3, 2]);
        assert_eq!(planned(&blocks(&[(0, 6), (2, 4), (6, 8)]), false), [0, 1]);
    }

    #[test]
    fn damaged_blocks_rest() {
        let mut list = blocks(&[(0, 2), (2, 4), (4, 6), (6, 8)]);
        list[1].is_damaged = true;
        assert_eq!(planned(&list, false), [0, 2]);
        list[2].is_damaged = true;
        assert_eq!(planned(&list, false), [0_usize; 0]);
    }
}
