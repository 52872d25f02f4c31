//! Random small data and a random query out of the bytes: the engine does not panic and agrees with
//! the plain evaluator of the tests, bit for bit.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/plain/mod.rs"]
mod plain;

fuzz_target!(|bytes: &[u8]| {
    plain::check(bytes);
});
