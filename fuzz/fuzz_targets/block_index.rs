//! Wild bytes under good checksums as the index file of a block: an error or sound answers.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let disk = narthex::disk::SimulatedDisk::new(0);
    let path = Path::new("/index");
    if narthex::index::write_patched(&disk, path, data).is_ok()
        && let Ok(index) = narthex::index::IndexReader::open(&disk, path)
    {
        let _ = index.verify();
    }
});
