//! Tests of the page that others scrape.

use super::*;

fn format(accept: &str) -> PageFormat {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, accept.parse().unwrap());
    PageFormat::negotiate(&headers)
}

#[test]
fn the_format_is_negotiated() {
    let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                    encoding=delimited";
    for (accept, is_protobuf, escaping) in [
        ("*/*", false, EscapingScheme::Underscores),
        (protobuf, true, EscapingScheme::Underscores),
        ("text/plain;version=0.0.4;q=0.5;escaping=allow-utf-8", false, EscapingScheme::AllowUtf8),
        (&format!("text/plain;q=0.3,{protobuf};q=0.7;escaping=dots"), true, EscapingScheme::Dots),
        (&format!("text/plain;q=0.9,{protobuf};q=0.7"), false, EscapingScheme::Underscores),
        ("application/vnd.google.protobuf;encoding=text", false, EscapingScheme::Underscores),
    ] {
        assert_eq!(format(accept), PageFormat { is_protobuf, escaping }, "{accept}");
    }
    assert_eq!(
        format("*/*").content_type(),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    assert!(format(protobuf).content_type().contains("encoding=delimited; escaping="));
}

fn custom() -> FloatHistogram {
    FloatHistogram {
        schema: -53,
        count: 6.0,
        sum: 2.5,
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 1 }],
        positive_buckets: vec![1.0, 3.0],
        custom_bounds: [0.5, 1.0, 2.0].into(),
        ..FloatHistogram::default()
    }
}

fn native() -> FloatHistogram {
    FloatHistogram {
        schema: 1,
        count: 3.0,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![3.0],
        ..FloatHistogram::default()
    }
}

fn page(format: PageFormat) -> Vec<u8> {
    let newest = |pairs: &[(&str, &str)], value: f64, histogram: Option<FloatHistogram>| Newest {
        labels: Labels::from_pairs(pairs.iter().copied()),
        t_ms: 1500,
        value,
        histogram,
    };
    let external = external_labels(&Labels::from_pairs([("dc", "x"), ("job", "other")]));
    let mut page = Page { format, family: None, buffer: Vec::new() };
    for newest in [
        newest(&[("__name__", "a"), ("job", "j\"\n\\")], 1.0, None),
        newest(&[("__name__", "a"), ("instance", "i")], f64::NAN, None),
        newest(&[("__name__", "h")], 0.0, Some(custom())),
        newest(&[("__name__", "n")], 0.0, Some(native())),
        newest(&[("__name__", "x.y"), ("p.q", "r")], 2e9, None),
        newest(&[("job", "nameless")], 1.0, None),
    ] {
        page.push(&newest, &external);
    }
    page.end();
    page.buffer
}

#[test]
fn text_is_what_prometheus_writes() {
    let text =
        |escaping| String::from_utf8(page(PageFormat { is_protobuf: false, escaping })).unwrap();
    let rest = "dc=\"x\",instance=\"\",job=\"other\"";
    assert_eq!(
        text(EscapingScheme::Underscores),
        format!(
            "# TYPE a untyped
a{{job=\"j\\\"\\n\\\\\",dc=\"x\",instance=\"\"}} 1 1500
a{{instance=\"i\",dc=\"x\",job=\"other\"}} NaN 1500
# TYPE h histogram
h_bucket{{{rest},le=\"0.5\"}} 1 1500
h_bucket{{{rest},le=\"1\"}} 1 1500
h_bucket{{{rest},le=\"2\"}} 4 1500
h_bucket{{{rest},le=\"+Inf\"}} 6 1500
h_sum{{{rest}}} 2.5 1500
h_count{{{rest}}} 6 1500
# TYPE x_y untyped
x_y{{p_q=\"r\",{rest}}} 2e+09 1500
"
        )
    );
    let utf8 = text(EscapingScheme::AllowUtf8);
    assert!(utf8.contains("# TYPE \"x.y\" untyped\n{\"x.y\",\"p.q\"=\"r\",dc=\"x\","), "{utf8}");
}

#[test]
fn protobuf_is_read_back_by_the_scraper() {
    use crate::exposition::{Entry, Format, PageParser, ParseOptions};
    let options = ParseOptions { native_histograms: true, ..ParseOptions::default() };
    let escaping = EscapingScheme::AllowUtf8;
    let bytes = page(PageFormat { is_protobuf: true, escaping });
    let mut parser = PageParser::new(&bytes, Format::Protobuf, options);
    let (mut samples, mut histograms) = (0, 0);
    while let Some(entry) = parser.next_entry().unwrap() {
        match entry {
            Entry::Series { .. } => samples += 1,
            Entry::Histogram { .. } => histograms += 1,
            _ => {}
        }
    }
    // Two of `a`, six of the classic form of `h`, one of `x.y`; `n` stays what it is.
    assert_eq!((samples, histograms), (9, 1));
}
