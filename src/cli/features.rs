//! What of Prometheus is there, and on: the answer of `/api/v1/features`.
//!
//! COMPAT: categories and names are Prometheus's; clients choose by them what they ask. What is not
//! listed is not there.

use super::settings::Settings;
use crate::promql::parse::functions;

/// Operators and aggregations that are always there; the two that are not stand with their feature.
const OPERATORS: [&str; 33] = [
    "</",
    ">/",
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "<=",
    "==",
    "=~",
    ">",
    ">=",
    "@",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
];
const EXPERIMENTAL_OPERATORS: [&str; 2] = ["limit_ratio", "limitk"];
const LANGUAGE: [&str; 13] = [
    "at_modifier",
    "bool",
    "by",
    "duration_expr",
    "group_left",
    "group_right",
    "ignoring",
    "negative_offset",
    "offset",
    "on",
    "per_query_lookback_delta",
    "subqueries",
    "without",
];
const DISCOVERY: [&str; 9] =
    ["consul", "dns", "docker", "ec2", "file", "http", "kubernetes", "nomad", "static"];

/// Functions of templates.
const TEMPLATES: [&str; 29] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

type Category = (&'static str, Vec<(String, bool)>);

fn category(name: &'static str, features: &[(&str, bool)]) -> Category {
    let mut features: Vec<_> = features.iter().map(|(n, on)| ((*n).to_owned(), *on)).collect();
    features.sort();
    (name, features)
}

fn language(settings: &Settings) -> Vec<(&'static str, bool)> {
    let has = |name: &str| settings.has_feature(name);
    let fill = has("promql-binop-fill-modifiers");
    let extended = has("promql-extended-range-selectors");
    let mut language: Vec<(&'static str, bool)> =
        LANGUAGE.iter().map(|name| (*name, true)).collect();
    language.extend([
        ("anchored", extended),
        ("smoothed", extended),
        ("delayed_name_removal", has("promql-delayed-name-removal")),
        ("fill", fill),
        ("fill_left", fill),
        ("fill_right", fill),
        ("per_step_stats", has("promql-per-step-stats")),
        ("type_and_unit_labels", has("type-and-unit-labels")),
    ]);
    language
}

/// What the HTTP API offers.
fn api(settings: &Settings) -> Category {
    let http = settings.http();
    category(
        "api",
        &[
            ("admin", http.admin),
            ("exclude_alerts", true),
            ("label_values_match", true),
            ("lifecycle", http.lifecycle),
            ("openapi_3.1", true),
            ("openapi_3.2", true),
            ("otlp_write_receiver", http.otlp),
            ("query_stats", true),
            ("query_warnings", true),
            ("remote_write_receiver", http.remote_write),
            ("search", settings.has_feature("search-api")),
            ("search_fuzz_alg_jarowinkler", true),
            ("search_fuzz_alg_subsequence", true),
            ("time_range_labels", true),
            ("time_range_series", true),
        ],
    )
}

/// All of them, in order.
pub(super) fn listed(settings: &Settings) -> Vec<Category> {
    let has = |name: &str| settings.has_feature(name);
    let experimental = has("promql-experimental-functions");
    let all: Vec<(&str, bool)> = functions()
        .iter()
        .map(|function| (function.name, experimental || !function.experimental))
        .collect();
    let operators = OPERATORS.iter().map(|name| (*name, true));
    let operators: Vec<_> =
        operators.chain(EXPERIMENTAL_OPERATORS.iter().map(|n| (*n, experimental))).collect();
    let templates: Vec<_> = TEMPLATES.iter().map(|name| (*name, true)).collect();
    let discovery: Vec<_> = DISCOVERY.iter().map(|name| (*name, true)).collect();
    vec![
        api(settings),
        category(
            "otlp_receiver",
            &[
                ("delta_conversion", has("otlp-deltatocumulative")),
                ("native_delta_ingestion", has("otlp-native-delta-ingestion")),
            ],
        ),
        category(
            "prometheus",
            &[
                ("agent_mode", settings.is_agent),
                ("auto_reload_config", settings.reloads_by_itself()),
                ("server_mode", !settings.is_agent),
            ],
        ),
        category("promql", &language(settings)),
        category("promql_functions", &all),
        category("promql_operators", &operators),
        category(
            "rules",
            &[
                ("concurrent_rule_eval", has("concurrent-rule-eval")),
                ("keep_firing_for", true),
                ("query_offset", true),
            ],
        ),
        category(
            "scrape",
            &[
                ("extra_scrape_metrics", true),
                ("start_timestamp_zero_ingestion", has("created-timestamp-zero-ingestion")),
                ("type_and_unit_labels", has("type-and-unit-labels")),
            ],
        ),
        category("service_discovery_providers", &discovery),
        category("templating_functions", &templates),
        category(
            "tsdb",
            &[
                ("exemplar_storage", has("exemplar-storage")),
                ("isolation", true),
                ("native_histograms", true),
                ("st_storage", has("st-storage")),
                ("xor2_encoding", true),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::flags::Flags;

    #[test]
    fn names_stand_in_order_and_follow_the_flags() {
        let listed_under = |line: &[&str]| {
            let line = std::iter::once("narthex").chain(line.iter().copied());
            listed(&Settings::new(Flags::parse(line.map(OsString::from)).unwrap()))
        };
        let is_on = |all: &[Category], category: &str, name: &str| {
            let (_, names) = all.iter().find(|(known, _)| *known == category).unwrap();
            names.iter().find(|(known, _)| known == name).unwrap().1
        };
        let usual = listed_under(&[]);
        assert!(usual.iter().all(|(_, names)| names.windows(2).all(|pair| pair[0].0 < pair[1].0)));
        assert!(is_on(&usual, "promql_functions", "rate"));
        assert!(!is_on(&usual, "promql_functions", "info"));
        assert!(!is_on(&usual, "api", "otlp_write_receiver"));
        let flags =
            ["--web.enable-otlp-receiver", "--enable-feature=promql-experimental-functions"];
        let set = listed_under(&flags);
        assert!(
            is_on(&set, "promql_functions", "info") && is_on(&set, "promql_operators", "limitk")
        );
        assert!(is_on(&set, "api", "otlp_write_receiver"));
    }
}
