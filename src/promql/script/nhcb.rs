//! Native histograms of listed bounds out of the series of classic ones, for `load_with_nhcb`.

use std::collections::BTreeMap;

use super::{SeriesLine, SeriesValue};
use crate::model::histogram::CUSTOM_BUCKETS_SCHEMA;
use crate::model::{FloatHistogram, Labels, METRIC_NAME, Span};

/// What the series of one classic histogram say at one time.
#[derive(Debug, Default)]
struct Classic {
    /// Bounds and counts at or below them.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// One histogram for each classic one and each index at which one of its series has a float.
pub(super) fn from_classic(
    series: &[&SeriesLine],
) -> Result<BTreeMap<Labels, BTreeMap<usize, FloatHistogram>>, String> {
    let mut all: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for line in series {
        let name = line.labels.metric_name();
        let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|s| name.ends_with(s));
        let Some(suffix) = suffix else { continue };
        let bound = line.labels.get("le").unwrap_or("");
        let bound: f64 = match (suffix, bound.parse()) {
            ("_bucket", Ok(bound)) if !f64::is_nan(bound) => bound,
            ("_bucket", _) => continue,
            _ => 0.0,
        };
        let base = name.strip_suffix(suffix).unwrap_or(name);
        let rest = line.labels.iter().filter(|(label, _)| !["le", METRIC_NAME].contains(label));
        let labels = Labels::from_pairs(rest.chain([(METRIC_NAME, base)]));
        let times = all.entry(labels).or_default();
        for (index, value) in line.values.iter().enumerate() {
            let SeriesValue::Float(value) = *value else { continue };
            let classic = times.entry(index).or_default();
            match suffix {
                "_bucket" => classic.buckets.push((bound, value)),
                "_count" => classic.count = Some(value),
                _ => classic.sum = value,
            }
        }
    }
    let convert = |(labels, times): (Labels, BTreeMap<usize, Classic>)| {
        let times = times.into_iter().map(|(index, classic)| Ok((index, classic.convert()?)));
        Ok((labels, times.collect::<Result<_, String>>()?))
    };
    all.into_iter().map(convert).collect()
}

impl Classic {
    fn convert(mut self) -> Result<FloatHistogram, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|next, kept| next.0 == kept.0);
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|last| last.1)).unwrap_or(0.0);
        if last.is_none_or(|last| last.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut counts = Vec::with_capacity(self.buckets.len());
        let mut before = 0.0;
        for (bound, cumulative) in &self.buckets {
            if *cumulative < before {
                return Err(format!("count is not cumulative at le={bound}"));
            }
            counts.push(cumulative - before);
            before = *cumulative;
        }
        if count != before {
            return Err(format!("count mismatch: {count} in all, {before} in buckets"));
        }
        self.buckets.pop();
        let bounds: Vec<f64> = self.buckets.iter().map(|bucket| bucket.0).collect();
        let mut histogram = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
            positive_buckets: counts,
            custom_bounds: bounds.into(),
            ..FloatHistogram::default()
        };
        histogram.compact();
        histogram.validate().map_err(|error| error.to_string())?;
        Ok(histogram)
    }
}
