//! Wild bytes as a segment of the log, raw and as frames under good checksums: replay ends, stays
//! within the file, and gives sequences that ascend.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    narthex::wal::replay_bytes(data);
});
