//! Pages against a database in memory that judges as the real one does.

mod formats;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::head::SeriesId;
use crate::model::{Exemplar, Histogram};
use crate::scrape::tests::job;

/// Samples by series, as text.
#[derive(Debug, Default)]
pub(in crate::scrape) struct MemorySink {
    state: Mutex<State>,
    /// Batches wait as long as this is set.
    pub(in crate::scrape) is_stalled: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    ids: BTreeMap<String, SeriesRef>,
    samples: BTreeMap<u32, Vec<(i64, f64)>>,
    /// Histograms, starts, exemplars and metadata as text, as they came.
    notes: Vec<String>,
    commits: usize,
}

struct MemoryBatch<'a> {
    sink: &'a MemorySink,
    appended: Vec<(SeriesRef, i64, f64)>,
}

impl MemorySink {
    /// All samples of the series with these labels, staleness markers as `stale`.
    pub(in crate::scrape) fn series(&self, labels: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let Some(series) = state.ids.get(labels) else { return Vec::new() };
        let samples = state.samples.get(&series.id.0).cloned().unwrap_or_default();
        let text = |(t, v): (i64, f64)| {
            if crate::model::is_stale(v) { format!("{t} stale") } else { format!("{t} {v}") }
        };
        samples.into_iter().map(text).collect()
    }

    /// Labels of all series that were asked for.
    pub(in crate::scrape) fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().ids.keys().cloned().collect()
    }

    fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().notes)
    }

    pub(in crate::scrape) fn commits(&self) -> usize {
        self.state.lock().unwrap().commits
    }

    /// Series leave the head: their references mean nothing any more.
    fn forget_references(&self) {
        for series in self.state.lock().unwrap().ids.values_mut() {
            series.generation += 1;
        }
    }
}

impl Sink for MemorySink {
    fn begin(&self, _source: &GroupKey) -> Result<Box<dyn Batch + '_>, StorageError> {
        while self.is_stalled.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(Box::new(MemoryBatch { sink: self, appended: Vec::new() }))
    }

    fn may_wait(&self) -> bool {
        self.is_stalled.load(Ordering::SeqCst)
    }
}

impl Batch for MemoryBatch<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, StorageError> {
        let mut state = self.sink.state.lock().unwrap();
        let next = SeriesRef { id: SeriesId(state.ids.len() as u32), generation: 0 };
        Ok(*state.ids.entry(labels.to_string()).or_insert(next))
    }

    fn append(&mut self, series: SeriesRef, t_ms: i64, value: f64) {
        self.appended.push((series, t_ms, value));
    }

    fn append_histogram(&mut self, series: SeriesRef, t_ms: i64, histogram: Arc<Histogram>) {
        let text = format!("{t_ms} {}", histogram.to_float());
        self.sink.state.lock().unwrap().notes.push(text);
        self.appended.push((series, t_ms, histogram.sum()));
    }

    fn set_last_start(&mut self, start_ms: i64) {
        self.sink.state.lock().unwrap().notes.push(format!("since {start_ms}"));
    }

    fn set_last_in_order(&mut self) {}

    fn append_exemplar(&mut self, _series: SeriesRef, exemplar: Exemplar) {
        let Exemplar { labels, value, t_ms, .. } = exemplar;
        self.sink.state.lock().unwrap().notes.push(format!("{t_ms} {labels} {value}"));
    }

    fn set_metadata(&mut self, metric: &str, metadata: Metadata) {
        let Metadata { metric_type, unit, help } = metadata;
        let text = format!("{metric}|{}|{unit}|{help}", metric_type.name());
        self.sink.state.lock().unwrap().notes.push(text);
    }

    fn commit(self: Box<Self>) -> Result<CommitOutcome, StorageError> {
        let mut state = self.sink.state.lock().unwrap();
        state.commits += 1;
        let mut outcome = CommitOutcome::default();
        for (at, (series, t_ms, value)) in self.appended.iter().enumerate() {
            if !state.ids.values().any(|known| known == series) {
                outcome.rejected.push((at, AppendError::UnknownSeries));
                continue;
            }
            let samples = state.samples.entry(series.id.0).or_default();
            match samples.last() {
                Some((t, _)) if t > t_ms => outcome.rejected.push((at, AppendError::OutOfOrder)),
                Some((t, v)) if t == t_ms && v.to_bits() != value.to_bits() => {
                    outcome.rejected.push((at, AppendError::Duplicate));
                }
                Some((t, _)) if t == t_ms => outcome.accepted += 1,
                _ => {
                    samples.push((*t_ms, *value));
                    outcome.accepted += 1;
                }
            }
        }
        Ok(outcome)
    }
}

struct Bench {
    sink: MemorySink,
    ingest: Ingest,
}

impl Bench {
    fn new(yaml: impl FnOnce(&mut ScrapeConfig)) -> Self {
        let mut config = job("j");
        yaml(&mut config);
        let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
        let group = GroupKey::Target { job: "j".to_owned(), labels: Vec::new() };
        let options = IngestOptions::default();
        let ingest = Ingest::new(Arc::new(config), options, (group, target), &ShapePool::new());
        Self { sink: MemorySink::default(), ingest }
    }

    fn scrape(&mut self, t_ms: i64, page: &str) -> Ingested {
        self.scrape_some(t_ms, Some(page))
    }

    fn scrape_some(&mut self, t_ms: i64, page: Option<&str>) -> Ingested {
        let report = || Report { duration_seconds: 0.5, timeout_seconds: 10.0, body_bytes: 7.0 };
        let page = page.map(|page| PageBytes { body: page.as_bytes(), format: Format::Text });
        self.ingest.scrape(&self.sink, page, t_ms, report).unwrap()
    }

    /// Samples of a series of the target, by what comes before `instance` in its labels.
    fn samples(&self, metric: &str) -> String {
        self.sink
            .series(&format!("{{__name__=\"{metric}\", instance=\"i\", job=\"j\"}}"))
            .join(", ")
    }
}

#[test]
fn a_page_becomes_samples_and_a_report() {
    let mut bench = Bench::new(|_| {});
    let ingested = bench.scrape(1000, "a 1\nb{x=\"y\"} 2\n");
    assert!(ingested.error.is_none());
    bench.scrape(2000, "a 3\nb{x=\"y\"} 4\n");
    assert_eq!(bench.samples("a"), "1000 1, 2000 3");
    assert_eq!(
        bench.sink.series(r#"{__name__="b", instance="i", job="j", x="y"}"#),
        ["1000 2", "2000 4"]
    );
    assert_eq!(bench.samples("up"), "1000 1, 2000 1");
    assert_eq!(bench.samples("scrape_duration_seconds"), "1000 0.5, 2000 0.5");
    assert_eq!(bench.samples("scrape_samples_scraped"), "1000 2, 2000 2");
    assert_eq!(bench.samples("scrape_samples_post_metric_relabeling"), "1000 2, 2000 2");
    assert_eq!(bench.samples("scrape_series_added"), "1000 2, 2000 0");
    assert_eq!(bench.samples("scrape_timeout_seconds"), "");
    assert_eq!(bench.sink.commits(), 2, "one commit a scrape");
}

#[test]
fn extra_reports_are_written_where_asked_for() {
    let mut bench = Bench::new(|config| {
        config.extra_scrape_metrics = true;
        config.sample_limit = 9;
    });
    bench.scrape(1000, "a 1\n");
    assert_eq!(bench.samples("scrape_timeout_seconds"), "1000 10");
    assert_eq!(bench.samples("scrape_sample_limit"), "1000 9");
    assert_eq!(bench.samples("scrape_body_size_bytes"), "1000 7");
}

#[test]
fn series_that_leave_the_page_end_once() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "a 1\nb 1\nc 1\n");
    bench.scrape(2000, "a 1\nc 1\n");
    bench.scrape(3000, "a 1\nc 1\n");
    bench.scrape(4000, "");
    bench.scrape(5000, "c 1\nb 1\n");
    assert_eq!(bench.samples("a"), "1000 1, 2000 1, 3000 1, 4000 stale");
    assert_eq!(bench.samples("b"), "1000 1, 2000 stale, 5000 1");
    assert_eq!(bench.samples("c"), "1000 1, 2000 1, 3000 1, 4000 stale, 5000 1");
    assert_eq!(bench.samples("up"), "1000 1, 2000 1, 3000 1, 4000 1, 5000 1");
}

#[test]
fn a_series_whose_text_changes_does_not_end() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "a{x=\"1\",y=\"2\"} 1\nb 1\n");
    let ingested = bench.scrape(2000, "a{y=\"2\",x=\"1\"} 2\nb 1\n");
    assert_eq!(ingested.series_added, 1);
    let labels = r#"{__name__="a", instance="i", job="j", x="1", y="2"}"#;
    assert_eq!(bench.sink.series(labels), ["1000 1", "2000 2"]);
}

#[test]
fn failed_scrapes_end_everything_once() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "a 1\nb 1\n");
    assert!(bench.scrape_some(2000, None).error.is_none());
    bench.scrape_some(3000, None);
    bench.scrape(4000, "a 1\nb 1\n");
    let ingested = bench.scrape(5000, "a 1\nb 2\nc {\n");
    assert!(matches!(ingested.error, Some(IngestError::Parse(_))));
    assert_eq!(ingested.scraped, 2);
    bench.scrape(6000, "a 1\nb 2\nc {\n");
    assert_eq!(bench.samples("a"), "1000 1, 2000 stale, 4000 1, 5000 stale");
    assert_eq!(bench.samples("b"), "1000 1, 2000 stale, 4000 1, 5000 stale");
    assert_eq!(bench.samples("up"), "1000 1, 2000 0, 3000 0, 4000 1, 5000 0, 6000 0");
    assert_eq!(
        bench.samples("scrape_samples_scraped"),
        "1000 2, 2000 0, 3000 0, 4000 2, 5000 2, 6000 2"
    );
}

#[test]
fn a_target_that_goes_ends_with_its_reports() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "a 1\nb 1 900\n");
    bench.ingest.end(&bench.sink, 2000).unwrap();
    assert_eq!(bench.samples("a"), "1000 1, 2000 stale");
    assert_eq!(bench.samples("b"), "900 1");
    assert_eq!(bench.samples("up"), "1000 1, 2000 stale");
    assert_eq!(bench.samples("scrape_series_added"), "1000 2, 2000 stale");
}

#[test]
fn times_on_the_page_are_honored_or_not() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "a 1 500\nb 1\n");
    bench.scrape(2000, "b 1 1500\n");
    bench.scrape(3000, "");
    assert_eq!(bench.samples("a"), "500 1");
    assert_eq!(bench.samples("b"), "1000 1, 1500 1, 2000 stale");
    let mut bench = Bench::new(|config| config.track_timestamps_staleness = true);
    bench.scrape(1000, "a 1 500\n");
    bench.scrape(2000, "");
    assert_eq!(bench.samples("a"), "500 1, 2000 stale");
    let mut bench = Bench::new(|config| config.honor_timestamps = false);
    bench.scrape(1000, "a 1 500\n");
    bench.scrape(2000, "");
    assert_eq!(bench.samples("a"), "1000 1, 2000 stale");
}

#[test]
fn labels_of_the_page_are_renamed_or_honored() {
    let page = "a{job=\"x\",exported_job=\"y\",exported_instance=\"z\"} 1\nb{instance=\"\"} 1\n";
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, page);
    let names = bench.sink.names();
    let expected = concat!(
        r#"{__name__="a", exported_exported_job="x", exported_instance="z", "#,
        r#"exported_job="y", instance="i", job="j"}"#,
    );
    assert!(names.iter().any(|name| name == expected), "{names:?}");
    assert_eq!(bench.samples("b"), "1000 1");
    let mut bench = Bench::new(|config| config.honor_labels = true);
    bench.scrape(1000, page);
    let names = bench.sink.names();
    for expected in [
        r#"{__name__="a", exported_instance="z", exported_job="y", instance="i", job="x"}"#,
        r#"{__name__="b", job="j"}"#,
    ] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
}

#[test]
fn samples_beyond_the_limit_reject_the_page_and_are_counted() {
    let mut bench = Bench::new(|config| config.sample_limit = 2);
    let ingested = bench.scrape(1000, "a 1\nb 1\nc 1\nd 1\n");
    assert!(matches!(ingested.error, Some(IngestError::SampleLimit(2))));
    assert_eq!((ingested.scraped, ingested.post_relabeling, ingested.series_added), (4, 4, 2));
    assert_eq!(bench.samples("a"), "");
    assert!(!bench.sink.names().iter().any(|name| name.contains("\"c\"")));
    let ingested = bench.scrape(2000, "a 1\nb 1\n");
    assert!(ingested.error.is_none());
    bench.scrape(3000, "a 1\nb 1\nc 1\n");
    assert_eq!(bench.samples("a"), "2000 1, 3000 stale");
    assert_eq!(bench.samples("up"), "1000 0, 2000 1, 3000 0");
}

#[test]
fn label_limits_reject_the_page_by_name() {
    for (set, expected) in [
        (
            (|config| config.label_limit = 3) as fn(&mut ScrapeConfig),
            "label_limit exceeded (metric: a, number of labels: 4, limit: 3)",
        ),
        (
            |config| config.label_name_length_limit = 8,
            "label_name_length_limit exceeded (metric: a, label name: long_name, \
             length: 9, limit: 8)",
        ),
        (
            |config| config.label_value_length_limit = 3,
            "label_value_length_limit exceeded (metric: a, label name: long_name, \
             value: \"1\\\"34\", length: 4, limit: 3)",
        ),
    ] {
        let mut bench = Bench::new(set);
        let ingested = bench.scrape(1000, "a{long_name=\"1\\\"34\"} 1\n");
        assert_eq!(ingested.error.unwrap().to_string(), expected);
        assert_eq!(bench.samples("up"), "1000 0");
    }
}

#[test]
fn a_line_twice_is_one_sample() {
    let mut bench = Bench::new(|_| {});
    for t_ms in [1000, 2000] {
        let ingested = bench.scrape(t_ms, "a 1\nb 1\na 2\n");
        assert_eq!((ingested.duplicates, ingested.post_relabeling), (1, 3));
    }
    assert_eq!(bench.samples("a"), "1000 1, 2000 1");
    let ingested = bench.scrape(3000, "a 1 2500\na 2 2600\n");
    assert_eq!(ingested.duplicates, 0);
    assert_eq!(bench.samples("a"), "1000 1, 2000 1, 2500 1, 2600 2, 3000 stale");
}

#[test]
fn samples_that_the_database_refuses_are_dropped_singly() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "a 1 500\nb 1\n");
    let ingested = bench.scrape(2000, "a 1 400\nb 1\n");
    assert_eq!((ingested.out_of_order, ingested.duplicates), (1, 0));
    let ingested = bench.scrape(3000, "a 2 500\nb 1\n");
    assert_eq!((ingested.out_of_order, ingested.duplicates), (0, 1));
    assert_eq!(bench.samples("a"), "500 1");
    assert_eq!(bench.samples("up"), "1000 1, 2000 1, 3000 1");
}

#[test]
fn series_that_left_the_head_are_looked_up_again() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "a 1\nb 1\n");
    bench.sink.forget_references();
    bench.scrape(2000, "a 2\nb 2\n");
    bench.scrape(3000, "a 3\n");
    assert_eq!(bench.samples("a"), "1000 1, 2000 2, 3000 3");
    assert_eq!(bench.samples("b"), "1000 1, 2000 2, 3000 stale");
    assert_eq!(bench.samples("up"), "1000 1, 2000 1, 3000 1");
    bench.sink.forget_references();
    bench.scrape_some(4000, None);
    assert_eq!(bench.samples("up"), "1000 1, 2000 1, 3000 1, 4000 0");
}

#[test]
fn metadata_outlives_its_family_for_ten_scrapes() {
    let mut bench = Bench::new(|_| {});
    bench.scrape(1000, "# HELP a x\n# TYPE a counter\na 1\n# HELP b y\nb 1\n");
    let names = |bench: &Bench| -> Vec<String> {
        let (mut current, mut lingering) = (Arc::default(), Vec::new());
        bench.ingest.publish_metadata(&mut current, &mut lingering);
        current.iter().chain(&lingering).map(|family| family.name.clone()).collect()
    };
    assert_eq!(names(&bench), ["a", "b"]);
    for turn in 0..10 {
        bench.scrape(2000 + turn, "# HELP a x\n# TYPE a counter\na 1\n");
        assert_eq!(names(&bench), ["a", "b"], "scrape {turn}");
    }
    bench.scrape(3000, "# HELP a x\n# TYPE a counter\na 1\n");
    assert_eq!(names(&bench), ["a"]);
}
