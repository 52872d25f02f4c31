//! What is told beside samples: exemplars of series, and descriptions of metrics.

use std::fmt;

use super::Labels;

/// Characters that all names and values of an exemplar's labels may have together.
/// COMPAT: OpenMetrics 1.0 and Prometheus.
pub const EXEMPLAR_LABEL_CHARS_MAX: usize = 128;

/// A sample that stands for others: mostly one with the id of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Labels of its own, without those of its series.
    pub labels: Labels,
    /// The value observed.
    pub value: f64,
    /// Milliseconds.
    pub t_ms: i64,
    /// Whether its source said when it was: else the time is that of the sample it stands beside,
    /// and the same one told again with a later sample is no new one. Not stored.
    pub is_timed: bool,
}

impl Exemplar {
    /// Whether the two are the same in every bit that is stored.
    pub fn is_same(&self, other: &Self) -> bool {
        self.t_ms == other.t_ms
            && self.value.to_bits() == other.value.to_bits()
            && self.labels == other.labels
    }
}

/// The exemplars of one series, times ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    /// Labels of the series.
    pub series: Labels,
    /// Its exemplars.
    pub exemplars: Vec<Exemplar>,
}

/// Why an exemplar is not stored; texts are Prometheus's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExemplarError {
    /// Older than the series' newest one, or of its time and a lower value.
    OutOfOrder,
    /// Its labels have more than [`EXEMPLAR_LABEL_CHARS_MAX`] characters.
    LabelsTooLong,
    /// Too far ahead of the clock.
    TooFarInFuture,
    /// Its series is not known.
    UnknownSeries,
}

impl fmt::Display for ExemplarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder => f.write_str("out of order exemplar"),
            Self::LabelsTooLong => write!(
                f,
                "label length for exemplar exceeds maximum of {EXEMPLAR_LABEL_CHARS_MAX} UTF-8 \
                 characters"
            ),
            Self::TooFarInFuture => {
                f.write_str("out of bounds: timestamp is too far in the future")
            }
            Self::UnknownSeries => f.write_str("unknown series"),
        }
    }
}

impl std::error::Error for ExemplarError {}

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum MetricType {
    /// Not told.
    #[default]
    Unknown,
    /// A counter.
    Counter,
    /// A gauge.
    Gauge,
    /// A histogram of either kind.
    Histogram,
    /// A histogram whose counts may fall.
    GaugeHistogram,
    /// A summary.
    Summary,
    /// An info.
    Info,
    /// A set of states.
    StateSet,
}

impl MetricType {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// The type with this number in the messages of remote write; unknown ones are
    /// [`MetricType::Unknown`].
    pub fn from_number(number: u64) -> Self {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        Self::ALL.get(at).copied().unwrap_or_default()
    }

    /// Its number there.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its name in the exposition formats and the HTTP API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// Its name in a `# TYPE` line of the Prometheus text format, which knows five.
    pub fn as_text_format(self) -> &'static str {
        match self {
            Self::Counter | Self::Gauge | Self::Histogram | Self::Summary => self.name(),
            _ => "untyped",
        }
    }

    /// Reads the name of a `# TYPE` line of the Prometheus text format.
    pub fn from_text_format(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"counter" => Self::Counter,
            b"gauge" => Self::Gauge,
            b"histogram" => Self::Histogram,
            b"summary" => Self::Summary,
            b"untyped" => Self::Unknown,
            _ => return None,
        })
    }

    /// Reads the name of a `# TYPE` line of OpenMetrics.
    pub fn from_openmetrics(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|metric_type| metric_type.name().as_bytes() == name)
    }

    /// Whether what it counts has a beginning: its series may have a start timestamp.
    pub fn has_start(self) -> bool {
        matches!(self, Self::Counter | Self::Summary | Self::Histogram)
    }
}

/// What is said of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Metadata {
    /// What kind it is.
    pub metric_type: MetricType,
    /// What it is measured in.
    pub unit: String,
    /// What it is about.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_types_go_together() {
        for (number, metric_type) in (0..).zip(MetricType::ALL) {
            assert_eq!(MetricType::from_number(number), metric_type);
            assert_eq!(u64::from(metric_type.number()), number);
        }
        assert_eq!(MetricType::from_number(8), MetricType::Unknown);
    }
}
