//! Replay of wild bytes, for fuzzing.

use std::path::Path;
use std::sync::Arc;

use super::segment::{self, SegmentHeader};
use super::{Item, Position, Replay, frame};
use crate::disk::SimulatedDisk;

/// Replays arbitrary bytes as the only segment of a log: as they are, and as a script of frames
/// under good checksums with garbage in between. Returns how many records and damages were met.
///
/// # Panics
///
/// Where what was found contradicts itself: a record or a damage beyond the file, a sequence
/// that does not ascend.
pub fn replay_bytes(bytes: &[u8]) -> (u64, u64) {
    let raw = replay_segment(bytes);
    let framed = replay_segment(&framed(bytes));
    (raw.0 + framed.0, raw.1 + framed.1)
}

/// A byte below 128 stands for as many bytes of garbage, which follow; any other for a frame:
/// its kind, its sequence and up to 15 bytes of payload follow.
fn framed(mut script: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = SegmentHeader { salt: 0, number: 1, first_sequence: 0 };
    segment::encode_header(&header, &mut bytes);
    let mut take = |n: usize| {
        let (part, rest) = script.split_at(n.min(script.len()));
        script = rest;
        part
    };
    while let [step] = *take(1) {
        let len = usize::from(step & 0x7f);
        if step < 128 {
            bytes.extend_from_slice(take(len));
        } else if let [kind, sequence] = *take(2)
            && kind > 0
        {
            frame::encode(0, kind, u64::from(sequence), take(len % 16), &mut bytes);
        }
    }
    bytes
}

fn replay_segment(bytes: &[u8]) -> (u64, u64) {
    let disk = SimulatedDisk::new(0);
    let dir = Path::new("wal");
    let planted = disk.set_file_bytes(&segment::path_of(dir, 1), bytes.to_vec());
    planted.expect("BUG: a simulated disk takes a file");
    let replay = Replay::open(Arc::new(disk), dir, Position::START);
    let mut replay = replay.expect("BUG: a simulated disk lists a directory");
    let (mut records, mut damages) = (0, 0);
    let mut least = 0;
    while let Some(item) = replay.next_item() {
        match item {
            Item::Record { position, payload, .. } => {
                assert!(position.sequence >= least, "sequences ascend");
                least = position.sequence + 1;
                assert!(position.offset + payload.len() as u64 <= bytes.len() as u64);
                records += 1;
            }
            Item::Damage(damage) => {
                assert!(damage.offset + damage.len <= bytes.len() as u64);
                damages += 1;
            }
        }
    }
    (records, damages)
}
