//! OTLP's metrics as series: names, labels, samples.
//!
//! COMPAT: which series come of what, their labels, their order and `target_info` are those of
//! Prometheus 3.14's translator.

use std::collections::{BTreeMap, HashSet};

use super::buckets::{exponential, with_custom_bounds};
use super::names::{LabelNames, NamedKind, Strategy, label_name, metric_name, unit_name};
use crate::model::{
    Exemplar, FloatStyle, Histogram, Labels, LabelsBuilder, MetricType, float_text, stale_nan,
};
use crate::protowire::otlp::{
    Attributes, OtlpData, OtlpMetric, OtlpPoint, ResourceMetrics, ScopeMetrics, Temporality,
};

const NAME: &str = "__name__";
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];
/// Characters that the labels of an exemplar may have.
const EXEMPLAR_CHARS_MAX: usize = 128;
/// `target_info` samples of one resource in one request.
const INFO_SAMPLES_MAX: usize = 1000;

/// `otlp` of the configuration, and features.
#[derive(Debug, Clone)]
pub struct OtlpOptions {
    /// How metrics are named.
    pub strategy: Strategy,
    /// How labels are named.
    pub label_names: LabelNames,
    /// Whether all attributes of a resource become labels, but for those listed; otherwise those
    /// listed do.
    pub promotes_all: bool,
    /// The list.
    pub promoted: Vec<String>,
    /// Whether `target_info` tells what `job` and `instance` are made of too.
    pub keeps_identifying: bool,
    /// Whether histograms with bounds of their own become native ones.
    pub converts_histograms: bool,
    /// Whether what a scope says of itself becomes labels.
    pub promotes_scope: bool,
    /// Whether points of delta temporality are taken as they are.
    pub allows_delta: bool,
    /// Whether type and unit become labels.
    pub adds_type_and_unit: bool,
    /// `--query.lookback-delta`
    pub lookback_ms: i64,
}

/// A sample of a series.
#[derive(Debug, Clone)]
pub(super) enum Sampled {
    Float(f64),
    Histogram(Histogram),
}

/// A series with one sample.
#[derive(Debug, Clone)]
pub(super) struct Translated {
    pub(super) labels: Labels,
    pub(super) start_ms: i64,
    pub(super) t_ms: i64,
    pub(super) sample: Sampled,
    pub(super) exemplars: Vec<Exemplar>,
}

/// What is said of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) metric_type: MetricType,
    pub(super) unit: String,
    pub(super) help: String,
}

/// What becomes of a request.
#[derive(Debug, Default)]
pub(super) struct Translation {
    pub(super) series: Vec<Translated>,
    pub(super) metadata: BTreeMap<String, Said>,
    /// Points that cannot be translated, and why the first of them.
    pub(super) refused: usize,
    pub(super) first_fault: Option<String>,
}

/// Labels that all points of a scope get.
struct Context<'a> {
    options: &'a OtlpOptions,
    promoted: Vec<(String, String)>,
    job: Option<String>,
    instance: Option<String>,
    scope: Vec<(String, String)>,
}

/// What all points of a metric share.
struct Family<'a> {
    name: String,
    said: Said,
    context: &'a Context<'a>,
}

/// Translates what `resources` sent.
pub(super) fn translate(resources: &[ResourceMetrics], options: &OtlpOptions) -> Translation {
    let mut out = Translation::default();
    let mut informed = HashSet::new();
    for resource in resources {
        let mut context = match Context::of(resource, options) {
            Ok(context) => context,
            Err(fault) => {
                let points = resource.scopes.iter().flat_map(|scope| &scope.metrics);
                out.refuse(points.map(|metric| metric.data.points().len()).sum(), fault);
                continue;
            }
        };
        let (mut first_ns, mut last_ns) = (u64::MAX, 0);
        for scope in &resource.scopes {
            context.scope = match scope_labels(scope, options) {
                Ok(labels) => labels,
                Err(fault) => {
                    let points = scope.metrics.iter().map(|metric| metric.data.points().len());
                    out.refuse(points.sum(), fault);
                    continue;
                }
            };
            for metric in &scope.metrics {
                for point in metric.data.points() {
                    first_ns = first_ns.min(point.t_ns);
                    last_ns = last_ns.max(point.t_ns);
                }
                out.take(metric, &context);
            }
        }
        if first_ns < u64::MAX {
            context.scope.clear();
            out.inform(resource, &context, (first_ns, last_ns), &mut informed);
        }
    }
    out
}

fn ms(ns: u64) -> i64 {
    // COMPAT: a time beyond the range is taken as it wraps.
    ns as i64 / 1_000_000
}

fn attribute<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn scope_labels(
    scope: &ScopeMetrics,
    options: &OtlpOptions,
) -> Result<Vec<(String, String)>, String> {
    if !options.promotes_scope || scope.name.is_empty() {
        return Ok(Vec::new());
    }
    let mut labels = Vec::new();
    for (name, value) in &scope.attributes {
        let name = label_name(&format!("otel_scope_{name}"), options.label_names)?;
        labels.push((name, value.clone()));
    }
    for (name, value) in [
        ("otel_scope_name", &scope.name),
        ("otel_scope_version", &scope.version),
        ("otel_scope_schema_url", &scope.schema_url),
    ] {
        labels.push((name.to_owned(), value.clone()));
    }
    Ok(labels)
}

impl<'a> Context<'a> {
    fn of(resource: &ResourceMetrics, options: &'a OtlpOptions) -> Result<Self, String> {
        let attributes = &resource.attributes;
        let job = attribute(attributes, "service.name").map(|name| {
            attribute(attributes, "service.namespace")
                .map_or_else(|| name.to_owned(), |space| format!("{space}/{name}"))
        });
        let mut promoted = Vec::new();
        for (name, value) in attributes {
            if options.promotes_all != options.promoted.contains(name) {
                promoted.push((label_name(name, options.label_names)?, value.clone()));
            }
        }
        let instance = attribute(attributes, "service.instance.id").map(str::to_owned);
        Ok(Self { options, promoted, job, instance, scope: Vec::new() })
    }

    /// The labels of a point or of `target_info`, which nothing is promoted to.
    fn labels(
        &self,
        attributes: &Attributes,
        skipped: &[&str],
        said: Option<&Said>,
    ) -> Result<LabelsBuilder, String> {
        let mut sorted: Vec<&(String, String)> =
            attributes.iter().filter(|(name, _)| !skipped.contains(&name.as_str())).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut builder = LabelsBuilder::new();
        let names = self.options.label_names;
        for (name, value) in sorted {
            if names.allows_utf8 {
                builder.set(name, value);
                continue;
            }
            let name = label_name(name, names)?;
            // Attributes that become one label are told one after the other.
            let before = builder.get(&name).unwrap_or("").to_owned();
            if before.is_empty() {
                builder.set(&name, value);
            } else {
                builder.set(&name, &format!("{before};{value}"));
            }
        }
        if said.is_some() {
            for (name, value) in &self.promoted {
                if builder.get(name).unwrap_or("").is_empty() {
                    builder.set(name, value);
                }
            }
        }
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                builder.set(name, value);
            }
        }
        for (name, value) in &self.scope {
            builder.set(name, value);
        }
        if let Some(said) = said
            && self.options.adds_type_and_unit
        {
            if said.metric_type != MetricType::Unknown {
                builder.set("__type__", said.metric_type.name());
            }
            if !said.unit.is_empty() {
                builder.set("__unit__", &unit_name(&said.unit, names.allows_utf8));
            }
        }
        Ok(builder)
    }
}

impl Translation {
    fn refuse(&mut self, points: usize, fault: String) {
        self.refused += points;
        self.first_fault.get_or_insert(fault);
    }

    fn take(&mut self, metric: &OtlpMetric, context: &Context<'_>) {
        let points = metric.data.points();
        if let Err(fault) = self.try_take(metric, context) {
            self.refuse(points.len(), fault);
        }
    }

    fn try_take(&mut self, metric: &OtlpMetric, context: &Context<'_>) -> Result<(), String> {
        let (temporality, metric_type, kind) = match &metric.data {
            OtlpData::Unknown => return Err(format!("metric {:?} has no known type", metric.name)),
            OtlpData::Gauge(_) => (None, MetricType::Gauge, NamedKind::Gauge),
            OtlpData::Sum { temporality, is_monotonic: true, .. } => {
                (Some(*temporality), MetricType::Counter, NamedKind::Counter)
            }
            OtlpData::Sum { temporality, .. } => {
                (Some(*temporality), MetricType::Gauge, NamedKind::Other)
            }
            OtlpData::Histogram(_, temporality) | OtlpData::Exponential(_, temporality) => {
                (Some(*temporality), MetricType::Histogram, NamedKind::Other)
            }
            OtlpData::Summary(_) => (None, MetricType::Summary, NamedKind::Other),
        };
        let is_delta = temporality == Some(Temporality::Delta);
        let is_taken = match temporality {
            None | Some(Temporality::Cumulative) => true,
            Some(Temporality::Delta) => context.options.allows_delta,
            Some(Temporality::Unspecified) => false,
        };
        if !is_taken {
            let name = &metric.name;
            return Err(format!("invalid temporality and type combination for metric {name:?}"));
        }
        let name = metric_name(&metric.name, &metric.unit, kind, context.options.strategy)?;
        let said = Said {
            metric_type: if is_delta { MetricType::Unknown } else { metric_type },
            unit: unit_name(&metric.unit, false),
            help: metric.description.clone(),
        };
        if !metric.data.points().is_empty() {
            self.metadata.insert(name.clone(), said.clone());
        }
        let family = Family { name, said, context };
        for point in metric.data.points() {
            // A point that is wrong takes no other with it.
            let kept = self.series.len();
            if let Err(fault) = self.point(metric, point, &family, is_delta) {
                self.series.truncate(kept);
                self.refuse(1, fault);
            }
        }
        Ok(())
    }

    fn point(
        &mut self,
        metric: &OtlpMetric,
        point: &OtlpPoint,
        family: &Family<'_>,
        is_delta: bool,
    ) -> Result<(), String> {
        let labels = family.context.labels(&point.attributes, &[NAME], Some(&family.said))?;
        let exemplars = exemplars(point)?;
        match &metric.data {
            OtlpData::Histogram(..) if family.context.options.converts_histograms => {
                let histogram = with_custom_bounds(point, is_delta);
                let sample = Sampled::Histogram(Histogram::Integer(histogram));
                self.push(point, named(&labels, &family.name), sample, exemplars);
            }
            OtlpData::Histogram(..) => self.classic(point, family, &labels, exemplars),
            OtlpData::Exponential(..) => {
                let histogram = exponential(point, is_delta)?;
                let sample = Sampled::Histogram(Histogram::Integer(histogram));
                self.push(point, named(&labels, &family.name), sample, exemplars);
            }
            OtlpData::Summary(_) => self.summary(point, family, &labels),
            // COMPAT: exemplars of gauges are left out.
            OtlpData::Gauge(_) | OtlpData::Unknown => {
                self.float(point, named(&labels, &family.name), point.value, Vec::new());
            }
            OtlpData::Sum { .. } => {
                self.float(point, named(&labels, &family.name), point.value, exemplars);
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        point: &OtlpPoint,
        labels: Labels,
        sample: Sampled,
        exemplars: Vec<Exemplar>,
    ) {
        let (start_ms, t_ms) = (ms(point.start_ns), ms(point.t_ns));
        self.series.push(Translated { labels, start_ms, t_ms, sample, exemplars });
    }

    fn float(&mut self, point: &OtlpPoint, labels: Labels, value: f64, exemplars: Vec<Exemplar>) {
        let value = if point.is_absent { stale_nan() } else { value };
        self.push(point, labels, Sampled::Float(value), exemplars);
    }

    fn classic(
        &mut self,
        point: &OtlpPoint,
        family: &Family<'_>,
        labels: &LabelsBuilder,
        mut exemplars: Vec<Exemplar>,
    ) {
        let name = |suffix: &str| format!("{}{suffix}", family.name);
        if let Some(sum) = point.sum {
            self.float(point, named(labels, &name("_sum")), sum, Vec::new());
        }
        self.float(point, named(labels, &name("_count")), point.count as f64, Vec::new());
        let mut bucket = labels.clone();
        let mut count = 0_u64;
        for (bound, own) in point.bounds.iter().zip(&point.bucket_counts) {
            count = count.wrapping_add(*own);
            let higher = exemplars.iter().position(|exemplar| exemplar.value > *bound);
            let rest = exemplars.split_off(higher.unwrap_or(exemplars.len()));
            bucket.set("le", &float_text(*bound, FloatStyle::Plain));
            let within = std::mem::replace(&mut exemplars, rest);
            self.float(point, named(&bucket, &name("_bucket")), count as f64, within);
        }
        bucket.set("le", "+Inf");
        self.float(point, named(&bucket, &name("_bucket")), point.count as f64, exemplars);
    }

    fn summary(&mut self, point: &OtlpPoint, family: &Family<'_>, labels: &LabelsBuilder) {
        let name = |suffix: &str| format!("{}{suffix}", family.name);
        self.float(point, named(labels, &name("_sum")), point.sum.unwrap_or(0.0), Vec::new());
        self.float(point, named(labels, &name("_count")), point.count as f64, Vec::new());
        let mut quantile = labels.clone();
        for (rank, value) in &point.quantiles {
            quantile.set("quantile", &float_text(*rank, FloatStyle::Plain));
            self.float(point, named(&quantile, &family.name), *value, Vec::new());
        }
    }

    /// `target_info` of a resource, from its first point to its last.
    fn inform(
        &mut self,
        resource: &ResourceMetrics,
        context: &Context<'_>,
        (first_ns, last_ns): (u64, u64),
        informed: &mut HashSet<(Labels, i64)>,
    ) {
        let others = resource.attributes.iter().filter(|(n, _)| !IDENTIFYING.contains(&n.as_str()));
        if others.count() == 0 {
            return;
        }
        let skipped: &[&str] = if context.options.keeps_identifying { &[] } else { &IDENTIFYING };
        let mut builder = match context.labels(&resource.attributes, skipped, None) {
            Ok(builder) => builder,
            Err(fault) => return self.refuse(0, fault),
        };
        builder.set(NAME, "target_info");
        let labels = builder.build();
        if labels.get("job").is_none() && labels.get("instance").is_none() {
            return;
        }
        let said = Said {
            metric_type: MetricType::Gauge,
            unit: String::new(),
            help: "Target metadata".to_owned(),
        };
        self.metadata.insert("target_info".to_owned(), said);
        let lookback_ms =
            if context.options.lookback_ms > 0 { context.options.lookback_ms } else { 300_000 };
        let step_ns = (lookback_ms as u64 / 2).max(1).saturating_mul(1_000_000);
        let mut times: Vec<i64> = Vec::new();
        let mut t_ns = first_ns;
        while t_ns < last_ns && times.len() < INFO_SAMPLES_MAX {
            times.push(ms(t_ns));
            t_ns = t_ns.saturating_add(step_ns);
        }
        times.push(ms(last_ns));
        for t_ms in times {
            if informed.insert((labels.clone(), t_ms)) {
                let (labels, sample) = (labels.clone(), Sampled::Float(1.0));
                let exemplars = Vec::new();
                self.series.push(Translated { labels, start_ms: 0, t_ms, sample, exemplars });
            }
        }
    }
}

fn named(labels: &LabelsBuilder, name: &str) -> Labels {
    let mut builder = labels.clone();
    builder.set(NAME, name);
    builder.build()
}

fn exemplars(point: &OtlpPoint) -> Result<Vec<Exemplar>, String> {
    let mut exemplars = Vec::with_capacity(point.exemplars.len());
    for pushed in &point.exemplars {
        let value = pushed.value.ok_or("unsupported exemplar value type: Empty")?;
        let ids = [("trace_id", &pushed.trace_id), ("span_id", &pushed.span_id)];
        let ids = ids.into_iter().filter(|(_, id)| !id.is_empty());
        let own = pushed.attributes.iter().map(|(name, value)| (name.as_str(), value));
        let chars = ids.clone().chain(own.clone());
        let chars: usize = chars.map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        let all: Vec<_> =
            if chars <= EXEMPLAR_CHARS_MAX { ids.chain(own).collect() } else { ids.collect() };
        let labels = Labels::from_pairs(all);
        let (t_ms, is_timed) = match ms(pushed.t_ns) {
            0 => (ms(point.t_ns), false),
            t_ms => (t_ms, true),
        };
        exemplars.push(Exemplar { labels, value, t_ms, is_timed });
    }
    Ok(exemplars)
}
