//! Whole files: what is refused and with which words, what is printed, what jobs come to hold.

use super::*;

fn ok(text: &str) -> Config {
    match parse(text, "test.yml") {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}

fn refusal(text: &str) -> String {
    parse(text, "test.yml").expect_err("the configuration is refused").to_string()
}

#[test]
fn the_printed_form_is_the_one_of_prometheus() {
    let config = ok(include_str!("../../testdata/config/full.yml"));
    let expected = include_str!("../../testdata/config/full.printed.yml");
    for (i, (ours, theirs)) in config.to_yaml().lines().zip(expected.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}", i + 1);
    }
    assert_eq!(config.to_yaml().lines().count(), expected.lines().count());
}

/// Text of a file, and what is said of it.
const REFUSED: [(&str, &str); 36] = [
    ("globl: {}", "1:1: field globl not found in config"),
    ("scrape_configs:\n- job_name: a\n  foo: 1", "3:3: field foo not found in scrape_config"),
    (
        "global:\n  scrape_interval: 1m\n  scrape_interval: 2m",
        "3:3: key \"scrape_interval\" already set in line 2",
    ),
    ("global: [", "1:9: yaml: "),
    ("global: {scrape_interval: 5}", "1:27: not a valid duration string: \"5\""),
    (
        "global: {scrape_interval: 1s, scrape_timeout: 2s}",
        "1:9: global scrape timeout greater than scrape interval",
    ),
    ("global: {sample_limit: -1}", "1:24: cannot unmarshal !!int `-1` into uint"),
    ("global: {external_labels: {\"\": x}}", "1:9: \"\" is not a valid label name"),
    ("global: {metric_name_validation_scheme: x}", "1:41: unrecognized ValidationScheme: \"x\""),
    ("global: {scrape_protocols: []}", "1:9: scrape_protocols cannot be empty for global config"),
    (
        "global: {scrape_protocols: [prometheusproto, PrometheusProto]}",
        "1:9: scrape_protocols: unknown scrape protocol prometheusproto, supported: \
         [OpenMetricsText0.0.1 OpenMetricsText1.0.0 PrometheusProto PrometheusText0.0.4 \
         PrometheusText1.0.0] for global config",
    ),
    ("scrape_configs: [{}]", "1:18: job_name is empty"),
    ("scrape_configs: [null]", "1:18: empty or null scrape config section"),
    (
        "scrape_configs:\n- job_name: a\n- job_name: a",
        "3:3: found multiple scrape configs with job name \"a\"",
    ),
    (
        "scrape_configs: [{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}]",
        "1:18: scrape timeout greater than scrape interval for scrape config with job name \"a\"",
    ),
    (
        "scrape_configs: [{job_name: a, honor_labels: maybe}]",
        "1:46: cannot unmarshal !!str `maybe` into bool",
    ),
    (
        "scrape_configs: [{job_name: a, static_configs: [{targets: [\"http://x/y\"]}]}]",
        "1:18: \"http://x/y\" is not a valid hostname",
    ),
    (
        "scrape_configs: [{job_name: a, relabel_configs: [{action: hashmod, target_label: b}]}]",
        "1:18: relabel_configs[0]: relabel configuration for hashmod requires non-zero modulus",
    ),
    (
        "scrape_configs: [{job_name: a, relabel_configs: [{action: x}]}]",
        "1:59: unknown relabel action \"x\"",
    ),
    (
        "scrape_configs: [{job_name: a, relabel_configs: [{regex: \"(\"}]}]",
        "1:58: error parsing regexp: ",
    ),
    (
        "scrape_configs: [{job_name: a, relabel_configs: [null]}]",
        "1:50: empty or null target relabeling rule in scrape config",
    ),
    (
        "scrape_configs: [{job_name: a, bearer_token: x, bearer_token_file: y}]",
        "1:18: at most one of bearer_token & bearer_token_file must be configured",
    ),
    (
        "scrape_configs: [{job_name: a, tls_config: {cert_file: x}}]",
        "1:44: exactly one of key or key_file must be configured when a client certificate is \
         configured",
    ),
    (
        "scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: vacation}]}]",
        "1:56: unknown Kubernetes SD role \"vacation\"",
    ),
    (
        "scrape_configs: [{job_name: a, file_sd_configs: [{files: [\"*/x.yml\"]}]}]",
        "1:50: path name \"*/x.yml\" is not valid for file discovery",
    ),
    (
        "scrape_configs: [{job_name: a, static_configs: [null]}]",
        "1:49: empty or null section in static_configs",
    ),
    (
        "scrape_configs: [{job_name: a, metric_name_validation_scheme: legacy, \
         metric_name_escaping_scheme: allow-utf-8}]",
        "1:18: utf8 metric names requested but validation scheme is not set to UTF8",
    ),
    (
        "scrape_configs: [{job_name: a, http_headers: {Host: {values: [x]}}}]",
        "1:18: setting header \"Host\" is not allowed",
    ),
    ("rule_files: [\"a/*/b\"]", "1:1: invalid rule file path \"a/*/b\""),
    ("remote_write: [{}]", "1:16: url for remote_write is empty"),
    (
        "remote_write: [{url: \"http://a\", headers: {host: x}}]",
        "1:16: host is a reserved header. It must not be changed",
    ),
    (
        "remote_write: [{url: \"http://a\", queue_config: {max_shards: 0}}]",
        "1:16: remote write queue max_shards must be positive",
    ),
    (
        "remote_write: [{url: \"http://a\", name: x}, {url: \"http://b\", name: x}]",
        "1:44: found multiple remote write configs with job name \"x\"",
    ),
    ("tracing: {}", "1:10: tracing endpoint must be set"),
    (
        "storage: {tsdb: {retention: {percentage: 101}}}",
        "1:29: 'storage.tsdb.retention.percentage' must be in the range [0, 100], got 101",
    ),
    ("otlp: {translation_strategy: X}", "1:7: unsupported OTLP translation strategy \"X\""),
];

#[test]
fn mistakes_are_named_with_their_place() {
    let mut wrong: Vec<String> = Vec::new();
    for (text, message) in REFUSED {
        let error = refusal(text);
        let expected = format!("test.yml:{message}");
        if !error.starts_with(&expected) {
            wrong.push(format!("{text}\n  said:     {error}\n  expected: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_at_all_is_a_configuration() {
    for text in ["", "---\n", "# nothing\n", "global:\n", "scrape_configs:\n"] {
        let config = ok(text);
        assert_eq!(config.global.scrape_interval_ms, 60_000);
        assert_eq!(config.global.scrape_timeout_ms, 10_000);
        assert!(config.scrape_configs.is_empty());
    }
    assert_eq!(ok("global: {scrape_interval: 5s}").global.scrape_timeout_ms, 5_000);
}

#[test]
fn go_yaml_is_followed_where_yaml_1_2_differs() {
    let text = "scrape_configs:\n- &base\n  job_name: a\n  honor_labels: on\n  sample_limit: 0x10\n\
                - <<: *base\n  job_name: b\n  label_limit: 1_0\n  metrics_path:\n---\nbroken: 1\n";
    let config = ok(text);
    let [a, b] = &config.scrape_configs[..] else { panic!("two jobs") };
    assert!(a.honor_labels && b.honor_labels);
    assert_eq!((b.job_name.as_str(), b.sample_limit, b.label_limit), ("b", 16, 10));
    assert_eq!((a.metrics_path.as_str(), b.metrics_path.as_str()), ("/metrics", ""));
}

#[test]
fn aliases_and_nesting_are_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..10 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb = format!("{bomb}a{i}: &a{i} [{list}]\n");
    }
    assert!(refusal(&bomb).contains("more than 1000000 values"));
    assert!(refusal(&"[".repeat(5000)).contains("yaml: "));
    assert!(refusal("a: &a [*a]").contains("yaml: "));
}

#[test]
fn jobs_take_from_global_what_they_leave_open() {
    let config = ok("global: {scrape_interval: 15s, sample_limit: 7, body_size_limit: 1KB}\n\
                     scrape_configs:\n- job_name: a\n\
                     - {job_name: b, sample_limit: 9, scrape_interval: 5s}");
    let [a, b] = &config.scrape_configs[..] else { panic!("two jobs") };
    assert_eq!((a.scrape_interval_ms, a.scrape_timeout_ms, a.sample_limit), (15_000, 10_000, 7));
    assert_eq!((b.scrape_interval_ms, b.scrape_timeout_ms, b.sample_limit), (5_000, 5_000, 9));
    assert_eq!(a.body_size_limit, 1024);
    assert_eq!(a.scrape_protocols.len(), 4);
    assert!(a.honor_timestamps && a.enable_compression && a.http_client.follow_redirects);
}

#[test]
fn what_is_not_built_in_is_named_and_the_rest_runs() {
    let config = ok("scrape_configs: [{job_name: a, gce_sd_configs: [{project: p, zone: z}]}, \
                     {job_name: b, static_configs: [{targets: [t]}]}]");
    let why: Vec<Option<&str>> =
        config.scrape_configs.iter().map(|job| job.unsupported.as_deref()).collect();
    assert_eq!(why, [Some("gce_sd_configs: this discovery mechanism is not built in"), None]);
    let config = ok(include_str!("../../testdata/config/full.yml"));
    let inactive = config.inactive();
    assert!(matches!(&inactive[..], [runtime] if runtime.starts_with("runtime: ")), "{inactive:?}");
    assert_eq!(config.tracing.unwrap().endpoint, "localhost:4317");
    assert!(ok("").inactive().is_empty());
}

#[test]
fn secrets_stay_inside() {
    let config = ok(include_str!("../../testdata/config/full.yml"));
    let shown = format!("{config:?} {}", config.to_yaml());
    for secret in ["mysecret", "multiline", "456"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert!(!shown.contains("user:pass") && shown.contains("user:xxxxx"));
}

#[test]
fn further_files_add_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let main = "scrape_config_files: [\"jobs/*.yml\"]\nscrape_configs: [{job_name: main}]\n";
    std::fs::write(path("prometheus.yml"), main).unwrap();
    std::fs::create_dir(path("jobs")).unwrap();
    let job = "scrape_configs:\n- job_name: extra\n  file_sd_configs: [{files: [t.json]}]\n";
    std::fs::write(path("jobs/a.yml"), job).unwrap();
    let config = load(&path("prometheus.yml")).unwrap();
    let extra = &config.scrape_configs[1];
    assert_eq!(extra.job_name, "extra");
    let files = vec![path("jobs/t.json").display().to_string()];
    let expected = FileDiscovery { files, refresh_interval_ms: 300_000 };
    assert_eq!(extra.discovery_configs, [DiscoveryConfig::File(expected)]);
    std::fs::write(path("jobs/b.yml"), "scrape_configs: [{job_name: main}]").unwrap();
    let error = load(&path("prometheus.yml")).unwrap_err().to_string();
    assert!(error.contains("b.yml:1:18: found multiple scrape configs with job name \"main\""));
    let missing = load(&path("none.yml")).unwrap_err();
    assert!(missing.to_string().contains("none.yml: open: "), "{missing}");
}

#[test]
fn target_files_are_read() {
    let json = r#"[{"targets": ["a:1", "b:2"], "labels": {"x": "y"}}, {"targets": []}]"#;
    let groups = parse_targets(json, "t.json").unwrap();
    assert_eq!(groups[0].targets, ["a:1", "b:2"]);
    assert_eq!(groups[0].labels.get("x"), Some("y"));
    let error = parse_targets("- targets: a", "t.yml").unwrap_err();
    assert_eq!(error.to_string(), "t.yml:1:12: cannot unmarshal !!str `a` into list");
    assert!(parse_targets("- nope: 1", "t.yml").is_err());
    assert!(parse_targets("- null", "t.yml").is_err());
}

#[test]
fn the_embedded_configuration_scrapes_the_server() {
    let config = embedded_default("localhost:9090", Defaults::default());
    assert_eq!(config.scrape_configs[0].static_configs[0].targets, ["localhost:9090"]);
    assert_eq!(config.scrape_configs[0].unsupported, None);
}

#[test]
fn sections_that_are_empty_are_shown_as_they_hold() {
    let shown = |text: &str| parse(text, "t.yml").unwrap().to_yaml().to_owned();
    let kept = "storage:\n  tsdb:\n    outofordertimewindow: 0\n    retention:\n      time: 15d\n";
    for text in ["", "runtime:\nstorage:\n", "runtime: {}\nstorage: {tsdb: null}\n"] {
        let yaml = shown(text);
        assert!(yaml.contains("runtime:\n  gogc: 75\n"), "{text:?}: {yaml}");
        assert!(yaml.contains(kept), "{text:?}: {yaml}");
        assert_eq!(shown(&yaml), yaml);
    }
}
