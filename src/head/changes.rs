//! Since when data has changed: what a cache of results has to know.
//!
//! Every commit and deletion, and whatever else adds samples or takes them away, leaves the oldest
//! time that it touched. A reader notes the [`Version`] before it reads; what it made of data
//! below the oldest time touched since then still holds. That is for all series together: samples
//! come in about the order of time, so that a late one costs little more than itself.

use std::sync::{Mutex, PoisonError};

/// Steps that are kept apart; beyond that, neighbours are taken together, which makes a change
/// look newer than it is, and never older.
const STEPS_MAX: usize = 4096;

/// A moment in the history of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

/// The history.
#[derive(Debug, Default)]
pub struct Changes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    version: u64,
    /// Versions and the oldest time touched at them, both ascending: a step that touches older
    /// data than those before it stands for them too.
    steps: Vec<(u64, i64)>,
}

impl Changes {
    /// The state of the data now.
    pub fn version(&self) -> Version {
        Version(self.0.lock().unwrap_or_else(PoisonError::into_inner).version)
    }

    /// Data at `oldest_ms` or later changed. Called once the change can be seen.
    pub fn note(&self, oldest_ms: i64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.version += 1;
        while state.steps.last().is_some_and(|&(_, known_ms)| known_ms >= oldest_ms) {
            state.steps.pop();
        }
        if state.steps.len() >= STEPS_MAX {
            let pairs = state.steps.chunks(2).map(|pair| (pair[pair.len() - 1].0, pair[0].1));
            state.steps = pairs.collect();
        }
        let version = state.version;
        state.steps.push((version, oldest_ms));
    }

    /// The oldest time in milliseconds at which data may have changed since `version`; `None`:
    /// nothing has.
    pub fn since(&self, version: Version) -> Option<i64> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = state.steps.partition_point(|&(at, _)| at <= version.0);
        state.steps.get(first).map(|&(_, oldest_ms)| oldest_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_change_is_missed(times in proptest::collection::vec(-50_i64..50, 0..60)) {
            let changes = Changes::default();
            let mut versions = vec![changes.version()];
            for &t in &times {
                changes.note(t);
                versions.push(changes.version());
            }
            for (i, version) in versions.into_iter().enumerate() {
                prop_assert_eq!(changes.since(version), times[i..].iter().min().copied());
            }
        }
    }

    #[test]
    fn a_long_history_grows_coarse_and_stays_right() {
        let changes = Changes::default();
        let mut versions = Vec::new();
        for t in 0..3 * STEPS_MAX as i64 {
            versions.push(changes.version());
            changes.note(t);
        }
        assert!(changes.0.lock().unwrap().steps.len() <= STEPS_MAX);
        for (t, version) in (0..).zip(versions) {
            let since = changes.since(version).expect("something changed");
            assert!(since <= t && t - since < 16, "{since} for {t}");
        }
        assert_eq!(changes.since(changes.version()), None);
    }
}
