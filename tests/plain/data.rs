//! Small data: four metrics with a few series each, of floats, histograms and both; a classic
//! histogram; and info metrics of targets.

use std::sync::Arc;

use narthex::model::{FloatHistogram, Histogram, Labels, ResetHint, Samples, Span, stale_nan};
use narthex::promql::script::{MemoryStore, Store as _};

use super::choices::Choices;

const FLOATS: [f64; 14] = [
    1.0,
    2.0,
    0.0,
    5.0,
    0.1,
    0.7,
    -1.0,
    -0.0,
    1e300,
    -3.5,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    123_456.789,
];

/// A store with some series.
pub(crate) fn store(choices: &mut Choices<'_>) -> MemoryStore {
    let mut store = MemoryStore::default();
    for metric in ["a_total", "b", "h", "m"] {
        for index in 0..=choices.pick(3) {
            let (job, i) = [("x", "0"), ("x", "1"), ("y", "0")][index];
            let labels = Labels::from_pairs([("__name__", metric), ("job", job), ("i", i)]);
            let samples = series(metric, choices);
            if !samples.is_empty() {
                store.append(&labels, &samples).expect("times ascend");
            }
        }
    }
    buckets(&mut store, choices);
    targets(&mut store, choices);
    store
}

/// `c_bucket`: counts that mostly ascend with the bound.
fn buckets(store: &mut MemoryStore, choices: &mut Choices<'_>) {
    for (job, i) in [("x", "0"), ("y", "0")] {
        let mut all = [(); 3].map(|()| Samples::default());
        let mut counts = [0.0; 3];
        let mut t_ms = choices.pick(4) as i64 * 5_000;
        for _ in 0..choices.pick(8) {
            let choice = choices.pick(64);
            for (index, count) in counts.iter_mut().enumerate() {
                *count += [0.0, 1.0, 2.0, 0.5][choice >> (2 * index) & 3] * (index + 1) as f64;
                all[index].push(t_ms, *count);
            }
            t_ms += [15_000, 40_000][choice % 2];
        }
        for (le, samples) in ["1", "2", "+Inf"].into_iter().zip(all) {
            let labels = [("__name__", "c_bucket"), ("job", job), ("i", i), ("le", le)];
            if !samples.is_empty() {
                store.append(&Labels::from_pairs(labels), &samples).expect("times ascend");
            }
        }
    }
}

/// `up` of two targets, and what `target_info` and `build_info` say of them.
fn targets(store: &mut MemoryStore, choices: &mut Choices<'_>) {
    let data = [
        ("up", "x", "", ""),
        ("up", "y", "", ""),
        ("target_info", "x", "version", "1"),
        ("target_info", "x", "version", "2"),
        ("target_info", "y", "zone", "a"),
        ("build_info", "x", "zone", "b"),
        ("build_info", "x", "version", "1"),
    ];
    for (metric, job, name, value) in data {
        let mut samples = Samples::default();
        let mut t_ms = choices.pick(8) as i64 * 5_000;
        for _ in 0..choices.pick(4) {
            let choice = choices.pick(8);
            samples.push(t_ms, if choice == 7 { stale_nan() } else { 1.0 });
            t_ms += [15_000, 15_000, 60_000, 310_000][choice % 4];
        }
        let mut labels = vec![("__name__", metric), ("job", job), ("instance", "0")];
        if !name.is_empty() {
            labels.push((name, value));
        }
        if !samples.is_empty() {
            store.append(&Labels::from_pairs(labels), &samples).expect("times ascend");
        }
    }
}

fn series(metric: &str, choices: &mut Choices<'_>) -> Samples {
    let mut samples = Samples::default();
    let mut t_ms = choices.pick(8) as i64 * 5_000;
    let mut counter = 0.0;
    let mut histogram = empty(choices);
    for _ in 0..2 + choices.pick(14) {
        let kind = choices.pick(16);
        match metric {
            _ if kind == 15 => samples.push(t_ms, stale_nan()),
            "a_total" => {
                counter = if kind == 14 { 0.5 } else { counter + f64::from(kind as u8) / 4.0 };
                samples.push(t_ms, counter);
            }
            "h" => push(&mut samples, t_ms, &mut histogram, choices),
            "m" if kind < 6 => push(&mut samples, t_ms, &mut histogram, choices),
            _ => samples.push(t_ms, choices.one(&FLOATS)),
        }
        t_ms += choices.one(&[15_000, 15_000, 14_987, 40_000, 310_000]);
    }
    samples
}

fn empty(choices: &mut Choices<'_>) -> FloatHistogram {
    let bounds: &[f64] = [&[][..], &[][..], &[1.0, 2.0, 4.0][..], &[1.0, 4.0][..]][choices.pick(4)];
    FloatHistogram {
        schema: if bounds.is_empty() { choices.pick(2) as i32 } else { -53 },
        zero_threshold: if bounds.is_empty() { 0.001 } else { 0.0 },
        custom_bounds: Arc::from(bounds),
        reset_hint: choices.one(&[ResetHint::Unknown, ResetHint::Unknown, ResetHint::Gauge]),
        ..FloatHistogram::default()
    }
}

/// Observes something, or begins anew, and stores what was counted.
fn push(samples: &mut Samples, t_ms: i64, kept: &mut FloatHistogram, choices: &mut Choices<'_>) {
    if choices.pick(8) == 7 {
        *kept = empty(choices);
    }
    let is_custom = kept.schema == -53;
    let slots = if is_custom { kept.custom_bounds.len() + 1 } else { 4 };
    kept.positive_buckets.resize(slots, 0.0);
    kept.positive_spans = vec![Span { offset: 0, length: slots as u32 }];
    for _ in 0..choices.pick(4) {
        let slot = choices.pick(slots + 2);
        let size = [1.0, 2.0, 0.25][choices.pick(3)];
        if slot < slots {
            kept.positive_buckets[slot] += size;
        } else if is_custom {
            kept.positive_buckets[0] += size;
        } else if slot == slots {
            kept.zero_count += size;
        } else {
            kept.negative_spans = vec![Span { offset: 1, length: 1 }];
            kept.negative_buckets.resize(1, 0.0);
            kept.negative_buckets[0] += size;
        }
        kept.count += size;
        kept.sum += size * slot as f64 * 0.7;
    }
    samples.push_histogram(t_ms, Arc::new(Histogram::Float(kept.clone())));
}
