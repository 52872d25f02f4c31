//! Wild bytes as a head file, raw and as a tile under good checksums: an error, or whole chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    narthex::head::read_head_file(data);
});
