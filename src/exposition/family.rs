//! What the metadata lines of a page say of the series below them.

use std::borrow::Cow;

use super::MetricType;
use super::text::{Entry, LabelText};
use crate::model::METRIC_NAME;

/// The label that tells the type of a series, where types and units are labels.
const TYPE_LABEL: &str = "__type__";
/// The label that tells the unit of a series.
const UNIT_LABEL: &str = "__unit__";

/// The last metadata lines: all those in a row, or mixed with series, that name one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// Name of the family; empty where the page has said nothing yet.
    pub family: Cow<'a, str>,
    /// Its type, as far as it was declared.
    pub metric_type: MetricType,
    /// Its unit; empty where that is not said.
    pub unit: Cow<'a, str>,
}

impl<'a> About<'a> {
    /// Takes in an entry of the page.
    pub(super) fn note(&mut self, entry: &Entry<'a>) {
        let (Entry::Help { name, .. } | Entry::Type { name, .. } | Entry::Unit { name, .. }) =
            entry
        else {
            return;
        };
        if *name != self.family {
            *self = Self { family: name.clone(), ..Self::default() };
        }
        match entry {
            Entry::Type { metric_type, .. } => self.metric_type = *metric_type,
            Entry::Unit { unit, .. } => self.unit.clone_from(unit),
            _ => {}
        }
    }

    /// Whether a series of that name belongs to the family.
    ///
    /// COMPAT: the family of a counter may be named with or without `_total`.
    pub fn has_series(&self, name: &str) -> bool {
        let Some(suffix) = name.strip_prefix(&*self.family) else { return false };
        let suffixes: &[&str] = match self.metric_type {
            MetricType::Counter => &["_total"],
            MetricType::Histogram => &["_bucket", "_sum", "_count"],
            MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            MetricType::Summary => &["_sum", "_count"],
            MetricType::Info => &["_info"],
            _ => &[],
        };
        suffix.is_empty() || suffixes.contains(&suffix)
    }
}

/// Puts type and unit, as far as they are known, behind the name as labels of the series. What the
/// page itself says under these names gives way.
///
/// COMPAT: the type is the one that the last `# TYPE` line declared, whatever its family. The unit
/// is the family's own, where Prometheus gives it to every family down to the next `# UNIT` line.
pub(super) fn add_type_and_unit<'a>(
    labels: &mut Vec<LabelText<'a>>,
    metric_type: MetricType,
    unit: Cow<'a, str>,
) {
    let type_name = if metric_type == MetricType::Unknown { "" } else { metric_type.name() };
    let added = [(TYPE_LABEL, Cow::Borrowed(type_name)), (UNIT_LABEL, unit)];
    let is_overridden = |name: &str| {
        name == METRIC_NAME || added.iter().any(|(own, value)| *own == name && !value.is_empty())
    };
    let mut at = 0;
    labels.retain(|(name, _)| {
        at += 1;
        at == 1 || !is_overridden(name)
    });
    let known = added.into_iter().filter(|(_, value)| !value.is_empty());
    labels.splice(1..1, known.map(|(name, value)| (Cow::Borrowed(name), value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_of_the_family_that_their_type_makes_them_of() {
        let about = |family: &'static str, metric_type| About {
            family: family.into(),
            metric_type,
            ..About::default()
        };
        let counter = about("a", MetricType::Counter);
        assert!(counter.has_series("a") && counter.has_series("a_total"));
        assert!(!counter.has_series("a_count") && !counter.has_series("ab"));
        assert!(about("a_total", MetricType::Counter).has_series("a_total"));
        let histogram = about("h", MetricType::Histogram);
        for name in ["h", "h_bucket", "h_sum", "h_count"] {
            assert!(histogram.has_series(name), "{name}");
        }
        assert!(!about("s", MetricType::Summary).has_series("s_bucket"));
        assert!(!about("g", MetricType::Gauge).has_series("g_total"));
    }

    #[test]
    fn a_family_ends_where_the_next_is_named() {
        let mut about = About::default();
        about.note(&Entry::Unit { name: "a".into(), unit: "seconds".into() });
        about.note(&Entry::Type { name: "a".into(), metric_type: MetricType::Gauge });
        assert_eq!((about.metric_type, &*about.unit), (MetricType::Gauge, "seconds"));
        about.note(&Entry::Help { name: "b".into(), text: "".into() });
        assert_eq!((about.metric_type, &*about.unit), (MetricType::Unknown, ""));
    }
}
