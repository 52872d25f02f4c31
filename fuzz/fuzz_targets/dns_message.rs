//! Answers of name servers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::discovery::parse_message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = parse_message(bytes) {
        // A record takes eleven bytes at least.
        assert!(message.answers.len() * 11 <= bytes.len());
    }
});
