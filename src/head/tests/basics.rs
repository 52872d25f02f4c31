//! Short scenarios.

use super::*;
use crate::disk::{Call, Clock, Crash, Fault};
use crate::head::AppendError;
use crate::model::stale_nan;

#[test]
fn what_was_committed_is_read_and_survives() {
    let mut bench = Bench::new(1);
    let head = bench.open();
    for i in 0..10 {
        let t = T0 + i * 15_000;
        let outcome = push(&head, "a", &[("1", t, i as f64), ("2", t, 0.5)]).unwrap();
        assert_eq!((outcome.accepted, outcome.rejected.len()), (2, 0));
    }
    let expected: Vec<_> = (0..10).map(|i| (i * 15_000, i as f64)).collect();
    assert_eq!(values(&head, "1"), expected);
    let before = contents(&head);
    drop(head);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(contents(&head), before);
    // The same once more after a seal, and after a checkpoint.
    seal_everything(&head);
    assert_eq!(contents(&head), before);
    push(&head, "a", &[("1", T0 + 200_000, 7.0), ("3", T0 + 200_000, 8.0)]).unwrap();
    let before = contents(&head);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(contents(&head), before);
    checkpoint(&head);
    push(&head, "a", &[("1", T0 + 210_000, 7.5)]).unwrap();
    let before = contents(&head);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(contents(&head), before);
    assert_eq!(bench.heard.count("Damaged"), 0, "{:?}", bench.heard.all());
    assert_eq!(bench.heard.count("RecordsMissing"), 0);
}

#[test]
fn verdicts_are_prometheus_s() {
    let bench = Bench::new(2);
    let head = bench.open();
    let t = T0 + 3_600_000;
    push(&head, "a", &[("1", t, 1.0)]).unwrap();
    let samples = [
        ("1", t, 1.0),
        ("1", t, 2.0),
        ("1", t - 1, 1.0),
        ("2", t - 3_600_000, 1.0),
        ("3", t - 3_600_001, 1.0),
        ("1", t + 600_000, 3.0),
        ("4", t + 600_001, 1.0),
        ("1", t + 600_000, 4.0),
    ];
    let outcome = push(&head, "a", &samples).unwrap();
    let expected = vec![
        (1, AppendError::Duplicate),
        (2, AppendError::OutOfOrder),
        (4, AppendError::OutOfBounds),
        (6, AppendError::TooFarInFuture),
        (7, AppendError::Duplicate),
    ];
    assert_eq!((outcome.accepted, outcome.rejected), (3, expected));
    assert_eq!(values(&head, "1").len(), 2);
    assert_eq!(values(&head, "2").len(), 1);
    let stats = head.stats();
    assert_eq!((stats.duplicates, stats.out_of_order, stats.out_of_bounds), (2, 1, 1));
    assert_eq!(stats.samples_appended, 3);
}

#[test]
fn the_window_for_late_samples_changes_at_once() {
    let bench = Bench::new(1);
    let head = bench.open();
    let t = T0 + 3_000_000;
    let pushed = |times: &[i64]| {
        let samples: Vec<_> = times.iter().map(|&t| ("1", t, t as f64)).collect();
        push(&head, "a", &samples).unwrap().rejected
    };
    assert_eq!(pushed(&[t]), []);
    assert_eq!(pushed(&[t - 1000]), [(0, AppendError::OutOfOrder)]);
    head.set_out_of_order_window_ms(60_000);
    assert_eq!(pushed(&[t - 1000, t - 60_001]), [(1, AppendError::TooOld)]);
    head.set_out_of_order_window_ms(-5);
    assert_eq!(head.out_of_order_window_ms(), 0);
    assert_eq!(pushed(&[t - 2000]), [(0, AppendError::OutOfOrder)]);
    // What was taken meanwhile stays, and a replay asks nobody.
    drop(head);
    let expected = [t - 1000, t].map(|t| (t - T0, t as f64));
    assert_eq!(values(&bench.open(), "1"), expected);
}

#[test]
fn late_samples_are_merged_where_a_window_allows_them() {
    let mut bench = Bench::new(3);
    bench.late_ms = 1_800_000;
    let head = bench.open();
    let t = T0 + 3_600_000;
    push(&head, "a", &[("1", t, 1.0), ("2", t, 1.0)]).unwrap();
    let late = [("1", t - 1000, 2.0), ("1", t - 2000, 3.0), ("1", t - 1_800_001, 3.0)];
    let outcome = push(&head, "a", &late).unwrap();
    assert_eq!(outcome.rejected, [(2, AppendError::TooOld)]);
    let again = push(&head, "a", &[("1", t - 1000, 2.0), ("1", t - 1000, 9.0)]).unwrap();
    assert_eq!(again.rejected, [(1, AppendError::Duplicate)]);
    // A scrape's late staleness marker says nothing.
    assert_eq!(push(&head, "a", &[("1", t - 500, stale_nan())]).unwrap().accepted, 1);
    let expected = [(t - 2000 - T0, 3.0), (t - 1000 - T0, 2.0), (t - T0, 1.0)];
    assert_eq!(values(&head, "1"), expected);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(values(&head, "1"), expected);
    seal_everything(&head);
    assert_eq!(values(&head, "1"), expected);
    bench.disk = bench.disk.kill();
    assert_eq!(values(&bench.open(), "1"), expected);
}

#[test]
fn one_commit_with_several_times_and_two_sources() {
    let mut bench = Bench::new(4);
    let head = bench.open();
    let rows: Vec<_> = (0..20).map(|i| ("1", T0 + i * 1000, i as f64)).collect();
    push(&head, "a", &rows).unwrap();
    // Another shard of the same source is behind.
    push(&head, "a", &[("2", T0, 0.0), ("2", T0 + 3000, 3.0)]).unwrap();
    // A second source feeds the first series.
    let outcome = push(&head, "b", &[("1", T0 + 20_500, 5.0), ("3", T0, 1.0)]).unwrap();
    assert_eq!(outcome.accepted, 2);
    push(&head, "a", &[("1", T0 + 21_000, 6.0)]).unwrap();
    assert_eq!(values(&head, "1").len(), 22);
    assert_eq!(values(&head, "2").len(), 2);
    let before = contents(&head);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(contents(&head), before);
    // From here on only the second source feeds it: its home moves at a seal.
    push(&head, "b", &[("1", T0 + 22_000, 7.0)]).unwrap();
    seal_everything(&head);
    let home = head.register_read().home_of(reference(&head, "1").id.0).unwrap();
    assert_eq!(head.group(home.group).unwrap().key, target("b"));
    push(&head, "b", &[("1", T0 + 23_000, 8.0)]).unwrap();
    assert_eq!(push(&head, "b", &[("1", T0 + 22_000, 8.0)]).unwrap().rejected.len(), 1);
    assert_eq!(values(&head, "1").len(), 24);
    let before = contents(&head);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(contents(&head), before);
    checkpoint(&head);
    bench.disk = bench.disk.kill();
    assert_eq!(contents(&bench.open()), before);
}

#[test]
fn a_source_with_times_of_its_own_gets_a_group_for_each() {
    let bench = Bench::new(5);
    let head = bench.open();
    for scrape in 0..5 {
        let t = T0 + scrape * 15_000;
        let samples: Vec<_> =
            (0..30_i64).map(|i| (format!("{i}"), t + i % 3 * 100, i as f64)).collect();
        let samples: Vec<_> = samples.iter().map(|(n, t, v)| (n.as_str(), *t, *v)).collect();
        push(&head, "cadvisor", &samples).unwrap();
    }
    let groups = head.groups_read().all();
    assert_eq!(groups.len(), 3);
    for group in groups {
        let data = group.data();
        assert_eq!((data.columns.len(), data.times.len(), data.loose_len), (10, 5, 0));
    }
    assert_eq!(contents(&head).len(), 150);
}

#[test]
fn a_damaged_head_file_is_put_aside() {
    let mut bench = Bench::new(6);
    let head = bench.open();
    push(&head, "a", &[("1", T0, 1.0)]).unwrap();
    seal_everything(&head);
    checkpoint(&head);
    push(&head, "a", &[("1", T0 + 1000, 2.0)]).unwrap();
    drop(head);
    bench.disk = bench.disk.kill();
    let path = std::path::Path::new("/data/head/00000001.head");
    let mut bytes = bench.disk.file_bytes(path).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    bench.disk.set_file_bytes(path, bytes).unwrap();
    let head = bench.open();
    assert_eq!(bench.heard.count("Quarantined"), 1, "{:?}", bench.heard.all());
    assert_eq!(values(&head, "1"), [(1000, 2.0)]);
}

#[test]
fn deletions_hide_what_stands_before_them() {
    let mut bench = Bench::new(7);
    let head = bench.open();
    push(&head, "a", &[("1", T0, 1.0), ("1", T0 + 1000, 2.0), ("2", T0, 1.0)]).unwrap();
    let ids = RoaringBitmap::from_iter([reference(&head, "1").id.0]);
    head.delete(&ids, TimeRange { min_ms: T0 + 500, max_ms: i64::MAX }).unwrap();
    push(&head, "a", &[("1", T0 + 2000, 3.0)]).unwrap();
    let expected = [(0, 1.0), (2000, 3.0)];
    assert_eq!(values(&head, "1"), expected);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(values(&head, "1"), expected);
    seal_everything(&head);
    checkpoint(&head);
    bench.disk = bench.disk.kill();
    assert_eq!(values(&bench.open(), "1"), expected);
}

#[test]
fn a_failed_sync_loses_nothing_and_is_told() {
    let mut bench = Bench::new(3);
    let head = bench.open();
    push(&head, "a", &[("1", T0, 1.0)]).unwrap();
    bench.disk.fail_nth_of(Call::Sync, 1, Fault::Once);
    bench.clock.advance(Duration::from_secs(1));
    head.maintain(T0).unwrap();
    head.maintain(T0).unwrap();
    assert_eq!(bench.heard.count("SyncFailed"), 1, "{:?}", bench.heard.all());
    bench.disk = bench.disk.crash(Crash::Strict);
    drop(head);
    assert_eq!(values(&bench.open(), "1"), [(0, 1.0)]);
}

#[test]
fn limits_keep_new_series_out_and_let_others_go_on() {
    use crate::head::{Limit, LimitReached, SeriesLimits};
    let bench = Bench::new(1);
    let mut options = bench.options();
    options.limits = SeriesLimits {
        labels_max: 4,
        label_name_bytes_max: 8,
        label_value_bytes_max: 6,
        series_max: 6,
        series_per_job_max: 3,
        series_per_metric_max: 5,
        memory_bytes_max: 0,
    };
    let head = Head::open(options.clone()).unwrap();
    let make = |metric: &str, job: &str, i: usize| {
        Labels::from_pairs([("__name__", metric), ("job", job), ("i", &i.to_string())])
    };
    let refusal = |labels: &[(&str, &str)]| {
        head.series(&Labels::from_pairs(labels.iter().copied())).refusal()
    };
    let five = [("__name__", "m"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
    assert_eq!((refusal(&five), refusal(&five[1..])), (Some(Limit::Labels), None));
    assert_eq!(refusal(&[("long_name", "1")]), Some(Limit::LabelName));
    assert_eq!(refusal(&[("a", "1234567")]), Some(Limit::LabelValue));
    let per_job: Vec<_> = (0..4).map(|i| head.series(&make("m", "a", i)).refusal()).collect();
    assert_eq!(per_job, [None, None, None, Some(Limit::SeriesPerJob)]);
    let per_metric: Vec<_> = (0..3).map(|i| head.series(&make("m", "b", i)).refusal()).collect();
    assert_eq!(per_metric, [None, None, Some(Limit::Series)], "the series of four labels counts");
    let known = make("m", "a", 1);
    let mut appender = head.appender(&target("a"));
    for labels in [known.clone(), make("n", "c", 1), known] {
        let series = appender.series(&labels);
        appender.append(series, T0 + appender.len() as i64, 1.0);
    }
    let outcome = appender.commit().unwrap();
    assert_eq!(outcome.accepted, 2);
    let reached = AppendError::LimitReached(LimitReached { limit: Limit::Series, max: 6 });
    assert_eq!(outcome.rejected, [(1, reached)]);
    assert_eq!(reached.to_string(), "no room for a new series: limit max-series of 6 reached");
    let stats = head.stats();
    let refused: Vec<u64> = stats.series_refused.iter().map(|refused| refused.1).collect();
    assert_eq!((refused, stats.series), (vec![1, 1, 1, 2, 1, 0, 0], 6));
    // More room: the same series come in, what is there counts.
    head.close().unwrap();
    drop(head);
    options.limits.series_max = 0;
    let head = Head::open(options).unwrap();
    assert_eq!(head.series(&make("m", "a", 3)).refusal(), Some(Limit::SeriesPerJob));
    assert_eq!(head.series(&make("n", "c", 1)).refusal(), None);
}

#[test]
fn the_limit_of_memory_keeps_new_series_out_and_seals_early() {
    use crate::head::{Limit, SeriesLimits};
    let bench = Bench::new(1);
    bench.clock.set_now_ms(T0 + 3_600_000);
    let mut options = bench.options();
    options.limits = SeriesLimits { memory_bytes_max: 400_000, ..SeriesLimits::default() };
    let head = Head::open(options).unwrap();
    for row in 0..30 {
        push(&head, "a", &[("1", T0 + row * 15_000, row as f64)]).unwrap();
    }
    let mut refused = 0;
    for round in 0..20 {
        for i in 0..1000 {
            let refusal = head.series(&labels(&format!("{round}-{i}"))).refusal();
            assert!(refusal.is_none_or(|limit| limit == Limit::Memory));
            refused += usize::from(refusal.is_some());
        }
        bench.clock.advance(Duration::from_secs(10));
        head.maintain(bench.clock.now_ms()).unwrap();
    }
    assert!(refused > 10_000 && head.series_count() > 500, "{}", head.series_count());
    assert!(head.is_memory_tight());
    assert_eq!(head.stats().seals, 1, "at 30 rows");
    // Small tables double; large ones grow by what the estimate says.
    assert!(head.stats().memory_bytes < 800_000, "{}", head.stats().memory_bytes);
    push(&head, "a", &[("1", T0 + 1_000_000, 1.0)]).unwrap();
}
