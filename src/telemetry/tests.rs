//! Pages of own metrics, read back by the parser that reads everyone else's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::registry::Registry;
use super::*;
use crate::db::{BlockStats, Event, Observer, Stats};
use crate::disk::StorageError;
use crate::exposition::{Entry, Family, MetricType, SampleLine, TextParser};
use crate::head::{ExemplarStats, HeadStats};
use crate::model::{Labels, TimeRange};
use crate::wal::LogStats;

/// Types by family, values by series.
#[derive(Debug, Default)]
struct Page {
    types: BTreeMap<String, MetricType>,
    helps: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
    order: Vec<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut parser = TextParser::new(text.as_bytes());
        while let Some(entry) = parser.next_entry().unwrap() {
            match entry {
                Entry::Help { name, text } => {
                    assert!(page.helps.insert(name.to_string(), text.to_string()).is_none());
                }
                Entry::Type { name, metric_type } => {
                    page.order.push(name.to_string());
                    let name = name.to_string();
                    assert!(page.types.insert(name.clone(), metric_type).is_none(), "{name} twice");
                }
                Entry::Series { value, .. } => {
                    let labels: Labels = parser.labels_builder().unwrap().build();
                    let key = labels.to_string();
                    assert!(page.values.insert(key.clone(), value).is_none(), "{key} twice");
                }
                Entry::Comment(_) => {}
                other => panic!("the format has no {other:?}"),
            }
        }
        page
    }

    /// The value of a series, written as the label set prints.
    fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("{series} is not there: {self:#?}"))
    }
}

#[test]
fn each_kind_of_metric_reads_back() {
    let registry = Registry::new();
    registry.counter("b_total", "A counter.").add(3);
    let gauge = registry.gauge("a", "A gauge\nof \\ two lines.");
    gauge.set(2.5);
    gauge.dec();
    let histogram = registry.histogram("h_seconds", "A histogram.", &[0.1, 1.0]);
    for value in [0.1, 0.5, 7.0, f64::NAN] {
        histogram.observe(value);
    }
    let summary = registry.summary("s_seconds", "A summary.", &[0.5, 0.9]);
    summary.observe(1.0);
    summary.observe(3.0);
    let empty = registry.counter_vec("none_total", "Without a child.", &["x"]);
    let page = Page::read(&registry.render());
    assert_eq!(page.order, ["a", "b_total", "h_seconds", "s_seconds"]);
    assert_eq!(page.types["b_total"], MetricType::Counter);
    assert_eq!(page.types["h_seconds"], MetricType::Histogram);
    assert_eq!(page.types["s_seconds"], MetricType::Summary);
    assert_eq!(page.helps["a"], "A gauge\nof \\ two lines.");
    for (series, value) in [
        (r#"{__name__="a"}"#, 1.5),
        (r#"{__name__="b_total"}"#, 3.0),
        (r#"{__name__="h_seconds_bucket", le="0.1"}"#, 1.0),
        (r#"{__name__="h_seconds_bucket", le="1.0"}"#, 2.0),
        (r#"{__name__="h_seconds_bucket", le="+Inf"}"#, 4.0),
        (r#"{__name__="h_seconds_count"}"#, 4.0),
        (r#"{__name__="s_seconds", quantile="0.5"}"#, 1.0),
        (r#"{__name__="s_seconds", quantile="0.9"}"#, 3.0),
        (r#"{__name__="s_seconds_sum"}"#, 4.0),
        (r#"{__name__="s_seconds_count"}"#, 2.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    assert!(page.value(r#"{__name__="h_seconds_sum"}"#).is_nan());
    empty.with(&["1"]);
    assert!(Page::read(&registry.render()).types.contains_key("none_total"));
}

#[test]
fn label_values_of_any_text_read_back_in_order() {
    let registry = Registry::new();
    let vec = registry.counter_vec("x_total", "By code and path.", &["code", "path"]);
    let odd = "a\"b\\c\nd,}é";
    vec.with(&["500", "/"]).inc();
    vec.with(&["200", odd]).add(2);
    vec.with(&["200", odd]).add(3);
    let text = registry.render();
    let series = |value: &str| {
        let pairs = [("__name__", "x_total"), ("code", "200"), ("path", value)];
        Labels::from_pairs(pairs).to_string()
    };
    assert_eq!(Page::read(&text).value(&series(odd)), 5.0);
    assert!(text.find("code=\"200\"").unwrap() < text.find("code=\"500\"").unwrap());
    vec.remove(&["200", odd]);
    assert!(!registry.render().contains("200"));
}

#[test]
fn counts_from_many_threads_add_up() {
    let registry = Registry::new();
    let counters = registry.counter_vec("c_total", "Counted.", &["x"]);
    let gauge = registry.gauge("g", "Added.");
    let histogram = registry.histogram("h", "Observed.", &[1.0]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    counters.with(&["y"]).inc();
                    gauge.add(0.5);
                    histogram.observe(2.0);
                }
            });
        }
    });
    let page = Page::read(&registry.render());
    assert_eq!(page.value(r#"{__name__="c_total", x="y"}"#), 4000.0);
    assert_eq!(page.value(r#"{__name__="g"}"#), 2000.0);
    assert_eq!(page.value(r#"{__name__="h_sum"}"#), 8000.0);
    assert_eq!(page.value(r#"{__name__="h_count"}"#), 4000.0);
}

#[test]
fn quantiles_forget_what_is_older_than_ten_minutes_and_sums_do_not() {
    let summary = Registry::new().summary("s", "Observed.", &[0.5, 0.99]);
    let began = Instant::now();
    let values = |now| {
        let mut samples = Vec::new();
        summary.samples_at(now, &[], &mut samples);
        samples.iter().map(|sample| sample.value).collect::<Vec<_>>()
    };
    assert!(values(began)[0].is_nan());
    for i in 0..5000 {
        summary.observe_at(began, f64::from(i));
    }
    // The latest 1,024: 3976..=4999.
    assert_eq!(values(began)[..2], [4487.0, 4989.0]);
    let later = began + Duration::from_secs(601);
    summary.observe_at(later, 7.0);
    assert_eq!(values(later), [7.0, 7.0, 12_497_507.0, 5001.0]);
    assert!(values(later + Duration::from_secs(601))[1].is_nan());
}

#[test]
#[should_panic(expected = "metric a_total is registered twice")]
fn a_name_is_registered_once() {
    let registry = Registry::new();
    let _first = registry.counter("a_total", "One.");
    let _second = registry.counter("a_total", "Two.");
}

fn gauge_family(name: &str, job: &str, value: f64) -> Family {
    let labels = vec![("scrape_job".to_owned(), job.to_owned())];
    Family {
        name: name.to_owned(),
        help: "Read when asked for.".to_owned(),
        metric_type: MetricType::Gauge,
        samples: vec![SampleLine { suffix: "", labels, value }],
    }
}

#[test]
fn collectors_are_read_for_each_page_and_the_first_source_of_a_series_stands() {
    let registry = Registry::new();
    let vec = registry.gauge_vec("m", "Held.", &["scrape_job"]);
    vec.with(&["a"]).set(1.0);
    let calls = registry.counter("calls_total", "Pages.");
    registry.collect({
        let calls = calls.clone();
        move |out| {
            calls.inc();
            out.push(gauge_family("m", "a", 7.0));
            out.push(gauge_family("m", "b", 8.0));
            let wrong = MetricType::Counter;
            out.push(Family { metric_type: wrong, ..gauge_family("m", "c", 9.0) });
        }
    });
    registry.render();
    let page = Page::read(&registry.render());
    assert_eq!(calls.value(), 2);
    assert_eq!(page.value(r#"{__name__="m", scrape_job="a"}"#), 1.0);
    assert_eq!(page.value(r#"{__name__="m", scrape_job="b"}"#), 8.0);
    assert!(!page.values.contains_key(r#"{__name__="m", scrape_job="c"}"#));
}

fn stats() -> Stats {
    let block = BlockStats {
        name: "01J".to_owned(),
        range: TimeRange { min_ms: 1_500, max_ms: 9_000 },
        level: 1,
        series: 2,
        samples: 20,
        chunks: 2,
        index_bytes: 100,
        chunk_bytes: 50,
    };
    let log = LogStats {
        segment: 17,
        syncs: 3,
        sync_time: Duration::from_millis(1500),
        ..LogStats::default()
    };
    let exemplars = ExemplarStats { kept: 4, oldest_ms: Some(2500), ..ExemplarStats::default() };
    Stats {
        head: HeadStats { checkpoint_failures: 2, log, ..HeadStats::default() },
        exemplars,
        head_series: 12,
        head_range: Some(TimeRange { min_ms: 10_999, max_ms: 20_000 }),
        samples_appended: 77,
        flushes: 2,
        compactions: 1,
        blocks: vec![block],
        quarantined: vec![(PathBuf::from("x"), "damaged".to_owned())],
        unwritable: Some("the disk is full".to_owned()),
        disk_reserve_bytes: 4096,
        ..Stats::default()
    }
}

/// Lines of the page below; names, labels and bounds as Prometheus prints them.
const SERVER_LINES: &[&str] = &[
    "prometheus_ready 1",
    "prometheus_config_last_reload_successful 1",
    "prometheus_http_requests_total{code=\"200\",handler=\"/metrics\"} 0",
    "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/label/:name/values\"} 0",
    "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/*path\"} 0",
    "prometheus_http_requests_total{code=\"200\",handler=\"/api/v1/query\"} 1",
    "prometheus_http_request_duration_seconds_bucket{handler=\"/api/v1/query\",le=\"0.1\"} 0",
    "prometheus_http_request_duration_seconds_bucket{handler=\"/api/v1/query\",le=\"0.2\"} 1",
    "prometheus_http_request_duration_seconds_sum{handler=\"/api/v1/query\"} 0.15",
    "prometheus_http_response_size_bytes_bucket{handler=\"/api/v1/query\",le=\"1000\"} 1",
    "prometheus_http_response_size_bytes_bucket{handler=\"/api/v1/query\",le=\"1e+06\"} 1",
    "prometheus_engine_queries 1",
    "prometheus_engine_queries_concurrent_max 20",
    "prometheus_engine_query_samples_total 9",
    "prometheus_engine_query_duration_seconds{slice=\"inner_eval\",quantile=\"0.9\"} 0.02",
    "prometheus_engine_query_duration_seconds{slice=\"queue_time\",quantile=\"0.99\"} NaN",
    "prometheus_engine_query_duration_seconds_count{slice=\"queue_time\"} 0",
    "prometheus_api_remote_write_invalid_labels_samples_total 2",
    "narthex_remote_write_received_samples_total{outcome=\"stored\"} 5",
    "prometheus_tsdb_head_series 12",
    "prometheus_tsdb_head_samples_appended_total{type=\"float\"} 77",
    "prometheus_tsdb_head_min_time 10999",
    "prometheus_tsdb_head_min_time_seconds 10",
    "prometheus_tsdb_head_max_time_seconds 20",
    "prometheus_tsdb_lowest_timestamp 1500",
    "prometheus_tsdb_blocks_loaded 1",
    "prometheus_tsdb_storage_blocks_bytes 150",
    "prometheus_tsdb_compactions_total 3",
    "prometheus_tsdb_compactions_failed_total 0",
    "prometheus_tsdb_retention_limit_seconds 1.296e+06",
    "prometheus_tsdb_clean_start 1",
    "prometheus_tsdb_wal_fsync_duration_seconds_sum 1.5",
    "prometheus_tsdb_wal_fsync_duration_seconds_count 3",
    "prometheus_tsdb_wal_segment_current 17",
    "prometheus_tsdb_checkpoint_creations_failed_total 2",
    "prometheus_tsdb_exemplar_exemplars_in_storage 4",
    "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds 2.5",
    "prometheus_tsdb_head_truncations_failed_total 0",
    "narthex_quarantined_files 1",
    "narthex_wal_writable 0",
    "narthex_disk_reserve_bytes 4096",
    "prometheus_target_scrape_pool_targets{scrape_job=\"node\"} 40",
    "prometheus_target_scrape_pool_targets{scrape_job=\"other\"} 5",
    "prometheus_target_scrapes_sample_duplicate_timestamp_total 6",
    "prometheus_target_scrape_pools_failed_total 0",
    "prometheus_sd_discovered_targets{config=\"node\",name=\"scrape\"} 4",
];

#[test]
fn the_servers_page_reads_back_sorted_and_whole() {
    let metrics = Metrics::new();
    metrics.set_queries_max(20);
    metrics.reloaded(true);
    metrics.declare_handlers(["/metrics", "/api/v1/label/{name}/values", "/api/v1/{*path}"]);
    metrics.observe_request("/api/v1/query", 200, Duration::from_millis(150));
    metrics.observe_response_bytes("/api/v1/query", 1000);
    let running = metrics.query_begins();
    metrics.observe_query(Duration::from_millis(20));
    metrics.add_query_samples(9);
    let write = ReceivedWrite { samples_written: 5, series_invalid: 2, ..Default::default() };
    metrics.observe_write(write);
    let figures = Figures {
        is_agent: false,
        ready: true,
        tasks: Some(3),
        tsdb: Some(TsdbFigures {
            stats: stats(),
            retention_ms: 1_296_000_000,
            clean_start: Some(true),
            ..TsdbFigures::default()
        }),
        scrape: ScrapeFigures {
            pools: vec![
                PoolFigures { job: "node".to_owned(), targets: 4, ..Default::default() },
                PoolFigures { job: "other".to_owned(), targets: 5, ..Default::default() },
            ],
            totals: Some(ScrapeTotals { duplicates: 6, ..Default::default() }),
        },
        discovered: vec![DiscoveredTargets {
            config: "node".to_owned(),
            name: "scrape",
            targets: 4,
        }],
        families: vec![gauge_family("prometheus_target_scrape_pool_targets", "node", 40.0)],
    };
    let text = metrics.render(&figures);
    let page = Page::read(&text);
    assert!(page.order.is_sorted(), "{:?}", page.order);
    assert_eq!(page.helps.len(), page.types.len());
    assert!(page.helps.values().all(|help| !help.is_empty()));
    for line in SERVER_LINES {
        assert!(text.lines().any(|l| l == *line), "{line} in {text}");
    }
    let build = text.lines().find(|line| line.starts_with("prometheus_build_info{")).unwrap();
    for pair in
        ["branch=", ",goarch=", ",goos=", ",goversion=", ",revision=", ",tags=", ",version=\"3."]
    {
        assert!(build.contains(pair), "{pair} in {build}");
    }
    drop(running);
    let page = Page::read(&metrics.render(&Figures::default()));
    assert_eq!(page.value(r#"{__name__="prometheus_engine_queries"}"#), 0.0);
    assert_eq!(page.value(r#"{__name__="prometheus_ready"}"#), 0.0);
    assert!(!page.types.contains_key("prometheus_tsdb_head_series"), "nobody knows it yet");
}

#[test]
fn an_empty_head_shows_the_ends_of_time() {
    let figures = Figures { tsdb: Some(TsdbFigures::default()), ..Figures::default() };
    let text = Metrics::new().render(&figures);
    for line in [
        "prometheus_tsdb_head_max_time -9.223372036854776e+18",
        "prometheus_tsdb_head_min_time 9.223372036854776e+18",
        "prometheus_tsdb_head_max_time_seconds -9.223372036854776e+15",
        "prometheus_tsdb_lowest_timestamp_seconds 9.223372036854776e+15",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
}

/// What the system says can be checked only for being possible.
#[test]
#[cfg(target_os = "linux")]
fn the_process_shows_itself() {
    let page = Page::read(&Metrics::new().render(&Figures::default()));
    let value = |name: &str| page.value(&format!("{{__name__=\"{name}\"}}"));
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
    assert!(value("go_memstats_alloc_bytes") <= value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") >= 1.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("go_goroutines") >= 1.0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let start = value("process_start_time_seconds");
    assert!(start <= now + 2.0 && start > now - 86_400.0, "{start} at {now}");
}

#[test]
fn the_observer_counts_by_what_happened() {
    let metrics = Metrics::new();
    let observer = metrics.observer();
    let took = Duration::from_secs(3);
    let error = StorageError::Closed;
    observer.event(&Event::Opened { series: 1, blocks: 2, took });
    let range = TimeRange { min_ms: 0, max_ms: 1 };
    observer.event(&Event::Flushed { block: "01J".to_owned(), range, samples: 9, took });
    observer.event(&Event::Compacted { sources: Vec::new(), block: None, took });
    observer.event(&Event::MaintenanceFailed { step: "flush", error: &error });
    observer.event(&Event::MaintenanceFailed { step: "compaction", error: &error });
    observer.event(&Event::MaintenanceFailed { step: "sync and seal", error: &error });
    observer.event(&Event::Warning("/data/narthex/wal/1.wal: damaged".to_owned()));
    observer.event(&Event::Warning("/data/narthex/head/1: damaged".to_owned()));
    let page = Page::read(&metrics.render(&Figures::default()));
    for (name, value) in [
        ("prometheus_tsdb_data_replay_duration_seconds", 3.0),
        ("prometheus_tsdb_compaction_duration_seconds_count", 2.0),
        ("prometheus_tsdb_compactions_failed_total", 2.0),
        ("prometheus_tsdb_reloads_failures_total", 1.0),
        ("prometheus_tsdb_wal_corruptions_total", 1.0),
        ("narthex_storage_warnings_total", 2.0),
        ("narthex_flushed_samples_total", 9.0),
    ] {
        assert_eq!(page.value(&format!("{{__name__=\"{name}\"}}")), value, "{name}");
    }
}
