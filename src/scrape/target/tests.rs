//! Facts about Prometheus's population of target labels.

use super::*;
use crate::regex::Regex;
use crate::relabel::{Action, Rule};
use crate::scrape::tests::job;

fn target(
    config: &ScrapeConfig,
    labels: &[(&str, &str)],
    group: &[(&str, &str)],
) -> Result<Option<Target>, String> {
    let labels = Labels::from_pairs(labels.iter().copied());
    let group = Labels::from_pairs(group.iter().copied());
    let discovered = discovered_labels(config, &labels, &group);
    Target::new(config, discovered).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_filled_in_and_reserved_labels_left_out() {
    let mut config = job("j");
    config.params = vec![
        ("module".to_owned(), vec!["http 2xx".to_owned(), "second".to_owned()]),
        ("empty".to_owned(), Vec::new()),
    ];
    let target = target(
        &config,
        &[("__address__", "1.2.3.4:1000"), ("own", "target"), ("__meta_x", "y")],
        &[("own", "group"), ("group", "g")],
    );
    let target = target.unwrap().unwrap();
    assert_eq!(
        target.labels.to_string(),
        r#"{group="g", instance="1.2.3.4:1000", job="j", own="target"}"#
    );
    assert_eq!(&*target.url, "http://1.2.3.4:1000/metrics?module=http+2xx&module=second");
    assert_eq!((target.interval_ms, target.timeout_ms), (60_000, 10_000));
    for (name, value) in [
        ("__scrape_interval__", "1m"),
        ("__scrape_timeout__", "10s"),
        ("__metrics_path__", "/metrics"),
        ("__scheme__", "http"),
        ("__param_module", "http 2xx"),
        ("__meta_x", "y"),
        ("__scrape_native_histograms__", "false"),
        ("job", "j"),
    ] {
        assert_eq!(target.discovered.get(name), Some(value), "{name}");
    }
    assert_eq!(target.discovered.get("instance"), None);
}

#[test]
fn labels_decide_over_the_job() {
    let target = target(
        &job("j"),
        &[
            ("__address__", "a"),
            ("__scheme__", "https"),
            ("__metrics_path__", "probe"),
            ("__param_x", "1"),
            ("__scrape_interval__", "30s"),
            ("__scrape_timeout__", "5s"),
            ("instance", "i"),
            ("job", "other"),
        ],
        &[],
    );
    let target = target.unwrap().unwrap();
    assert_eq!(&*target.url, "https://a/probe?x=1");
    assert_eq!((target.interval_ms, target.timeout_ms), (30_000, 5_000));
    assert_eq!(target.labels.to_string(), r#"{instance="i", job="other"}"#);
}

#[test]
fn bad_labels_make_no_target() {
    for (labels, expected) in [
        (&[("x", "y")][..], "no address"),
        (&[("__address__", "a/b")], "\"a/b\" is not a valid hostname"),
        (&[("__address__", "a"), ("__scrape_interval__", "0s")], "scrape interval cannot be 0"),
        (&[("__address__", "a"), ("__scrape_timeout__", "0s")], "scrape timeout cannot be 0"),
        (
            &[("__address__", "a"), ("__scrape_interval__", "nonsense")],
            "error parsing scrape interval: not a valid duration string: \"nonsense\"",
        ),
        (
            &[("__address__", "a"), ("__scrape_timeout__", "nonsense")],
            "error parsing scrape timeout: not a valid duration string: \"nonsense\"",
        ),
        (
            &[("__address__", "a"), ("__scrape_interval__", "1s"), ("__scrape_timeout__", "2s")],
            "scrape timeout cannot be greater than scrape interval (\"2s\" > \"1s\")",
        ),
        (
            &[("__address__", "a"), ("__scrape_native_histograms__", "maybe")],
            "error parsing scrape native histograms: strconv.ParseBool: parsing \"maybe\": \
             invalid syntax",
        ),
    ] {
        assert_eq!(target(&job("j"), labels, &[]).unwrap_err(), expected);
    }
}

#[test]
fn relabelling_drops_and_rewrites() {
    let mut config = job("j");
    config.relabel_configs = vec![
        Rule {
            source_labels: Some(vec!["keep".to_owned()]),
            regex: Regex::new("no").unwrap(),
            action: Action::Drop,
            ..Rule::default()
        },
        Rule {
            source_labels: Some(vec!["__meta_name".to_owned()]),
            target_label: "name".to_owned(),
            ..Rule::default()
        },
    ];
    assert_eq!(target(&config, &[("__address__", "a"), ("keep", "no")], &[]), Ok(None));
    let kept = target(&config, &[("__address__", "a"), ("__meta_name", "n")], &[]);
    assert_eq!(kept.unwrap().unwrap().labels.get("name"), Some("n"));
}

#[test]
fn identity_is_free_of_the_interval() {
    let mut config = job("j");
    let labels = [("__address__", "a:1")];
    let before = target(&config, &labels, &[]).unwrap().unwrap();
    config.scrape_interval_ms = 30_000;
    let after = target(&config, &labels, &[]).unwrap().unwrap();
    assert_eq!(before.id(), after.id());
    assert_eq!(before.group("j"), after.group("j"));
    assert_eq!(before.hash(), after.hash());
    let other = target(&config, &[("__address__", "a:2")], &[]).unwrap().unwrap();
    assert_ne!(before.id(), other.id());
    assert_ne!(before.hash(), other.hash());
}

#[test]
fn a_socket_may_lead_to_a_target() {
    let labels = [("__address__", "a"), ("__unix_socket__", "/run/x")];
    let target = target(&job("j"), &labels, &[]).unwrap().unwrap();
    assert_eq!(target.unix_socket.as_deref(), Some("/run/x"));
}
