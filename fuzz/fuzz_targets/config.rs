//! Any text as a configuration, and as a file of targets; what is accepted is shown with its
//! defaults, and that is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::config::{parse, parse_targets};

fuzz_target!(|text: &str| {
    // Files of jobs are read from the disk.
    if text.contains("scrape_config_files") {
        return;
    }
    let _ = parse_targets(text, "targets.yml");
    let Ok(config) = parse(text, "prometheus.yml") else { return };
    for job in &config.scrape_configs {
        assert!(config.job_to_yaml(&job.job_name).is_some());
    }
    // Read again it may mean something else: `$$` of an external label is shown as `$`.
    let _ = parse(config.to_yaml(), "prometheus.yml");
});
