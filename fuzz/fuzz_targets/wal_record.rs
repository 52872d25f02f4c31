//! Wild bytes as the body of a record: reading ends, and takes nothing from a declared length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    narthex::wal::record::read_any(data);
});
