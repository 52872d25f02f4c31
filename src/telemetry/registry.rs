//! The registry of own metrics: families under their names, gathered into one page.
//!
//! No global state: whoever counts holds a handle, whoever serves the page holds the [`Registry`].
//! Figures that others keep anyway are read when the page is asked for, by collectors.
//! A page names each family once, in the order of the names, and each series once; where two
//! sources give the same one, the first stands.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::{Equivalent, HashMap};

use super::value::{Counter, Gauge, Histogram, Metric, Summary};
use crate::exposition::{Family, MetricType, SampleLine, write_families};
use crate::model::{is_legacy_label_name, is_legacy_metric_name};

type Collector = Box<dyn Fn(&mut Vec<Family>) + Send + Sync>;

/// Own metrics of one process. Cloning shares it.
#[derive(Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    families: RwLock<BTreeMap<&'static str, Registered>>,
    collectors: RwLock<Vec<Collector>>,
}

struct Registered {
    help: &'static str,
    metric_type: MetricType,
    source: Box<dyn Source>,
}

/// What gives the samples of a family.
trait Source: Send + Sync {
    fn samples(&self, out: &mut Vec<SampleLine>);
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = self.0.families.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Registry").field("families", &families.len()).finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A counter. The name ends in `_total`. Panics, as all that register do, where the name is
    /// not one or is taken.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.single(name, help, &())
    }

    /// Counters by labels.
    pub fn counter_vec(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> CounterVec {
        self.labelled(name, help, labels, ())
    }

    /// A gauge, at 0.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.single(name, help, &())
    }

    /// Gauges by labels.
    pub fn gauge_vec(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> GaugeVec {
        self.labelled(name, help, labels, ())
    }

    /// A histogram with these upper bounds, ascending; the infinite one is added.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
    ) -> Histogram {
        check_bounds(name, bounds);
        self.single(name, help, &bounds)
    }

    /// Histograms by labels.
    pub fn histogram_vec(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> HistogramVec {
        check_bounds(name, bounds);
        self.labelled(name, help, labels, bounds)
    }

    /// A summary with these quantiles, ascending; none gives sum and count alone.
    pub fn summary(
        &self,
        name: &'static str,
        help: &'static str,
        quantiles: &'static [f64],
    ) -> Summary {
        check_bounds(name, quantiles);
        self.single(name, help, &quantiles)
    }

    /// Summaries by labels.
    pub fn summary_vec(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        quantiles: &'static [f64],
    ) -> SummaryVec {
        check_bounds(name, quantiles);
        self.labelled(name, help, labels, quantiles)
    }

    /// Adds families that are read when a page is gathered. `collector` runs on the thread that
    /// gathers and must neither block nor call this registry.
    pub fn collect(&self, collector: impl Fn(&mut Vec<Family>) + Send + Sync + 'static) {
        let mut collectors = self.0.collectors.write().unwrap_or_else(PoisonError::into_inner);
        collectors.push(Box::new(collector));
    }

    /// All families, ascending by name. Those without a sample are left out.
    pub fn gather(&self) -> Vec<Family> {
        self.gather_with(Vec::new())
    }

    /// All families, with more that the caller knows.
    pub fn gather_with(&self, more: Vec<Family>) -> Vec<Family> {
        let mut families = Vec::new();
        let registered = self.0.families.read().unwrap_or_else(PoisonError::into_inner);
        for (name, entry) in &*registered {
            let mut samples = Vec::new();
            entry.source.samples(&mut samples);
            families.push(Family {
                name: (*name).to_owned(),
                help: entry.help.to_owned(),
                metric_type: entry.metric_type,
                samples,
            });
        }
        drop(registered);
        families.extend(more);
        for collector in &*self.0.collectors.read().unwrap_or_else(PoisonError::into_inner) {
            collector(&mut families);
        }
        merge(families)
    }

    /// The page: text format 0.0.4.
    pub fn render(&self) -> String {
        self.render_with(Vec::new())
    }

    /// The page, with more families that the caller knows.
    pub fn render_with(&self, more: Vec<Family>) -> String {
        let mut page = String::new();
        write_families(&self.gather_with(more), &mut page);
        page
    }

    fn single<M: Metric>(&self, name: &'static str, help: &'static str, shape: &M::Shape) -> M {
        let metric = M::new(shape);
        self.register(name, help, M::TYPE, Box::new(Single(metric.clone())));
        metric
    }

    fn labelled<M: Metric>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        shape: M::Shape,
    ) -> Labelled<M> {
        let valid = labels.iter().all(|label| is_legacy_label_name(label));
        assert!(valid && labels.is_sorted(), "BUG: labels of {name}: {labels:?}");
        let metrics = RwLock::new(HashMap::new());
        let vec = Labelled(Arc::new(Children { labels, shape, metrics }));
        self.register(name, help, M::TYPE, Box::new(vec.clone()));
        vec
    }

    fn register(
        &self,
        name: &'static str,
        help: &'static str,
        metric_type: MetricType,
        source: Box<dyn Source>,
    ) {
        assert!(is_legacy_metric_name(name), "BUG: {name:?} cannot name a metric");
        let mut families = self.0.families.write().unwrap_or_else(PoisonError::into_inner);
        let taken = families.insert(name, Registered { help, metric_type, source }).is_some();
        assert!(!taken, "BUG: metric {name} is registered twice");
    }
}

fn check_bounds(name: &str, bounds: &[f64]) {
    let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    let finite = bounds.iter().all(|bound| bound.is_finite());
    assert!(ascending && finite, "BUG: bounds of {name}: {bounds:?}");
}

/// Brings families of the same name together and puts all in order.
fn merge(mut families: Vec<Family>) -> Vec<Family> {
    families.retain(|family| !family.samples.is_empty());
    families.sort_by(|a, b| a.name.cmp(&b.name));
    let mut merged: Vec<Family> = Vec::with_capacity(families.len());
    for family in families {
        match merged.last_mut() {
            Some(last) if last.name == family.name => {
                if last.metric_type == family.metric_type {
                    add_samples(&mut last.samples, family.samples);
                }
            }
            _ => merged.push(family),
        }
    }
    merged
}

fn add_samples(samples: &mut Vec<SampleLine>, more: Vec<SampleLine>) {
    let key = |sample: &SampleLine| (sample.suffix, sample.labels.clone());
    let mut known: HashSet<_> = samples.iter().map(key).collect();
    samples.extend(more.into_iter().filter(|sample| known.insert(key(sample))));
}

struct Single<M>(M);

impl<M: Metric> Source for Single<M> {
    fn samples(&self, out: &mut Vec<SampleLine>) {
        self.0.samples(&[], out);
    }
}

/// Counters by labels.
pub type CounterVec = Labelled<Counter>;
/// Gauges by labels.
pub type GaugeVec = Labelled<Gauge>;
/// Histograms by labels.
pub type HistogramVec = Labelled<Histogram>;
/// Summaries by labels.
pub type SummaryVec = Labelled<Summary>;

/// Metrics of one family, one for each combination of label values. Cloning shares it.
///
/// A combination once asked for stays on the page until it is removed, so values must come from a
/// bounded set.
#[derive(Clone)]
#[expect(private_bounds, reason = "the four kinds are all there are")]
pub struct Labelled<M: Metric>(Arc<Children<M>>);

struct Children<M: Metric> {
    labels: &'static [&'static str],
    shape: M::Shape,
    metrics: RwLock<HashMap<Box<[Box<str>]>, M>>,
}

/// Label values that are asked for: the same hash as the owned ones, without an allocation.
struct Values<'a>(&'a [&'a str]);

impl Hash for Values<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Box<[Box<str>]>> for Values<'_> {
    fn equivalent(&self, key: &Box<[Box<str>]>) -> bool {
        self.0.len() == key.len() && self.0.iter().zip(key).all(|(a, b)| **a == **b)
    }
}

#[expect(private_bounds, reason = "the four kinds are all there are")]
impl<M: Metric> Labelled<M> {
    /// The metric with these label values, in the order of the label names; made where it is new.
    /// A handle for a hot path is asked for once and kept.
    pub fn with(&self, values: &[&str]) -> M {
        let Children { labels, shape, metrics } = &*self.0;
        assert_eq!(values.len(), labels.len(), "BUG: values for {labels:?}");
        let key = Values(values);
        if let Some(child) = metrics.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return child.clone();
        }
        let owned = values.iter().map(|value| Box::from(*value)).collect();
        let mut metrics = metrics.write().unwrap_or_else(PoisonError::into_inner);
        metrics.entry(owned).or_insert_with(|| M::new(shape)).clone()
    }

    /// Takes the metric with these label values off the page.
    pub fn remove(&self, values: &[&str]) {
        let mut children = self.0.metrics.write().unwrap_or_else(PoisonError::into_inner);
        children.remove(&Values(values));
    }
}

impl<M: Metric> fmt::Debug for Labelled<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let children = self.0.metrics.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Labelled")
            .field("labels", &self.0.labels)
            .field("children", &children.len())
            .finish_non_exhaustive()
    }
}

impl<M: Metric> Source for Labelled<M> {
    fn samples(&self, out: &mut Vec<SampleLine>) {
        let children = self.0.metrics.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = children.iter().map(|(k, m)| (k.clone(), m.clone())).collect();
        drop(children);
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (values, metric) in sorted {
            let names = self.0.labels.iter().map(|name| (*name).to_owned());
            let labels: Vec<_> = names.zip(values.iter().map(ToString::to_string)).collect();
            metric.samples(&labels, out);
        }
    }
}
