//! A plain, slow evaluator of queries, to judge the engine by.
//!
//! It knows series of cells and nothing else: each cell of a result is computed by itself, in the
//! obvious way, from the cells or the samples it depends on. Nothing is shared with the engine but
//! the syntax tree, the model's types (histograms and their arithmetic among them), the elementary
//! functions, whose last bits have tests of their own, and the door to the store.
//!
//! Computed durations are written by the generator of queries together with what they come to; the
//! engine is given the one, the plain evaluator the other. What it leaves out are start timestamps,
//! which scripts cover. Warnings are not compared; of errors only that there is one.
//!
//! Besides, queries with subqueries are asked twice, in spellings that the engine goes about in
//! different ways; of these answers everything is compared, what is told and counted too.
#![allow(dead_code, reason = "each program that includes it uses its part")]

mod cells;
mod choices;
mod compare;
mod data;
mod dates;
mod evaluate;
mod extended;
mod groups;
mod histograms;
mod info;
mod instant;
mod joins;
mod queries;
mod rates;
mod ratio;
mod windows;

use narthex::promql::ast::Ast;
use narthex::promql::engine::{
    Engine, EngineOptions, Query, QueryError, QueryOptions, QueryRange, QueryResult, QueryStats,
};
use narthex::promql::{ParseOptions, parse};
use narthex::select::Cancellation;

use choices::Choices;
use evaluate::Plain;
use queries::Texts;

/// How one comparison went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both have this number of values.
    Values(usize),
    /// Both refuse.
    Refused,
}

/// Makes data and a query out of `bytes` and compares the engine with the plain evaluator. Panics
/// where they differ.
pub(crate) fn check(bytes: &[u8]) -> Outcome {
    let mut choices = Choices::new(bytes);
    let options = EngineOptions {
        delayed_name_removal: choices.pick(2) == 1,
        lookback_delta_ms: [300_000, 40_000][choices.pick(2)],
        subquery_step_ms: 30_000,
        per_step_stats: true,
        ..EngineOptions::default()
    };
    let steps = [1, 1, 2, 7, 20][choices.pick(5)];
    let step_ms = [15_000, 30_000, 7_000, 60_000][choices.pick(4)];
    let start_ms = choices.pick(30) as i64 * 10_000;
    let range = QueryRange { start_ms, end_ms: start_ms + (steps - 1) * step_ms, step_ms };
    choices.step_ms = if steps > 1 { step_ms } else { 0 };
    // Before the data, which would leave no bytes for it.
    let Texts { written: text, worked_out, apart } = queries::query(&mut choices, steps > 1);
    let store = data::store(&mut choices);
    let parsed = |text: &str| {
        parse(text, &ParseOptions::all_features())
            .unwrap_or_else(|error| panic!("the query is none: {error}: {text}"))
    };
    let (written, ast) = (parsed(&text), parsed(&worked_out));
    let plain = Plain::new(&store, &ast, range, &options);
    let expected = plain.answer();
    let engine = Engine::new(options.clone());
    let answer = |text: &str, ast: &Ast| {
        let query = Query { text, ast };
        let query_options = QueryOptions { per_step_stats: true, ..QueryOptions::default() };
        let cancellation = Cancellation::new();
        if steps > 1 {
            engine.range(&store, query, range, &query_options, &cancellation)
        } else {
            engine.instant(&store, query, start_ms, &query_options, &cancellation)
        }
    };
    let found = answer(&text, &written);
    if apart != text {
        let context = || format!("{text}\n{range:?} {options:?}");
        assert_alike(&found, &answer(&apart, &parsed(&apart)), context);
    }
    match (expected, found) {
        (Err(_), Err(_)) => Outcome::Refused,
        (Ok(expected), Ok(found)) => {
            let found = compare::rows(found.value);
            let count = found.iter().map(|row| row.1.len()).sum();
            compare::assert_same(&expected, &found, || format!("{text}\n{range:?} {options:?}"));
            Outcome::Values(count)
        }
        (expected, found) => panic!(
            "{text}\n{range:?} {options:?}\nexpected {expected:?}\nfound {:?}",
            found.map(|found| compare::rows(found.value))
        ),
    }
}

/// Panics where two answers of the engine differ in anything but how long they took and how much
/// was held for them.
fn assert_alike(
    a: &Result<QueryResult, QueryError>,
    b: &Result<QueryResult, QueryError>,
    context: impl Fn() -> String,
) {
    let (a, b) = match (a, b) {
        (Ok(a), Ok(b)) => (a, b),
        (a, b) => {
            let text = |answer: &Result<QueryResult, QueryError>| {
                answer.as_ref().map(|_| ()).map_err(ToString::to_string)
            };
            assert_eq!(text(a), text(b), "{}", context());
            return;
        }
    };
    let rows = |answer: &QueryResult| compare::rows(answer.value.clone());
    compare::assert_same(&rows(a), &rows(b), &context);
    let told = |answer: &QueryResult| (answer.warnings.clone(), answer.infos.clone());
    assert_eq!(told(a), told(b), "{}", context());
    let counted = |stats: &QueryStats| {
        (stats.total_queryable_samples, stats.samples_read, stats.steps.clone())
    };
    assert_eq!(counted(&a.stats), counted(&b.stats), "{}", context());
}
