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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeRange;

    #[test]
    fn age_is_measured_against_the_newest_data() {
        let block = |max_ms| Candidate {
            ulid: Ulid::new(max_ms, None),
            range: TimeRange { min_ms: 0, max_ms },
            is_damaged: max_ms == 7,
        };
        let list = [block(5), block(7), block(10), block(20)];
        assert_eq!(expired(&list, 20, 10), [list[0].ulid, list[1].ulid]);
        assert!(expired(&list, 20, 0).is_empty());
        assert!(expired(&list, 20, i64::MAX).is_empty());
    }
}
