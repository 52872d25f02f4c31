//! Bodies compressed with gzip.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::http_client::gunzip;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(page) = gunzip(bytes, 1 << 20) {
        assert!(page.len() < 1 << 20);
    }
});
