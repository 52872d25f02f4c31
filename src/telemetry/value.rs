//! The four kinds of metric as handles: cheap to clone, cheap to change from any thread.
//!
//! A handle and the registry share the value. Counters, gauges and histograms are atomics without
//! order between them: a scrape that meets an observation half done may see its bucket and not
//! yet its sum. Summaries take a short lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::exposition::{MetricType, SampleLine};
use crate::model::{FloatStyle, float_text};

/// How far back the quantiles of a summary look, as Prometheus's summaries do.
const WINDOW: Duration = Duration::from_mins(10);
/// Greatest number of observations that the quantiles of a summary are taken over: the latest.
const OBSERVATIONS_MAX: usize = 1024;

/// What a registry needs of a kind of metric.
pub(super) trait Metric: Clone + Send + Sync + 'static {
    /// What a new one is made from.
    type Shape: Clone + Send + Sync + 'static;
    /// The type that the family declares.
    const TYPE: MetricType;
    /// One that nothing happened to.
    fn new(shape: &Self::Shape) -> Self;
    /// Its samples, each with `labels` and what the kind adds to them.
    fn samples(&self, labels: &[(String, String)], out: &mut Vec<SampleLine>);
}

fn line(suffix: &'static str, labels: &[(String, String)], value: f64) -> SampleLine {
    SampleLine { suffix, labels: labels.to_vec(), value }
}

fn line_with(
    suffix: &'static str,
    labels: &[(String, String)],
    name: &str,
    bound: f64,
    value: f64,
) -> SampleLine {
    let mut sample = line(suffix, labels, value);
    sample.labels.push((name.to_owned(), float_text(bound, FloatStyle::General)));
    sample
}

/// Adds to a float that is kept as bits.
fn add_float(bits: &AtomicU64, amount: f64) {
    let add = |old| Some((f64::from_bits(old) + amount).to_bits());
    // The closure never refuses.
    let _ = bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
}

/// A whole number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metric for Counter {
    type Shape = ();
    const TYPE: MetricType = MetricType::Counter;

    fn new((): &()) -> Self {
        Self::default()
    }

    fn samples(&self, labels: &[(String, String)], out: &mut Vec<SampleLine>) {
        out.push(line("", labels, self.value() as f64));
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Puts `value` in place of what was there.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: f64) {
        add_float(&self.0, amount);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// The number as it stands.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Metric for Gauge {
    type Shape = ();
    const TYPE: MetricType = MetricType::Gauge;

    fn new((): &()) -> Self {
        Self::default()
    }

    fn samples(&self, labels: &[(String, String)], out: &mut Vec<SampleLine>) {
        out.push(line("", labels, self.value()));
    }
}

/// Observations counted in buckets with fixed upper bounds.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds, ascending, without the infinite one.
    bounds: &'static [f64],
    /// Observations of each bucket alone; the last is the one without a bound.
    counts: Box<[AtomicU64]>,
    sum_bits: AtomicU64,
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        // A NaN is below no bound and falls through to the last bucket, as in Prometheus.
        let buckets = &*self.0;
        let at = buckets.bounds.iter().position(|bound| value <= *bound);
        buckets.counts[at.unwrap_or(buckets.bounds.len())].fetch_add(1, Ordering::Relaxed);
        add_float(&buckets.sum_bits, value);
    }

    /// Counts a time in seconds.
    pub fn observe_duration(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }
}

impl Metric for Histogram {
    type Shape = &'static [f64];
    const TYPE: MetricType = MetricType::Histogram;

    fn new(bounds: &&'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds, counts, sum_bits: AtomicU64::new(0) }))
    }

    fn samples(&self, labels: &[(String, String)], out: &mut Vec<SampleLine>) {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let mut total = 0;
        for (bound, count) in bounds.zip(&self.0.counts) {
            total += count.load(Ordering::Relaxed);
            out.push(line_with("_bucket", labels, "le", bound, total as f64));
        }
        let sum = f64::from_bits(self.0.sum_bits.load(Ordering::Relaxed));
        out.push(line("_sum", labels, sum));
        out.push(line("_count", labels, total as f64));
    }
}

/// Observations with their quantiles over the last ten minutes, at most the latest 1,024.
#[derive(Debug, Clone)]
pub struct Summary(Arc<Mutex<Observations>>);

#[derive(Debug)]
struct Observations {
    quantiles: &'static [f64],
    recent: VecDeque<(Instant, f64)>,
    sum: f64,
    count: u64,
}

impl Summary {
    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        self.observe_at(Instant::now(), value);
    }

    /// Counts a time in seconds.
    pub fn observe_duration(&self, took: Duration) {
        self.observe(took.as_secs_f64());
    }

    pub(super) fn observe_at(&self, now: Instant, value: f64) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sum += value;
        inner.count += 1;
        if inner.quantiles.is_empty() {
            return;
        }
        inner.forget(now);
        if inner.recent.len() == OBSERVATIONS_MAX {
            inner.recent.pop_front();
        }
        inner.recent.push_back((now, value));
    }

    pub(super) fn samples_at(
        &self,
        now: Instant,
        labels: &[(String, String)],
        out: &mut Vec<SampleLine>,
    ) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(now);
        let (quantiles, sum, count) = (inner.quantiles, inner.sum, inner.count);
        let mut sorted: Vec<f64> = inner.recent.iter().map(|(_, value)| *value).collect();
        drop(inner);
        sorted.sort_by(f64::total_cmp);
        for quantile in quantiles {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            let value = sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN);
            out.push(line_with("", labels, "quantile", *quantile, value));
        }
        out.push(line("_sum", labels, sum));
        out.push(line("_count", labels, count as f64));
    }
}

impl Observations {
    fn forget(&mut self, now: Instant) {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > WINDOW;
        while self.recent.front().is_some_and(|(at, _)| is_old(at)) {
            self.recent.pop_front();
        }
    }
}

impl Metric for Summary {
    type Shape = &'static [f64];
    const TYPE: MetricType = MetricType::Summary;

    fn new(quantiles: &&'static [f64]) -> Self {
        let recent = VecDeque::new();
        Self(Arc::new(Mutex::new(Observations { quantiles, recent, sum: 0.0, count: 0 })))
    }

    fn samples(&self, labels: &[(String, String)], out: &mut Vec<SampleLine>) {
        self.samples_at(Instant::now(), labels, out);
    }
}
