//! The cache of results against its absence: whatever happens to the data, an answer is the same.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]

use std::sync::Arc;

use narthex::db::ResultCache;
use narthex::disk::{Clock, Disk, SimulatedClock, SimulatedDisk};
use narthex::promql::engine::{Engine, Query, QueryOptions};
use narthex::promql::parse::{ParseOptions, parse};
use narthex::{
    Cancellation, Database, GroupKey, Labels, Matcher, Options, QueryRange, Retention, TimeRange,
};
use proptest::prelude::*;

const MINUTE: i64 = 60_000;
/// A multiple of two hours.
const START: i64 = 1_699_999_200_000;

const QUERIES: [&str; 14] = [
    "m",
    "sum by (i) (rate(m[5m]))",
    "max_over_time(m[10m])",
    "m offset 3m + m offset -2m",
    "m @ 1700001000 + on (i) m",
    "m and on (i) (m offset -7m > 3)",
    "topk(1, m)",
    "count_values(\"v\", m % 3)",
    "max_over_time(sum(m)[7m:1m])",
    "label_replace(m, \"j\", \"x$1\", \"i\", \"(.*)\")",
    "absent(m{i=\"1\"})",
    "time() - start()",
    "sort(m)",
    "vector(time()) or m",
];

#[derive(Debug, Clone)]
enum Step {
    /// Minutes that pass, with a row of samples at each.
    Rows(i64),
    /// A sample of one series, minutes below the newest row.
    Late(u8, i64),
    /// Deletion in one series: minutes below the newest row, and how many.
    Delete(u8, i64, i64),
    /// Keeps so many minutes, and does what is due.
    Maintain(i64),
    /// A query: which, minutes below the newest row it ends, minutes it is long, its step.
    Ask(usize, i64, i64, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (1_i64..20).prop_map(Step::Rows),
        1 => (0_u8..3, 0_i64..50).prop_map(|(i, ago)| Step::Late(i, ago)),
        1 => (0_u8..3, 0_i64..90, 0_i64..30).prop_map(|(i, ago, n)| Step::Delete(i, ago, n)),
        1 => (100_i64..400).prop_map(Step::Maintain),
        6 => (0..QUERIES.len(), -5_i64..30, 0_i64..60, 1_i64..3)
            .prop_map(|(q, ago, long, step)| Step::Ask(q, ago, long, step)),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Bench {
    db: Database,
    clock: SimulatedClock,
    cache: ResultCache,
    engine: Engine,
    now_ms: i64,
    rows: u32,
}

impl Bench {
    fn new() -> Self {
        let clock = SimulatedClock::new(START);
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(3));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let options = Options { background: false, ..Options::default() };
        let db = Database::open_with(disk, shared, "/data", options).unwrap();
        let (cache, engine) = (ResultCache::new(1 << 20), Engine::default());
        Self { db, clock, cache, engine, now_ms: START, rows: 0 }
    }

    fn append(&self, i: u8, t_ms: i64, value: f64) {
        let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
        let mut row = self.db.appender(GroupKey::Embedded("a".to_owned())).unwrap();
        let series = row.series(&labels).unwrap();
        row.append(series, t_ms, value);
        // A sample that is there already, or too late, changes nothing.
        let _ = row.commit().unwrap();
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Rows(minutes) => {
                for _ in 0..minutes {
                    self.now_ms += MINUTE;
                    self.clock.set_now_ms(self.now_ms);
                    self.rows += 1;
                    for i in 0..3 {
                        if (self.rows + u32::from(i)) % 11 > 1 {
                            let value = f64::from(self.rows * 7 % 31 + u32::from(i));
                            self.append(i, self.now_ms, value);
                        }
                    }
                }
            }
            Step::Late(i, ago) => {
                self.append(i, self.now_ms - ago * MINUTE - 7, 1000.0 + ago as f64);
            }
            Step::Delete(i, ago, minutes) => {
                let max_ms = self.now_ms - ago * MINUTE;
                let range = TimeRange { min_ms: max_ms - minutes * MINUTE, max_ms };
                self.db.delete(&[Matcher::equal("i", i.to_string())], range).unwrap();
            }
            Step::Maintain(minutes) => {
                let time_ms = minutes * MINUTE;
                self.db.set_retention(Retention { time_ms, ..Retention::default() });
                self.db.maintain().unwrap();
            }
            Step::Ask(query, ago, long, step) => {
                let end_ms = self.now_ms - ago * MINUTE;
                let start_ms = end_ms - long * MINUTE;
                self.ask(QUERIES[query], QueryRange { start_ms, end_ms, step_ms: step * MINUTE });
            }
        }
    }

    fn ask(&self, text: &str, range: QueryRange) {
        let ast = parse(text, &ParseOptions::all_features()).unwrap();
        let (query, options) = (Query { text, ast: &ast }, QueryOptions::default());
        let stop = Cancellation::new();
        let plain = self.engine.range(&self.db, query, range, &options, &stop).unwrap();
        // Twice: what the first one keeps answers the second.
        for _ in 0..2 {
            let cached = self.cache.range(&self.db, &self.engine, query, range, &options, &stop);
            let cached = cached.unwrap();
            let shown = |result: &narthex::QueryResult| {
                format!("{:?} {:?} {:?}", result.value, result.warnings, result.infos)
            };
            assert_eq!(shown(&cached), shown(&plain), "{text} over {range:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn it_is_never_visible_in_an_answer(steps in steps()) {
        let mut bench = Bench::new();
        bench.take(&Step::Rows(150));
        for step in &steps {
            bench.take(step);
        }
    }
}

#[test]
fn a_dashboard_that_moves_on_evaluates_what_is_new() {
    let mut bench = Bench::new();
    bench.take(&Step::Rows(120));
    let text = "sum by (i) (avg_over_time(m[5m]))";
    let asked = |bench: &Bench| {
        let ast = parse(text, &ParseOptions::default()).unwrap();
        let (query, options) = (Query { text, ast: &ast }, QueryOptions::default());
        let (start_ms, end_ms) = (bench.now_ms - 60 * MINUTE, bench.now_ms);
        let range = QueryRange { start_ms, end_ms, step_ms: MINUTE };
        let stop = Cancellation::new();
        bench.cache.range(&bench.db, &bench.engine, query, range, &options, &stop).unwrap();
        bench.cache.stats()
    };
    assert_eq!((asked(&bench).steps_taken, asked(&bench).steps_taken), (0, 61));
    // Five new rows: five new steps. The newest one before them looked at nothing newer.
    bench.take(&Step::Rows(5));
    let stats = asked(&bench);
    assert_eq!((stats.steps_taken, stats.steps_evaluated), (61 + 56, 61 + 5));
    // A late sample ten minutes back costs the steps since then.
    bench.take(&Step::Late(1, 10));
    let stats = asked(&bench);
    assert_eq!((stats.steps_taken, stats.steps_evaluated), (61 + 56 + 50, 61 + 5 + 11));
    assert!(stats.bytes > 1000 && stats.bytes < 1 << 20);
}
