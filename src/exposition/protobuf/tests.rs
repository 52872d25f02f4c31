//! Messages built by hand, read back as entries.

use proptest::prelude::*;

use super::*;
use crate::encoding::varint::{write_uvarint, zigzag};

/// A message under construction.
#[derive(Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(mut self, number: u64, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        write_uvarint(&mut self.0, number << 3 | 2);
        write_uvarint(&mut self.0, content.len() as u64);
        self.0.extend_from_slice(content);
        self
    }

    fn message(self, number: u64, message: Self) -> Self {
        self.bytes(number, message.0)
    }

    fn varint(mut self, number: u64, value: u64) -> Self {
        write_uvarint(&mut self.0, number << 3);
        write_uvarint(&mut self.0, value);
        self
    }

    fn double(mut self, number: u64, value: f64) -> Self {
        write_uvarint(&mut self.0, number << 3 | 1);
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
        self
    }

    fn label(self, name: &str, value: &str) -> Self {
        self.message(1, new().bytes(1, name).bytes(2, value))
    }
}

fn new() -> Message {
    Message::default()
}

fn family(name: &str, metric_type: u64) -> Message {
    new().bytes(1, name).bytes(2, "Help.").varint(3, metric_type)
}

fn page(families: &[Message]) -> Vec<u8> {
    let mut page = Vec::new();
    for family in families {
        write_uvarint(&mut page, family.0.len() as u64);
        page.extend_from_slice(&family.0);
    }
    page
}

fn read(page: &[u8], options: ParseOptions) -> Vec<String> {
    let mut parser = ProtobufParser::new(page, options);
    let mut lines = Vec::new();
    loop {
        let entry = match parser.next_entry() {
            Ok(None) => return lines,
            Ok(Some(entry)) => entry,
            Err(error) => {
                lines.push(format!("error: {error}"));
                return lines;
            }
        };
        let (what, timestamp_ms) = match entry {
            Entry::Help { name, text } => {
                lines.push(format!("HELP {name}|{text}"));
                continue;
            }
            Entry::Unit { name, unit } => {
                lines.push(format!("UNIT {name}|{unit}"));
                continue;
            }
            Entry::Type { name, metric_type } => {
                lines.push(format!("TYPE {name}|{}", metric_type.name()));
                continue;
            }
            Entry::Series { value, timestamp_ms, .. } => (value.to_string(), timestamp_ms),
            Entry::Histogram { histogram, timestamp_ms } => {
                assert_eq!(histogram.validate(), Ok(()));
                (histogram.to_float().to_string(), timestamp_ms)
            }
            Entry::Comment(_) => unreachable!("BUG: the format has none"),
        };
        let labels = match parser.labels_builder() {
            Ok(labels) => labels.build().to_string(),
            Err(error) => format!("error: {error}"),
        };
        let time = timestamp_ms.map_or(String::new(), |t| format!(" @{t}"));
        let start = match parser.start_ms() {
            0 => String::new(),
            start_ms => format!(" since {start_ms}"),
        };
        let exemplars = parser
            .exemplars()
            .expect("exemplars")
            .into_iter()
            .map(|e| format!(" # {} {} {:?}", e.labels, e.value, e.t_ms));
        let exemplars: String = exemplars.collect();
        assert_eq!(parser.has_exemplars(), !exemplars.is_empty() || what.starts_with('{'));
        lines.push(format!("{labels} {what}{time}{start}{exemplars}"));
    }
}

fn exemplar(value: f64, seconds: Option<u64>) -> Message {
    let exemplar = new().label("trace_id", "x").double(2, value);
    match seconds {
        Some(seconds) => exemplar.message(3, new().varint(1, seconds).varint(2, 5_000_000)),
        None => exemplar,
    }
}

fn plain() -> ParseOptions {
    ParseOptions::default()
}

#[test]
fn plain_metrics_are_read() {
    let start = new().varint(1, 2).varint(2, 500_000_000);
    let counter = new().double(1, 1.5).message(2, exemplar(0.5, None)).message(3, start);
    let summary = new()
        .varint(1, 3)
        .double(2, 4.5)
        .message(3, new().double(1, 0.5).double(2, 7.0))
        .message(3, new().double(1, 1.0).double(2, 8.0));
    let page = page(&[
        family("c_total", 0)
            .bytes(5, "total")
            .message(4, new().label("a", "b").message(3, counter)),
        family("empty", 1),
        family("g", 1).message(4, new().message(2, new().double(1, -2.0)).varint(6, 99)),
        family("u", 3).message(4, new().label("x", "").message(5, new().double(1, 3.0))),
        family("s", 2).message(4, new().message(4, summary)),
    ]);
    assert_eq!(
        read(&page, plain()),
        [
            "HELP c_total|Help.",
            "UNIT c_total|total",
            "TYPE c_total|counter",
            "{__name__=\"c_total\", a=\"b\"} 1.5 since 2500 # {trace_id=\"x\"} 0.5 None",
            "HELP g|Help.",
            "TYPE g|gauge",
            "{__name__=\"g\"} -2 @99",
            "HELP u|Help.",
            "TYPE u|unknown",
            "{__name__=\"u\"} 3",
            "HELP s|Help.",
            "TYPE s|summary",
            "{__name__=\"s_count\"} 3",
            "{__name__=\"s_sum\"} 4.5",
            "{__name__=\"s\", quantile=\"0.5\"} 7",
            "{__name__=\"s\", quantile=\"1.0\"} 8",
        ]
    );
}

fn histogram(is_native: bool) -> Message {
    let histogram = new()
        .varint(1, 4)
        .double(2, 9.5)
        .message(3, new().varint(1, 1).double(2, 1.0).message(3, exemplar(0.25, Some(3))))
        .message(3, new().varint(1, 3).double(2, 2.0));
    if !is_native {
        return histogram;
    }
    let mut deltas = Vec::new();
    for delta in [1, 1, -2, 1] {
        write_uvarint(&mut deltas, zigzag(delta));
    }
    histogram
        .varint(5, zigzag(0))
        .double(6, 0.5)
        .varint(7, 0)
        .message(12, new().varint(1, zigzag(1)).varint(2, 2))
        .message(12, new().varint(1, 0).varint(2, 2))
        .bytes(13, deltas)
        .message(16, exemplar(0.75, Some(4)))
        .message(16, exemplar(0.8, None))
}

const CLASSIC: [&str; 5] = [
    "{__name__=\"h_count\"} 4",
    "{__name__=\"h_sum\"} 9.5",
    "{__name__=\"h_bucket\", le=\"1.0\"} 1 # {trace_id=\"x\"} 0.25 Some(3005)",
    "{__name__=\"h_bucket\", le=\"2.0\"} 3",
    "{__name__=\"h_bucket\", le=\"+Inf\"} 4",
];
const NATIVE: &str = "{__name__=\"h\"} {count:4, sum:9.5, (1,2]:1, (2,4]:2, (8,16]:1} \
                      # {trace_id=\"x\"} 0.75 Some(4005)";
const CONVERTED: &str = "{__name__=\"h\"} {count:4, sum:9.5, [-Inf,1]:1, (1,2]:2, (2,+Inf]:1} \
                         # {trace_id=\"x\"} 0.25 Some(3005)";

#[test]
fn histograms_come_in_the_forms_that_are_asked_for() {
    let read = |is_native: bool, options: ParseOptions| {
        let metric = new().message(7, histogram(is_native));
        let lines = read(&page(&[family("h", 4).message(4, metric)]), options);
        assert_eq!(lines[..2], ["HELP h|Help.", "TYPE h|histogram"]);
        lines[2..].to_vec()
    };
    let native = ParseOptions { native_histograms: true, ..plain() };
    let convert = ParseOptions { convert_classic: true, ..plain() };
    let keep = |options| ParseOptions { keep_classic: true, ..options };
    assert_eq!(read(false, plain()), CLASSIC);
    assert_eq!(read(true, plain()), CLASSIC);
    assert_eq!(read(false, native), CLASSIC);
    assert_eq!(read(true, native), [NATIVE]);
    assert_eq!(read(true, keep(native))[0], NATIVE);
    assert_eq!(read(true, keep(native))[1..], CLASSIC);
    assert_eq!(read(false, convert).len(), 1);
    assert_eq!(read(false, keep(convert))[..5], CLASSIC);
    assert_eq!(read(true, ParseOptions { native_histograms: true, ..convert }), [NATIVE]);
    let converted = read(true, keep(convert));
    assert_eq!(converted.len(), 6);
    let exemplars = converted[5].split(" # ").nth(1);
    assert_eq!(exemplars, Some("{trace_id=\"x\"} 0.75 Some(4005)"));
    let first = read(false, convert)[0].clone();
    assert_eq!(first, CONVERTED);
}

#[test]
fn what_is_wrong_is_told_with_the_words_of_prometheus() {
    let good = new().message(2, new().double(1, 1.0));
    let mut short = page(&[family("g", 1).message(4, good.clone())]);
    short.pop();
    let spans = new().message(12, new().varint(1, 0).varint(2, 7)).varint(13, 2);
    for (page, error) in [
        (vec![0xff; 12], "clientpb: invalid varint encountered".to_owned()),
        (
            short.clone(),
            format!(
                "clientpb: insufficient length of buffer, expected at least {} bytes, got {} bytes",
                short.len() + 1,
                short.len()
            ),
        ),
        (page(&[family("", 1).message(4, good.clone())]), "invalid metric name: ".to_owned()),
        (
            page(&[family("g", 9).message(4, good.clone())]),
            "unknown metric type for metric \"g\": 9".to_owned(),
        ),
        (
            page(&[family("g", 4).message(4, new().message(7, spans))]),
            "histogram \"g\": positive side: spans require 7 buckets, have 1".to_owned(),
        ),
        (
            page(&[family("g", 1).message(4, new().varint(2, 1))]),
            "proto: wrong wireType = 0 for field Gauge".to_owned(),
        ),
    ] {
        let options = ParseOptions { native_histograms: true, ..plain() };
        let lines = read(&page, options);
        assert_eq!(lines.last(), Some(&format!("error: {error}")));
    }
    let label = page(&[family("g", 1).message(4, good.label("", "x"))]);
    assert_eq!(read(&label, plain()).last().unwrap(), "error: invalid label name:  1");
}

proptest! {
    #[test]
    fn no_page_makes_it_panic(
        cuts in prop::collection::vec((0_usize..400, any::<u8>()), 0..6),
        flags in 0_u8..16,
    ) {
        let metric = new().label("a", "b").message(7, histogram(true));
        let mut page = page(&[
            family("h", 4).message(4, metric.clone()).message(4, metric),
            family("s", 2).message(4, new().message(4, new().varint(1, 3))),
        ]);
        for (at, byte) in cuts {
            let at = at % page.len();
            page[at] = byte;
        }
        let options = ParseOptions {
            native_histograms: flags & 1 != 0,
            keep_classic: flags & 2 != 0,
            convert_classic: flags & 4 != 0,
            reads_starts: false,
            type_and_unit_labels: flags & 8 != 0,
        };
        crate::exposition::check_cache_against_parser(
            &page, crate::exposition::Format::Protobuf, options,
        );
    }
}
