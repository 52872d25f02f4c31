//! Templates beside what Go made of them (`testdata/template`).

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::model::{FloatHistogram, Labels, Span};

/// Answers as the program did that recorded the cases.
struct Recorded;

fn histogram() -> Arc<FloatHistogram> {
    Arc::new(FloatHistogram {
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 7.0,
        sum: 12.5,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![2.0, 3.0],
        ..FloatHistogram::default()
    })
}

impl Queries for Recorded {
    fn query(&self, expr: &str, t_ms: i64) -> Result<Vec<Sample>, String> {
        assert_eq!(t_ms, 1_435_065_584_128);
        let sample = |labels: &[(&str, &str)], value| Sample {
            labels: Labels::from_pairs(labels.iter().copied()),
            value,
        };
        let float = SampleValue::Float;
        match expr {
            "none" => Ok(Vec::new()),
            "fail" => Err("query failed".to_owned()),
            "hist" => Ok(vec![sample(&[("__name__", "h")], SampleValue::Histogram(histogram()))]),
            _ => Ok(vec![
                sample(&[("__name__", "up"), ("instance", "c:9090"), ("job", "x")], float(3.5)),
                sample(
                    &[("__name__", "up"), ("__value__", "v"), ("instance", "a:9090"), ("job", "y")],
                    float(1.0),
                ),
                sample(
                    &[("__name__", "up"), ("instance", "b.example.org:80"), ("job", "<z>")],
                    float(-2e10),
                ),
            ]),
        }
    }
}

fn data(value: SampleValue) -> AlertData {
    AlertData {
        labels: Labels::from_pairs([
            ("instance", "web1.example.org:9100"),
            ("job", "<node> & 'co'"),
            ("uni", "héllo wörld"),
        ]),
        external_labels: Labels::from_pairs([("region", "eu"), ("replica", "a\"b")]),
        external_url: "http://prom.example.org:9090/pre%20fix/x".to_owned(),
        value,
    }
}

/// What we make of a recorded case.
fn expand(case: &serde_json::Value) -> Result<String, String> {
    let text = case["text"].as_str().unwrap();
    let value = if case["hist"] == true {
        SampleValue::Histogram(histogram())
    } else {
        SampleValue::Float(case["value"].as_f64().unwrap_or(42.25))
    };
    let data = data(value);
    let url = data.external_url.clone();
    let expander = Expander::new(1_435_065_584_128, &url, &Recorded);
    if case["html"] == true {
        let text = format!(
            "{{{{$labels := .Labels}}}}{{{{$externalLabels := .ExternalLabels}}}}\
             {{{{$externalURL := .ExternalURL}}}}{{{{$value := .Value}}}}{text}"
        );
        let data = Data::Alert(data);
        expander.expand_html("__alert_X", &text, &[], &data).map_err(|e| e.to_string())
    } else if case["bare"] == true {
        expander.expand("__alert_X", text, &Data::Alert(data)).map_err(|e| e.to_string())
    } else {
        expander.expand_alert("X", text, &data).map_err(|e| e.to_string())
    }
}

fn check_recorded(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/template").join(file);
    let recorded = std::fs::read_to_string(&path).unwrap();
    let mut differences = Vec::new();
    let mut count = 0;
    for line in recorded.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        count += 1;
        let ours = expand(&case);
        let theirs = match case["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(case["want"].as_str().unwrap_or_default().to_owned()),
        };
        if ours != theirs {
            differences.push(format!("{}\n  Go:   {theirs:?}\n  ours: {ours:?}", case["text"]));
        }
    }
    assert!(count > 50, "{count} cases in {file}");
    assert!(
        differences.is_empty(),
        "{} of {count}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn texts_are_expanded_as_go_does() {
    check_recorded("text.jsonl");
}

#[test]
fn pages_are_escaped_as_go_does() {
    check_recorded("html.jsonl");
}

fn expand_text(text: &str) -> Result<String, String> {
    let limits = Limits { output_bytes_max: 10_000, steps_max: 20_000, ..Limits::default() };
    let expander = Expander::new(1_435_065_584_128, "http://h/", &Recorded).limited(limits);
    expander.expand("t", text, &Data::None).map_err(|error| error.to_string())
}

#[test]
fn limits_end_an_expansion_and_name_themselves() {
    let deep_parens = format!("{{{{{}1{}}}}}", "(".repeat(200), ")".repeat(200));
    let deep_blocks = format!("{}x{}", "{{if 1}}".repeat(200), "{{end}}".repeat(200));
    let table = [
        ("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}", "maximum template depth"),
        ("{{range 1000000000}}{{end}}", "more than 20000 steps"),
        ("{{range 9999}}abcdefghijkl{{end}}", "output is longer than 10000 bytes"),
        ("{{$x := \"ab\"}}{{range 30}}{{$x = print $x $x}}{{end}}", "longer than 10000 bytes"),
        ("{{printf \"%9999999d%9999999d\" 1 1}}", "longer than 10000 bytes"),
        ("{{$a := args 1}}{{range 99}}{{$a = args $a}}{{end}}", "more than 50 args within"),
        ("{{$a := args 1}}{{range 40}}{{$a = args $a $a}}{{end}}{{$a}}", "longer than 10000 bytes"),
        ("{{reReplaceAll \"\" (printf \"%900d\" 1) (printf \"%900d\" 1)}}", "longer than 10000"),
        (deep_parens.as_str(), "max expression depth exceeded"),
        (deep_blocks.as_str(), "blocks within each other"),
    ];
    for (text, message) in table {
        let error = expand_text(text).expect_err(text);
        assert!(error.contains(message), "{error}");
    }
}

/// Says to whoever asks that the end has come.
struct Cancelled;

impl Queries for Cancelled {
    fn query(&self, _: &str, _: i64) -> Result<Vec<Sample>, String> {
        Ok(Vec::new())
    }

    fn is_cancelled(&self) -> bool {
        true
    }
}

#[test]
fn an_expansion_is_cancelled_at_a_query_and_in_a_loop() {
    for text in ["{{query \"up\"}}", "{{range 100000}}{{end}}"] {
        let expander = Expander::new(0, "", &Cancelled);
        let error = expander.expand("t", text, &Data::None).unwrap_err().to_string();
        assert!(error.contains("the expansion was cancelled"), "{error}");
    }
    let limits = Limits { timeout: std::time::Duration::ZERO, ..Limits::default() };
    let expander = Expander::new(1_435_065_584_128, "", &Recorded).limited(limits);
    let error = expander.expand("t", "{{query \"none\"}}", &Data::None).unwrap_err().to_string();
    assert!(error.contains("took longer than 0 s"), "{error}");
}

#[test]
fn texts_are_checked_as_rules_are_loaded() {
    assert_eq!(check_alert_text("X", "{{ $labels.a }} {{ query \"up\" | first | value }}"), Ok(()));
    let error = check_alert_text("X", "{{ $nope }}").unwrap_err().to_string();
    assert_eq!(error, "template: __alert_X:1: undefined variable \"$nope\"");
    let error = check_alert_text("X", "{{ nope }}").unwrap_err().to_string();
    assert_eq!(error, "template: __alert_X:1: function \"nope\" not defined");
}

#[test]
fn expansions_and_failures_are_counted() {
    let registry = crate::telemetry::Registry::new();
    let metrics = Metrics::new(&registry);
    let expander = Expander::new(0, "", &NoQueries).counted(&metrics);
    let _ = expander.expand("t", "x", &Data::None);
    let _ = expander.expand("t", "{{", &Data::None);
    let _ = expander.expand("t", "{{query \"up\"}}", &Data::None);
    assert_eq!((metrics.expansions(), metrics.failures()), (3, 2));
}

proptest::proptest! {
    /// Whatever the text, it is expanded or refused.
    #[test]
    fn no_text_does_harm(
        text in "(\\{\\{|\\}\\}|[.$|()\"`'=:, a-e0-9-]|if |end|range |else|with |define |template \
                 |print |printf |index |slice |%[a-z0-9.*\\[\\]+-]{0,4}|args |query |toTime ){0,40}"
    ) {
        let _ = expand_text(&text);
        let _ = expand_text(&format!("{{{{{text}}}}}"));
    }
}
