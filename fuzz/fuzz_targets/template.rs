//! Any text as a template: it is expanded, or refused, within its limits.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use narthex::model::Labels;
use narthex::template::{
    AlertData, Data, Expander, Limits, Queries, Sample, SampleValue, check_alert_text,
};

/// Finds one sample, whatever is asked.
struct One;

impl Queries for One {
    fn query(&self, _: &str, _: i64) -> Result<Vec<Sample>, String> {
        let labels = Labels::from_pairs([("a", "<b>"), ("__value__", "c")]);
        Ok(vec![Sample { labels, value: SampleValue::Float(1.5) }])
    }
}

fuzz_target!(|text: &str| {
    let limits = Limits {
        output_bytes_max: 50_000,
        steps_max: 5_000,
        timeout: Duration::from_secs(5),
    };
    let alert = AlertData {
        labels: Labels::from_pairs([("instance", "a.b:1"), ("job", "é")]),
        external_labels: Labels::empty(),
        external_url: "http://h/p".to_owned(),
        value: SampleValue::Float(0.25),
    };
    let expander = Expander::new(1_000, "http://h/p", &One).limited(limits);
    let expanded = expander.expand_alert("X", text, &alert);
    if check_alert_text("X", text).is_err() {
        assert!(expanded.is_err(), "what cannot be read was expanded");
    }
    let _ = expander.expand("page", text, &Data::None);
});
