//! What other formats bring: exemplars, native histograms, start timestamps, units.

use super::*;

const OPENMETRICS: &str = "# UNIT a_s s\n# TYPE a counter\n\
    a_total 1 # {t=\"x\"} 0.5 0.25\na_created 0.5\n# TYPE h histogram\n\
    h_bucket{le=\"1\"} 1 # {t=\"y\"} 0.75 0.5\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 3\n\
    # EOF\n";

fn bench(options: IngestOptions, set: impl FnOnce(&mut ScrapeConfig)) -> Bench {
    let mut config = job("j");
    set(&mut config);
    let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
    let group = GroupKey::Target { job: "j".to_owned(), labels: Vec::new() };
    let ingest = Ingest::new(Arc::new(config), options, (group, target), &ShapePool::new());
    Bench { sink: MemorySink::default(), ingest }
}

impl Bench {
    fn openmetrics(&mut self, t_ms: i64, page: &str) -> Ingested {
        let report = || Report { duration_seconds: 0.5, timeout_seconds: 10.0, body_bytes: 7.0 };
        let page = PageBytes { body: page.as_bytes(), format: Format::OpenMetrics };
        self.ingest.scrape(&self.sink, Some(page), t_ms, report).unwrap()
    }
}

#[test]
fn exemplars_are_stored_with_new_lines_and_known_ones() {
    let mut bench = bench(IngestOptions::default(), |_| {});
    for t_ms in [1000, 2000] {
        let ingested = bench.openmetrics(t_ms, OPENMETRICS);
        assert!(ingested.error.is_none(), "{:?}", ingested.error);
        assert_eq!(ingested.scraped, 6);
        assert_eq!(bench.sink.take_notes(), ["250 {t=\"x\"} 0.5", "500 {t=\"y\"} 0.75"]);
    }
    assert_eq!(bench.samples("a_created"), "1000 0.5, 2000 0.5");
    assert_eq!(bench.samples("a_total"), "1000 1, 2000 1");
    let page = OPENMETRICS.replace(" 0.25", "");
    bench.openmetrics(3000, &page);
    assert_eq!(bench.sink.take_notes()[0], "3000 {t=\"x\"} 0.5", "its time is the sample's");
}

#[test]
fn classic_histograms_become_native_ones_where_asked_for() {
    let mut options = IngestOptions::default();
    options.parse.convert_classic = true;
    let mut converting = bench(options, |_| {});
    for t_ms in [1000, 2000] {
        let ingested = converting.openmetrics(t_ms, OPENMETRICS);
        assert_eq!((ingested.scraped, ingested.error.is_none()), (3, true));
        let notes = converting.sink.take_notes();
        let expected = format!("{t_ms} {{count:2, sum:3, [-Inf,1]:1, (1,+Inf]:1}}");
        assert_eq!(notes[1..], [expected, "500 {t=\"y\"} 0.75".to_owned()]);
    }
    assert_eq!(converting.samples("h"), "1000 3, 2000 3");
    options.parse.keep_classic = true;
    let mut keeping = bench(options, |_| {});
    assert_eq!(keeping.openmetrics(1000, OPENMETRICS).scraped, 7);
    assert_eq!(keeping.samples("h_count"), "1000 2");
    let mut limited = bench(options, |config| config.native_histogram_bucket_limit = 1);
    let ingested = limited.openmetrics(1000, OPENMETRICS);
    assert_eq!(
        ingested.error.map(|error| error.to_string()).as_deref(),
        Some("histogram bucket limit exceeded (limit: 1)")
    );
    assert_eq!((ingested.scraped, ingested.post_relabeling), (7, 7));
    assert_eq!(limited.samples("up"), "1000 0");
}

#[test]
fn start_timestamps_are_stored_or_become_zeros() {
    let mut options = IngestOptions { stores_starts: true, ..IngestOptions::default() };
    options.parse.reads_starts = true;
    let mut storing = bench(options, |_| {});
    for t_ms in [1000, 2000] {
        let ingested = storing.openmetrics(t_ms, OPENMETRICS);
        assert_eq!((ingested.scraped, ingested.error.is_none()), (5, true));
        assert_eq!(storing.sink.take_notes()[0], "since 500");
    }
    assert_eq!(storing.samples("a_created"), "");
    let zeros = IngestOptions { stores_starts: false, injects_zeros: true, ..options };
    let mut injecting = bench(zeros, |_| {});
    injecting.openmetrics(1000, OPENMETRICS);
    let ingested = injecting.openmetrics(2000, OPENMETRICS);
    assert_eq!((ingested.out_of_order, ingested.duplicates), (0, 0));
    assert_eq!(injecting.samples("a_total"), "500 0, 1000 1, 2000 1");
}

#[test]
fn what_families_say_is_stored_when_it_changes() {
    let options = IngestOptions { stores_metadata: true, ..IngestOptions::default() };
    let mut bench = bench(options, |_| {});
    let page = "# TYPE a counter\n# UNIT a_s s\n# HELP b B.\nb 1\n# EOF\n";
    bench.openmetrics(1000, page);
    assert_eq!(bench.sink.take_notes(), ["a|counter||", "a_s|unknown|s|", "b|unknown||B."]);
    bench.openmetrics(2000, page);
    assert_eq!(bench.sink.take_notes().len(), 0);
    bench.openmetrics(3000, &page.replace("B.", "C."));
    assert_eq!(bench.sink.take_notes(), ["b|unknown||C."]);
}
