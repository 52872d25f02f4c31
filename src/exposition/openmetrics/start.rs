//! Start timestamps of OpenMetrics: the values of `_created` lines, which stand behind the series
//! that they are for.
//!
//! COMPAT: of a series counts the first `_created` line behind it within its family; if that is
//! another series' it has none. One that was found holds for the series of the same family and
//! labels that follow it. Prometheus looks ahead from each series anew; here what was found is
//! kept until it is passed, so that a family is read twice and not as often as it has series.

use std::ops::Range;

use super::{CREATED_SUFFIX, OpenMetricsParser};
use crate::exposition::{Entry, MetricType};

/// Which series of a family: its labels as written, without the bound of a bucket or quantile.
type Identity = Vec<u8>;

/// What is known of `_created` lines ahead.
#[derive(Debug, Clone, Default)]
pub(super) struct Starts {
    /// The first one ahead: where it begins, whose it is, its time. Without identity: up to there
    /// is none.
    ahead: Option<(usize, Option<(Identity, i64)>)>,
    /// The one that was found last.
    found: Option<(Identity, i64)>,
}

impl OpenMetricsParser<'_> {
    /// When the series that came last began to count, in milliseconds; 0: not known. Only parsers
    /// made by [`OpenMetricsParser::with_starts`] know.
    pub fn start_ms(&mut self) -> i64 {
        if !self.reads_starts || !self.metric_type.has_start() {
            self.starts.found = None;
            return 0;
        }
        let name = self.name.clone().unwrap_or(0..0);
        if name.len() < self.family_len {
            self.starts.found = None;
            return 0;
        }
        let identity = self.identity(name.start..name.start + self.family_len);
        if let Some((known, start_ms)) = &self.starts.found
            && *known == identity
            && *start_ms > 0
        {
            return *start_ms;
        }
        let is_ahead = |at: usize| at >= self.lexer.pos;
        if !self.starts.ahead.as_ref().is_some_and(|(at, _)| is_ahead(*at)) {
            self.starts.ahead = Some(self.look_ahead());
        }
        self.starts.found = match &self.starts.ahead {
            Some((_, Some(created))) if created.0 == identity => Some(created.clone()),
            _ => None,
        };
        self.starts.found.as_ref().map_or(0, |(_, start_ms)| *start_ms)
    }

    /// The first `_created` line ahead within the family, or where the family ends.
    fn look_ahead(&self) -> (usize, Option<(Identity, i64)>) {
        let mut ahead = self.clone();
        ahead.reads_starts = false;
        loop {
            let Ok(Some(Entry::Series { value, .. })) = ahead.next_entry() else {
                return (ahead.entry_start, None);
            };
            let name = ahead.name.clone().unwrap_or(0..0);
            if let Some(stem) = self.lexer.page[name.clone()].strip_suffix(CREATED_SUFFIX) {
                let identity = ahead.identity(name.start..name.start + stem.len());
                return (ahead.entry_start, Some((identity, (value * 1000.0) as i64)));
            }
        }
    }

    /// The identity of the current series in the family whose name stands at `family`.
    fn identity(&self, family: Range<usize>) -> Identity {
        let page = self.lexer.page;
        let mut identity = page[family].to_vec();
        for (name, value) in &self.labels {
            let name = &page[name.clone()];
            let is_bound = match self.metric_type {
                MetricType::Summary => name == b"quantile",
                MetricType::Histogram => name == b"le",
                _ => false,
            };
            if !is_bound {
                identity.push(b'\n');
                identity.extend_from_slice(name);
                identity.push(b'\n');
                identity.extend_from_slice(&page[value.clone()]);
            }
        }
        identity
    }
}
