//! Samples, the staleness marker, closed time ranges.

/// Bits of the NaN that ends a series: the target or the series is gone.
/// COMPAT: Prometheus `model/value`; written and recognised bit for bit.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Bits of the NaN that Prometheus writes for an ordinary NaN.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The staleness marker as a float.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `value` is the staleness marker; other NaNs are not.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Milliseconds from `min_ms` to `max_ms`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// First millisecond.
    pub min_ms: i64,
    /// Last millisecond.
    pub max_ms: i64,
}

impl TimeRange {
    /// Every time there is.
    pub const ALL: Self = Self { min_ms: i64::MIN, max_ms: i64::MAX };

    /// Whether `t_ms` lies within.
    pub fn contains(self, t_ms: i64) -> bool {
        self.min_ms <= t_ms && t_ms <= self.max_ms
    }

    /// Whether the two share a millisecond.
    pub fn overlaps(self, other: Self) -> bool {
        self.min_ms <= other.max_ms && other.min_ms <= self.max_ms
    }
}

/// Samples of one series as two columns of equal length, times strictly ascending.
/// Staleness markers are among the values; the reader of the columns decides what they mean.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Milliseconds.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Empties both columns and keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    /// Appends one sample; the caller keeps the times ascending.
    pub fn push(&mut self, t_ms: i64, value: f64) {
        self.timestamps.push(t_ms);
        self.values.push(value);
    }
}
