//! One alert, as it is posted.

use crate::model::Labels;

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
