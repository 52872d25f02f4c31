//! One alert, as it is posted.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Labels, LabelsBuilder};
use crate::relabel::{self, Rule};

/// An alert that fires or has been resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What the alert is known by; `alertname` is among them.
    pub labels: Labels,
    /// What is told beside.
    pub annotations: Labels,
    /// Since when it fires.
    pub starts_at_ms: i64,
    /// Until when it fires unless it is sent again; a past one is resolved. `None`: open.
    pub ends_at_ms: Option<i64>,
    /// Where its expression can be looked at; may be empty.
    pub generator_url: String,
}

impl Alert {
    /// Whether it has ended by `t_ms`.
    pub fn is_resolved_at(&self, t_ms: i64) -> bool {
        self.ends_at_ms.is_some_and(|ends_at_ms| ends_at_ms <= t_ms)
    }
}

/// The alerts with external labels added, where they have none of that name, and relabelled;
/// those that the rules drop are left out.
pub(super) fn relabelled(
    rules: &[Rule],
    external_labels: &Labels,
    alerts: Vec<Arc<Alert>>,
) -> Vec<Arc<Alert>> {
    if rules.is_empty() && external_labels.is_empty() {
        return alerts;
    }
    let one = |alert: Arc<Alert>| {
        let mut labels = LabelsBuilder::from_labels(&alert.labels);
        for (name, value) in external_labels {
            if alert.labels.get(name).unwrap_or_default().is_empty() {
                labels.set(name, value);
            }
        }
        if !relabel::apply(rules, &mut labels) {
            return None;
        }
        let labels = labels.build();
        if labels == alert.labels {
            return Some(alert);
        }
        Some(Arc::new(Alert { labels, ..Alert::clone(&alert) }))
    };
    alerts.into_iter().filter_map(one).collect()
}

/// The body of a request that posts these alerts.
/// COMPAT: byte for byte what Prometheus posts to version 2 of the API.
pub(super) fn to_json<'a>(alerts: impl IntoIterator<Item = &'a Alert>) -> String {
    let mut out = String::from("[");
    for (i, alert) in alerts.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push('{');
        if !alert.annotations.is_empty() {
            out.push_str("\"annotations\":");
            push_labels(&mut out, &alert.annotations);
            out.push(',');
        }
        out.push_str("\"endsAt\":\"");
        out.push_str(&time_text(alert.ends_at_ms));
        out.push_str("\",\"startsAt\":\"");
        out.push_str(&time_text(Some(alert.starts_at_ms)));
        out.push_str("\",");
        if !alert.generator_url.is_empty() {
            out.push_str("\"generatorURL\":");
            push_text(&mut out, &alert.generator_url);
            out.push(',');
        }
        out.push_str("\"labels\":");
        push_labels(&mut out, &alert.labels);
        out.push('}');
    }
    out.push(']');
    out
}

fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

/// Go's JSON text, in which `<`, `>` and `&` are escaped too.
fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Go's zero time where there is none.
fn time_text(t_ms: Option<i64>) -> String {
    let time = t_ms.and_then(|t_ms| Timestamp::from_millisecond(t_ms).ok());
    time.map_or_else(|| "0001-01-01T00:00:00.000Z".to_owned(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right side was posted by Prometheus 3.14.
    #[test]
    fn alerts_are_posted_as_prometheus_does() {
        let first = Alert {
            labels: Labels::from_pairs([
                ("a", "q<>&\""),
                ("alertname", "é<>&\u{2028}\u{1}"),
                ("b", "x"),
                ("z", "1"),
            ]),
            annotations: Labels::from_pairs([("s", "a\n\"b\" 😀\u{7f}")]),
            starts_at_ms: 1_435_065_584_128,
            ends_at_ms: Some(1_435_065_584_129),
            generator_url: "http://x/?a=1&b=<2>".to_owned(),
        };
        let second = Alert {
            labels: Labels::from_pairs([("a", "q<>&\""), ("alertname", "n"), ("b", "x")]),
            annotations: Labels::empty(),
            starts_at_ms: 1_435_065_585_000,
            ends_at_ms: None,
            generator_url: String::new(),
        };
        let posted = "[{\"annotations\":{\"s\":\"a\\n\\\"b\\\" 😀\u{7f}\"},\
            \"endsAt\":\"2015-06-23T13:19:44.129Z\",\"startsAt\":\"2015-06-23T13:19:44.128Z\",\
            \"generatorURL\":\"http://x/?a=1\\u0026b=\\u003c2\\u003e\",\
            \"labels\":{\"a\":\"q\\u003c\\u003e\\u0026\\\"\",\
            \"alertname\":\"é\\u003c\\u003e\\u0026\\u2028\\u0001\",\"b\":\"x\",\"z\":\"1\"}},\
            {\"endsAt\":\"0001-01-01T00:00:00.000Z\",\"startsAt\":\"2015-06-23T13:19:45.000Z\",\
            \"labels\":{\"a\":\"q\\u003c\\u003e\\u0026\\\"\",\"alertname\":\"n\",\"b\":\"x\"}}]";
        assert_eq!(to_json([&first, &second]), posted);
        assert_eq!(to_json([]), "[]");
    }
}
