//! Web configuration files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::config::parse_web;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Err(error) = parse_web(text, "web.yml") {
            assert!(error.to_string().starts_with("web.yml"));
        }
    }
});
