//! What waits for one Alertmanager.
//!
//! Alerts go in the order in which they first came. An alert that is said anew while it waits is
//! replaced where it stands. The batch under way is kept until its fate is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::Alert;
use crate::model::Labels;

/// How long a resolved alert is tried. COMPAT: as long as rules repeat it.
const RESOLVED_MS: i64 = 15 * 60 * 1000;

/// How long an alert without an end is tried.
const OPEN_MS: i64 = 60 * 60 * 1000;

/// Alerts that wait, and those under way.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Where the alert of these labels waits.
    places: HashMap<Labels, u64>,
    under_way: Vec<(u64, Waiting)>,
}

#[derive(Debug)]
struct Waiting {
    alert: Arc<Alert>,
    expires_at_ms: i64,
}

/// What became of alerts that were handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Added {
    /// Left out, or put out for others, for want of room.
    pub(super) dropped: usize,
    /// Replaced what was said of the same alert before.
    pub(super) replaced: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            next: 0,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            under_way: Vec::new(),
        }
    }

    /// Alerts that wait; those under way are not among them.
    pub(super) fn length(&self) -> usize {
        self.waiting.len()
    }

    /// All alerts that have not arrived.
    pub(super) fn unsent(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    pub(super) fn add(&mut self, alerts: &[Arc<Alert>], now_ms: i64) -> Added {
        let mut added = Added::default();
        for alert in alerts {
            let waiting =
                Waiting { alert: Arc::clone(alert), expires_at_ms: expires_at_ms(alert, now_ms) };
            if let Some(place) = self.places.get(&alert.labels) {
                self.waiting.insert(*place, waiting);
                added.replaced += 1;
            } else {
                self.places.insert(alert.labels.clone(), self.next);
                self.waiting.insert(self.next, waiting);
                self.next += 1;
            }
        }
        added.dropped = self.drop_oldest();
        added
    }

    fn drop_oldest(&mut self) -> usize {
        let mut dropped = 0;
        while self.waiting.len() > self.capacity {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<(u64, Waiting)> {
        let (place, waiting) = self.waiting.pop_first()?;
        self.places.remove(&waiting.alert.labels);
        Some((place, waiting))
    }

    /// The next alerts, at most `count_max`, and how many were dropped as expired.
    pub(super) fn begin_batch(
        &mut self,
        count_max: usize,
        now_ms: i64,
    ) -> (Vec<Arc<Alert>>, usize) {
        debug_assert!(self.under_way.is_empty(), "one batch at a time");
        let mut expired = 0;
        while self.under_way.len() < count_max {
            let Some((place, waiting)) = self.pop() else { break };
            if waiting.expires_at_ms < now_ms {
                expired += 1;
            } else {
                self.under_way.push((place, waiting));
            }
        }
        (self.under_way.iter().map(|(_, waiting)| Arc::clone(&waiting.alert)).collect(), expired)
    }

    /// The batch has arrived. Gives its size.
    pub(super) fn finish_batch(&mut self) -> usize {
        let count = self.under_way.len();
        self.under_way.clear();
        count
    }

    /// The batch has not arrived: what is worth it waits again, where it stood, unless
    /// `is_final`. Gives how many alerts were dropped.
    pub(super) fn return_batch(&mut self, is_final: bool, now_ms: i64) -> usize {
        let mut dropped = 0;
        for (place, waiting) in std::mem::take(&mut self.under_way) {
            if self.places.contains_key(&waiting.alert.labels) {
                // There is newer word of it.
                continue;
            }
            if is_final || waiting.expires_at_ms < now_ms {
                dropped += 1;
                continue;
            }
            self.places.insert(waiting.alert.labels.clone(), place);
            self.waiting.insert(place, waiting);
        }
        dropped + self.drop_oldest()
    }

    /// Drops everything. Gives how many alerts that was.
    pub(super) fn clear(&mut self) -> usize {
        let count = self.unsent();
        self.under_way.clear();
        self.waiting.clear();
        self.places.clear();
        count
    }
}

fn expires_at_ms(alert: &Alert, now_ms: i64) -> i64 {
    match alert.ends_at_ms {
        Some(ends_at_ms) if ends_at_ms > now_ms => ends_at_ms,
        Some(_) => now_ms.saturating_add(RESOLVED_MS),
        None => now_ms.saturating_add(OPEN_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(name: &str, ends_at_ms: i64) -> Arc<Alert> {
        Arc::new(Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            starts_at_ms: 0,
            ends_at_ms: Some(ends_at_ms),
            generator_url: String::new(),
        })
    }

    fn names(alerts: &[Arc<Alert>]) -> String {
        alerts.iter().filter_map(|alert| alert.labels.get("alertname")).collect()
    }

    #[test]
    fn newer_word_takes_the_place_of_older() {
        let mut queue = Queue::new(10);
        queue.add(&[alert("a", 100), alert("b", 100)], 0);
        let added = queue.add(&[alert("a", 200), alert("c", 100)], 0);
        assert_eq!(added, Added { dropped: 0, replaced: 1 });
        let (batch, expired) = queue.begin_batch(2, 0);
        assert_eq!((names(&batch).as_str(), expired), ("ab", 0));
        assert_eq!(batch[0].ends_at_ms, Some(200));
        assert_eq!((queue.length(), queue.unsent()), (1, 3));
    }

    #[test]
    fn a_batch_that_failed_waits_where_it_stood() {
        let mut queue = Queue::new(10);
        queue.add(&[alert("a", 100), alert("b", 50), alert("c", 100), alert("d", 100)], 0);
        queue.begin_batch(3, 0);
        queue.add(&[alert("c", 300)], 10);
        // b has expired, of c there is newer word.
        assert_eq!(queue.return_batch(false, 60), 1);
        let (batch, _) = queue.begin_batch(9, 60);
        assert_eq!(names(&batch), "adc");
        assert_eq!(queue.finish_batch(), 3);
        queue.add(&[alert("e", 100)], 60);
        queue.begin_batch(9, 60);
        assert_eq!(queue.return_batch(true, 60), 1);
        assert_eq!(queue.unsent(), 0);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut queue = Queue::new(2);
        let added = queue.add(&[alert("a", 9), alert("b", 9), alert("c", 9)], 0);
        assert_eq!(added.dropped, 1);
        let (batch, _) = queue.begin_batch(1, 0);
        assert_eq!(names(&batch), "b");
        queue.add(&[alert("d", 9)], 0);
        assert_eq!(queue.return_batch(false, 0), 1);
        assert_eq!(names(&queue.begin_batch(9, 0).0), "cd");
        assert_eq!(queue.clear(), 2);
    }

    #[test]
    fn resolved_and_open_alerts_are_tried_for_a_while() {
        let mut queue = Queue::new(9);
        queue.add(&[alert("resolved", 500)], 1_000);
        let mut open = Alert::clone(&alert("open", 0));
        open.ends_at_ms = None;
        queue.add(&[Arc::new(open)], 1_000);
        queue.add(&[alert("fires", 2_000)], 1_000);
        let (batch, expired) = queue.begin_batch(9, 1_000 + RESOLVED_MS);
        assert_eq!((names(&batch).as_str(), expired), ("resolvedopen", 1));
        queue.return_batch(false, 1_000 + RESOLVED_MS + 1);
        let (batch, _) = queue.begin_batch(9, 1_000 + OPEN_MS);
        assert_eq!(names(&batch), "open");
    }
}
