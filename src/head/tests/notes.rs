//! Exemplars and metadata over restarts, checkpoints and refused writes.

use super::*;
use crate::disk::{Crash, Fault};
use crate::model::{Exemplar, ExemplarError, MatchOp, Matcher, Metadata, MetricType};

fn exemplar(t_ms: i64, trace: &str) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", trace)]);
    Exemplar { labels, value: 0.5, t_ms: T0 + t_ms, is_timed: true }
}

/// Commits a sample and an exemplar of series `name`.
fn note(head: &Arc<Head>, name: &str, exemplar: Exemplar) -> super::super::ExemplarOutcome {
    let mut appender = head.appender(&target("a"));
    let series = appender.series(&labels(name));
    appender.append(series, exemplar.t_ms, 1.0);
    appender.append_exemplar(series, exemplar);
    appender.commit().unwrap().exemplars
}

fn found(head: &Head) -> Vec<(String, i64)> {
    let all = Matcher::new("i", MatchOp::NotEqual, "").unwrap();
    let series = head.exemplars(&[vec![all]], TimeRange::ALL);
    let times = series.iter().flat_map(|series| {
        let name = series.series.get("i").unwrap_or_default();
        series.exemplars.iter().map(move |e| (name.to_owned(), e.t_ms - T0))
    });
    times.collect()
}

fn described(metric_type: MetricType, help: &str) -> Metadata {
    Metadata { metric_type, unit: "seconds".to_owned(), help: help.to_owned() }
}

fn describe(head: &Arc<Head>, metric: &str, metadata: Metadata) {
    let mut appender = head.appender(&target("a"));
    appender.set_metadata(metric, metadata);
    appender.commit().unwrap();
}

#[test]
fn notes_are_there_after_kills_and_checkpoints() {
    let mut bench = Bench::new(3);
    bench.exemplars_max = 3;
    let mut head = bench.open();
    assert_eq!(note(&head, "0", exemplar(0, "x")).accepted, 1);
    assert_eq!(note(&head, "1", exemplar(1, "x")).accepted, 1);
    describe(&head, "m", described(MetricType::Counter, "Old."));
    bench.disk = bench.disk.kill();
    head = bench.open();
    assert_eq!(found(&head), [("0".to_owned(), 0), ("1".to_owned(), 1)]);
    describe(&head, "m", described(MetricType::Gauge, "New."));
    describe(&head, "n", described(MetricType::Info, ""));
    seal_everything(&head);
    checkpoint(&head);
    assert_eq!(note(&head, "0", exemplar(2, "y")).accepted, 1);
    assert_eq!(note(&head, "0", exemplar(3, "y")).accepted, 1);
    head.sync().unwrap();
    for way in 0..2 {
        bench.disk = if way == 0 { bench.disk.kill() } else { bench.disk.crash(Crash::ALL[0]) };
        head = bench.open();
        let wanted = [("0", 2), ("0", 3), ("1", 1)].map(|(name, t)| (name.to_owned(), t));
        assert_eq!(found(&head), wanted, "the first one made room");
        let metadata = [
            ("m".to_owned(), described(MetricType::Gauge, "New.")),
            ("n".to_owned(), described(MetricType::Info, "")),
        ];
        assert_eq!(head.metadata(), metadata);
    }
    bench.exemplars_max = 0;
    bench.disk = bench.disk.kill();
    assert_eq!(found(&bench.open()), []);
}

#[test]
fn verdicts_on_exemplars() {
    let mut bench = Bench::new(4);
    bench.exemplars_max = 10;
    let head = bench.open();
    assert_eq!(note(&head, "0", exemplar(5, "x")).accepted, 1);
    assert_eq!(note(&head, "0", exemplar(5, "x")).accepted, 1, "there already");
    let late = note(&head, "0", exemplar(4, "x")).rejected;
    assert_eq!(late, [(0, ExemplarError::OutOfOrder)]);
    let future = note(&head, "0", exemplar(30 * 3_600_000, "x")).rejected;
    assert_eq!(future, [(0, ExemplarError::TooFarInFuture)]);
    assert_eq!(head.exemplar_stats().kept, 1);
}

#[test]
fn what_the_log_refuses_is_not_kept() {
    let mut bench = Bench::new(5);
    bench.exemplars_max = 10;
    let head = bench.open();
    assert_eq!(note(&head, "0", exemplar(0, "x")).accepted, 1);
    let mut appender = head.appender(&target("a"));
    let series = appender.series(&labels("0"));
    appender.append_exemplar(series, exemplar(1, "y"));
    bench.disk.fail_nth(1, Fault::Once);
    assert!(appender.commit().is_err());
    bench.disk.heal();
    assert_eq!(found(&head), [("0".to_owned(), 0)]);
}
