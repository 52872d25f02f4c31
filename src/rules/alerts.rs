//! The alerts of one rule: pending, firing, resolved.
//!
//! COMPAT: `Alerts::advance` takes the steps of Prometheus's alerting rule in their order. One
//! thing differs: a label whose template gives the empty text is missing in `ALERTS` too, where
//! Prometheus writes the text of the template.

use std::collections::BTreeMap;

use super::dependencies::{ALERT_NAME, ALERTS, ALERTS_FOR_STATE};
use super::evaluate::{Output, RuleError, Value};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME};

/// How long a resolved alert is told again, in case it was not heard.
const RESOLVED_RETENTION_NS: i64 = 15 * 60 * 1_000_000_000;
/// The label of `ALERTS` that tells the state.
const ALERT_STATE: &str = "alertstate";

/// Where an alert, or a rule, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// The rule was not evaluated yet.
    Unknown,
    /// Neither pending nor firing.
    Inactive,
    /// Active for less than the rule asks for.
    Pending,
    /// Active for as long as the rule asks for.
    Firing,
}

impl AlertState {
    /// The name in the API and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// An alert of a rule. Times are nanoseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Where it stands.
    pub state: AlertState,
    /// What it is known by, `alertname` included.
    pub labels: Labels,
    /// What is told beside, ascending by name.
    pub annotations: Vec<(String, String)>,
    /// What the expression gave last.
    pub value: f64,
    /// Since when it is active.
    pub active_at_ns: i64,
    /// When it began to fire.
    pub fired_at_ns: Option<i64>,
    /// When it ended.
    pub resolved_at_ns: Option<i64>,
    /// When it was handed on last.
    pub last_sent_ns: Option<i64>,
    /// Since when it fires only because the rule keeps it firing.
    pub keep_firing_since_ns: Option<i64>,
}

impl Alert {
    fn needs_sending(&self, t_ns: i64, resend_delay_ns: i64) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        let Some(last_sent_ns) = self.last_sent_ns else { return true };
        let is_news = self.resolved_at_ns.is_some_and(|resolved_ns| resolved_ns > last_sent_ns);
        is_news || last_sent_ns.saturating_add(resend_delay_ns) < t_ns
    }
}

/// An alert as it is handed on.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingAlert {
    /// What it is known by.
    pub labels: Labels,
    /// What is told beside.
    pub annotations: Labels,
    /// Since when it fires, in nanoseconds since the Unix epoch.
    pub starts_at_ns: i64,
    /// When it ended, or until when it fires unless it is sent again; likewise.
    pub ends_at_ns: i64,
    /// Where its expression can be looked at.
    pub generator_url: String,
}

/// What the expression gave for one alert.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) annotations: Vec<(String, String)>,
    pub(super) value: f64,
}

/// How long alerts of a rule take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holds {
    pub(super) for_ns: i64,
    pub(super) keep_firing_for_ns: i64,
    /// 0 or less: any number of alerts.
    pub(super) limit: i64,
}

/// The alerts of a rule that are active, or were a short time ago.
#[derive(Debug, Clone, Default)]
pub(super) struct Alerts {
    pub(super) by_labels: BTreeMap<Labels, Alert>,
    /// Whether the state of the process before was taken over; no series are written before.
    pub(super) is_restored: bool,
}

impl Alerts {
    /// Goes on to `t_ns`, at which the expression gave `found`.
    pub(super) fn advance(
        &mut self,
        mut found: BTreeMap<Labels, Found>,
        t_ns: i64,
        holds: Holds,
    ) -> Result<(), RuleError> {
        let mut active = 0;
        let known = std::mem::take(&mut self.by_labels);
        for (labels, mut alert) in known {
            let now = match found.remove(&labels) {
                Some(Found { annotations, value }) if alert.state == AlertState::Inactive => {
                    alert = fresh(&labels, annotations, value, t_ns);
                    true
                }
                Some(Found { annotations, value }) => {
                    (alert.annotations, alert.value) = (annotations, value);
                    true
                }
                None => false,
            };
            if step(&mut alert, now, t_ns, holds, &mut active) {
                self.by_labels.insert(labels, alert);
            }
        }
        for (labels, Found { annotations, value }) in found {
            let mut alert = fresh(&labels, annotations, value, t_ns);
            if step(&mut alert, true, t_ns, holds, &mut active) {
                self.by_labels.insert(labels, alert);
            }
        }
        if holds.limit > 0 && active > holds.limit {
            self.by_labels.clear();
            return Err(RuleError::Limit { max: holds.limit, found: active, what: "alerts" });
        }
        Ok(())
    }

    /// The series of active alerts.
    pub(super) fn outputs(&self, rule_name: &str) -> Vec<Output> {
        if !self.is_restored {
            return Vec::new();
        }
        let active = self.by_labels.values().filter(|a| a.state > AlertState::Inactive);
        active
            .flat_map(|alert| {
                let mut labels = LabelsBuilder::from_labels(&alert.labels);
                labels.set(METRIC_NAME, ALERTS).set(ALERT_NAME, rule_name);
                labels.set(ALERT_STATE, alert.state.as_str());
                let mut since = LabelsBuilder::from_labels(&alert.labels);
                since.set(METRIC_NAME, ALERTS_FOR_STATE).set(ALERT_NAME, rule_name);
                let seconds = alert.active_at_ns.div_euclid(1_000_000_000);
                [
                    Output { labels: labels.build(), value: Value::Float(1.0) },
                    Output { labels: since.build(), value: Value::Float(seconds as f64) },
                ]
            })
            .collect()
    }

    /// Alerts that are to be handed on at `t_ns`, noted as sent.
    pub(super) fn take_due(
        &mut self,
        t_ns: i64,
        resend_delay_ns: i64,
        interval_ns: i64,
        generator_url: &str,
    ) -> Vec<OutgoingAlert> {
        let due = self.by_labels.values_mut();
        due.filter(|alert| alert.needs_sending(t_ns, resend_delay_ns))
            .map(|alert| {
                alert.last_sent_ns = Some(t_ns);
                // It outlives two evaluations or two posts that fail.
                let valid_ns = interval_ns.max(resend_delay_ns).saturating_mul(4);
                OutgoingAlert {
                    labels: alert.labels.clone(),
                    annotations: Labels::from_pairs(alert.annotations.iter().map(|(n, v)| (n, v))),
                    starts_at_ns: alert.fired_at_ns.unwrap_or(alert.active_at_ns),
                    ends_at_ns: alert.resolved_at_ns.unwrap_or(t_ns.saturating_add(valid_ns)),
                    generator_url: generator_url.to_owned(),
                }
            })
            .collect()
    }

    /// The furthest that an alert has come.
    pub(super) fn state(&self) -> AlertState {
        let states = self.by_labels.values().map(|alert| alert.state);
        states.max().unwrap_or(AlertState::Inactive)
    }
}

fn fresh(labels: &Labels, annotations: Vec<(String, String)>, value: f64, t_ns: i64) -> Alert {
    Alert {
        state: AlertState::Pending,
        labels: labels.clone(),
        annotations,
        value,
        active_at_ns: t_ns,
        fired_at_ns: None,
        resolved_at_ns: None,
        last_sent_ns: None,
        keep_firing_since_ns: None,
    }
}

/// Moves an alert on; whether it is kept.
fn step(alert: &mut Alert, is_found: bool, t_ns: i64, holds: Holds, active: &mut i64) -> bool {
    use AlertState::{Firing, Inactive, Pending};
    if is_found {
        alert.keep_firing_since_ns = None;
    } else {
        let mut keeps = false;
        if alert.state == Firing && holds.keep_firing_for_ns > 0 {
            let since_ns = *alert.keep_firing_since_ns.get_or_insert(t_ns);
            keeps = t_ns - since_ns < holds.keep_firing_for_ns;
        }
        let is_old = |resolved_ns| t_ns - resolved_ns > RESOLVED_RETENTION_NS;
        if alert.state == Pending || alert.resolved_at_ns.is_some_and(is_old) {
            return false;
        }
        if !keeps {
            if alert.state != Inactive {
                alert.state = Inactive;
                alert.resolved_at_ns = Some(t_ns);
            }
            return true;
        }
    }
    *active += 1;
    if alert.state == Pending && t_ns - alert.active_at_ns >= holds.for_ns {
        alert.state = Firing;
        alert.fired_at_ns = Some(t_ns);
    }
    // The rule may have been changed to hold longer.
    if alert.state == Firing && t_ns - alert.active_at_ns < holds.for_ns {
        alert.state = Pending;
        alert.fired_at_ns = None;
        alert.last_sent_ns = None;
        alert.keep_firing_since_ns = None;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000_000;

    fn labels() -> Labels {
        Labels::from_pairs([("alertname", "a"), ("job", "x")])
    }

    fn found(is_found: bool) -> BTreeMap<Labels, Found> {
        let entry = (labels(), Found { annotations: Vec::new(), value: 2.0 });
        is_found.then_some(entry).into_iter().collect()
    }

    fn holds(for_min: i64, keep_min: i64) -> Holds {
        let (for_ns, keep_firing_for_ns) = (for_min * MINUTE, keep_min * MINUTE);
        Holds { for_ns, keep_firing_for_ns, limit: 0 }
    }

    #[test]
    fn an_alert_goes_through_its_states() {
        use AlertState::{Firing, Inactive, Pending};
        let mut alerts = Alerts { is_restored: true, ..Alerts::default() };
        let found_at = [true, true, true, false, false, false, true, false];
        let states = [Pending, Pending, Firing, Firing, Firing, Inactive, Pending];
        for (minute, (is_found, state)) in found_at.into_iter().zip(states).enumerate() {
            let t_ns = minute as i64 * MINUTE;
            alerts.advance(found(is_found), t_ns, holds(2, 2)).unwrap();
            assert_eq!(alerts.state(), state, "minute {minute}");
        }
        alerts.advance(found(false), 7 * MINUTE, holds(2, 2)).unwrap();
        assert!(alerts.by_labels.is_empty(), "a pending alert ends at once");
    }

    #[test]
    fn resolved_alerts_are_kept_for_a_quarter_of_an_hour() {
        let mut alerts = Alerts::default();
        alerts.advance(found(true), 0, holds(0, 0)).unwrap();
        for minute in 1..=16 {
            alerts.advance(found(false), minute * MINUTE, holds(0, 0)).unwrap();
            assert_eq!(alerts.by_labels.len(), 1, "minute {minute}");
        }
        alerts.advance(found(false), 17 * MINUTE, holds(0, 0)).unwrap();
        assert!(alerts.by_labels.is_empty());
    }

    #[test]
    fn what_is_due_is_handed_on() {
        let mut alerts = Alerts::default();
        let mut sent = |is_found, minute: i64| {
            alerts.advance(found(is_found), minute * MINUTE, holds(1, 0)).unwrap();
            let due = alerts.take_due(minute * MINUTE, 2 * MINUTE, MINUTE, "u");
            due.into_iter().map(|a| (a.starts_at_ns / MINUTE, a.ends_at_ns / MINUTE)).next()
        };
        assert_eq!(sent(true, 0), None, "pending");
        assert_eq!(sent(true, 1), Some((1, 9)));
        assert_eq!(sent(true, 2), None);
        assert_eq!(sent(true, 3), None, "the delay has not passed");
        assert_eq!(sent(true, 4), Some((1, 12)));
        assert_eq!(sent(false, 5), Some((1, 5)), "resolved: at once");
        assert_eq!(sent(false, 6), None);
        assert_eq!(sent(false, 8), Some((1, 5)), "and again");
        assert_eq!(sent(true, 9), None, "a new one is pending");
        assert_eq!(sent(true, 10), Some((10, 18)));
    }

    #[test]
    fn the_limit_ends_all_of_them() {
        let mut alerts = Alerts::default();
        let two = || {
            ["x", "y"]
                .map(|job| {
                    (
                        Labels::from_pairs([("job", job)]),
                        Found { annotations: Vec::new(), value: 1.0 },
                    )
                })
                .into_iter()
                .collect()
        };
        let limited = Holds { limit: 1, ..holds(0, 0) };
        let error = alerts.advance(two(), 0, limited).unwrap_err();
        assert_eq!(error.to_string(), "exceeded limit of 1 with 2 alerts");
        assert!(alerts.by_labels.is_empty());
        alerts.advance(two(), 0, Holds { limit: 2, ..limited }).unwrap();
    }

    #[test]
    fn a_longer_hold_makes_it_pending_again() {
        let mut alerts = Alerts { is_restored: true, ..Alerts::default() };
        alerts.advance(found(true), 0, holds(0, 0)).unwrap();
        assert_eq!(alerts.state(), AlertState::Firing);
        alerts.advance(found(true), MINUTE, holds(5, 0)).unwrap();
        assert_eq!(alerts.state(), AlertState::Pending);
        let outputs = alerts.outputs("a");
        assert_eq!(outputs[0].labels.get("alertstate"), Some("pending"));
        assert_eq!(outputs[1].labels.metric_name(), "ALERTS_FOR_STATE");
    }
}
