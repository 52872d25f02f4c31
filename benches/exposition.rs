//! Cost of a page in each format: parsed in full, parsed with labels, and read again by the line
//! cache, which is what a scrape of a known target costs.
//!
//! The pages are those of the test data where they are there, else a generated one; the protobuf
//! page says what the text page says. Throughput is in bytes of the page.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use narthex::exposition::{
    Entry, Format, LineCache, MetricType, PageParser, ParseOptions, ShapePool, TextParser,
};

fn stored(name: &str) -> Option<Vec<u8>> {
    let dir = std::env::var("NARTHEX_TEXTPARSE_DIR")
        .unwrap_or_else(|_| "../shared/testdata/textparse".to_owned());
    std::fs::read(format!("{dir}/{name}")).ok()
}

fn generated() -> Vec<u8> {
    let family = |family: u32| {
        let series = |series: u32| {
            let value = family * 1000 + series;
            format!("m_{family}_total{{handler=\"/api/v1/{series}\",code=\"200\"}} {value}\n")
        };
        let lines: String = (0..10).map(series).collect();
        format!("# HELP m_{family}_total Things.\n# TYPE m_{family}_total counter\n{lines}")
    };
    (0..200).map(family).collect::<String>().into_bytes()
}

/// A field of a message with its length before it.
fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    push_varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn push_varint(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The counters, gauges and untyped series of a text page as protobuf; what belongs to histograms
/// and summaries becomes untyped, so that the number of samples is the same.
fn protobuf(text: &[u8]) -> Vec<u8> {
    let (mut page, mut name, mut help) = (Vec::new(), String::new(), String::new());
    let mut parser = TextParser::new(text);
    let (mut metrics, mut metric_type) = (Vec::new(), MetricType::Unknown);
    while let Some(entry) = parser.next_entry().expect("the page is well formed") {
        match entry {
            Entry::Help { text, .. } => help = text.into_owned(),
            Entry::Type { metric_type: declared, .. } => metric_type = declared,
            Entry::Series { value, .. } => {
                let labels = parser.labels().expect("the labels are well formed");
                if labels[0].1 != name {
                    push_family(&mut page, &name, &help, metric_type, &metrics);
                    metrics.clear();
                    name = labels[0].1.clone().into_owned();
                }
                let mut metric = Vec::new();
                for (name, value) in &labels[1..] {
                    let mut label = Vec::new();
                    push_bytes(&mut label, 1, name.as_bytes());
                    push_bytes(&mut label, 2, value.as_bytes());
                    push_bytes(&mut metric, 1, &label);
                }
                let field = match metric_type {
                    MetricType::Gauge => 2,
                    MetricType::Counter => 3,
                    _ => 5,
                };
                let mut number = vec![1 << 3 | 1];
                number.extend_from_slice(&value.to_le_bytes());
                push_bytes(&mut metric, field, &number);
                metrics.push(metric);
            }
            _ => {}
        }
    }
    push_family(&mut page, &name, &help, metric_type, &metrics);
    page
}

fn push_family(
    page: &mut Vec<u8>,
    name: &str,
    help: &str,
    metric_type: MetricType,
    metrics: &[Vec<u8>],
) {
    if metrics.is_empty() {
        return;
    }
    let mut family = Vec::new();
    push_bytes(&mut family, 1, name.as_bytes());
    push_bytes(&mut family, 2, help.as_bytes());
    let number = match metric_type {
        MetricType::Counter => 0,
        MetricType::Gauge => 1,
        _ => 3,
    };
    family.extend_from_slice(&[3 << 3, number]);
    for metric in metrics {
        push_bytes(&mut family, 4, metric);
    }
    push_varint(page, family.len());
    page.extend_from_slice(&family);
}

/// Reads a page entry by entry, and with `labels` those of each series.
fn parse(page: &[u8], format: Format, labels: bool) -> u64 {
    let mut parser = PageParser::new(page, format, ParseOptions::default());
    let mut count = 0;
    while let Some(entry) = parser.next_entry().expect("the page is well formed") {
        if matches!(entry, Entry::Series { .. } | Entry::Histogram { .. }) {
            count += 1;
            if labels {
                black_box(parser.labels_builder().expect("labels are unique").build());
            }
        }
    }
    count
}

fn walk(cache: &mut LineCache<u32>, page: &[u8], format: Format) -> f64 {
    let mut walk = cache.walk(page, format, ParseOptions::default());
    let mut sum = 0.0;
    while let Some(line) = walk.next_line().expect("the page is well formed") {
        sum += line.value + f64::from(walk.payload(line.slot));
    }
    walk.finish();
    sum
}

fn bench_page(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, page: &[u8], format: Format) {
    println!("{name}: {} samples, {} bytes", parse(page, format, false), page.len());
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function(format!("{name}/parse"), |b| {
        b.iter(|| parse(black_box(page), format, false));
    });
    group.bench_function(format!("{name}/parse_with_labels"), |b| {
        b.iter(|| parse(black_box(page), format, true));
    });
    let pool = ShapePool::new();
    let mut alone = LineCache::new(&pool);
    walk(&mut alone, page, format);
    group.bench_function(format!("{name}/cached_hash"), |b| {
        b.iter(|| walk(&mut alone, black_box(page), format));
    });
    if format == Format::Protobuf {
        // Nothing of it is kept as text.
        return;
    }
    let mut second = LineCache::new(&pool);
    walk(&mut second, page, format);
    group.bench_function(format!("{name}/cached_text"), |b| {
        b.iter(|| walk(&mut second, black_box(page), format));
    });
}

fn exposition(c: &mut Criterion) {
    let text = stored("alltypes.237mfs.prom.txt").unwrap_or_else(generated);
    let mut group = c.benchmark_group("exposition");
    bench_page(&mut group, "text", &text, Format::Text);
    bench_page(&mut group, "protobuf", &protobuf(&text), Format::Protobuf);
    if let Some(page) = stored("alltypes.237mfs.nometa.prom.txt") {
        bench_page(&mut group, "text_nometa", &page, Format::Text);
    }
    for (name, file) in
        [("openmetrics", "alltypes.5mfs.om.txt"), ("openmetrics_histogram", "1histogram.om.txt")]
    {
        if let Some(page) = stored(file) {
            bench_page(&mut group, name, &page, Format::OpenMetrics);
        }
    }
    group.finish();
}

criterion_group!(benches, exposition);
criterion_main!(benches);
