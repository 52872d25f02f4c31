//! Names in certificates.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::http::subject_names;

fuzz_target!(|bytes: &[u8]| {
    let _ = subject_names(bytes);
});
