//! What whole chunks come to is what their samples do, and is used for no others.

use super::*;
use crate::block::Stretch;

/// What samples come to, folded one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
struct Fold {
    count: u64,
    first: Option<u64>,
    last: Option<u64>,
    min: Option<f64>,
    max: Option<f64>,
    resets: u64,
    /// In hundredths.
    sum: i128,
    /// How many samples were not looked at one by one.
    skipped: u64,
    last_ms: i64,
}

impl Fold {
    fn add(&mut self, t_ms: i64, value: f64) {
        assert!(t_ms > self.last_ms);
        self.last_ms = t_ms;
        self.join(value, value, value, value);
        self.count += 1;
        self.sum += (value * 100.0).round() as i128;
    }

    fn join(&mut self, first: f64, last: f64, min: f64, max: f64) {
        self.first = self.first.or(Some(first.to_bits()));
        self.resets += u64::from(self.last.is_some_and(|bits| first < f64::from_bits(bits)));
        self.last = Some(last.to_bits());
        self.min = Some(self.min.map_or(min, |least| if min < least { min } else { least }));
        self.max = Some(self.max.map_or(max, |most| if max > most { max } else { most }));
    }

    fn visit(&mut self, stretch: &Stretch<'_>, within: TimeRange) {
        match stretch {
            Stretch::Samples(samples) => {
                for (t, value) in samples.timestamps.iter().zip(&samples.values) {
                    assert!(within.contains(*t));
                    self.add(*t, *value);
                }
            }
            Stretch::Whole { range, aggregate } => {
                assert!(range.min_ms > self.last_ms && range.max_ms >= range.min_ms);
                assert!(within.contains(range.min_ms) && within.contains(range.max_ms));
                self.last_ms = range.max_ms;
                self.join(aggregate.first, aggregate.last, aggregate.min, aggregate.max);
                self.resets += u64::from(aggregate.resets);
                self.count += u64::from(aggregate.count);
                self.skipped += u64::from(aggregate.count);
                let sum = aggregate.sum.expect("the model has decimals only");
                self.sum += sum.int * 100 / 10_i128.pow(u32::from(sum.exponent));
            }
        }
    }
}

fn decimals() -> Model {
    let mut model = histograms(2, "instance", 2000);
    let gauge = |i: i64| ((i * 7919 % 1000) as f64 / 100.0).to_bits();
    let sawtooth = |i: i64| ((i % 300) as f64).to_bits();
    let constant = |_| 2.5_f64.to_bits();
    let shapes: [(&str, &dyn Fn(i64) -> u64); 3] =
        [("gauge", &gauge), ("sawtooth", &sawtooth), ("constant", &constant)];
    for (name, value) in shapes {
        let samples = (0..2000).map(|i| (NOW + i * 15_000, value(i))).collect();
        model.insert(Labels::from_pairs([("__name__", name)]), samples);
    }
    model
}

use super::siblings::histograms;

#[test]
fn stretches_come_to_what_samples_do() {
    let model = decimals();
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
    let dir = write(&disk, &model, 2 * HOUR).unwrap();
    let block = Arc::new(Block::open(&*disk, &dir).unwrap());
    let mut skipped = 0;
    for (from, to) in [(0, 9 * HOUR), (HOUR / 7, 8 * HOUR), (3 * HOUR, 4 * HOUR), (HOUR, 5 * HOUR)]
    {
        let range = TimeRange { min_ms: NOW + from, max_ms: NOW + to };
        let selection = block.select(&[], range, &none).unwrap();
        for i in 0..selection.len() {
            let mut fold = Fold::default();
            let visit = &mut |stretch: Stretch<'_>| fold.visit(&stretch, range);
            let damaged = &mut |e| panic!("{e}");
            selection.visit_stretches(i, range, damaged, visit).unwrap();
            let mut plain = Fold::default();
            for &(t, bits) in model[selection.labels(i)].iter().filter(|s| range.contains(s.0)) {
                plain.add(t, f64::from_bits(bits));
            }
            skipped += std::mem::take(&mut fold.skipped);
            assert_eq!(fold, plain, "{:?}", selection.labels(i));
        }
    }
    assert!(skipped > 40_000, "{skipped} samples skipped");
}

/// Staleness markers, NaN and infinities are among samples only, and bits come as they are.
#[test]
fn what_is_not_finite_is_among_samples() {
    let mut model = Model::new();
    for (name, bits) in
        [("nan", f64::NAN.to_bits()), ("stale", crate::model::STALE_NAN_BITS), ("sum", 1)]
    {
        let value = |i: i64| if i == 700 { bits } else { (i as f64).sqrt().to_bits() };
        let samples = (0..2000).map(|i| (NOW + i * 15_000, value(i))).collect();
        model.insert(Labels::from_pairs([("__name__", name)]), samples);
    }
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
    let dir = write(&disk, &model, 2 * HOUR).unwrap();
    let block = Arc::new(Block::open(&*disk, &dir).unwrap());
    let selection = block.select(&[], TimeRange::ALL, &none).unwrap();
    for (i, samples) in model.values().enumerate() {
        let mut seen = 0;
        let visit = &mut |stretch: Stretch<'_>| match stretch {
            Stretch::Samples(part) => {
                assert_eq!(pairs(part), samples[seen..seen + part.len()]);
                seen += part.len();
            }
            Stretch::Whole { aggregate, .. } => {
                let part = &samples[seen..seen + aggregate.count as usize];
                assert!(part.iter().all(|(_, bits)| f64::from_bits(*bits).is_finite()));
                assert_eq!(aggregate.first.to_bits(), part[0].1);
                assert_eq!(aggregate.sum, None);
                seen += part.len();
            }
        };
        selection.visit_stretches(i, TimeRange::ALL, &mut |e| panic!("{e}"), visit).unwrap();
        assert_eq!(seen, samples.len());
    }
}

/// Without the file, or with one that is damaged or newer, the samples tell.
#[test]
fn the_file_may_be_missing() {
    let model = decimals();
    let simulated = SimulatedDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
    let dir = write(&disk, &model, 2 * HOUR).unwrap();
    let path = dir.join("aggregates");
    let intact = simulated.file_bytes(&path).unwrap();
    let samples: usize = model.values().map(Vec::len).sum();
    assert!(intact.len() * 125 <= samples * 3, "{} bytes for {samples} samples", intact.len());
    for at in [0, intact.len() / 2, intact.len() - 8, intact.len() - 30] {
        let mut bytes = intact.clone();
        bytes[at] ^= 0x10;
        simulated.set_file_bytes(&path, bytes).unwrap();
        let block = Arc::new(Block::open(&*disk, &dir).unwrap());
        let selection = block.select(&[], TimeRange::ALL, &none).unwrap();
        for i in 0..selection.len() {
            let mut count = 0;
            let visit = &mut |stretch: Stretch<'_>| {
                count += match stretch {
                    Stretch::Samples(samples) => samples.len(),
                    Stretch::Whole { aggregate, .. } => aggregate.count as usize,
                };
            };
            selection.visit_stretches(i, TimeRange::ALL, &mut |e| panic!("{e}"), visit).unwrap();
            assert_eq!(count, model[selection.labels(i)].len());
        }
    }
    disk.remove_file(&path).unwrap();
    assert_eq!(read_all(&*disk, &dir).unwrap(), model);
}
