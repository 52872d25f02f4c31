//! What is read, what is refused, and with which words.

use proptest::prelude::*;

use super::*;

/// All entries of a page as lines, up to the first error.
fn read(page: &str) -> Vec<String> {
    read_by(OpenMetricsParser::new(page.as_bytes()))
}

fn read_by(mut parser: OpenMetricsParser<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        lines.push(match parser.next_entry() {
            Ok(None) => return lines,
            Err(error) => {
                lines.push(format!("error: {error}"));
                return lines;
            }
            Ok(Some(Entry::Help { name, text })) => format!("HELP {name}|{text}"),
            Ok(Some(Entry::Type { name, metric_type })) => {
                format!("TYPE {name}|{}", metric_type.name())
            }
            Ok(Some(Entry::Unit { name, unit })) => format!("UNIT {name}|{unit}"),
            Ok(Some(Entry::Comment(_) | Entry::Histogram { .. })) => {
                unreachable!("BUG: the format has none")
            }
            Ok(Some(Entry::Series { value, timestamp_ms, .. })) => {
                let labels = match parser.labels_builder() {
                    Ok(labels) => labels.build().to_string(),
                    Err(error) => format!("error: {error}"),
                };
                let time = timestamp_ms.map_or(String::new(), |t| format!(" @{t}"));
                let exemplar = parser.exemplar().map_or(String::new(), |exemplar| {
                    let time = exemplar.t_ms.map_or(String::new(), |t| format!(" @{t}"));
                    format!(" # {} {}{time}", exemplar.labels, exemplar.value)
                });
                let start = match parser.start_ms() {
                    0 => String::new(),
                    start_ms => format!(" since {start_ms}"),
                };
                format!("{labels} {value}{time}{exemplar}{start}")
            }
        });
    }
}

#[test]
fn all_kinds_of_lines_are_read() {
    let page = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds A \\\"b\\\".\n\
                a_seconds_total{x=\"y\\\"z\",} 1.5 12.3456 # {trace_id=\"k\"} 0.5 1.25\n\
                a_seconds_total 2 # {} 3\n# TYPE i info\ni_info{} 1\n# TYPE s stateset\n\
                s{s=\"on\"} 1\n# TYPE g gaugehistogram\ng_bucket{le=\"1\"} 4\n\
                # TYPE h histogram\nh_bucket{le=\"1\"} 4 -2\n# TYPE u unknown\n\
                {\"a b\",\"c d\"=\"e\"} -Inf\n# EOF";
    assert_eq!(
        read(page),
        [
            "TYPE a_seconds|counter",
            "UNIT a_seconds|seconds",
            "HELP a_seconds|A \"b\".",
            "{__name__=\"a_seconds_total\", x=\"y\\\"z\"} 1.5 @12345 # {trace_id=\"k\"} 0.5 @1250",
            "{__name__=\"a_seconds_total\"} 2 # {} 3",
            "TYPE i|info",
            "{__name__=\"i_info\"} 1",
            "TYPE s|stateset",
            "{__name__=\"s\", s=\"on\"} 1",
            "TYPE g|gaugehistogram",
            "{__name__=\"g_bucket\", le=\"1\"} 4",
            "TYPE h|histogram",
            "{__name__=\"h_bucket\", le=\"1.0\"} 4 @-2000",
            "TYPE u|unknown",
            "{__name__=\"a b\", \"c d\"=\"e\"} -inf",
        ]
    );
}

#[test]
fn errors_have_the_words_of_prometheus() {
    // Each as `promtool check metrics` or a scrape of Prometheus 3.14 says it.
    for (page, error) in [
        ("", "data does not end with # EOF"),
        ("a 1\n", "data does not end with # EOF"),
        ("a 1", "data does not end with # EOF"),
        ("# EOF\na 1\n", "unexpected data after # EOF"),
        ("\n", "expected a valid start token, got \"\\n\" (\"INVALID\") while parsing: \"\\n\""),
        (
            "# a\n# EOF\n",
            "expected a valid start token, got \"# a\" (\"INVALID\") while parsing: \"# a\"",
        ),
        ("# TYPE a untyped\n# EOF\n", "invalid metric type \"untyped\""),
        ("# TYPE a\n# EOF\n", "expected text in TYPE"),
        (
            "# UNIT 1\n# EOF\n",
            "expected metric name after UNIT, got \"1\" (\"INVALID\") while parsing: \"# UNIT 1\"",
        ),
        ("# UNIT a_s seconds\n# EOF\n", "unit \"seconds\" not a suffix of metric \"a_s\""),
        ("# UNIT seconds seconds\n# EOF\n", "unit \"seconds\" not a suffix of metric \"seconds\""),
        (
            "a\n# EOF\n",
            "expected value after metric, got \"\\n\" (\"INVALID\") while parsing: \"a\\n\"",
        ),
        (
            "a{b=\"c\" d=\"e\"} 1\n# EOF\n",
            "expected comma or brace close, got \" \" (\"INVALID\") while parsing: \
             \"a{b=\\\"c\\\" \"",
        ),
        ("a 1 NaN\n# EOF\n", "invalid timestamp NaN"),
        ("a 1 1 # {} 1 +Inf\n# EOF\n", "invalid exemplar timestamp +Inf"),
        ("{b=\"c\"} 1\n# EOF\n", "metric name not set while parsing: \"{b=\\\"c\\\"} 1\""),
    ] {
        let lines = read(page);
        let last = lines.last().map_or("", String::as_str).trim_start_matches("error: ");
        assert_eq!(last, error, "{page:?}");
    }
}

#[test]
fn a_sample_before_a_stray_space_counts_and_the_page_fails() {
    assert_eq!(
        read("a 1 \n# EOF\n"),
        [
            "{__name__=\"a\"} 1",
            "error: expected a valid start token, got \"\\n#\" (\"LINEBREAK\") while parsing: \
             \"\\n#\"",
        ]
    );
    assert_eq!(read("a 1 "), ["{__name__=\"a\"} 1", "error: data does not end with # EOF"]);
}

#[test]
fn created_lines_are_series_or_starts() {
    let page = "# TYPE a counter\na_total{x=\"1\"} 1\na_created{x=\"1\"} 1.5\na_total{x=\"2\"} 2\n\
                a_created{x=\"3\"} 9\na_total{x=\"4\"} 4\n# TYPE h histogram\nh_count 1\n\
                h_created 2\nh_bucket{le=\"+Inf\"} 1\n# TYPE g gauge\ng_created 3\n# EOF\n";
    let plain: Vec<_> = read(page).into_iter().filter(|line| line.contains("_created")).collect();
    assert_eq!(plain.len(), 4);
    let starts = read_by(OpenMetricsParser::with_starts(page.as_bytes()));
    let series: Vec<_> = starts.iter().filter(|line| line.starts_with('{')).collect();
    assert_eq!(
        series,
        [
            "{__name__=\"a_total\", x=\"1\"} 1 since 1500",
            "{__name__=\"a_total\", x=\"2\"} 2",
            "{__name__=\"a_total\", x=\"4\"} 4",
            "{__name__=\"h_count\"} 1 since 2000",
            "{__name__=\"h_bucket\", le=\"+Inf\"} 1 since 2000",
            "{__name__=\"g_created\"} 3",
        ]
    );
}

proptest! {
    #[test]
    fn no_page_makes_it_panic(
        page in "([#a{}\"\\\\ =,\n0-9.eE\u{0}]|# EOF\n|# TYPE a counter\n|a_created 1\n|\
            a 1 # \\{b=\"c\"\\} 1\n){0,40}"
    ) {
        read(&page);
        read_by(OpenMetricsParser::with_starts(page.as_bytes()));
    }
}
