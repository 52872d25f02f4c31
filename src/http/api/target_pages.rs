//! `targets/metadata`, `targets/relabel_steps` and `scrape_pools/config`.
//!
//! COMPAT: error texts and what a limit of 0 means are Prometheus's.

use super::targets::MetricMetadata;
use super::{list, success};
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::{Labels, LabelsBuilder, go_quote};
use crate::promql::parse_selector;
use crate::relabel::{self, Rule};

/// A limit that may be 0; `None` where there is none.
pub(super) fn limit(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let text = params.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = || ApiError::bad_data(format!("{name} must be a number"));
    let number: i64 = text.parse().map_err(|_| refuse())?;
    Ok(usize::try_from(number).ok())
}

/// `/api/v1/targets/metadata`
pub(in crate::http) fn metadata(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let limit = limit(params, "limit")?;
    let wanted = params.text("match_target");
    let matchers = if wanted.is_empty() {
        Vec::new()
    } else {
        parse_selector(wanted, &service.settings.parse)
            .map_err(|error| ApiError::invalid_parameter("match_target", &error.to_string()))?
    };
    let metric = params.text("metric");
    let mut found: Vec<(Labels, String, MetricMetadata)> = Vec::new();
    for (target, families) in service.control.target_metadata() {
        if limit.is_some_and(|limit| found.len() >= limit) {
            break;
        }
        let is_wanted = matchers.iter().all(|m| m.matches(target.get(&m.name).unwrap_or("")));
        if !is_wanted {
            continue;
        }
        let of_metric =
            families.into_iter().filter(|(name, _)| metric.is_empty() || name == metric);
        found.extend(of_metric.map(|(name, metadata)| (target.clone(), name, metadata)));
    }
    let data = |sink: &mut Sink| {
        list(sink, &found, |out, (target, name, metadata)| {
            out.extend_from_slice(b"{\"target\":");
            json::push_labels(out, target);
            // COMPAT: who asks for one metric is not told its name.
            if metric.is_empty() {
                out.extend_from_slice(b",\"metric\":");
                json::push_str(out, name);
            }
            for (key, value) in [
                (&b",\"type\":"[..], &metadata.metric_type),
                (b",\"help\":", &metadata.help),
                (b",\"unit\":", &metadata.unit),
            ] {
                out.extend_from_slice(key);
                json::push_str(out, value);
            }
            out.push(b'}');
        })
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/scrape_pools/config`
pub(in crate::http) fn pool_config(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let pool = wanted_pool(params)?;
    let yaml = service.control.scrape_pool_yaml(pool).ok_or_else(|| no_pool(pool))?;
    let data = |sink: &mut Sink| {
        let out = sink.buffer();
        out.extend_from_slice(b"{\"yaml\":");
        json::push_str(out, &yaml);
        out.push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

fn wanted_pool(params: &Params) -> Result<&str, ApiError> {
    match params.text("scrapePool") {
        "" => Err(ApiError::bad_data("no scrapePool parameter provided")),
        pool => Ok(pool),
    }
}

fn no_pool(pool: &str) -> ApiError {
    let pool = go_quote(pool);
    ApiError::bad_data(format!("error retrieving scrape config: scrape pool {pool} not found"))
}

/// `/api/v1/targets/relabel_steps`
pub(in crate::http) fn relabel_steps(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let pool = wanted_pool(params)?;
    let text = params.text("labels");
    if text.is_empty() {
        return Err(ApiError::bad_data("no labels parameter provided"));
    }
    let pairs: std::collections::BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| ApiError::bad_data(format!("error parsing labels: {error}")))?;
    let rules = service.control.relabel_rules(pool).ok_or_else(|| no_pool(pool))?;
    let mut labels = LabelsBuilder::from_labels(&Labels::from_pairs(&pairs));
    let mut keeps = true;
    let steps = rules.iter().map(|rule| {
        keeps = keeps && relabel::apply(std::slice::from_ref(rule), &mut labels);
        let output = if keeps { labels.clone().build() } else { Labels::empty() };
        (rule, output, keeps)
    });
    let steps: Vec<_> = steps.collect();
    let data = |sink: &mut Sink| {
        sink.buffer().extend_from_slice(b"{\"steps\":");
        list(sink, &steps, |out, (rule, output, keeps)| {
            out.extend_from_slice(b"{\"rule\":");
            push_rule(out, rule);
            out.extend_from_slice(b",\"output\":");
            json::push_labels(out, output);
            out.extend_from_slice(format!(",\"keep\":{keeps}}}").as_bytes());
        })?;
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

fn push_rule(out: &mut Vec<u8>, rule: &Rule) {
    out.push(b'{');
    if let Some(names) = rule.source_labels.as_ref().filter(|names| !names.is_empty()) {
        out.extend_from_slice(b"\"source_labels\":");
        json::push_strings(out, names);
        out.push(b',');
    }
    out.extend_from_slice(b"\"separator\":");
    json::push_str(out, &rule.separator);
    out.extend_from_slice(b",\"regex\":");
    json::push_str(out, rule.regex.pattern());
    if rule.modulus != 0 {
        out.extend_from_slice(format!(",\"modulus\":{}", rule.modulus).as_bytes());
    }
    if !rule.target_label.is_empty() {
        out.extend_from_slice(b",\"target_label\":");
        json::push_str(out, &rule.target_label);
    }
    out.extend_from_slice(b",\"replacement\":");
    json::push_str(out, &rule.replacement);
    out.extend_from_slice(b",\"action\":");
    json::push_str(out, rule.action.as_str());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_shown_with_its_defaults() {
        let mut out = Vec::new();
        push_rule(&mut out, &Rule::default());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"separator":";","regex":"(.*)","replacement":"$1","action":"replace"}"#
        );
        let rule = Rule {
            source_labels: Some(vec!["a".to_owned()]),
            modulus: 4,
            target_label: "m".to_owned(),
            action: crate::relabel::Action::HashMod,
            ..Rule::default()
        };
        let mut out = Vec::new();
        push_rule(&mut out, &rule);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"source_labels":["a"],"separator":";","regex":"(.*)","modulus":4,"#.to_owned()
                + r#""target_label":"m","replacement":"$1","action":"hashmod"}"#
        );
    }
}
