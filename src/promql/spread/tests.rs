//! Several threads give what one gives, and end as one does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::{Labels, Matcher, Samples, TimeRange};
use crate::promql::engine::{
    Engine, EngineOptions, Query, QueryError, QueryOptions, QueryRange, QueryResult,
};
use crate::promql::script::{MemoryStore, Store};
use crate::promql::{ParseOptions, parse};
use crate::select::{Cancellation, Queryable, SelectError, SeriesSet};

const SERIES: usize = 150;
const SAMPLES: i64 = 2000;

fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    let mut state = 1_u64;
    for index in 0..SERIES {
        let mut samples = Samples::default();
        let mut value = 0.0;
        for tick in 0..SAMPLES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            value += (state >> 40) as f64 / 1e3;
            // Some series have gaps, some have nothing in the range asked for.
            if index % 11 != 3 || tick % 50 < 25 {
                samples.push(tick * 15_000 + index as i64 % 5, value);
            }
        }
        let (job, instance) = (format!("job-{}", index % 7), format!("host-{index:03}"));
        let labels = [("__name__", "m_total"), ("job", &job), ("instance", &instance)];
        store.append(&Labels::from_pairs(labels), &samples).unwrap();
    }
    store
}

fn ask(
    source: &dyn Queryable,
    helpers_max: usize,
    max_samples: usize,
    text: &str,
) -> Result<QueryResult, QueryError> {
    let options = EngineOptions { max_samples, helpers_max, ..EngineOptions::default() };
    let ast = parse(text, &ParseOptions::default()).unwrap();
    let query = Query { text, ast: &ast };
    let range = QueryRange { start_ms: 0, end_ms: SAMPLES * 15_000, step_ms: 30_000 };
    let (options, engine) = (QueryOptions::default(), Engine::new(options));
    engine.range(source, query, range, &options, &Cancellation::new())
}

#[test]
fn answers_do_not_depend_on_threads() {
    let store = store();
    for text in [
        "m_total",
        "rate(m_total[5m])",
        "sum by (job) (rate(m_total[5m]))",
        "avg(m_total * 3) by (job)",
        "max_over_time(m_total[1h])",
        "stddev by (job) (avg_over_time(m_total[10m]))",
        "absent_over_time(m_total[1m])",
        "sum(max_over_time(rate(m_total[5m])[10m:1m]))",
        "quantile_over_time(0.3, irate(m_total[1m])[5m:20s])",
        "last_over_time(m_total[5m:20s])",
    ] {
        let alone = ask(&store, 0, usize::MAX, text).unwrap();
        for helpers_max in [1, 3, 16] {
            let together = ask(&store, helpers_max, usize::MAX, text).unwrap();
            assert_eq!(together.value, alone.value, "{text} with {helpers_max}");
            assert_eq!(together.infos, alone.infos);
            let stats = |r: &QueryResult| (r.stats.total_queryable_samples, r.stats.samples_read);
            assert_eq!(stats(&together), stats(&alone), "{text}");
        }
    }
}

/// What happens when series [`SERIES`] / 2 is read.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Cancel,
    Panic,
}

#[derive(Debug)]
struct FaultySet(Box<dyn SeriesSet>, Fault, Cancellation);

impl SeriesSet for FaultySet {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        self.0.labels(index)
    }

    fn read(&self, index: usize, range: TimeRange, out: &mut Samples) -> Result<(), SelectError> {
        if index == SERIES / 2 {
            match self.1 {
                Fault::Cancel => self.2.cancel(),
                Fault::Panic => panic!("a fault on purpose"),
            }
        }
        self.0.read(index, range, out)
    }
}

struct Faulty(MemoryStore, Fault);

impl Queryable for Faulty {
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Box<dyn SeriesSet>, SelectError> {
        let set = self.0.queryable().select(matchers, range, cancellation)?;
        Ok(Box::new(FaultySet(set, self.1, cancellation.clone())))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        self.0.queryable().label_names(matchers, range, cancellation)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        cancellation: &Cancellation,
    ) -> Result<Vec<String>, SelectError> {
        self.0.queryable().label_values(name, matchers, range, cancellation)
    }
}

#[test]
fn a_stopped_query_ends_on_all_threads() {
    let source = Faulty(store(), Fault::Cancel);
    for helpers_max in [0, 1, 4] {
        let answer = ask(&source, helpers_max, usize::MAX, "sum(rate(m_total[5m]))");
        assert!(matches!(answer, Err(QueryError::Canceled)), "{answer:?}");
    }
}

#[test]
fn a_limit_is_reached_on_all_threads() {
    let store = store();
    for helpers_max in [0, 1, 4] {
        let answer = ask(&store, helpers_max, 20_000, "rate(m_total[5m])");
        assert!(matches!(answer, Err(QueryError::Limit(_))), "{answer:?}");
    }
}

#[test]
fn a_panic_is_passed_on_and_leaves_no_thread_waiting() {
    let source = Faulty(store(), Fault::Panic);
    for helpers_max in [0, 1, 4] {
        let ask = || ask(&source, helpers_max, usize::MAX, "sum(rate(m_total[5m]))");
        assert!(catch_unwind(AssertUnwindSafe(ask)).is_err(), "with {helpers_max}");
    }
}
