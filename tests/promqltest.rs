//! Runs PromQL test scripts: our own, and Prometheus's where they are at hand.
//!
//! `NARTHEX_PROMQLTEST_DIR` names the folder of Prometheus's scripts; without it a folder beside
//! the project is looked for. Our own scripts run everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use narthex::promql::ast::Expr;
use narthex::promql::engine::{Engine, EngineOptions};
use narthex::promql::parse::functions;
use narthex::promql::script::{Command, MemoryStore, Report, Runner, Script};
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
    println!(
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

#[test]
fn our_own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/promql");
    let report = run_folder(&folder, &Engine::new(EngineOptions::default()));
    assert!(report.total() > 0, "no script in {}", folder.display());
    assert_eq!(report.failures, []);
    assert_eq!(report.out_of_scope.len(), 0);
}

/// Functions of native histograms and of start timestamps: a script cannot load those yet.
const NOT_YET: [&str; 7] = [
    "histogram_avg",
    "histogram_quantiles",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "start_timestamp",
    "histogram_count",
];

#[test]
fn our_own_scripts_cover_the_language() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/promql");
    let mut used = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the folder is readable").path();
        let text = fs::read_to_string(&path).expect("a script is readable");
        for command in Script::parse(&text).expect("a script parses").commands {
            let Command::Eval(eval) = command else { continue };
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
    let unexpected: Vec<_> = missing.iter().filter(|name| !NOT_YET.contains(name)).collect();
    assert!(unexpected.is_empty(), "no script asks for {unexpected:?}");
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
        println!("!!! NO EVAL WAS RUN: there are no scripts in {}", folder.display());
    }
    assert_eq!(report.failures, []);
}
