//! Bodies of OTLP, in both forms, and what becomes of them. The first byte tells the form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::remote::check_otlp;

fuzz_target!(|bytes: &[u8]| {
    if let Some((form, body)) = bytes.split_first() {
        check_otlp(form & 1 == 1, form & 2 == 2, body);
    }
});
