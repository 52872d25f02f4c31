//! Which blocks are past retention.

use super::Candidate;
use crate::block::Ulid;

/// The blocks whose newest sample lies more than `retention_ms` below `newest_ms`, the newest
/// data there is: an old directory that is opened again does not lose everything to the clock.
pub fn expired(candidates: &[Candidate], newest_ms: i64, retention_ms: i64) -> Vec<Ulid> {
    if retention_ms <= 0 {
        return Vec::new();
    }
    let border_ms = newest_ms.saturating_sub(retention_ms);
    candidates.iter().filter(|b| b.range.max_ms < border_ms).map(|b| b.ulid).collect()
}

/// The blocks that have to go so that `used` bytes come down to `limit`: oldest first, and none
/// that reaches to `open_ms`, where the open window begins.
pub fn oversized(candidates: &[Candidate], open_ms: i64, used: u64, limit: u64) -> Vec<Ulid> {
    let mut closed: Vec<&Candidate> =
        candidates.iter().filter(|block| block.range.max_ms < open_ms).collect();
    closed.sort_by_key(|block| (block.range.max_ms, block.range.min_ms, block.ulid));
    let mut left = used;
    let goes = closed.into_iter().take_while(|block| {
        let goes = left > limit;
        left = left.saturating_sub(block.bytes);
        goes
    });
    goes.map(|block| block.ulid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeRange;

    fn block(max_ms: i64) -> Candidate {
        let ulid = Ulid::new(max_ms, None);
        Candidate {
            ulid,
            order: ulid,
            range: TimeRange { min_ms: 0, max_ms },
            bytes: 10,
            series: 1,
            series_hidden: 0,
            is_damaged: max_ms == 7,
        }
    }

    #[test]
    fn age_is_measured_against_the_newest_data() {
        let list = [block(5), block(7), block(10), block(20)];
        assert_eq!(expired(&list, 20, 10), [list[0].ulid, list[1].ulid]);
        assert!(expired(&list, 20, 0).is_empty());
        assert!(expired(&list, 20, i64::MAX).is_empty());
    }

    #[test]
    fn the_oldest_go_first_and_the_open_window_stays() {
        let list = [block(20), block(10), block(5), block(7)];
        let gone = |used, limit| oversized(&list, 15, used, limit);
        assert!(gone(40, 40).is_empty());
        assert_eq!(gone(41, 40), [list[2].ulid]);
        assert_eq!(gone(51, 40), [list[2].ulid, list[3].ulid]);
        assert_eq!(gone(1000, 40), [list[2].ulid, list[3].ulid, list[1].ulid]);
    }
}
