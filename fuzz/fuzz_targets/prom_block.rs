//! Wild bytes as the files of a block of Prometheus, checksums mended by [`mend`] where that is
//! asked for: an error, or answers that hold together.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use narthex::disk::{Disk, SimulatedDisk, StorageError};
use narthex::model::{Samples, TimeRange};
use narthex::prometheus::castagnoli::crc32c;
use narthex::prometheus::{Block, BlockMeta, Tombstones};

const META: &[u8] = b"{\"ulid\": \"01ARZ3NDEKTSV4RRFFQ69G5FAV\", \"minTime\": 0, \"maxTime\": 99,
    \"version\": 1}";

/// The checksum of the contents at the end, and those of sections that they name.
fn mend(index: &mut [u8]) {
    let Some(toc_at) = index.len().checked_sub(52) else {
        return;
    };
    let (body, toc) = index.split_at_mut(toc_at);
    for n in [0, 5] {
        let field: [u8; 8] = toc[n * 8..n * 8 + 8].try_into().expect("eight bytes");
        let at = u64::from_be_bytes(field) as usize;
        let Some(len) = body.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
            continue;
        };
        let len = u32::from_be_bytes(*len) as usize;
        if let Some(section) = body.get_mut(at + 4..).and_then(|rest| rest.get_mut(..len + 4)) {
            let crc = crc32c(&section[..len]).to_be_bytes();
            section[len..].copy_from_slice(&crc);
        }
    }
    let crc = crc32c(&toc[..48]).to_be_bytes();
    toc[48..].copy_from_slice(&crc);
}

fn write(disk: &SimulatedDisk, path: &str, bytes: &[u8]) {
    let mut file = disk.create(Path::new(path)).expect("it is new");
    file.append(bytes).expect("nothing fails");
}

fuzz_target!(|data: &[u8]| {
    let _ = BlockMeta::parse(data);
    let _ = Tombstones::decode(data);
    let Some((&[kind, cut], data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let (index, chunks) = data.split_at(data.len() * usize::from(cut) / 255);
    let mut index = index.to_vec();
    if kind & 1 == 1 {
        mend(&mut index);
    }
    let disk = SimulatedDisk::new(0);
    disk.create_dir_all(Path::new("/block/chunks")).expect("nothing fails");
    write(&disk, "/block/meta.json", META);
    write(&disk, "/block/index", &index);
    write(&disk, "/block/chunks/000001", chunks);
    let Ok(block) = Block::open(&disk, Path::new("/block")) else {
        return;
    };
    let block = Arc::new(block);
    let check = &|| Ok::<(), StorageError>(());
    let _ = block.label_names(&[], check);
    let _ = block.label_values("a", &[], check);
    let check = &|_| Ok::<(), StorageError>(());
    let Ok(selection) = block.select(&[], TimeRange::ALL, check, &mut |_| {}) else {
        return;
    };
    let mut samples = Samples::default();
    for i in 0..selection.len() {
        let _ = selection.read(i, TimeRange::ALL, &mut samples, &mut |_| {});
        assert!(samples.timestamps.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(i == 0 || selection.labels(i - 1) < selection.labels(i));
    }
});
