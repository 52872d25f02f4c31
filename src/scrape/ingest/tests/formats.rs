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

#[test]
fn starts_are_made_up_where_pages_have_none() {
    let options =
        IngestOptions { stores_starts: true, synthesizes_starts: true, ..IngestOptions::default() };
    let mut bench = bench(options, |_| {});
    let page = |counter: u32, others: &str| {
        format!(
            "# HELP a A.\n# TYPE a counter\na_total {counter}\n# TYPE g gauge\ng 7\n\
             # TYPE s summary\ns{{quantile=\"0.5\"}} 1\ns_count {counter}\n{others}# EOF\n"
        )
    };
    let ingested = bench.openmetrics(1000, &page(10, ""));
    assert_eq!((ingested.scraped, ingested.post_relabeling, ingested.series_added), (4, 4, 4));
    assert_eq!(bench.samples("a_total"), "", "the first sample is what is counted from");
    assert_eq!(bench.samples("g"), "1000 7");
    bench.openmetrics(2000, &page(13, ""));
    assert_eq!(bench.sink.take_notes(), ["since 1000", "since 1000"]);
    bench.openmetrics(3000, &page(2, "# TYPE h counter\nh 1\n"));
    assert_eq!(bench.sink.take_notes(), ["since 2999", "since 2999"]);
    assert_eq!(bench.samples("a_total"), "2000 3, 3000 2");
    assert_eq!(bench.samples("g"), "1000 7, 2000 7, 3000 7");
    // A counter that comes back is counted from its first sample again.
    bench.openmetrics(4000, "# EOF\n");
    bench.openmetrics(5000, &page(5, ""));
    bench.openmetrics(6000, &page(6, ""));
    assert_eq!(bench.samples("a_total"), "2000 3, 3000 2, 4000 stale, 6000 1");
}

#[test]
fn made_up_starts_survive_a_scrape_that_fails() {
    let options = IngestOptions { synthesizes_starts: true, ..IngestOptions::default() };
    let mut bench = bench(options, |_| {});
    let page = |counter: u32| format!("# TYPE a counter\na_total {counter}\n# EOF\n");
    bench.openmetrics(1000, &page(1));
    bench.openmetrics(2000, &page(2));
    assert!(bench.openmetrics(3000, "a_total 3\n").error.is_some());
    bench.openmetrics(4000, &page(4));
    assert_eq!(bench.samples("a_total"), "2000 1, 3000 stale, 4000 3");
}

#[test]
fn types_and_units_become_labels_where_asked_for() {
    let mut options = IngestOptions::default();
    options.parse.type_and_unit_labels = true;
    let mut bench = bench(options, |_| {});
    let page = "# TYPE a_s counter\n# UNIT a_s s\na_s_total{__type__=\"x\"} 1\n\
        # TYPE b gauge\nb{__unit__=\"y\"} 1\n# TYPE c unknown\nc 1\n# EOF\n";
    for t_ms in [1000, 2000] {
        assert!(bench.openmetrics(t_ms, page).error.is_none());
    }
    for series in [
        "{__name__=\"a_s_total\", __type__=\"counter\", __unit__=\"s\", instance=",
        "{__name__=\"b\", __type__=\"gauge\", __unit__=\"y\", instance=",
        "{__name__=\"c\", instance=",
    ] {
        let found = bench.sink.names();
        assert!(found.iter().any(|labels| labels.starts_with(series)), "{series} in {found:?}");
    }
}
