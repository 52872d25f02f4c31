//! How long alerts were active in the process before.
//!
//! COMPAT: Prometheus's rules for the time that an alert has left before it fires: what was down
//! does not count as pending, and nothing fires sooner than the grace period after a start.

use std::collections::HashMap;
use std::time::Instant;

use super::dependencies::{ALERT_NAME, ALERTS_FOR_STATE};
use super::evaluate::whole_ms;
use super::file::RuleKind;
use super::group::Group;
use super::manager::Shared;
use super::rule::Rule;
use crate::model::{Labels, METRIC_NAME, Matcher, Samples, TimeRange, is_stale};
use crate::select::{Cancellation, Queryable, SelectError};

const SECOND_NS: i64 = 1_000_000_000;

/// Takes over the state of all alerts of a group, or leaves them as they are where there is none.
pub(super) fn restore(group: &Group, shared: &Shared) {
    let (began, now_ns) = (Instant::now(), shared.clock.now_ns());
    for rule in group.rules() {
        let RuleKind::Alerting { for_ms, .. } = rule.spec().kind else { continue };
        // What holds for less than the grace period waits for its whole time.
        if for_ms >= shared.options.for_grace_period_ms
            && let Err(error) = restore_rule(rule, for_ms, shared, now_ns)
        {
            let (file, name) = (group.file(), group.name());
            tracing::error!(file, group = name, alert = rule.spec().name, err = %error,
                "Failed to restore 'for' state");
        }
        rule.alerts().is_restored = true;
    }
    let took = began.elapsed().as_secs_f64();
    shared.metrics.last_restore_seconds.with(&[group.key()]).set(took);
}

fn restore_rule(rule: &Rule, for_ms: i64, shared: &Shared, now_ns: i64) -> Result<(), SelectError> {
    if rule.alerts().by_labels.is_empty() {
        return Ok(());
    }
    let known = last_states(rule, shared, now_ns)?;
    let hold_ns = for_ms.saturating_mul(1_000_000);
    let grace_ns = shared.options.for_grace_period_ms.saturating_mul(1_000_000);
    for (labels, alert) in &mut rule.alerts().by_labels {
        let Some(&(down_ms, since_s)) = known.get(labels) else { continue };
        let down_ns = down_ms.div_euclid(1000).saturating_mul(SECOND_NS);
        let since_ns = (since_s as i64).saturating_mul(SECOND_NS);
        let left_ns = hold_ns.saturating_sub(down_ns.saturating_sub(since_ns));
        alert.active_at_ns = if left_ns <= 0 {
            // It was firing.
            since_ns
        } else if left_ns < grace_ns {
            now_ns.saturating_add(grace_ns).saturating_sub(hold_ns)
        } else {
            since_ns.saturating_add(now_ns.saturating_sub(down_ns))
        };
    }
    Ok(())
}

/// By the labels of an alert, the time of its last sample and since when it was active, in
/// seconds. Alerts that had ended are not among them.
fn last_states(
    rule: &Rule,
    shared: &Shared,
    now_ns: i64,
) -> Result<HashMap<Labels, (i64, f64)>, SelectError> {
    let spec = rule.spec();
    let mut matchers = vec![
        Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE),
        Matcher::equal(ALERT_NAME, spec.name.as_str()),
    ];
    for (name, value) in &spec.labels {
        // What a template gives differs from alert to alert.
        if !value.contains("{{") && name != ALERT_NAME {
            matchers.push(Matcher::equal(name.as_str(), value.as_str()));
        }
    }
    let max_ms = whole_ms(now_ns);
    let min_ms = max_ms.saturating_sub(shared.options.outage_tolerance_ms);
    let range = TimeRange { min_ms, max_ms };
    let cancellation = Cancellation::new().under(&shared.stop).within(shared.engine().account());
    let set = shared.database.select(&matchers, range, &cancellation)?;
    let mut known = HashMap::with_capacity(set.len());
    let mut samples = Samples::default();
    for index in 0..set.len() {
        set.read(index, range, &mut samples)?;
        let last = samples.timestamps.last().zip(samples.values.last());
        let Some((&t_ms, &value)) = last else { continue };
        if !is_stale(value) {
            let labels = set.labels(index).without(|name| name == METRIC_NAME);
            known.insert(labels, (t_ms, value));
        }
    }
    Ok(known)
}
