//! Chunks and columns by the shape of their values; time per sample, and bytes on standard error.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use narthex::chunk::{Coder, decode_timestamps, decode_values, encode_timestamps, encode_values};
use narthex::head::column::Column;

const SAMPLES: usize = 480;

fn noise(i: usize) -> u64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
}

/// Values of each sort that monitoring has, with its name.
fn mixes() -> Vec<(&'static str, Vec<f64>)> {
    let mut sum = 0.0;
    let mut total = 1e6;
    vec![
        ("constant", vec![42.0; SAMPLES]),
        ("mostly constant", values(|i| (i / 60) as f64)),
        (
            "integer counter",
            values(|i| {
                total += (noise(i) % 200) as f64;
                total
            }),
        ),
        ("integer gauge", values(|i| (1000 + noise(i) % 300) as f64)),
        ("decimal gauge", values(|i| (2000 + noise(i) % 300) as f64 / 10.0)),
        (
            "accumulated sum",
            values(|i| {
                sum += (noise(i) % 1000) as f64 / 1000.0;
                sum
            }),
        ),
        ("full mantissa", values(|i| (noise(i) as f64).sqrt())),
    ]
}

fn values(value: impl FnMut(usize) -> f64) -> Vec<f64> {
    (0..SAMPLES).map(value).collect()
}

fn chunks(c: &mut Criterion) {
    for (name, values) in mixes() {
        let mut group = c.benchmark_group(format!("chunk/{name}"));
        group.throughput(Throughput::Elements(SAMPLES as u64));
        let mut payload = Vec::new();
        encode_values(&values, Coder::Fast, &mut payload);
        eprintln!("{name}: {:.3} bytes a sample", payload.len() as f64 / SAMPLES as f64);
        let mut out = Vec::with_capacity(payload.len() * 2);
        group.bench_function("encode", |b| {
            b.iter(|| {
                out.clear();
                encode_values(black_box(&values), Coder::Fast, &mut out);
            });
        });
        let mut decoded = Vec::with_capacity(SAMPLES);
        group.bench_function("decode", |b| {
            b.iter(|| {
                decoded.clear();
                decode_values(black_box(&payload), SAMPLES, &mut decoded).expect("our own payload");
                black_box(&decoded);
            });
        });
        group.finish();
    }
}

fn timestamps(c: &mut Criterion) {
    let stray = |i: usize| if noise(i).is_multiple_of(5) { noise(i) % 100 } else { 0 };
    let jitter: Vec<i64> = (0..SAMPLES).map(|i| (i * 15_000) as i64 + stray(i) as i64).collect();
    let mut payload = Vec::new();
    encode_timestamps(&jitter, Coder::Fast, &mut payload);
    eprintln!("timestamps: {:.3} bytes a row", payload.len() as f64 / SAMPLES as f64);
    let mut group = c.benchmark_group("chunk/timestamps");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let mut decoded = Vec::with_capacity(SAMPLES);
    group.bench_function("decode", |b| {
        b.iter(|| {
            decoded.clear();
            decode_timestamps(black_box(&payload), SAMPLES, &mut decoded).expect("our own payload");
            black_box(&decoded);
        });
    });
    group.finish();
}

/// Appends in scrape order: one value to each of many series, so that each record is cold.
fn columns(c: &mut Criterion) {
    const SERIES: usize = 20_000;
    const ROWS: usize = 120;
    for (name, values) in mixes() {
        let mut group = c.benchmark_group(format!("column/{name}"));
        group.throughput(Throughput::Elements((SERIES * ROWS) as u64));
        group.sample_size(10);
        let fill = |columns: &mut Vec<Column>| {
            for row in 0..ROWS {
                for (i, column) in columns.iter_mut().enumerate() {
                    column.append(row as u32, values[(row + i % 64) % SAMPLES]);
                }
            }
        };
        let empty = || vec![Column::new(0); SERIES];
        group.bench_function("append", |b| {
            b.iter_batched_ref(empty, fill, BatchSize::PerIteration);
        });
        let mut full = empty();
        fill(&mut full);
        let heap: usize = full.iter().map(Column::heap_bytes).sum();
        eprintln!(
            "{name}: {:.1} bytes a series at {ROWS} rows",
            48.0 + heap as f64 / SERIES as f64
        );
        group.bench_function("decode", |b| {
            b.iter(|| {
                let mut sum = 0_u64;
                for column in &full {
                    column.decode(|_, value| sum ^= value.to_bits());
                }
                black_box(sum)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, chunks, timestamps, columns);
criterion_main!(benches);
