//! Wild bytes as a file of tombstones: an error, or tombstones that hide the same when read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::block::Tombstones;

fuzz_target!(|data: &[u8]| {
    // With its checksum right, or chance would never come behind it.
    let mut bytes = data.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    if let Ok(tombstones) = Tombstones::decode(&bytes) {
        let again = Tombstones::decode(&tombstones.encode()).expect("what was written reads");
        assert_eq!(again.series_count(), tombstones.series_count());
        for series in 0..8 {
            assert_eq!(again.of(series), tombstones.of(series));
        }
    }
});
