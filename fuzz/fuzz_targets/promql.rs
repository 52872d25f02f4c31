//! Any text as a query: what is read prints as a text that reads as a tree of the same size.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| narthex::promql::print::check_round_trip(text));
