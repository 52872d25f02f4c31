//! Whether a sample is stored.
//!
//! COMPAT: Prometheus `tsdb/head_append.go`, `memSeries.appendable`: the order of the checks, and
//! so which error is named where several hold.

use crate::encoding::histogram::Layout;
use crate::head::extra::is_equal;
use crate::head::group::{Data, NO_TIME, SlotState};
use crate::head::{AppendError, GroupKey, HISTOGRAM_BUCKETS_MAX, Head};
use crate::model::{Histogram, STALE_NAN_BITS};

/// What a commit takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Lower bound of samples in order.
    min_valid_ms: i64,
    /// Lower bound of late samples; above every time where none are taken.
    late_min_ms: Option<i64>,
    /// Upper bound.
    max_ms: i64,
    /// A scrape's late staleness marker says that the series has moved to another target.
    drops_late_stale: bool,
}

/// What is judged, and what judges it: bits of the value, and the histogram if it is one.
pub(super) type Value<'a> = (u64, Option<&'a Histogram>);

/// The verdict on one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Newest of its series.
    Store,
    /// Older than its series' newest, within the out-of-order window.
    StoreLate,
    /// There already, or of no use; counts as accepted.
    Skip,
    /// Refused.
    Refuse(AppendError),
}

impl Limits {
    /// Limits of an appender whose lower bound and newest time at its opening are given, and whose
    /// first sample is at `first_ms`.
    pub(super) fn new(
        head: &Head,
        key: &GroupKey,
        (min_valid_ms, newest_ms): (i64, Option<i64>),
        first_ms: i64,
    ) -> Self {
        let options = &head.options;
        let min_valid_ms = if min_valid_ms == NO_TIME {
            first_ms.saturating_sub(options.window_ms / 2)
        } else {
            min_valid_ms
        };
        let newest_ms = newest_ms.unwrap_or(first_ms);
        let window_ms = head.out_of_order_window_ms();
        Self {
            min_valid_ms,
            late_min_ms: (window_ms > 0).then(|| newest_ms.saturating_sub(window_ms)),
            max_ms: options.clock.now_ms().saturating_add(options.future_limit_ms),
            drops_late_stale: matches!(key, GroupKey::Target { .. }),
        }
    }

    /// Takes late samples down to `window_ms` below `newest_ms`, if not further down already.
    pub(super) fn take_late(&mut self, newest_ms: i64, window_ms: i64) {
        let min_ms = newest_ms.saturating_sub(window_ms.max(0));
        self.late_min_ms = Some(self.late_min_ms.map_or(min_ms, |known| known.min(min_ms)));
    }

    /// Whether a sample at `t_ms` that is newer than its series' last is stored.
    pub(super) fn are_met_at(&self, t_ms: i64) -> bool {
        (self.min_valid_ms..=self.max_ms).contains(&t_ms)
    }

    /// Whether late samples may be stored at all.
    pub(super) fn takes_late(&self) -> bool {
        self.late_min_ms.is_some()
    }

    /// Judges a sample of the series of `state`, whose newest one is `last` if that is a
    /// histogram. `data`: the group's, where late samples may be stored.
    pub(super) fn judge(
        &self,
        (state, last): (&SlotState, Option<&Histogram>),
        data: Option<&Data>,
        t_ms: i64,
        value: Value<'_>,
    ) -> Verdict {
        if let Some(Err(error)) = value.1.map(check_histogram) {
            return Verdict::Refuse(error);
        }
        let newest = (state.last_bits, last);
        if t_ms > self.max_ms {
            return Verdict::Refuse(AppendError::TooFarInFuture);
        }
        let has_last = state.last_ms != NO_TIME;
        let is_stale = value.0 == STALE_NAN_BITS;
        if has_last && t_ms <= state.last_ms && is_stale && self.drops_late_stale {
            return Verdict::Skip;
        }
        if t_ms >= self.min_valid_ms {
            if !has_last || t_ms > state.last_ms {
                return Verdict::Store;
            }
            if t_ms == state.last_ms {
                return Self::compare(newest, value);
            }
        }
        match self.late_min_ms {
            Some(late_min_ms) if t_ms < late_min_ms => Verdict::Refuse(AppendError::TooOld),
            Some(_) if !has_last || t_ms > state.last_ms => Verdict::Store,
            Some(_) if t_ms == state.last_ms => Self::compare(newest, value),
            Some(_) => match data.and_then(|data| data.loose_at(state.series, t_ms)) {
                Some(there) => Self::compare(there, value),
                None => Verdict::StoreLate,
            },
            None if t_ms < self.min_valid_ms => Verdict::Refuse(AppendError::OutOfBounds),
            None => Verdict::Refuse(AppendError::OutOfOrder),
        }
    }

    fn compare(there: Value<'_>, value: Value<'_>) -> Verdict {
        if is_equal(there, value) { Verdict::Skip } else { Verdict::Refuse(AppendError::Duplicate) }
    }
}

fn check_histogram(histogram: &Histogram) -> Result<(), AppendError> {
    let layout = Layout::of(histogram);
    let buckets = layout.positive + layout.negative;
    if buckets > HISTOGRAM_BUCKETS_MAX {
        return Err(AppendError::TooManyBuckets(buckets));
    }
    histogram.validate().map_err(AppendError::InvalidHistogram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::extra::Extra;

    const LAST: SlotState = SlotState { series: 0, epoch: 0, last_ms: 1000, last_bits: 5 };
    const NEW: SlotState = SlotState { series: 0, epoch: 0, last_ms: NO_TIME, last_bits: 0 };

    fn limits(late_min_ms: Option<i64>) -> Limits {
        Limits { min_valid_ms: 500, late_min_ms, max_ms: 5000, drops_late_stale: false }
    }

    #[test]
    fn verdicts_without_a_window() {
        use AppendError::{Duplicate, OutOfBounds, OutOfOrder, TooFarInFuture};
        let table = [
            (LAST, 1001, 6, Verdict::Store),
            (LAST, 1000, 5, Verdict::Skip),
            (LAST, 1000, 6, Verdict::Refuse(Duplicate)),
            (LAST, 999, 5, Verdict::Refuse(OutOfOrder)),
            (LAST, 500, 5, Verdict::Refuse(OutOfOrder)),
            (LAST, 499, 5, Verdict::Refuse(OutOfBounds)),
            (LAST, 5000, 5, Verdict::Store),
            (LAST, 5001, 5, Verdict::Refuse(TooFarInFuture)),
            (NEW, 500, 5, Verdict::Store),
            (NEW, 499, 5, Verdict::Refuse(OutOfBounds)),
        ];
        for (state, t_ms, bits, verdict) in table {
            assert_eq!(
                limits(None).judge((&state, None), None, t_ms, (bits, None)),
                verdict,
                "at {t_ms}"
            );
        }
    }

    #[test]
    fn verdicts_with_a_window() {
        use AppendError::{Duplicate, TooOld};
        let mut data = Data::default();
        data.place_loose(0, 700, 9, Extra::NONE, None);
        let table = [
            (LAST, 1001, 6, Verdict::Store),
            (LAST, 1000, 6, Verdict::Refuse(Duplicate)),
            (LAST, 999, 5, Verdict::StoreLate),
            (LAST, 700, 9, Verdict::Skip),
            (LAST, 700, 8, Verdict::Refuse(Duplicate)),
            (LAST, 300, 5, Verdict::StoreLate),
            (LAST, 299, 5, Verdict::Refuse(TooOld)),
            (NEW, 300, 5, Verdict::Store),
            (NEW, 299, 5, Verdict::Refuse(TooOld)),
        ];
        for (state, t_ms, bits, verdict) in table {
            let limits = limits(Some(300));
            let found = limits.judge((&state, None), Some(&data), t_ms, (bits, None));
            assert_eq!(found, verdict, "at {t_ms}");
        }
    }

    #[test]
    fn a_late_staleness_marker_of_a_scrape_is_dropped() {
        let mut limits = limits(None);
        let refused = Verdict::Refuse(AppendError::OutOfOrder);
        let judge =
            |limits: &Limits, t_ms| limits.judge((&LAST, None), None, t_ms, (STALE_NAN_BITS, None));
        assert_eq!(judge(&limits, 900), refused);
        limits.drops_late_stale = true;
        assert_eq!(judge(&limits, 900), Verdict::Skip);
        assert_eq!(judge(&limits, 1000), Verdict::Skip);
        assert_eq!(judge(&limits, 1001), Verdict::Store);
    }
}
