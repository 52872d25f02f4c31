//! Random histories of floats, histograms and start timestamps against a map of (series, time) to
//! what the sample was.
//!
//! After the end of the process everything acknowledged is there. After a loss of power what is
//! missing is what was acknowledged last: whole commits but for one, and none that was synced.

use proptest::prelude::*;

use super::*;
use crate::disk::Crash;
use crate::model::{Histogram, IntegerHistogram, Span};

const SERIES: usize = 6;
const SOURCES: usize = 3;
const WINDOW_MS: i64 = 60_000;

#[derive(Debug, Clone)]
enum Op {
    /// A source pushes; (series, milliseconds before the source's time, value).
    Push(usize, Vec<(usize, i64, u8)>),
    Advance(u64),
    Sync,
    Maintain,
    Seal(usize),
    Checkpoint,
    Flush(bool),
    Kill,
    Crash(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let back = prop_oneof![6 => Just(0), 2 => 0..3_i64, 1 => 0..40_i64];
    let sample = (0..SERIES, back.prop_map(|b| b * 1000), 0..CHOICES);
    prop_oneof![
        24 => (0..SOURCES, prop::collection::vec(sample, 1..12)).prop_map(|(s, v)| Op::Push(s, v)),
        6 => (100..9000_u64).prop_map(Op::Advance),
        1 => Just(Op::Sync),
        2 => Just(Op::Maintain),
        3 => (0..SOURCES).prop_map(Op::Seal),
        1 => Just(Op::Checkpoint),
        2 => any::<bool>().prop_map(Op::Flush),
        1 => Just(Op::Kill),
        1 => (0..Crash::ALL.len()).prop_map(Op::Crash),
    ]
}

const CHOICES: u8 = 14;

/// One sample: six plain floats, four histograms, and the same with a start timestamp.
fn sample(choice: u8) -> Samples {
    let stale = f64::from_bits(crate::model::STALE_NAN_BITS);
    let mut sample = Samples::default();
    match choice {
        6.. => {
            let mut histogram = IntegerHistogram {
                count: 5 + u64::from(choice % 2),
                sum: if choice == 9 { stale } else { f64::from(choice) / 4.0 },
                positive_spans: vec![Span { offset: 1, length: 2 }],
                positive_deltas: vec![2, 1 - 2 * i64::from(choice % 4 / 2)],
                ..IntegerHistogram::default()
            };
            let buckets = 2 * histogram.positive_deltas[0] + histogram.positive_deltas[1];
            histogram.zero_count = histogram.count - buckets as u64;
            let histogram = Histogram::Integer(histogram);
            let is_float = choice.is_multiple_of(4);
            let float = || Histogram::Float(histogram.to_float());
            sample.push_histogram(0, Arc::new(if is_float { float() } else { histogram.clone() }));
        }
        _ => sample.push(0, [0.0, 1.0, 1.5, 1e9 + 0.25, stale, 1.0 / 3.0][choice as usize]),
    }
    if choice == 5 || choice >= 10 {
        sample.set_last_start(T0 - i64::from(choice % 3));
    }
    sample
}

type Contents = BTreeMap<(String, i64), u64>;

struct World {
    bench: Bench,
    head: Arc<Head>,
    /// What a reader must see, each sample with the number of its commit.
    model: BTreeMap<(String, i64), (u64, u64)>,
    /// What flushes wrote.
    blocks: Contents,
    commit: u64,
    /// Commits up to here were synced.
    synced: u64,
}

impl World {
    fn new(seed: u64, late_ms: i64) -> Self {
        let mut bench = Bench::new(seed);
        bench.late_ms = late_ms;
        bench.window_ms = WINDOW_MS;
        bench.clock.set_now_ms(T0);
        let head = bench.open();
        let (model, blocks) = (BTreeMap::new(), BTreeMap::new());
        Self { bench, head, model, blocks, commit: 0, synced: 0 }
    }

    fn now_ms(&self) -> i64 {
        crate::disk::Clock::now_ms(&*self.bench.clock)
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Push(source, samples) => self.push(*source, samples),
            Op::Advance(ms) => self.bench.clock.advance(Duration::from_millis(*ms)),
            Op::Sync => {
                self.head.sync().unwrap();
                self.synced = self.commit;
            }
            Op::Maintain => self.head.maintain(self.now_ms()).unwrap(),
            Op::Seal(source) => {
                let groups = self.head.groups_read().all();
                let groups: Vec<_> =
                    groups.into_iter().filter(|g| g.key == target(&source.to_string())).collect();
                self.head.seal(&groups, &mut self.head.maintenance().unwrap()).unwrap();
            }
            Op::Checkpoint => checkpoint(&self.head),
            Op::Flush(everything) => self.flush(*everything),
            Op::Kill => {
                self.bench.disk = self.bench.disk.kill();
                self.reopen();
            }
            Op::Crash(mode) => {
                self.bench.disk = self.bench.disk.crash(Crash::ALL[*mode]);
                self.reopen();
                self.forget_what_power_took();
            }
        }
    }

    fn push(&mut self, source: usize, samples: &[(usize, i64, u8)]) {
        let now_ms = self.now_ms();
        self.commit += 1;
        let mut appender = self.head.appender(&target(&source.to_string()));
        let mut pushed = Vec::new();
        for &(series, back_ms, choice) in samples {
            let name = series.to_string();
            let series = appender.series(&labels(&name));
            let (t_ms, sample) = (now_ms - back_ms, sample(choice));
            match sample.histogram(0) {
                Some(histogram) => appender.append_histogram(series, t_ms, Arc::clone(histogram)),
                None => appender.append(series, t_ms, sample.values[0]),
            }
            appender.set_last_start(sample.start_ms(0));
            pushed.push((name, t_ms, sample));
        }
        let outcome = appender.commit().unwrap();
        assert_eq!(outcome.accepted + outcome.rejected.len(), samples.len());
        let mut rejected = outcome.rejected.iter().map(|r| r.0).peekable();
        for (call, (name, t_ms, sample)) in pushed.into_iter().enumerate() {
            let bits = fingerprint(&sample, 0);
            if rejected.next_if_eq(&call).is_some() {
                continue;
            }
            let newest = self.model.range((name.clone(), i64::MIN)..=(name.clone(), i64::MAX));
            let is_late = newest.last().is_some_and(|((_, newest), _)| t_ms <= *newest);
            if is_late && crate::model::is_stale(sample.values[0]) {
                continue;
            }
            if self.bench.late_ms == 0 && is_late {
                assert_eq!(self.model[&(name, t_ms)].0, bits, "only an equal sample is accepted");
                continue;
            }
            self.model.entry((name, t_ms)).or_insert((bits, self.commit));
        }
    }

    fn flush(&mut self, everything: bool) {
        let range = if everything {
            self.head.seal_all().unwrap()
        } else if let Some(window) = self.head.flushable_window() {
            self.head.seal_window(window.max_ms + 1).unwrap()
        } else {
            return;
        };
        self.synced = self.commit;
        let Some(range) = range else { return };
        let found = contents(&self.head);
        for (key, bits) in found.into_iter().filter(|((_, t), _)| range.contains(*t)) {
            self.blocks.entry(key).or_insert(bits);
        }
        self.head.truncate(range.max_ms + 1).unwrap();
        if !everything {
            self.bench.flushed_until_ms = Some(range.max_ms + 1);
        }
    }

    fn reopen(&mut self) {
        self.head = self.bench.open();
        let heard = &self.bench.heard;
        assert_eq!(heard.count("RecordsMissing"), 0, "{:?}", heard.all());
        assert_eq!(heard.count("Quarantined"), 0, "{:?}", heard.all());
    }

    fn visible(&self) -> Contents {
        let mut all = contents(&self.head);
        for (key, bits) in &self.blocks {
            // A late sample may contradict one that left the head already.
            let in_head = all.insert(key.clone(), *bits).unwrap_or(*bits);
            assert!(in_head == *bits || self.bench.late_ms > 0, "{key:?}");
        }
        all
    }

    fn forget_what_power_took(&mut self) {
        let visible = self.visible();
        let lost: Vec<u64> = self
            .model
            .iter()
            .filter(|(key, _)| !visible.contains_key(*key))
            .map(|(_, (_, commit))| *commit)
            .collect();
        if let Some(&first) = lost.iter().min() {
            assert!(first > self.synced, "commit {first} was synced, {} too", self.synced);
            let kept = self.model.iter().filter(|(key, _)| visible.contains_key(*key));
            let later = kept.map(|(_, (_, commit))| *commit).filter(|&commit| commit > first);
            assert_eq!(later.max(), None, "a hole: commit {first} is lost, a later one is not");
        }
        self.model.retain(|key, _| visible.contains_key(key));
    }

    fn check(&self) {
        let model: Contents = self.model.iter().map(|(k, (bits, _))| (k.clone(), *bits)).collect();
        let visible = self.visible();
        let differs = |key: &&(String, i64)| model.get(*key) != visible.get(*key);
        let first = model.keys().chain(visible.keys()).find(differs);
        if let Some(key) = first {
            panic!("{key:?}: expected {:?}, found {:?}", model.get(key), visible.get(key));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn nothing_acknowledged_is_lost_or_altered(
        seed: u64,
        late_ms in prop_oneof![Just(0_i64), Just(35_000)],
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(seed, late_ms);
        for op in &ops {
            world.run(op);
            world.check();
        }
    }
}

#[test]
fn first_of_two_late_samples_stands() {
    let mut world = World::new(1, 35_000);
    let ops = [
        Op::Push(2, vec![(0, 0, 0), (3, 0, 0)]),
        Op::Advance(100),
        Op::Push(0, vec![(3, 0, 0)]),
        Op::Seal(2),
        Op::Advance(2001),
        Op::Push(2, vec![(3, 2000, 0)]),
        Op::Seal(0),
        Op::Push(0, vec![(3, 0, 0)]),
        Op::Push(0, vec![(3, 2000, 1)]),
        Op::Flush(true),
    ];
    for op in &ops {
        world.run(op);
        world.check();
    }
}

#[test]
fn a_shape_names_no_series_that_the_log_does_not_know() {
    let mut world = World::new(1, 0);
    let ops = [
        Op::Push(1, vec![(2, 0, 0)]),
        // Refused, but it has a slot from now on.
        Op::Push(1, vec![(4, 31_000, 0)]),
        Op::Push(1, vec![(2, 0, 0), (3, 0, 0)]),
        Op::Push(1, vec![(4, 0, 0)]),
        Op::Kill,
    ];
    for op in &ops {
        world.run(op);
        world.check();
    }
}
