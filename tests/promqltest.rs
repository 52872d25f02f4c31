//! Runs PromQL test scripts: our own, and Prometheus's where they are at hand.
//!
//! `NARTHEX_PROMQLTEST_DIR` names the folder of Prometheus's scripts; without it a folder beside
//! the project is looked for. Our own scripts run everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use narthex::promql::ParseOptions;
use narthex::promql::engine::{Engine, EngineOptions};
use narthex::promql::script::{MemoryStore, Report, Runner, Script};

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
