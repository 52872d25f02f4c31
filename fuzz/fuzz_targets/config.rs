//! Any text as a configuration, and as a file of targets. What is accepted is shown with its
//! defaults, and that can be read again; what is shown then stays.
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
    let shown = config.to_yaml();
    // Masks stand for secrets, and some are no secrets that can be read. What the environment gives
    // to external labels is shown as it came out: `$$` as `$`, which is asked for again.
    if shown.contains("<secret>") || text.contains('$') && shown.contains("external_labels") {
        return;
    }
    let read = |yaml: &str| match parse(yaml, "prometheus.yml") {
        Ok(config) => config.to_yaml().to_owned(),
        Err(error) => panic!("{error}\n{yaml}"),
    };
    // As in Prometheus's, what is empty is left out, and holds its default when it is read again.
    let again = read(shown);
    assert_eq!(read(&again), again);
});
