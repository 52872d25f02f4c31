//! `--config.auto-reload` as the users of the built program meet it: each file of the
//! configuration is watched, and what is wrong stays out until it is mended.
#![cfg(feature = "server")]

#[allow(dead_code, reason = "each test program uses its part")]
mod client;
mod program;

use std::fs;
use std::time::Duration;

use client::Client;
use program::Server;

const MAIN: &str = "rule_files: [rules-*.yml]\nscrape_config_files: [jobs/*.yml]\n";

fn rule(name: &str) -> String {
    format!("groups: [{{name: g, rules: [{{record: '{name}', expr: '1'}}]}}]\n")
}

fn job(name: &str) -> String {
    format!("scrape_configs: [{{job_name: {name}}}]\n")
}

/// Asks until the answer is as it should be.
fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not in half a minute");
}

fn watched_by(flags: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("a file");
    };
    fs::create_dir(folder.path().join("jobs")).expect("a folder");
    write("prometheus.yml", MAIN);
    write("rules-1.yml", &rule("one"));
    let server = Server::start(folder.path(), flags);
    let client = Client::new(&server.address);
    let has = |path: &str, text: &str| client.get(path).text().contains(text);
    assert!(has("/api/v1/features", "\"auto_reload_config\":true"));
    wait_for("the first rule", || has("/api/v1/rules", "\"one\""));
    write("rules-1.yml", &rule("other"));
    wait_for("a rule that changed", || has("/api/v1/rules", "\"other\""));
    write("jobs/a.yml", &job("added"));
    wait_for("a file more", || has("/api/v1/scrape_pools", "\"added\""));
    write("rules-2.yml", "groups: [{name: h, rules: [{record: x, expr: '1 +'}]}]\n");
    let success = "prometheus_config_last_reload_successful";
    wait_for("a refusal", || has("/metrics", &format!("{success} 0")));
    assert!(has("/api/v1/rules", "\"other\"") && has("/api/v1/scrape_pools", "\"added\""));
    assert!(has("/api/v1/notifications", "Configuration reload has failed."));
    write("rules-2.yml", &rule("mended"));
    wait_for("what was mended", || has("/metrics", &format!("{success} 1")));
    wait_for("the rule mended", || has("/api/v1/rules", "\"mended\""));
    write("prometheus.yml", "rule_files: [rules-2.yml]\n");
    wait_for("the main file", || !has("/api/v1/rules", "\"other\""));
    server.signal("-TERM");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn every_file_of_the_configuration_is_watched() {
    watched_by(&["--config.auto-reload", "--config.auto-reload-interval=1ms"]);
}

#[test]
fn the_older_name_is_the_same() {
    watched_by(&["--enable-feature=auto-reload-config", "--config.auto-reload-interval=1s"]);
}

#[test]
fn nothing_is_watched_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("prometheus.yml"), MAIN).expect("a file");
    let server = Server::start(folder.path(), &["--config.auto-reload-interval=1s"]);
    let client = Client::new(&server.address);
    fs::write(folder.path().join("rules-1.yml"), rule("one")).expect("a file");
    // Two looks, if there were any.
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(!client.get("/api/v1/rules").text().contains("\"one\""));
    server.signal("-HUP");
    wait_for("a reload", || client.get("/api/v1/rules").text().contains("\"one\""));
}
