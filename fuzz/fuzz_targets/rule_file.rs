//! Any text as a file of rules: it is read, or what is wrong with it is told.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::rules::{Source, load_text};

fuzz_target!(|text: &str| {
    if let Err(errors) = load_text(text, "f", &Source::default()) {
        assert!(!errors.is_empty());
    }
});
