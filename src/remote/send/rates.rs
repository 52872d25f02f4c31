//! How many shards a queue wants, from how fast samples come, go, and how long requests take.
//!
//! COMPAT: Prometheus's formula and constants, which its dashboards and alerts know.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::QueueConfig;

/// How often rates are taken.
pub(super) const TICK: Duration = Duration::from_secs(10);
/// Weight of the newest rate.
const WEIGHT: f64 = 0.2;
/// The share by which the number of shards may be off before it is changed.
const TOLERANCE: f64 = 0.3;
/// Part of what is behind that is to be caught up with in a second.
const CATCH_UP: f64 = 0.05;
/// Seconds behind above which no shard is given up.
const BEHIND_MAX_S: f64 = 10.0;

/// Events in a second, the newest weighing most.
#[derive(Debug, Default)]
pub(super) struct Rate {
    fresh: AtomicU64,
    /// Bits of the rate; 0 until there were events.
    rate: AtomicU64,
}

impl Rate {
    pub(super) fn add(&self, events: u64) {
        self.fresh.fetch_add(events, Ordering::Relaxed);
    }

    pub(super) fn tick(&self) {
        let now = self.fresh.swap(0, Ordering::Relaxed) as f64 / TICK.as_secs_f64();
        let before = self.per_second();
        let rate = if before == 0.0 { now } else { before + WEIGHT * (now - before) };
        self.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn per_second(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }
}

/// What a queue counts for this.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Samples that came.
    pub(super) came: Rate,
    /// Samples that are not sent.
    pub(super) dropped: Rate,
    /// Samples that were sent.
    pub(super) sent: Rate,
    /// Nanoseconds that sending them took, all shards together.
    pub(super) sending: Rate,
}

/// What the formula gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wanted {
    /// As a fraction; `None` where nothing was sent.
    pub(super) exact: Option<f64>,
    /// How many there should be.
    pub(super) shards: usize,
}

impl Rates {
    pub(super) fn tick(&self) {
        [&self.came, &self.dropped, &self.sent, &self.sending].into_iter().for_each(Rate::tick);
    }

    /// How many shards there should be where there are so many; `behind_s` is how far the newest
    /// sample sent is behind the newest one there is.
    pub(super) fn wanted(&self, shards: usize, behind_s: f64, config: &QueueConfig) -> Wanted {
        let (came, sent) = (self.came.per_second(), self.sent.per_second());
        if sent <= 0.0 {
            return Wanted { exact: None, shards };
        }
        let kept = sent / (self.dropped.per_second() + sent);
        let seconds_a_sample = self.sending.per_second() / 1e9 / sent;
        let catch_up = CATCH_UP * behind_s * came * kept;
        let exact = seconds_a_sample * (came * kept + catch_up);
        let wanted = |shards| Wanted { exact: Some(exact), shards };
        let (now, rounded) = (shards as f64, exact.ceil());
        if (now * (1.0 - TOLERANCE)..=now * (1.0 + TOLERANCE)).contains(&rounded) {
            return wanted(shards);
        }
        let rounded = rounded.clamp(0.0, config.max_shards as f64) as usize;
        if rounded < shards && behind_s > BEHIND_MAX_S {
            return wanted(shards);
        }
        wanted(rounded.clamp(config.min_shards, config.max_shards))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> QueueConfig {
        QueueConfig {
            capacity: 1,
            max_shards: 20,
            min_shards: 2,
            max_samples_per_send: 1,
            batch_send_deadline_ms: 1,
            min_backoff_ms: 1,
            max_backoff_ms: 1,
            retry_on_http_429: false,
            sample_age_limit_ms: 0,
        }
    }

    fn rates(came: u64, dropped: u64, sent: u64, seconds: u64) -> Rates {
        let rates = Rates::default();
        rates.came.add(came * 10);
        rates.dropped.add(dropped * 10);
        rates.sent.add(sent * 10);
        rates.sending.add(seconds * 10 * 1_000_000_000);
        rates.tick();
        rates
    }

    #[test]
    fn rates_follow_slowly() {
        let rate = Rate::default();
        rate.tick();
        assert_eq!(rate.per_second(), 0.0);
        rate.add(1000);
        rate.tick();
        assert_eq!(rate.per_second(), 100.0);
        rate.tick();
        assert_eq!(rate.per_second(), 80.0);
    }

    #[test]
    fn shards_follow_the_work() {
        let config = config();
        assert_eq!(Rates::default().wanted(5, 0.0, &config), Wanted { exact: None, shards: 5 });
        // 1,000 samples a second, each takes 5 ms.
        let wanted = rates(1000, 0, 1000, 5).wanted(2, 0.0, &config);
        assert_eq!(wanted, Wanted { exact: Some(5.0), shards: 5 });
        assert_eq!(rates(1000, 0, 1000, 5).wanted(4, 0.0, &config).shards, 4, "near enough");
        // Half of what comes is dropped.
        assert_eq!(rates(1000, 500, 500, 5).wanted(2, 0.0, &config).shards, 5);
        // A minute behind: 5 % of 60,000 samples more in each second.
        assert_eq!(rates(1000, 0, 1000, 5).wanted(2, 60.0, &config).shards, 20);
        assert_eq!(rates(1000, 0, 1000, 5).wanted(20, 11.0, &config).shards, 20);
        assert_eq!(rates(1000, 0, 1000, 0).wanted(20, 0.0, &config).shards, 2);
    }
}
