//! What scripts say, and that their runner can tell right from wrong.

use super::*;
use crate::promql::engine::Engine;
use crate::promql::parse::ParseOptions;

fn floats(line: &str) -> Vec<Option<f64>> {
    let value = |value: SeriesValue| match value {
        SeriesValue::Float(value) => Some(value),
        _ => None,
    };
    parse_series(line).unwrap().values.into_iter().map(value).collect()
}

#[test]
fn values_are_spelt_out() {
    assert_eq!(floats("a 1 _ 3"), [Some(1.0), None, Some(3.0)]);
    assert_eq!(floats("a 1+2x2 -1-1x1"), [1.0, 3.0, 5.0, -1.0, -2.0].map(Some));
    assert_eq!(floats("a _x2 1e-1x1 Inf"), [None, None, Some(0.1), Some(0.1), Some(f64::INFINITY)]);
    assert!(floats("a stale")[0].is_some_and(crate::model::is_stale));
    let series = parse_series("{\"m n\", b='c d'}  {{schema:1 buckets:[1 2]}}x2 5").unwrap();
    assert_eq!(series.labels.to_string(), "{__name__=\"m n\", b=\"c d\"}");
    assert_eq!(series.values.len(), 4);
    let SeriesValue::Histogram(written) = &series.values[2] else { panic!("{series:?}") };
    assert_eq!(written.histogram.to_float().positive_buckets, [1.0, 2.0]);
}

#[test]
fn mistakes_are_refused() {
    for line in ["a{b!='c'} 1", "a{b 1", "a 1x", "a 1+1", "a x5", "a 1x9999999999", "a {{1"] {
        assert!(parse_series(line).is_err(), "{line}");
    }
    for (script, line) in [
        ("\nlod 5m", 2),
        ("load 5x", 1),
        ("load 5m\n  a 1\n  b y", 3),
        ("eval instant 5m a", 1),
        ("eval range from 5m to 1m step 1m a", 1),
        ("eval instant at 5m a\n  expect love", 2),
    ] {
        assert_eq!(Script::parse(script).unwrap_err().line, line, "{script}");
    }
}

#[test]
fn blocks_end_at_blank_lines_and_comments() {
    let script = "clear\nload 1m\n  a 1 2\n  # no more\n\neval_ordered instant at 1m30s a\n  \
                  expect warn msg: b: c\n  a 2\n";
    let script = Script::parse(script).unwrap();
    let [Command::Clear, Command::Load(load), Command::Eval(eval)] = script.commands.as_slice()
    else {
        panic!("{script:?}");
    };
    assert_eq!((load.step_ms, load.series.len()), (60_000, 1));
    assert_eq!((eval.times, eval.query.as_str()), (Times::Instant(90_000), "a"));
    assert_eq!(
        eval.expectations,
        [
            Expectation { about: About::Ordered, text: None },
            Expectation { about: About::Warn, text: Some(Pattern::Exact("b: c".to_owned())) },
        ]
    );
}

fn run(script: &str) -> Report {
    let mut store = MemoryStore::default();
    let engine = Engine::default();
    let mut runner = Runner::new(&mut store, &engine, ParseOptions::default());
    runner.run(&Script::parse(script).unwrap()).unwrap()
}

#[test]
fn histograms_are_written_out() {
    let line = "a {{schema:1 count:3 sum:-Inf z_bucket:1 z_bucket_w:0.5 buckets:[1 2] offset:-2 \
                n_buckets:[4] counter_reset_hint:gauge}} {{count:1}}+{{count:2 buckets:[1]}}x2";
    let series = parse_series(line).unwrap();
    let all: Vec<_> = series
        .values
        .iter()
        .map(|value| match value {
            SeriesValue::Histogram(written) => (written.histogram.to_float(), written.hint_given),
            value => panic!("{value:?}"),
        })
        .collect();
    let (first, hint_given) = &all[0];
    assert_eq!((first.schema, first.sum, *hint_given), (1, f64::NEG_INFINITY, true));
    assert_eq!(
        first.to_string(),
        "{count:3, sum:-Inf, [-1,-0.7071067811865475):4, \
        [-0.5,0.5]:1, (0.35355339059327373,0.5]:1, (0.5,0.7071067811865475]:2}"
    );
    assert_eq!(all[1..].iter().map(|one| one.0.count).collect::<Vec<_>>(), [1.0, 3.0, 5.0]);
    assert_eq!(all[3].0.positive_buckets, [2.0]);
    for wrong in ["{{shema:1}}", "{{sum:x}}", "{{sum:1 sum:2}}", "{{buckets:[1}}", "{{}}+{{}}"] {
        assert!(parse_series(&format!("a {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn wrong_histograms_are_told_from_right_ones() {
    let script = "load_with_nhcb 1m\n  a {{schema:0 count:3 buckets:[1 2]}}x3\n  \
                  b_bucket{le=\"1\"} 1 2\n  b_bucket{le=\"+Inf\"} 2 4\n\n\
                  eval instant at 1m a\n  a {{schema:0 count:3 buckets:[1 2]}}\n\n\
                  eval instant at 1m a\n  a {{schema:0 count:3 buckets:[1 3]}}\n\n\
                  eval instant at 1m a\n  a 0\n\n\
                  eval instant at 1m a\n  a {{count:3 buckets:[1 2] counter_reset_hint:reset}}\n\n\
                  eval instant at 1m b\n  \
                  b {{schema:-53 count:4 custom_values:[1] buckets:[2 2]}}\n";
    let report = run(script);
    let lines: Vec<usize> = report.failures.iter().map(|failure| failure.line).collect();
    assert_eq!((report.passed, lines), (2, vec![9, 12, 15]));
}
