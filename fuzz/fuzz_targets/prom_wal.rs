//! Wild bytes as a segment of Prometheus's log, as the body of a record, as a file of head chunks:
//! reading ends.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use narthex::disk::{Disk, SimulatedDisk};
use narthex::prometheus::castagnoli::crc32c;
use narthex::prometheus::log::{Item, SegmentReader, read_head_chunks, read_record};

fn read(bytes: &[u8]) {
    let disk = SimulatedDisk::new(0);
    let path = Path::new("/00000000");
    disk.create(path).expect("it is new").append(bytes).expect("nothing fails");
    let mut reader = SegmentReader::open(&disk, path, 0).expect("nothing fails");
    let mut before = 0;
    loop {
        match reader.advance().expect("nothing fails") {
            Item::End => break,
            Item::Record => {
                let _ = read_record(reader.record(), &mut |_| {});
            }
            Item::Damage(_) => {}
        }
        assert!(reader.offset() >= before && reader.offset() <= bytes.len() as u64);
        before = reader.offset();
    }
    let _ = read_head_chunks(&disk, path, &mut |_| Ok(()));
}

fuzz_target!(|data: &[u8]| {
    let _ = read_record(data, &mut |_| {});
    read(data);
    // One record under a good checksum, compressed as the first byte says.
    let Some((&kind, body)) = data.split_first() else {
        return;
    };
    let body = &body[..body.len().min((32 << 10) - 7)];
    let mut segment = vec![1 | kind & 0b1_1000];
    segment.extend_from_slice(&(body.len() as u16).to_be_bytes());
    segment.extend_from_slice(&crc32c(body).to_be_bytes());
    segment.extend_from_slice(body);
    read(&segment);
});
