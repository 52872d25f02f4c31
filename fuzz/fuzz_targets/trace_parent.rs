//! The headers by which a request says what it is part of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::telemetry::traces::check_trace_headers;

fuzz_target!(|bytes: &[u8]| check_trace_headers(bytes));
