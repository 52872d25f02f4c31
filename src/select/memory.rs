//! Memory that queries hold, counted before it is allocated.
//!
//! A [`MemoryPool`] bounds what all queries of a process hold together, an [`Account`] what one of
//! them holds. Whoever allocates takes a [`Charge`] through the query's
//! [`super::Cancellation`], says what it holds, and gives it back by dropping it.
//!
//! Figures are what the data takes, not what the allocator makes of it. A bound is checked for
//! about a thousand series or one chunk at a time, so that a query may be over it by that much.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a sample counts as: a time and a value, or a slot of a column and what belongs to it.
pub const SAMPLE_BYTES: u64 = 16;

/// What bounds a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Samples that one query holds.
    Samples,
    /// Series that one query selects.
    Series,
    /// Bytes that one query holds.
    Memory,
    /// Bytes that all queries hold together.
    TotalMemory,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Samples, Self::Series, Self::Memory, Self::TotalMemory];

    /// Its name, as errors and figures give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "query.max-samples",
            Self::Series => "query.max-series",
            Self::Memory => "query.max-memory",
            Self::TotalMemory => "query.max-total-memory",
        }
    }
}

/// A query asked for more than it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitReached {
    /// Which limit.
    pub limit: Limit,
    /// What there would have been with what was asked for: samples, series or bytes.
    pub asked: u64,
    /// The bound.
    pub max: u64,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, asked, max } = self;
        let name = limit.name();
        match limit {
            // COMPAT: what stands before the colon is Prometheus's text.
            Limit::Samples => write!(
                f,
                "query processing would load too many samples into memory in query execution: \
                 {asked} samples are needed, limit {name} is {max}"
            ),
            Limit::Series => write!(f, "query selects {asked} series, limit {name} is {max}"),
            Limit::Memory => {
                write!(f, "query needs {asked} bytes of memory, limit {name} is {max}")
            }
            Limit::TotalMemory => write!(
                f,
                "queries that run now and this one need {asked} bytes of memory together, \
                 limit {name} is {max}"
            ),
        }
    }
}

impl std::error::Error for LimitReached {}

/// A number with a bound.
#[derive(Debug)]
struct Bounded {
    max: u64,
    held: AtomicU64,
    peak: AtomicU64,
}

impl Bounded {
    fn new(max: u64) -> Self {
        Self { max, held: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    /// Adds, or says what there would have been.
    fn add(&self, bytes: u64) -> Result<(), u64> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = before.saturating_add(bytes);
        if held > self.max {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(held);
        }
        self.peak.fetch_max(held, Ordering::Relaxed);
        Ok(())
    }

    fn subtract(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What all queries of a process may hold together.
#[derive(Debug)]
pub struct MemoryPool {
    bytes: Bounded,
}

impl MemoryPool {
    /// A pool of so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes: Bounded::new(bytes_max) }
    }

    /// The bound in bytes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes.max
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.bytes.held.load(Ordering::Relaxed)
    }

    /// Most bytes held at a time so far.
    pub fn peak(&self) -> u64 {
        self.bytes.peak.load(Ordering::Relaxed)
    }
}

impl Default for MemoryPool {
    /// A pool without a bound.
    fn default() -> Self {
        // Far from where sums overflow.
        Self::new(u64::MAX / 4)
    }
}

/// What one query holds.
#[derive(Debug)]
pub struct Account {
    pool: Arc<MemoryPool>,
    bytes: Bounded,
    series_max: u64,
}

impl Account {
    /// An account of one query, which may hold `bytes_max` and select `series_max` series.
    pub fn new(pool: Arc<MemoryPool>, bytes_max: u64, series_max: u64) -> Self {
        Self { pool, bytes: Bounded::new(bytes_max.min(u64::MAX / 4)), series_max }
    }

    /// Takes `bytes` until they are given back.
    pub fn take(&self, bytes: u64) -> Result<(), LimitReached> {
        let reached = |limit, max| move |asked| LimitReached { limit, asked, max };
        // What no account has is refused before it is added to anything.
        if bytes > self.bytes.max {
            return Err(reached(Limit::Memory, self.bytes.max)(bytes));
        }
        self.bytes.add(bytes).map_err(reached(Limit::Memory, self.bytes.max))?;
        self.pool.bytes.add(bytes).map_err(|asked| {
            self.bytes.subtract(bytes);
            reached(Limit::TotalMemory, self.pool.bytes.max)(asked)
        })
    }

    /// Gives back `bytes` that were taken.
    pub fn give_back(&self, bytes: u64) {
        self.bytes.subtract(bytes);
        self.pool.bytes.subtract(bytes);
    }

    /// An error where one selection of so many series is too large.
    pub fn check_series(&self, series: u64) -> Result<(), LimitReached> {
        if series <= self.series_max {
            return Ok(());
        }
        Err(LimitReached { limit: Limit::Series, asked: series, max: self.series_max })
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.bytes.held.load(Ordering::Relaxed)
    }

    /// Most bytes held at a time so far.
    pub fn peak(&self) -> u64 {
        self.bytes.peak.load(Ordering::Relaxed)
    }
}

/// Bytes taken from an account, given back when it is dropped. One without an account takes what
/// it likes.
#[derive(Debug, Default)]
pub struct Charge {
    account: Option<Arc<Account>>,
    bytes: u64,
}

impl Charge {
    /// Nothing yet, of this account.
    pub fn new(account: Option<Arc<Account>>) -> Self {
        Self { account, bytes: 0 }
    }

    /// From now on holds `bytes` instead of what it held. After an error it holds what it held.
    pub fn set(&mut self, bytes: u64) -> Result<(), LimitReached> {
        if let Some(account) = &self.account {
            if bytes > self.bytes {
                account.take(bytes - self.bytes)?;
            } else {
                account.give_back(self.bytes - bytes);
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Holds `bytes` more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), LimitReached> {
        self.set(self.bytes.saturating_add(bytes))
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_bound_is_named_with_what_was_asked_for() {
        let pool = Arc::new(MemoryPool::new(100));
        let account = |bytes_max| Arc::new(Account::new(Arc::clone(&pool), bytes_max, 5));
        let (first, second) = (account(80), account(80));
        let mut charge = Charge::new(Some(Arc::clone(&first)));
        charge.grow(70).unwrap();
        let error = charge.grow(11).unwrap_err();
        assert_eq!(error, LimitReached { limit: Limit::Memory, asked: 81, max: 80 });
        assert_eq!(charge.bytes(), 70);
        let error = second.take(31).unwrap_err();
        assert_eq!(error, LimitReached { limit: Limit::TotalMemory, asked: 101, max: 100 });
        assert_eq!((second.held(), pool.held()), (0, 70));
        second.take(30).unwrap();
        charge.set(10).unwrap();
        assert_eq!((first.held(), first.peak(), pool.held(), pool.peak()), (10, 70, 40, 100));
        drop(charge);
        second.give_back(30);
        assert_eq!((first.held(), second.held(), pool.held()), (0, 0, 0));
        assert_eq!(first.check_series(6).unwrap_err().asked, 6);
        assert!(first.check_series(5).is_ok());
    }

    #[test]
    fn sums_do_not_overflow() {
        let account = Account::new(Arc::default(), u64::MAX, u64::MAX);
        assert_eq!(account.take(u64::MAX).unwrap_err().asked, u64::MAX);
        account.take(u64::MAX / 4).unwrap();
        assert!(account.take(u64::MAX / 4).is_err());
        account.give_back(u64::MAX / 4);
        assert_eq!(account.held(), 0);
    }

    #[test]
    fn every_limit_names_itself() {
        for limit in Limit::ALL {
            let text = LimitReached { limit, asked: 7, max: 6 }.to_string();
            assert!(text.contains(limit.name()) && text.contains('7') && text.contains('6'));
        }
    }
}
