//! `targets` and `metadata`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{list, success};
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::Labels;

/// A target that is scraped.
#[derive(Debug, Clone)]
pub struct TargetStatus {
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Labels that its series get.
    pub labels: Labels,
    /// Name of its job.
    pub scrape_pool: String,
    /// Where its page is.
    pub scrape_url: String,
    /// The same, as others reach it.
    pub global_url: String,
    /// Why the last scrape failed; empty where it did not.
    pub last_error: String,
    /// When the last scrape began.
    pub last_scrape_ms: Option<i64>,
    /// How long it took.
    pub last_scrape_seconds: f64,
    /// `up`, `down` or `unknown`.
    pub health: &'static str,
    /// As the configuration writes it.
    pub scrape_interval: String,
    /// As the configuration writes it.
    pub scrape_timeout: String,
}

/// A target that relabelling dropped.
#[derive(Debug, Clone)]
pub struct DroppedTarget {
    /// Labels before relabelling.
    pub discovered_labels: Labels,
    /// Name of its job.
    pub scrape_pool: String,
}

/// What a target says of a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricMetadata {
    /// `counter`, `gauge` and so on.
    pub metric_type: String,
    /// Its help text.
    pub help: String,
    /// Its unit.
    pub unit: String,
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b',');
    json::push_str(out, name);
    out.push(b':');
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    json::push_str(out, value);
}

/// `/api/v1/targets`
pub(in crate::http) fn targets(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let state = params.text("state").to_lowercase();
    let (active, dropped) = match state.as_str() {
        "active" => (true, false),
        "dropped" => (false, true),
        "" | "any" => (true, true),
        // COMPAT: anything else asks for none.
        _ => (false, false),
    };
    let pool = params.text("scrapePool");
    let wanted = |name: &str| pool.is_empty() || pool == name;
    let data = |sink: &mut Sink| {
        sink.buffer().extend_from_slice(b"{\"activeTargets\":");
        let targets = if active { service.control.active_targets() } else { Vec::new() };
        let targets = targets.iter().filter(|target| wanted(&target.scrape_pool));
        list(sink, targets, push_target)?;
        sink.buffer().extend_from_slice(b",\"droppedTargets\":");
        let (targets, counts) =
            if dropped { service.control.dropped_targets() } else { Default::default() };
        let targets = targets.iter().filter(|target| wanted(&target.scrape_pool));
        list(sink, targets, |out, target| {
            out.extend_from_slice(b"{\"discoveredLabels\":");
            json::push_labels(out, &target.discovered_labels);
            text(out, "scrapePool", &target.scrape_pool);
            out.push(b'}');
        })?;
        let out = sink.buffer();
        if !dropped {
            // COMPAT: who did not ask for dropped targets is told nothing of them.
            out.extend_from_slice(b",\"droppedTargetCounts\":null}");
            return Ok(());
        }
        out.extend_from_slice(b",\"droppedTargetCounts\":{");
        for (i, (name, count)) in counts.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            json::push_str(out, name);
            out.push(b':');
            json::push_integer(out, *count as i64);
        }
        out.push(b'}');
        push_failed(out, &service.control.scrape_pools(), wanted);
        out.push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// Jobs that cannot run, where there are some: a field that Prometheus does not have.
fn push_failed(
    out: &mut Vec<u8>,
    pools: &[(String, Option<String>)],
    wanted: impl Fn(&str) -> bool,
) {
    let failed = pools.iter().filter_map(|(name, reason)| Some((name, reason.as_ref()?)));
    let mut before: &[u8] = b",\"failedScrapePools\":[";
    for (name, reason) in failed.filter(|(name, _)| wanted(name)) {
        out.extend_from_slice(before);
        out.extend_from_slice(b"{\"scrapePool\":");
        json::push_str(out, name);
        text(out, "reason", reason);
        out.push(b'}');
        before = b",";
    }
    if before == b"," {
        out.push(b']');
    }
}

/// `/api/v1/scrape_pools`
pub(in crate::http) fn scrape_pools(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let data = |sink: &mut Sink| {
        sink.buffer().extend_from_slice(b"{\"scrapePools\":");
        list(sink, service.control.scrape_pools().iter(), |out, (name, _)| {
            json::push_str(out, name);
        })?;
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

fn push_target(out: &mut Vec<u8>, target: &TargetStatus) {
    out.extend_from_slice(b"{\"discoveredLabels\":");
    json::push_labels(out, &target.discovered_labels);
    key(out, "labels");
    json::push_labels(out, &target.labels);
    text(out, "scrapePool", &target.scrape_pool);
    text(out, "scrapeUrl", &target.scrape_url);
    text(out, "globalUrl", &target.global_url);
    text(out, "lastError", &target.last_error);
    // COMPAT: a target that was never scraped has Go's zero time.
    let last_scrape = target
        .last_scrape_ms
        .and_then(|t_ms| Timestamp::from_millisecond(t_ms).ok())
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string());
    text(out, "lastScrape", &last_scrape);
    key(out, "lastScrapeDuration");
    out.extend_from_slice(target.last_scrape_seconds.to_string().as_bytes());
    text(out, "health", target.health);
    text(out, "scrapeInterval", &target.scrape_interval);
    text(out, "scrapeTimeout", &target.scrape_timeout);
    out.push(b'}');
}

/// `/api/v1/metadata`
pub(in crate::http) fn metadata(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let limit = super::target_pages::limit(params, "limit")?.unwrap_or(usize::MAX);
    let limit_per_metric = super::target_pages::limit(params, "limit_per_metric")?.unwrap_or(0);
    let wanted = params.text("metric");
    let mut by_metric: BTreeMap<String, Vec<MetricMetadata>> = BTreeMap::new();
    // What was pushed comes after what targets say of themselves.
    let pushed = service.database().map(crate::db::Database::metadata).unwrap_or_default();
    let pushed = pushed.into_iter().map(|(metric, said)| {
        let metric_type = said.metric_type.name().to_owned();
        (metric, MetricMetadata { metric_type, help: said.help, unit: said.unit })
    });
    for (metric, metadata) in service.control.metadata().into_iter().chain(pushed) {
        if !wanted.is_empty() && metric != wanted {
            continue;
        }
        if by_metric.len() >= limit && !by_metric.contains_key(&metric) {
            continue;
        }
        let known = by_metric.entry(metric).or_default();
        let full = limit_per_metric > 0 && known.len() >= limit_per_metric;
        if !full && !known.contains(&metadata) {
            known.push(metadata);
        }
    }
    let data = |sink: &mut Sink| {
        sink.buffer().push(b'{');
        for (i, (metric, metadata)) in by_metric.iter().enumerate() {
            if i > 0 {
                sink.buffer().push(b',');
            }
            json::push_str(sink.buffer(), metric);
            sink.buffer().push(b':');
            list(sink, metadata, |out, metadata| {
                out.extend_from_slice(b"{\"type\":");
                json::push_str(out, &metadata.metric_type);
                text(out, "help", &metadata.help);
                text(out, "unit", &metadata.unit);
                out.push(b'}');
            })?;
        }
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}
