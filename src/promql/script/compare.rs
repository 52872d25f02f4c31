//! What was answered against what was expected.

use std::collections::{HashMap, HashSet};

use regex_automata::meta::Regex;

use super::histogram::WrittenHistogram;
use super::{About, Eval, Expectation, Expected, Pattern, SeriesLine, SeriesValue, Times};
use crate::model::{FloatHistogram, Labels, is_stale};
use crate::promql::engine::{MatrixSeries, QueryResult, Value, VectorSample};

/// Greatest relative difference of two numbers that count as equal.
const EPSILON: f64 = 0.000_001;

impl Pattern {
    fn matches(&self, text: &str) -> Result<bool, String> {
        match self {
            Self::Exact(expected) => Ok(expected == text),
            Self::Regex(pattern) => match Regex::new(pattern) {
                Ok(regex) => Ok(regex.is_match(text)),
                Err(error) => Err(format!("{pattern}: {error}")),
            },
        }
    }
}

impl Eval {
    pub(super) fn expects(&self, about: About) -> bool {
        self.expectations.iter().any(|expectation| expectation.about == about)
    }

    /// Whether `error` is what the query should fail with.
    pub(super) fn check_failure(&self, error: &str) -> Result<(), String> {
        if !self.expects(About::Fail) {
            return Err(format!("failed: {error}"));
        }
        let texts = self.expectations.iter().filter(|e| e.about == About::Fail);
        for pattern in texts.filter_map(|expectation| expectation.text.as_ref()) {
            if !pattern.matches(error)? {
                return Err(format!("should fail with {pattern:?}, failed with {error:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn check_annotations(&self, result: &QueryResult) -> Result<(), String> {
        let Self { expectations, .. } = self;
        check_notes(expectations, [About::Warn, About::NoWarn, About::AnyWarn], &result.warnings)?;
        check_notes(expectations, [About::Info, About::NoInfo, About::AnyInfo], &result.infos)
    }

    pub(super) fn check_value(&self, value: &Value) -> Result<(), String> {
        match (&self.result, value) {
            (Expected::Scalar(expected), Value::Scalar { value, .. }) => {
                if almost_equal(*expected, *value) {
                    return Ok(());
                }
                Err(format!("expected {expected}, got {value}"))
            }
            (Expected::String(expected), Value::String { value, .. }) if expected == value => {
                Ok(())
            }
            (Expected::Series { series, .. }, Value::Vector(found)) => {
                self.check_vector(series, found)
            }
            (Expected::Series { series, range }, Value::Matrix(found)) => {
                check_matrix(series, range.unwrap_or(self.times), found)
            }
            (expected, found) => Err(format!("expected {expected:?}, got {found:?}")),
        }
    }

    fn check_vector(&self, expected: &[SeriesLine], found: &[VectorSample]) -> Result<(), String> {
        let places = places(expected);
        for (index, sample) in found.iter().enumerate() {
            let Some(&place) = places.get(&sample.labels) else {
                return Err(format!("unexpected {} with {}", sample.labels, sample.value));
            };
            if self.expects(About::Ordered) && place != index {
                return Err(format!("{} stands at {index}, expected at {place}", sample.labels));
            }
            let is_equal = match (expected[place].values.first(), &sample.histogram) {
                (Some(&SeriesValue::Float(value)), None) => almost_equal(value, sample.value),
                (Some(SeriesValue::Histogram(written)), Some(found)) => {
                    same_histogram(written, found)
                }
                _ => false,
            };
            if !is_equal {
                let value = shown(expected[place].values.first());
                let found = match &sample.histogram {
                    Some(histogram) => format!("{histogram} {histogram:?}"),
                    None => sample.value.to_string(),
                };
                return Err(format!("{}: expected {value}, got {found}", sample.labels));
            }
        }
        let found: Vec<_> = found.iter().map(|sample| &sample.labels).collect();
        check_complete(expected, places.len(), &found)
    }
}

fn check_notes(
    expectations: &[Expectation],
    [exactly, none, any]: [About; 3],
    found: &[String],
) -> Result<(), String> {
    let expects = |about| expectations.iter().any(|e| e.about == about);
    if expects(none) && !found.is_empty() {
        return Err(format!("unexpected annotations: {found:?}"));
    }
    if (expects(any) || expects(exactly)) && found.is_empty() {
        return Err("no annotation where one is expected".to_owned());
    }
    if !expects(exactly) {
        return Ok(());
    }
    let mut is_expected = vec![false; found.len()];
    for expectation in expectations.iter().filter(|e| e.about == exactly) {
        let mut is_found = false;
        for (text, is_expected) in found.iter().zip(&mut is_expected) {
            let matches = expectation.text.as_ref().map_or(Ok(true), |t| t.matches(text))?;
            *is_expected |= matches;
            is_found |= matches;
        }
        if !is_found {
            return Err(format!("expected annotation {:?}, got {found:?}", expectation.text));
        }
    }
    match is_expected.iter().position(|&is_expected| !is_expected) {
        Some(index) => Err(format!("unexpected annotation {:?}", found[index])),
        None => Ok(()),
    }
}

fn check_matrix(
    expected: &[SeriesLine],
    times: Times,
    found: &[MatrixSeries],
) -> Result<(), String> {
    if !found.is_sorted_by(|a, b| a.labels <= b.labels) {
        return Err("the series are not in order of labels".to_owned());
    }
    let Times::Range { start_ms, end_ms, step_ms } = times else {
        return Err("got a matrix".to_owned());
    };
    let places = places(expected);
    for series in found {
        let labels = &series.labels;
        let Some(&place) = places.get(labels) else {
            return Err(format!("unexpected {labels} with {:?}", series.samples));
        };
        let mut samples = Vec::new();
        let mut histograms = Vec::new();
        for (index, value) in expected[place].values.iter().enumerate() {
            let t_ms = start_ms + step_ms * index as i64;
            if t_ms > end_ms {
                return Err(format!("{labels}: more values are expected than there are steps"));
            }
            match value {
                SeriesValue::Omitted => {}
                SeriesValue::Float(value) => samples.push((t_ms, *value)),
                SeriesValue::Histogram(written) => histograms.push((t_ms, written)),
            }
        }
        let found = series.samples.timestamps.iter().zip(&series.samples.values);
        let is_equal = samples.len() == series.samples.len()
            && found.zip(&samples).all(|((t, v), (t2, v2))| t == t2 && almost_equal(*v, *v2));
        if !is_equal {
            return Err(format!("{labels}: expected {samples:?}, got {:?}", series.samples));
        }
        let is_equal = histograms.len() == series.histograms.len()
            && histograms.iter().zip(&series.histograms).all(
                |((t_ms, written), (found_ms, found))| {
                    t_ms == found_ms && same_histogram(written, found)
                },
            );
        if !is_equal {
            let histograms: Vec<_> = histograms
                .iter()
                .map(|(t_ms, written)| (t_ms, written.histogram.to_float()))
                .collect();
            return Err(format!("{labels}: expected {histograms:?}, got {:?}", series.histograms));
        }
    }
    let found: Vec<_> = found.iter().map(|series| &series.labels).collect();
    check_complete(expected, places.len(), &found)
}

fn shown(value: Option<&SeriesValue>) -> String {
    match value {
        Some(SeriesValue::Histogram(written)) => {
            let histogram = written.histogram.to_float();
            format!("{histogram} {histogram:?}")
        }
        value => format!("{value:?}"),
    }
}

/// Whether two histograms differ by no more than rounding and buckets that count nothing; hints
/// only where one was written.
fn same_histogram(written: &WrittenHistogram, found: &FloatHistogram) -> bool {
    let (mut expected, mut found) = (written.histogram.to_float(), found.clone());
    expected.compact();
    found.compact();
    let pairs = [
        (expected.count, found.count),
        (expected.sum, found.sum),
        (expected.zero_count, found.zero_count),
    ];
    let all_equal = |a: &[f64], b: &[f64]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| almost_equal(*a, *b))
    };
    expected.schema == found.schema
        && pairs.iter().all(|(a, b)| almost_equal(*a, *b))
        && expected.custom_bounds == found.custom_bounds
        && expected.zero_threshold == found.zero_threshold
        && expected.negative_spans == found.negative_spans
        && all_equal(&expected.negative_buckets, &found.negative_buckets)
        && expected.positive_spans == found.positive_spans
        && all_equal(&expected.positive_buckets, &found.positive_buckets)
        && (!written.hint_given || expected.reset_hint == found.reset_hint)
}

/// Each label set and where it stands; of equal ones the last.
fn places(expected: &[SeriesLine]) -> HashMap<&Labels, usize> {
    expected.iter().enumerate().map(|(index, series)| (&series.labels, index)).collect()
}

fn check_complete(expected: &[SeriesLine], count: usize, found: &[&Labels]) -> Result<(), String> {
    let distinct: HashSet<_> = found.iter().collect();
    if distinct.len() != found.len() {
        return Err("two series of equal labels".to_owned());
    }
    if distinct.len() == count {
        return Ok(());
    }
    let missing = expected.iter().map(|series| &series.labels);
    let missing: Vec<_> = missing.filter(|labels| !distinct.contains(labels)).collect();
    Err(format!("missing {missing:?}"))
}

/// Whether two numbers differ by no more than rounding; NaNs are equal, markers only to markers.
fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}
