//! Cost of a page: parsed in full, and read again by the line cache (text kept, hashes only).
//!
//! The page is `alltypes.237mfs.prom.txt` of the test data where it is there, else a generated
//! one. Figures are for the whole page; the number of samples is printed once.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex::exposition::{Entry, Format, LineCache, ParseOptions, ShapePool, TextParser};

fn page() -> Vec<u8> {
    let dir = std::env::var("NARTHEX_TEXTPARSE_DIR")
        .unwrap_or_else(|_| "../shared/testdata/textparse".to_owned());
    std::fs::read(format!("{dir}/alltypes.237mfs.prom.txt")).unwrap_or_else(|_| generated())
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

fn samples(page: &[u8]) -> u64 {
    let mut parser = TextParser::new(page);
    let mut count = 0;
    while let Some(entry) = parser.next_entry().expect("the page is well formed") {
        count += u64::from(matches!(entry, Entry::Series { .. }));
    }
    count
}

fn walk(cache: &mut LineCache<u32>, page: &[u8]) -> f64 {
    let mut walk = cache.walk(page, Format::Text, ParseOptions::default());
    let mut sum = 0.0;
    while let Some(line) = walk.next_line().expect("the page is well formed") {
        sum += line.value + f64::from(walk.payload(line.slot));
    }
    walk.finish();
    sum
}

fn exposition(c: &mut Criterion) {
    let page = page();
    let count = samples(&page);
    println!("{count} samples, {} bytes", page.len());
    let mut group = c.benchmark_group("exposition");
    group.throughput(Throughput::Elements(count));
    group.bench_function("parse", |b| b.iter(|| samples(black_box(&page))));
    group.bench_function("parse_with_labels", |b| {
        b.iter(|| {
            let mut parser = TextParser::new(black_box(&page));
            while let Some(entry) = parser.next_entry().expect("the page is well formed") {
                if matches!(entry, Entry::Series { .. }) {
                    black_box(parser.labels_builder().expect("labels are unique").build());
                }
            }
        });
    });
    let pool = ShapePool::new();
    let mut alone = LineCache::new(&pool);
    walk(&mut alone, &page);
    group.bench_function("cached_hash", |b| b.iter(|| walk(&mut alone, black_box(&page))));
    let mut second = LineCache::new(&pool);
    walk(&mut second, &page);
    group.bench_function("cached_text", |b| b.iter(|| walk(&mut second, black_box(&page))));
    group.finish();
}

criterion_group!(benches, exposition);
criterion_main!(benches);
