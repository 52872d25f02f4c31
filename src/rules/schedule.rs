//! At which times a group is evaluated.
//!
//! COMPAT: the times are multiples of the interval, moved by an offset that follows from the
//! group's name and file, as Prometheus has them: both evaluate a group at the same times.

use crate::encoding::xxh64;

/// The times of a group.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "units are part of the names")]
pub(super) struct Schedule {
    interval_ns: i64,
    offset_ns: i64,
    /// The next time.
    next_ns: i64,
}

/// A time that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// The time that is evaluated.
    pub(super) t_ns: i64,
    /// Times before it that were passed over.
    pub(super) missed: u64,
}

impl Schedule {
    /// The schedule of a group that begins at `now_ns`; the interval is above 0.
    pub(super) fn new(file: &str, name: &str, interval_ms: i64, now_ns: i64) -> Self {
        let interval_ns = interval_ms.max(1).saturating_mul(1_000_000);
        let hash = xxh64::hash_labels([("file", file), ("name", name)]);
        let offset_ns = (hash % interval_ns as u64) as i64;
        let mut schedule = Self { interval_ns, offset_ns, next_ns: 0 };
        schedule.next_ns = schedule.slot_ns(now_ns).saturating_add(interval_ns);
        schedule
    }

    pub(super) fn interval_ns(&self) -> i64 {
        self.interval_ns
    }

    /// The newest time of evaluation that is not after `t_ns`.
    pub(super) fn slot_ns(&self, t_ns: i64) -> i64 {
        let moved = t_ns.saturating_sub(self.offset_ns);
        moved - moved.rem_euclid(self.interval_ns) + self.offset_ns
    }

    /// When there is something to do next.
    pub(super) fn next_ns(&self) -> i64 {
        self.next_ns
    }

    /// Goes on at `next_ns`: what is before was evaluated.
    pub(super) fn go_on_at(&mut self, next_ns: i64) {
        self.next_ns = next_ns;
    }

    /// The time to evaluate, if one has come by `now_ns`. Of several the newest counts.
    pub(super) fn take(&mut self, now_ns: i64) -> Option<Turn> {
        // A clock that was set back does not stop the rules for as long.
        if self.next_ns - now_ns > self.interval_ns.saturating_mul(2) {
            self.next_ns = self.slot_ns(now_ns).saturating_add(self.interval_ns);
        }
        if now_ns < self.next_ns {
            return None;
        }
        let missed = (now_ns - self.next_ns) / self.interval_ns;
        let t_ns = self.next_ns + missed * self.interval_ns;
        self.next_ns = t_ns + self.interval_ns;
        Some(Turn { t_ns, missed: missed as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn times_are_fixed_whenever_one_begins() {
        let of = |now_ns| Schedule::new("/etc/a.yml", "g", 60_000, now_ns);
        let first = of(1_700_000_000 * SECOND);
        let offset = first.next_ns().rem_euclid(60 * SECOND);
        for later in [1, 17 * SECOND, 59 * SECOND + 7, 3600 * SECOND] {
            let now_ns = 1_700_000_000 * SECOND + later;
            let next_ns = of(now_ns).next_ns();
            assert_eq!(next_ns.rem_euclid(60 * SECOND), offset);
            assert!(next_ns > now_ns && next_ns - now_ns <= 60 * SECOND);
        }
        let other = Schedule::new("/etc/a.yml", "h", 60_000, 1_700_000_000 * SECOND);
        assert_ne!(other.next_ns().rem_euclid(60 * SECOND), offset);
    }

    #[test]
    fn what_is_missed_is_counted_and_not_made_up_for() {
        let mut schedule = Schedule::new("f", "g", 10_000, 1000 * SECOND);
        let first_ns = schedule.next_ns();
        assert_eq!(schedule.take(first_ns - 1), None);
        assert_eq!(schedule.take(first_ns + 1), Some(Turn { t_ns: first_ns, missed: 0 }));
        let second_ns = first_ns + 10 * SECOND;
        assert_eq!(
            schedule.take(second_ns + 9 * SECOND),
            Some(Turn { t_ns: second_ns, missed: 0 })
        );
        let late_ns = second_ns + 45 * SECOND;
        assert_eq!(schedule.take(late_ns), Some(Turn { t_ns: second_ns + 40 * SECOND, missed: 3 }));
        assert_eq!(schedule.take(late_ns), None);
        // The clock is set back by an hour.
        assert_eq!(schedule.take(late_ns - 3600 * SECOND), None);
        let next_ns = schedule.next_ns();
        assert!(next_ns <= late_ns - 3590 * SECOND);
        assert_eq!(schedule.take(next_ns), Some(Turn { t_ns: next_ns, missed: 0 }));
    }
}
