//! Chunks and columns by the shape of their values; time per sample, and bytes on standard error.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use narthex::chunk::{
    Coder, Decimals, Sibling, decode_timestamps, decode_values, encode_timestamps, encode_values,
    integers_to_values, read_integers,
};
use narthex::head::column::Column;

/// Six hours at fifteen seconds: a chunk of a merged block.
const SAMPLES: usize = 1440;

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
        ("few values", values(|i| ((2 + noise(i) % 5) as f64).sqrt())),
        ("exceptions", values(|i| if i % 90 == 7 { f64::NAN } else { (noise(i) % 300) as f64 })),
        ("full mantissa", values(|i| (noise(i) as f64).sqrt())),
    ]
}

fn values(value: impl FnMut(usize) -> f64) -> Vec<f64> {
    (0..SAMPLES).map(value).collect()
}

fn chunks(c: &mut Criterion) {
    for (name, values) in mixes() {
        for coder in [Coder::Fast, Coder::Dense] {
            let mut group = c.benchmark_group(format!("chunk/{name}/{coder:?}"));
            group.throughput(Throughput::Elements(SAMPLES as u64));
            let mut payload = Vec::new();
            encode_values(&values, coder, &mut payload);
            eprintln!("{name}, {coder:?}: {:.3} bytes a sample", per_sample(&payload));
            let mut out = Vec::with_capacity(payload.len() * 2);
            group.bench_function("encode", |b| {
                b.iter(|| {
                    out.clear();
                    encode_values(black_box(&values), coder, &mut out);
                });
            });
            let mut decoded = Vec::with_capacity(SAMPLES);
            group.bench_function("decode", |b| {
                b.iter(|| {
                    decoded.clear();
                    decode_values(black_box(&payload), SAMPLES, &mut decoded)
                        .expect("our own payload");
                    black_box(&decoded);
                });
            });
            group.finish();
        }
    }
}

fn per_sample(payload: &[u8]) -> f64 {
    payload.len() as f64 / SAMPLES as f64
}

/// A bucket as a difference to the one below it.
fn siblings(c: &mut Criterion) {
    let mut below = 0;
    let mut bucket = 0;
    let (low, high): (Vec<f64>, Vec<f64>) = (0..SAMPLES)
        .map(|i| {
            below += noise(i) % 40;
            bucket += noise(i) % 40 + noise(i + SAMPLES) % 4;
            (below as f64, bucket as f64)
        })
        .unzip();
    let base = Decimals::of(&low).expect("whole numbers");
    let own = Decimals::of(&high).expect("whole numbers");
    let place = Sibling { gap: 0, len: 300 };
    let mut payload = Vec::new();
    own.write_beside(base.ints(), place, Coder::Dense, &mut payload);
    eprintln!("sibling: {:.3} bytes a sample", per_sample(&payload));
    let mut group = c.benchmark_group("chunk/sibling");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let mut out = Vec::with_capacity(payload.len() * 2);
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            own.write_beside(black_box(base.ints()), place, Coder::Dense, &mut out);
        });
    });
    let (mut ints, mut values) = (Vec::new(), Vec::new());
    group.bench_function("decode one step", |b| {
        b.iter(|| {
            ints.clear();
            values.clear();
            read_integers(black_box(&payload), SAMPLES, SAMPLES, base.ints(), &mut ints)
                .expect("our own payload");
            integers_to_values(&payload, SAMPLES, &ints, 0..SAMPLES, &mut values)
                .expect("our own payload");
            black_box(&values);
        });
    });
    group.finish();
}

fn timestamps(c: &mut Criterion) {
    let stray = |i: usize| if noise(i).is_multiple_of(5) { noise(i) % 100 } else { 0 };
    let jitter: Vec<i64> = (0..SAMPLES).map(|i| (i * 15_000) as i64 + stray(i) as i64).collect();
    let mut payload = Vec::new();
    encode_timestamps(&jitter, Coder::Fast, &mut payload);
    eprintln!("timestamps: {:.3} bytes a row", per_sample(&payload));
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

criterion_group!(benches, chunks, siblings, timestamps, columns);
criterion_main!(benches);
