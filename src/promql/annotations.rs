//! Warnings and infos of a query, with positions.
//!
//! COMPAT: texts, prefixes and the rule that of equal texts the last position stays are those
//! that tools match on.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::ast::Span;
use super::functions::window::WindowNote;
use super::quote::quote;

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The result may be wrong.
    Warning,
    /// The query may not mean what was meant.
    Info,
}

/// What was repaired so that a histogram's buckets ascend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Monotonicity {
    /// First time in milliseconds.
    pub min_ms: i64,
    /// Last time in milliseconds.
    pub max_ms: i64,
    /// Lowest bound concerned.
    pub min_bucket: f64,
    /// Highest bound concerned.
    pub max_bucket: f64,
    /// Largest step down.
    pub max_diff: f64,
    /// Number of histograms.
    pub samples: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Note {
    span: Option<Span>,
    monotonicity: Option<Monotonicity>,
    /// How often, where that is told.
    occurrences: u64,
}

/// Notes collected during a query, one for each text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations {
    notes: BTreeMap<(Level, String), Note>,
}

impl Annotations {
    /// Adds a warning about the expression at `span`; `text` is without prefix.
    pub fn warn(&mut self, span: Span, text: impl fmt::Display) {
        self.add(Level::Warning, format!("PromQL warning: {text}"), Some(span), None);
    }

    /// Adds an info about the expression at `span`; `text` is without prefix.
    pub fn info(&mut self, span: Span, text: impl fmt::Display) {
        self.add(Level::Info, format!("PromQL info: {text}"), Some(span), None);
    }

    /// Adds a warning that is about no place in the query, such as damaged storage.
    pub fn warn_raw(&mut self, text: impl Into<String>) {
        self.add(Level::Warning, text.into(), None, None);
    }

    /// `histogram_quantile` had to raise buckets; `metric_name` may be empty.
    pub fn forced_monotonicity(&mut self, span: Span, metric_name: &str, detail: Monotonicity) {
        let mut text = "PromQL info: input to histogram_quantile needed to be fixed for \
            monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/\
            #histogram_quantile)"
            .to_owned();
        if !metric_name.is_empty() {
            let _ = write!(text, " for metric name {}", quote(metric_name));
        }
        self.add(Level::Info, text, Some(span), Some(detail));
    }

    /// Metric `name` does not look like a counter: by its name, or by its type where that is a
    /// label.
    pub fn no_counter(&mut self, span: Span, name: &str, metric_type: Option<&str>) {
        let name = quote(name);
        match metric_type {
            Some(metric_type) => self.info(
                span,
                format_args!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \
                     \"histogram\", got {}: {name}",
                    quote(metric_type)
                ),
            ),
            None => self.info(
                span,
                format_args!(
                    "metric might not be a counter, name does not end in \
                     _total/_sum/_count/_bucket: {name}"
                ),
            ),
        }
    }

    /// A quantile outside of [0, 1].
    pub fn invalid_quantile(&mut self, span: Span, quantile: f64) {
        self.warn(
            span,
            format_args!("quantile value should be between 0 and 1, got {}", GoFloat(quantile)),
        );
    }

    /// A ratio outside of [-1, 1].
    pub fn invalid_ratio(&mut self, span: Span, ratio: f64, capped_to: f64) {
        self.warn(
            span,
            format_args!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                GoFloat(ratio),
                GoFloat(capped_to)
            ),
        );
    }

    /// A window function's note about the series of metric `name`, which may be empty.
    pub fn window_note(&mut self, span: Span, note: WindowNote, name: &str) {
        let name = quote(name);
        let mixed_kinds = "encountered a mix of histograms and floats for metric name";
        let not_counter = "this native histogram metric is not a counter:";
        let not_gauge = "this native histogram metric is not a gauge:";
        let ignored =
            "ignored histograms in a range containing both floats and histograms for metric name";
        match note {
            WindowNote::MixedKinds => self.warn(span, format_args!("{mixed_kinds} {name}")),
            WindowNote::MixedSchemas => self.mixed_schemas(span, &name),
            WindowNote::NotCounter => self.warn(span, format_args!("{not_counter} {name}")),
            WindowNote::NotGauge => self.warn(span, format_args!("{not_gauge} {name}")),
            WindowNote::Ignored => self.info(span, format_args!("{ignored} {name}")),
            WindowNote::BoundsDifferedAdding => self.bounds_differed(span, "addition"),
            WindowNote::BoundsDifferedSubtracting => self.bounds_differed(span, "subtraction"),
            WindowNote::BoundsDifferedAggregating => self.bounds_differed(span, "aggregation"),
            WindowNote::HintsCollide => self.hints_collide(span, "aggregation"),
        }
    }

    /// Exponential and listed bounds came together; `quoted_name` of the metric.
    pub fn mixed_schemas(&mut self, span: Span, quoted_name: &str) {
        self.warn(
            span,
            format_args!(
                "vector contains a mix of histograms with exponential and custom buckets schemas \
                 for metric name {quoted_name}"
            ),
        );
    }

    /// Listed bounds were reconciled in an operation.
    pub fn bounds_differed(&mut self, span: Span, operation: &str) {
        self.info(
            span,
            format_args!("mismatched custom buckets were reconciled during {operation}"),
        );
    }

    /// Histograms that contradict each other about resets met in an operation.
    pub fn hints_collide(&mut self, span: Span, operation: &str) {
        self.warn(span, format_args!("conflicting counter resets during histogram {operation}"));
    }

    /// An operator has no result for samples of these kinds.
    pub fn incompatible_types(&mut self, span: Span, op: &str, (left, right): (&str, &str)) {
        self.info(
            span,
            format_args!(
                "incompatible sample types encountered for binary operator \"{op}\": \
                 {left} {op} {right}"
            ),
        );
    }

    /// An aggregation left histograms out.
    pub fn ignored_in_aggregation(&mut self, span: Span, op: &str) {
        self.info(span, format_args!("ignored histogram in {op} aggregation"));
    }

    /// In `windows` windows of metric `name` a sample began to count before the one before it was
    /// taken.
    pub fn start_overlaps(&mut self, span: Span, name: &str, windows: u64) {
        let text = format!(
            "PromQL warning: sample has start time that overlaps with previous sample timestamp \
             for metric {}",
            quote(name)
        );
        self.add(Level::Warning, text.clone(), Some(span), None);
        if let Some(note) = self.notes.get_mut(&(Level::Warning, text)) {
            note.occurrences += windows;
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Warnings and infos as the API shows them; positions are those in `query`. Warnings about
    /// no place stand first: the API shows few, and missing data matters more than a quantile.
    pub fn render(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let mut warnings = Vec::new();
        let mut infos = Vec::new();
        let (placeless, placed): (Vec<_>, Vec<_>) =
            self.notes.iter().partition(|(_, note)| note.span.is_none());
        for ((level, text), note) in placeless.into_iter().chain(placed) {
            let mut line = text.clone();
            if let Some(detail) = note.monotonicity {
                line.push_str(&detail.to_string());
            }
            if note.occurrences > 1 {
                let _ = write!(line, " ({} occurrences)", note.occurrences);
            }
            if let Some(span) = note.span {
                let (row, column) = position(query, span.start as usize);
                let _ = write!(line, " ({row}:{column})");
            }
            match level {
                Level::Warning => warnings.push(line),
                Level::Info => infos.push(line),
            }
        }
        (warnings, infos)
    }

    fn add(
        &mut self,
        level: Level,
        text: String,
        span: Option<Span>,
        monotonicity: Option<Monotonicity>,
    ) {
        let note = self.notes.entry((level, text)).or_insert(Note {
            span,
            monotonicity: None,
            occurrences: 0,
        });
        note.monotonicity = match (note.monotonicity, monotonicity) {
            (Some(old), Some(new)) => Some(old.join(new)),
            (old, new) => old.or(new),
        };
        // COMPAT: a repaired histogram keeps the first position, everything else the last.
        if monotonicity.is_none() {
            note.span = span;
        }
    }
}

impl Monotonicity {
    fn join(self, other: Self) -> Self {
        Self {
            min_ms: self.min_ms.min(other.min_ms),
            max_ms: self.max_ms.max(other.max_ms),
            min_bucket: self.min_bucket.min(other.min_bucket),
            max_bucket: self.max_bucket.max(other.max_bucket),
            max_diff: self.max_diff.max(other.max_diff),
            samples: self.samples + other.samples,
        }
    }
}

impl fmt::Display for Monotonicity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            GoFloat(self.min_bucket),
            GoFloat(self.max_bucket),
            two_digits(self.max_diff),
            self.samples,
            Rfc3339(self.min_ms),
            Rfc3339(self.max_ms),
        )
    }
}

/// Line and column, both from 1, of byte `offset`.
fn position(query: &str, offset: usize) -> (usize, usize) {
    let before = query.get(..offset).unwrap_or(query);
    let row = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
    (row, column)
}

/// A float as Go's `%g` prints it.
#[derive(Debug, Clone, Copy)]
pub struct GoFloat(pub f64);

impl fmt::Display for GoFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        let scientific = format!("{value:e}");
        let (mantissa, exponent) =
            scientific.split_once('e').expect("BUG: {:e} prints an exponent");
        let exponent: i32 = exponent.parse().expect("BUG: {:e} prints a decimal exponent");
        if value != 0.0 && !(-4..6).contains(&exponent) {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(f, "{mantissa}e{sign}{:02}", exponent.abs())
        } else {
            write!(f, "{value}")
        }
    }
}

/// Go's `%.2g`.
fn two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return GoFloat(value).to_string();
    }
    let scientific = format!("{value:.1e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("BUG: {:e} prints an exponent");
    let exponent: i32 = exponent.parse().expect("BUG: {:e} prints a decimal exponent");
    if (-4..2).contains(&exponent) {
        let decimals = (1 - exponent).max(0) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') {
            return text.trim_end_matches('0').trim_end_matches('.').to_owned();
        }
        return text;
    }
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A time in milliseconds as UTC to the second.
struct Rfc3339(i64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // COMPAT: whole seconds are cut towards zero.
        let seconds = self.0 / 1000;
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days since 0000-03-01, by eras of 400 years (Howard Hinnant, `civil_from_days`).
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_go() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (100.0, "100"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.234567e+06"),
            (1e21, "1e+21"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "+Inf"),
            (-2.25, "-2.25"),
        ] {
            assert_eq!(GoFloat(value).to_string(), text);
        }
        for (value, text) in [(0.1234, "0.12"), (2.0, "2"), (123.0, "1.2e+02"), (1e-7, "1e-07")] {
            assert_eq!(two_digits(value), text);
        }
    }

    #[test]
    fn one_note_for_each_text_with_the_last_position() {
        let mut notes = Annotations::default();
        notes.warn(Span { start: 0, end: 1 }, "a");
        notes.warn(Span { start: 5, end: 6 }, "a");
        notes.info(Span { start: 1, end: 2 }, "b");
        notes.warn_raw("a block is left out");
        let (warnings, infos) = notes.render("abc\ndefg");
        assert_eq!(warnings, ["a block is left out", "PromQL warning: a (2:2)"]);
        assert_eq!(infos, ["PromQL info: b (1:2)"]);
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(Rfc3339(1_700_000_000_123).to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(Rfc3339(951_782_400_000).to_string(), "2000-02-29T00:00:00Z");
    }
}
