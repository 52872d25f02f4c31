//! Which blocks are merged next.
//!
//! COMPAT: the decisions are those of Prometheus's levelled compaction: windows of the smallest
//! length times 3^n up to the limit, aligned to the epoch; the newest block rests; blocks that
//! overlap are merged first, whatever their level; a large block of which much was deleted is
//! written anew. A pure function, so that it can be tested without a file.
//!
//! INVARIANT: no merge changes which of two samples at one time stands: where a block that is left
//! out comes between two of the chosen ones in order and shares time with the later one, they are
//! not merged.

use crate::block::Ulid;
use crate::model::TimeRange;

/// What the plan needs to know of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub ulid: Ulid,
    /// Its place among blocks; see [`crate::block::Meta::order`].
    pub order: Ulid,
    /// First and last sample.
    pub range: TimeRange,
    /// Bytes of its files.
    pub bytes: u64,
    /// Series.
    pub series: u64,
    /// Series of which something was deleted.
    pub series_hidden: u64,
    /// A damaged block is left as it is: a merge would lose what can still be read around the
    /// damage.
    pub is_damaged: bool,
}

/// What merged blocks may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Length of the smallest blocks.
    pub window_ms: i64,
    /// Greatest length of a merged block.
    pub limit_ms: i64,
    /// Greatest size of blocks that are merged together, where there is one.
    pub bytes_max: Option<u64>,
    /// Whether the newest block and windows that are not over take part.
    pub with_newest: bool,
}

/// COMPAT: of a block of which more than one series in twenty has deleted samples, nobody waits
/// for the next merge.
const HIDDEN_PART: u64 = 20;

/// The blocks to merge next, or one to write anew without what was deleted from it; `None` where
/// nothing is to be done.
pub fn plan(candidates: &[Candidate], limits: &Limits) -> Option<Vec<Ulid>> {
    let mut sound: Vec<Candidate> =
        candidates.iter().filter(|block| !block.is_damaged).copied().collect();
    sound.sort_by_key(|block| (block.range.min_ms, block.range.max_ms, block.ulid));
    let fits = |chosen: &[Candidate]| {
        let bytes: u64 = chosen.iter().map(|block| block.bytes).sum();
        limits.bytes_max.is_none_or(|max| bytes <= max) && keeps_order(chosen, candidates)
    };
    let chosen = overlapping(&sound, limits, &fits)
        .or_else(|| levelled(&sound, limits, &fits))
        .or_else(|| holed(&sound, limits));
    Some(chosen?.into_iter().map(|block| block.ulid).collect())
}

/// Whether samples at one time stand as before when `chosen` are one block.
fn keeps_order(chosen: &[Candidate], all: &[Candidate]) -> bool {
    let Some(first) = chosen.iter().map(|block| block.order).min() else { return true };
    let is_chosen = |other: &Candidate| chosen.iter().any(|block| block.ulid == other.ulid);
    let comes_between = |other: &&Candidate| {
        let is_passed = |block: &Candidate| {
            first < other.order && other.order < block.order && other.range.overlaps(block.range)
        };
        chosen.iter().any(is_passed)
    };
    !all.iter().filter(|other| !is_chosen(other)).any(|other| comes_between(&other))
}

/// A block that is not the newest and spans a middle level or more, with many tombstones.
fn holed(blocks: &[Candidate], limits: &Limits) -> Option<Vec<Candidate>> {
    let lengths = std::iter::successors(Some(limits.window_ms), |length| length.checked_mul(3));
    let lengths: Vec<i64> = lengths.take_while(|&length| length <= limits.limit_ms).collect();
    let middle = lengths.get(lengths.len() / 2)?;
    let newest = blocks.iter().map(|block| span(block.range, limits.window_ms).0).max()?;
    let is_holed = |block: &&Candidate| {
        let (start, end) = span(block.range, limits.window_ms);
        start < newest
            && end - start >= *middle
            && block.series_hidden * HIDDEN_PART > block.series + 1
    };
    blocks.iter().rev().find(is_holed).map(|block| vec![*block])
}

/// The windows that a block touches, as a half-open span.
fn span(range: TimeRange, window_ms: i64) -> (i64, i64) {
    let start = range.min_ms.div_euclid(window_ms).saturating_mul(window_ms);
    let end = range.max_ms.div_euclid(window_ms).saturating_add(1).saturating_mul(window_ms);
    (start, end)
}

/// Says whether blocks may become one.
type Fits<'a> = &'a dyn Fn(&[Candidate]) -> bool;

/// The first run of blocks that share windows. What they cover together stays within the limit,
/// or within the longest of them.
fn overlapping(blocks: &[Candidate], limits: &Limits, fits: Fits<'_>) -> Option<Vec<Candidate>> {
    let mut run: Vec<Candidate> = Vec::new();
    let mut covered = (i64::MIN, i64::MIN);
    let mut longest = 0;
    for block in blocks {
        let (start, end) = span(block.range, limits.window_ms);
        let length = end.saturating_sub(start);
        let joined = end.max(covered.1).saturating_sub(covered.0);
        let is_short = joined <= limits.limit_ms.max(longest).max(length);
        if !run.is_empty() && start < covered.1 && is_short {
            run.push(*block);
            covered.1 = covered.1.max(end);
            longest = longest.max(length);
            continue;
        }
        if run.len() > 1 && fits(&run) {
            return Some(run);
        }
        if run.len() != 1 || end > covered.1 || start >= covered.1 {
            run = vec![*block];
            covered = (start, end);
            longest = length;
        }
    }
    (run.len() > 1 && fits(&run)).then_some(run)
}

/// The blocks of the first longer window that has more than one and is over.
fn levelled(blocks: &[Candidate], limits: &Limits, fits: Fits<'_>) -> Option<Vec<Candidate>> {
    let &Limits { window_ms, limit_ms, with_newest, .. } = limits;
    let newest = blocks.iter().map(|block| span(block.range, window_ms).0).max()?;
    let mut length = window_ms.checked_mul(3)?;
    while length <= limit_ms {
        let mut at = 0;
        while at < blocks.len() {
            let window = span(blocks[at].range, length);
            let is_within = |block: &&Candidate| {
                let own = span(block.range, window_ms);
                own.0 >= window.0 && own.1 <= window.0.saturating_add(length)
            };
            let group: Vec<Candidate> =
                blocks[at..].iter().take_while(is_within).copied().collect();
            at += group.len().max(1);
            let takes_newest = group.iter().any(|b| span(b.range, window_ms).0 == newest);
            if group.len() < 2 || (takes_newest && !with_newest) || !fits(&group) {
                continue;
            }
            let end = group.iter().map(|b| span(b.range, window_ms).1).max();
            let start = span(group[0].range, window_ms).0;
            let is_full = end.is_some_and(|end| end - start == length);
            let is_over = window.0.saturating_add(length) <= newest;
            if is_full || is_over || with_newest {
                return Some(group);
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
            Candidate {
                ulid,
                order: ulid,
                range,
                bytes: 10,
                series: 100,
                series_hidden: 0,
                is_damaged: false,
            }
        };
        hours.iter().map(&mut block).collect()
    }

    fn planned(blocks: &[Candidate], with_newest: bool) -> Vec<usize> {
        planned_below(blocks, with_newest, None)
    }

    fn planned_below(
        blocks: &[Candidate],
        with_newest: bool,
        bytes_max: Option<u64>,
    ) -> Vec<usize> {
        let limits = Limits { window_ms: 2 * H, limit_ms: LIMIT, bytes_max, with_newest };
        let plan = plan(blocks, &limits).unwrap_or_default();
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

    #[test]
    fn blocks_that_are_too_large_together_stay_apart() {
        let list = blocks(&[(0, 2), (2, 4), (4, 6), (6, 8)]);
        assert_eq!(planned_below(&list, false, Some(30)), [0, 1, 2]);
        assert_eq!(planned_below(&list, false, Some(29)), [0_usize; 0]);
        // A smaller set behind them is found.
        let mut list = blocks(&[(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14)]);
        list[1].bytes = 100;
        assert_eq!(planned_below(&list, false, Some(30)), [3, 4, 5]);
    }

    /// Block 1 overlaps block 2 and comes before it; merged with block 0, block 2 would pass it.
    #[test]
    fn no_merge_changes_which_sample_stands() {
        let mut list = blocks(&[(0, 2), (2, 4), (2, 4), (4, 6), (6, 8)]);
        list[1].is_damaged = true;
        assert_eq!(planned(&list, false), [0_usize; 0]);
        // In the order before both it stays before both.
        list[0].order = list[1].ulid;
        list[1].order = Ulid::MIN;
        assert_eq!(planned(&list, false), [0, 2, 3]);
    }

    #[test]
    fn a_large_block_with_many_tombstones_is_written_anew() {
        let mut list = blocks(&[(0, 18), (18, 36), (36, 54), (54, 56)]);
        list[1].series_hidden = 5;
        assert_eq!(planned(&list, false), [0_usize; 0]);
        list[1].series_hidden = 6;
        assert_eq!(planned(&list, false), [1]);
        list[1].series_hidden = 0;
        list[3].series_hidden = 100;
        assert_eq!(planned(&list, false), [0_usize; 0]);
    }
}
