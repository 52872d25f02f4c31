//! What is sent: a sample, a histogram or an exemplar, with its place in the log.

use crate::head::LogPoint;
use crate::model::{Exemplar, Histogram, Labels};

/// What a series has at a time.
#[derive(Debug, Clone)]
pub(super) enum Datum {
    Float(f64),
    Histogram(Box<Histogram>),
    Exemplar(Box<Exemplar>),
}

/// One thing to send.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) point: LogPoint,
    /// As they are sent: external labels added, relabelled.
    pub(super) labels: Labels,
    pub(super) t_ms: i64,
    /// When its counter began; 0: not known.
    pub(super) start_ms: i64,
    /// About when it was logged, in seconds.
    pub(super) logged_s: i64,
    pub(super) datum: Datum,
}

/// How many of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Counts {
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut counts = Self::default();
        entries.into_iter().for_each(|entry| counts.add(&entry.datum));
        counts
    }

    pub(super) fn add(&mut self, datum: &Datum) {
        match datum {
            Datum::Float(_) => self.samples += 1,
            Datum::Histogram(_) => self.histograms += 1,
            Datum::Exemplar(_) => self.exemplars += 1,
        }
    }

    pub(super) fn sum(self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }

    /// What is left of each kind when `other` is taken away.
    pub(super) fn less(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_sub(other.samples),
            histograms: self.histograms.saturating_sub(other.histograms),
            exemplars: self.exemplars.saturating_sub(other.exemplars),
        }
    }
}

/// Entries of one series that follow one another in a request: floats or histograms, in the order
/// of the log, and exemplars with them.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) labels: &'a Labels,
    pub(super) data: Vec<&'a Entry>,
    pub(super) exemplars: Vec<&'a Entry>,
    has_histograms: bool,
}

/// Entries by series. The order of a series' samples stands, also where floats and histograms
/// take turns, which a receiver reads from separate runs.
///
/// Samples of a series are put together where `gathers` says so. That is worth the search in full
/// batches, after the receiver was away; one that is sent for its age rarely has a series twice.
pub(super) fn runs(entries: &[Entry], gathers: bool) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    let mut latest: hashbrown::HashMap<&[u8], usize> = hashbrown::HashMap::new();
    let is_exemplar = |entry: &Entry| matches!(entry.datum, Datum::Exemplar(_));
    let searches = gathers || entries.iter().any(is_exemplar);
    for entry in entries {
        let is_histogram = matches!(entry.datum, Datum::Histogram(_));
        let is_exemplar = is_exemplar(entry);
        let key = entry.labels.as_bytes();
        let known = latest.get(key).copied().filter(|&at| {
            let run: &Run<'_> = &runs[at];
            is_exemplar || run.data.is_empty() || (gathers && run.has_histograms == is_histogram)
        });
        let at = known.unwrap_or(runs.len());
        if known.is_none() {
            let (data, exemplars) = (Vec::new(), Vec::new());
            let labels = &entry.labels;
            runs.push(Run { labels, data, exemplars, has_histograms: is_histogram });
            if searches {
                latest.insert(key, at);
            }
        }
        let run = &mut runs[at];
        if is_exemplar {
            run.exemplars.push(entry);
        } else {
            run.has_histograms = is_histogram;
            run.data.push(entry);
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FloatHistogram;

    #[test]
    fn kinds_that_take_turns_stay_in_order() {
        let entry = |name: &str, t_ms, datum| Entry {
            point: LogPoint::default(),
            labels: Labels::from_pairs([("__name__", name)]),
            t_ms,
            start_ms: 0,
            logged_s: 0,
            datum,
        };
        let float = || Datum::Float(1.0);
        let histogram = || Datum::Histogram(Box::new(Histogram::Float(FloatHistogram::default())));
        let exemplar = || {
            let labels = Labels::empty();
            Datum::Exemplar(Box::new(Exemplar { labels, value: 1.0, t_ms: 1, is_timed: true }))
        };
        let entries = [
            entry("a", 1, float()),
            entry("b", 1, exemplar()),
            entry("a", 2, float()),
            entry("a", 3, histogram()),
            entry("b", 2, float()),
            entry("a", 4, float()),
            entry("a", 4, exemplar()),
        ];
        let seen = |gathers| -> Vec<(String, Vec<i64>, usize)> {
            let show = |run: &Run<'_>| {
                let times: Vec<i64> = run.data.iter().map(|entry| entry.t_ms).collect();
                (run.labels.metric_name().to_owned(), times, run.exemplars.len())
            };
            runs(&entries, gathers).iter().map(show).collect()
        };
        let expected = [
            ("a".to_owned(), vec![1, 2], 0),
            ("b".to_owned(), vec![2], 1),
            ("a".to_owned(), vec![3], 0),
            ("a".to_owned(), vec![4], 1),
        ];
        assert_eq!(seen(true), expected);
        let mut apart = expected.to_vec();
        apart[0].1.pop();
        apart.insert(2, ("a".to_owned(), vec![2], 0));
        assert_eq!(seen(false), apart, "exemplars stand with their series all the same");
        let counts = Counts::of(&entries);
        assert_eq!(counts, Counts { samples: 4, histograms: 1, exemplars: 2 });
        assert_eq!(counts.sum(), 7);
    }
}
