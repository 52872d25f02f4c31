//! Runs PromQL test scripts: our own, and Prometheus's where they are at hand.
//!
//! `NARTHEX_PROMQLTEST_DIR` names the folder of Prometheus's scripts; without it a folder beside
//! the project is looked for. Our own scripts run everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use narthex::promql::ast::Expr;
use narthex::promql::engine::{Engine, EngineOptions};
use narthex::promql::parse::functions;
use narthex::promql::script::{About, Command, Eval, MemoryStore, Pattern, Report, Runner, Script};
use narthex::promql::{ParseOptions, parse};

fn run_folder(folder: &Path, engine: &Engine) -> Report {
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.expect("the folder is readable").path()).collect(),
        Err(_) => Vec::new(),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    let options = ParseOptions::all_features();
    let mut total = Report::default();
    for path in paths {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let script = Script::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut store = MemoryStore::default();
        let mut runner = Runner::new(&mut store, engine, options);
        let report = runner.run(&script).unwrap_or_else(|e| panic!("{name}: {e}"));
        let skipped: usize = report.out_of_scope.values().sum();
        println!(
            "{name}: {} passed, {} failed, {skipped} out of scope",
            report.passed,
            report.failures.len()
        );
        for failure in &report.failures {
            println!("  {name}: {failure}");
        }
        total.add(report);
    }
    // Not through a macro: what those print is held back where the test passes.
    let _ = writeln!(
        std::io::stderr(),
        "{}: {} evals, {} passed, {} failed",
        folder.display(),
        total.total(),
        total.passed,
        total.failures.len()
    );
    for (reason, count) in &total.out_of_scope {
        println!("  out of scope: {count} for {reason}");
    }
    total
}

/// The folder of our own scripts.
fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/promql")
}

fn assert_passes(folder: &Path, options: EngineOptions) {
    let report = run_folder(folder, &Engine::new(options));
    assert!(report.total() > 0, "no script in {}", folder.display());
    assert_eq!(report.failures, []);
    assert_eq!(report.out_of_scope.len(), 0);
}

#[test]
fn our_own_scripts_pass() {
    let options = EngineOptions { use_start_timestamps: true, ..EngineOptions::default() };
    assert_passes(&own(), options.clone());
    assert_passes(&own().join("typed"), EngineOptions { type_and_unit_labels: true, ..options });
}

/// What our own scripts evaluate.
fn own_evals() -> Vec<Eval> {
    let mut evals = Vec::new();
    for folder in [own(), own().join("typed")] {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the folder is readable").path();
            if path.is_dir() {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a script is readable");
            for command in Script::parse(&text).expect("a script parses").commands {
                if let Command::Eval(eval) = command {
                    evals.push(*eval);
                }
            }
        }
    }
    evals
}

/// Words of each warning and info that there is.
const ANNOTATIONS: [&str; 28] = [
    "quantile value should be between 0 and 1, got ",
    "ratio value should be between -1 and 1, got ",
    "bucket label \"le\" is missing or has a malformed value of ",
    "encountered a mix of histograms and floats for metric name ",
    "encountered a mix of histograms and floats for aggregation",
    "vector contains a mix of classic and native histograms",
    "this native histogram metric is not a counter: ",
    "this native histogram metric is not a gauge: ",
    "vector contains a mix of histograms with exponential and custom buckets schemas for metric",
    "incompatible bucket layout encountered for binary operator ",
    "sort is ineffective for range queries since results are always ordered by labels",
    "conflicting counter resets during histogram addition",
    "conflicting counter resets during histogram subtraction",
    "conflicting counter resets during histogram aggregation",
    "sample has start time that overlaps with previous sample timestamp for metric ",
    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ",
    "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\"",
    "input to histogram_quantile needed to be fixed for monotonicity ",
    "incompatible sample types encountered for binary operator \"+\": histogram + float",
    "incompatible sample types encountered for binary operator \">\": float > histogram",
    "ignored histogram in max aggregation",
    "ignored histograms in a range containing both floats and histograms for metric name ",
    "input to histogram_quantile has NaN observations, result is NaN",
    "input to histogram_quantile has NaN observations, result is skewed higher",
    "input to histogram_fraction has NaN observations, which are excluded from all fractions",
    "mismatched custom buckets were reconciled during addition",
    "mismatched custom buckets were reconciled during subtraction",
    "mismatched custom buckets were reconciled during aggregation",
];

#[test]
fn our_own_scripts_expect_each_warning_and_info() {
    let expected: Vec<String> = own_evals()
        .into_iter()
        .flat_map(|eval| eval.expectations)
        .filter(|expectation| matches!(expectation.about, About::Warn | About::Info))
        .filter_map(|expectation| match expectation.text? {
            Pattern::Exact(text) | Pattern::Regex(text) => Some(text),
        })
        .collect();
    let is_missing = |words: &&&str| !expected.iter().any(|text| text.contains(**words));
    let missing: Vec<_> = ANNOTATIONS.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "no script expects {missing:#?}");
}

#[test]
fn our_own_scripts_cover_the_language() {
    let mut used = BTreeSet::new();
    for eval in own_evals() {
        let Ok(ast) = parse(&eval.query, &ParseOptions::all_features()) else { continue };
        for node in &ast.nodes {
            match &node.expr {
                Expr::Call { function, .. } => used.insert(function.name),
                Expr::Aggregate { op, .. } => used.insert(op.as_str()),
                Expr::Binary { op, .. } => used.insert(op.as_str()),
                _ => false,
            };
        }
    }
    let operators = [
        "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=", "</", ">/", "and",
        "or", "unless",
    ];
    let aggregations = [
        "sum",
        "avg",
        "min",
        "max",
        "count",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
    ];
    let functions = functions().iter().map(|function| function.name);
    let all = functions.chain(operators).chain(aggregations);
    let missing: Vec<_> = all.filter(|name| !used.contains(name)).collect();
    assert!(missing.is_empty(), "no script asks for {missing:?}");
}

#[test]
fn prometheus_scripts_pass() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/promqltest");
    let folder = std::env::var_os("NARTHEX_PROMQLTEST_DIR").map_or(default, PathBuf::from);
    // Prometheus runs them so.
    let options = EngineOptions {
        delayed_name_removal: true,
        use_start_timestamps: true,
        ..EngineOptions::default()
    };
    let report = run_folder(&folder, &Engine::new(options));
    if report.total() == 0 {
        let _ = writeln!(
            std::io::stderr(),
            "!!! NO EVAL WAS RUN: there are no scripts in {}",
            folder.display()
        );
    }
    assert_eq!(report.failures, []);
}
