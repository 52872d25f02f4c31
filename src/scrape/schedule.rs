//! When a target is scraped, and which timestamp its samples get.
//!
//! Each target has a fixed phase within its interval, from a hash of what identifies it and a seed
//! of this server, so that load is spread, restarts keep the phase, and two servers with the same
//! configuration scrape at different times.

/// FNV-1a, 64 bits, of `parts` one after the other.
pub(super) fn fnv64(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Nanoseconds from `now_ns` (wall clock) to the next time at which a target with this hash is
/// due; at most one interval.
pub(super) fn offset_ns(hash: u64, seed: u64, interval_ns: u64, now_ns: u64) -> u64 {
    let to_grid = interval_ns - now_ns % interval_ns;
    let next = to_grid + (hash ^ seed) % interval_ns;
    if next > interval_ns { next - interval_ns } else { next }
}

/// Brings timestamps back to the grid that timers miss by a little: equal distances compress
/// better. COMPAT: by default within 2 ms and 1 % of the interval, as Prometheus does.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "names end in their unit")]
pub(super) struct Alignment {
    aligned_ns: i64,
    interval_ns: i64,
    tolerance_ns: i64,
}

impl Alignment {
    /// A grid of `interval_ns` (above 0) that begins at `first_ns`. Timestamps are moved by at most
    /// `tolerance_ns`, and by none where that is negative.
    pub(super) fn new(first_ns: i64, interval_ns: i64, tolerance_ns: i64) -> Self {
        let interval_ns = interval_ns.max(1);
        let tolerance_ns = tolerance_ns.min(interval_ns / 100);
        Self { aligned_ns: first_ns, interval_ns, tolerance_ns }
    }

    /// The timestamp for a scrape that begins at `now_ns`.
    pub(super) fn align(&mut self, now_ns: i64) -> i64 {
        let passed = (now_ns - self.aligned_ns) / self.interval_ns;
        self.aligned_ns += passed.max(0) * self.interval_ns;
        let is_near = self.tolerance_ns >= 0 && now_ns - self.aligned_ns <= self.tolerance_ns;
        if is_near { self.aligned_ns } else { now_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_phase_is_the_same_whenever_one_asks() {
        let interval = 15 * SECOND;
        let seed = 42;
        for hash in [0, 1, 7 * SECOND, u64::MAX] {
            let due = |now: u64| (now + offset_ns(hash, seed, interval, now)) % interval;
            for now in [0, 1, interval - 1, 1_700_000_000_123_456_789] {
                assert!(offset_ns(hash, seed, interval, now) <= interval);
                assert_eq!(due(now), (hash ^ seed) % interval);
            }
        }
    }

    #[test]
    fn small_delays_are_taken_back_and_large_ones_not() {
        let second = SECOND as i64;
        let mut alignment = Alignment::new(0, second, 2_000_000);
        assert_eq!(alignment.align(second + 1_900_000), second);
        assert_eq!(alignment.align(2 * second + 2_100_000), 2 * second + 2_100_000);
        assert_eq!(alignment.align(7 * second + 1), 7 * second);
        assert_eq!(alignment.align(7 * second - 5), 7 * second, "the clock went back a little");
        let mut alignment = Alignment::new(0, second / 100, 2_000_000);
        assert_eq!(alignment.align(second + 150_000), second + 150_000, "1 % of 10 ms is 0.1 ms");
        let mut alignment = Alignment::new(0, second, -1);
        assert_eq!(alignment.align(second + 1), second + 1, "nothing is moved");
    }

    #[test]
    fn fnv_is_the_published_one() {
        assert_eq!(fnv64(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv64(&[b"foo", b"bar"]), 0x8594_4171_f739_67e8);
    }
}
