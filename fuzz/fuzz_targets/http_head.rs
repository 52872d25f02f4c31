//! Heads of HTTP responses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::http_client::parse_head;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some((_, len))) = parse_head(bytes) {
        assert!(len <= bytes.len());
    }
});
