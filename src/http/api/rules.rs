//! `rules` and `alerts`.
//!
//! COMPAT: fields and their order, filters, pages and error texts are Prometheus 3.14's.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};

use super::series::matcher_sets;
use super::{list, success};
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::{Labels, Matcher, format_go_float_exponent, go_quote};
use crate::rules::{Alert, Group, Rule, RuleKind};

/// What is asked for.
struct Filter<'a> {
    names: HashSet<&'a str>,
    groups: HashSet<&'a str>,
    files: HashSet<&'a str>,
    matchers: Vec<Vec<Matcher>>,
    takes_alerting: bool,
    takes_recording: bool,
    excludes_alerts: bool,
    /// Groups of a page at most, and the token of the first where it is not the first of all.
    groups_max: Option<usize>,
    next_token: &'a str,
}

impl<'a> Filter<'a> {
    fn of(service: &Service, params: &'a Params) -> Result<Self, ApiError> {
        let matchers = matcher_sets(service, params)?;
        let wanted = params.text("type").to_lowercase();
        if !matches!(wanted.as_str(), "" | "alert" | "record") {
            let what = format!("not supported value {}", go_quote(&wanted));
            return Err(ApiError::invalid_parameter("type", &what));
        }
        let excludes_alerts = excludes_alerts(params)?;
        let (groups_max, next_token) = page(params)?;
        let set = |name| params.all(name).collect();
        Ok(Self {
            names: set("rule_name[]"),
            groups: set("rule_group[]"),
            files: set("file[]"),
            matchers,
            takes_alerting: wanted != "record",
            takes_recording: wanted != "alert",
            excludes_alerts,
            groups_max,
            next_token,
        })
    }

    fn takes_group(&self, group: &Group) -> bool {
        (self.groups.is_empty() || self.groups.contains(group.name()))
            && (self.files.is_empty() || self.files.contains(group.file()))
    }

    fn takes_rule(&self, rule: &Rule) -> bool {
        let spec = rule.spec();
        let is_kind = if rule.is_alerting() { self.takes_alerting } else { self.takes_recording };
        let meets = |matcher: &Matcher| {
            let label = spec.labels.iter().find(|(name, _)| *name == matcher.name);
            matcher.matches(label.map_or("", |(_, value)| value))
        };
        is_kind
            && (self.names.is_empty() || self.names.contains(spec.name.as_str()))
            && (self.matchers.is_empty() || self.matchers.iter().any(|m| m.iter().all(meets)))
    }
}

fn excludes_alerts(params: &Params) -> Result<bool, ApiError> {
    let text = params.text("exclude_alerts").to_lowercase();
    match text.as_str() {
        "" | "0" | "f" | "false" => Ok(false),
        "1" | "t" | "true" => Ok(true),
        _ => {
            let what = format!(
                "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
                go_quote(&text)
            );
            Err(ApiError::invalid_parameter("exclude_alerts", &what))
        }
    }
}

fn page(params: &Params) -> Result<(Option<usize>, &str), ApiError> {
    let (limit, token) = (params.text("group_limit"), params.text("group_next_token"));
    if limit.is_empty() {
        if token.is_empty() {
            return Ok((None, ""));
        }
        let what = "group_limit needs to be present in order to paginate over the groups";
        return Err(ApiError::invalid_parameter("group_next_token", what));
    }
    let refuse = |what: &str| Err(ApiError::invalid_parameter("group_limit", what));
    let digits = limit.strip_prefix(['+', '-']).unwrap_or(limit);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match limit.parse::<i32>() {
        Ok(1..) => Ok((limit.parse().ok(), token)),
        Ok(_) => refuse("group_limit needs to be greater than 0"),
        Err(_) => {
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            refuse(&format!(
                "group_limit needs to be a valid number: strconv.ParseInt: parsing {}: {why}",
                go_quote(limit)
            ))
        }
    }
}

/// What names a group as the first of a page.
fn token(group: &Group) -> String {
    let hash = digest(&SHA256, format!("{};{}", group.file(), group.name()).as_bytes());
    hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `/api/v1/rules`
pub(in crate::http) fn rules(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let filter = Filter::of(service, params)?;
    let groups = service.control.rule_groups();
    let mut from = 0;
    if filter.groups_max.is_some() && !filter.next_token.is_empty() {
        let found = groups.iter().position(|group| token(group) == filter.next_token);
        from = found.ok_or_else(|| {
            let next = filter.next_token;
            let what = format!("invalid group_next_token '{next}'. were rule groups changed?");
            ApiError::invalid_parameter("group_next_token", &what)
        })?;
    }
    let mut shown = Vec::new();
    let mut next = None;
    for group in groups[from..].iter().filter(|group| filter.takes_group(group)) {
        let rules: Vec<&Rule> =
            group.rules().iter().filter(|rule| filter.takes_rule(rule)).collect();
        if rules.is_empty() {
            continue;
        }
        if filter.groups_max.is_some_and(|max| shown.len() == max) {
            next = Some(token(group));
            break;
        }
        shown.push((group, rules));
    }
    let data = |sink: &mut Sink| {
        sink.buffer().extend_from_slice(b"{\"groups\":");
        list(sink, shown, |out, (group, rules)| {
            push_group(out, group, &rules, filter.excludes_alerts);
        })?;
        if let Some(next) = next {
            text(sink.buffer(), "groupNextToken", &next);
        }
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/alerts`
pub(in crate::http) fn alerts(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let groups = service.control.rule_groups();
    let active = groups.iter().flat_map(|group| group.rules()).flat_map(Rule::active_alerts);
    let data = |sink: &mut Sink| {
        sink.buffer().extend_from_slice(b"{\"alerts\":");
        list(sink, active, |out, alert| push_alert(out, &alert))?;
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    json::push_str(out, value);
}

fn seconds(out: &mut Vec<u8>, name: &str, took: Duration) {
    key(out, name);
    out.extend_from_slice(took.as_secs_f64().to_string().as_bytes());
}

fn milliseconds(out: &mut Vec<u8>, name: &str, ms: i64) {
    key(out, name);
    out.extend_from_slice((ms as f64 / 1000.0).to_string().as_bytes());
}

/// COMPAT: what never was has Go's zero time.
fn time(out: &mut Vec<u8>, name: &str, t_ns: Option<i64>) {
    let time = t_ns.and_then(|ns| Timestamp::from_nanosecond(i128::from(ns)).ok());
    let shown = time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string());
    text(out, name, &shown);
}

fn pairs(out: &mut Vec<u8>, name: &str, pairs: &[(String, String)]) {
    key(out, name);
    json::push_object(out, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
}

fn push_group(out: &mut Vec<u8>, group: &Group, rules: &[&Rule], excludes_alerts: bool) {
    out.extend_from_slice(b"{\"name\":");
    json::push_str(out, group.name());
    text(out, "file", group.file());
    key(out, "rules");
    let mut before = b'[';
    for rule in rules {
        out.push(before);
        push_rule(out, rule, excludes_alerts);
        before = b',';
    }
    out.push(b']');
    milliseconds(out, "interval", group.interval_ms());
    key(out, "limit");
    json::push_integer(out, group.limit());
    seconds(out, "evaluationTime", group.evaluation_took());
    time(out, "lastEvaluation", group.last_evaluation_ns());
    out.push(b'}');
}

fn push_rule(out: &mut Vec<u8>, rule: &Rule, excludes_alerts: bool) {
    let spec = rule.spec();
    if let RuleKind::Alerting { for_ms, keep_firing_for_ms, annotations } = &spec.kind {
        out.extend_from_slice(b"{\"state\":");
        json::push_str(out, rule.state().as_str());
        text(out, "name", &spec.name);
        text(out, "query", &spec.expr);
        milliseconds(out, "duration", *for_ms);
        milliseconds(out, "keepFiringFor", *keep_firing_for_ms);
        pairs(out, "labels", &spec.labels);
        pairs(out, "annotations", annotations);
        key(out, "alerts");
        if excludes_alerts {
            out.extend_from_slice(b"null");
        } else {
            out.push(b'[');
            for (i, alert) in rule.active_alerts().iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                push_alert(out, alert);
            }
            out.push(b']');
        }
    } else {
        out.extend_from_slice(b"{\"name\":");
        json::push_str(out, &spec.name);
        text(out, "query", &spec.expr);
        pairs(out, "labels", &spec.labels);
    }
    text(out, "health", rule.health().as_str());
    let error = rule.last_error();
    if !error.is_empty() {
        text(out, "lastError", &error);
    }
    seconds(out, "evaluationTime", rule.evaluation_took());
    time(out, "lastEvaluation", rule.last_evaluation_ns());
    text(out, "type", if rule.is_alerting() { "alerting" } else { "recording" });
    out.push(b'}');
}

fn push_labels(out: &mut Vec<u8>, name: &str, labels: &Labels) {
    out.extend_from_slice(name.as_bytes());
    json::push_labels(out, labels);
}

fn push_alert(out: &mut Vec<u8>, alert: &Alert) {
    push_labels(out, "{\"labels\":", &alert.labels);
    pairs(out, "annotations", &alert.annotations);
    text(out, "state", alert.state.as_str());
    time(out, "activeAt", Some(alert.active_at_ns));
    if alert.keep_firing_since_ns.is_some() {
        time(out, "keepFiringSince", alert.keep_firing_since_ns);
    }
    text(out, "value", &format_go_float_exponent(alert.value));
    out.push(b'}');
}
