//! A moving view of a file for sequential reading.
//!
//! Memory is a quarter of a megabyte, or one record where that is longer. Nothing is allocated
//! beyond what the file holds. A part that the medium does not deliver reads as zeros, after a
//! second try: to the reader it is damage like any other, and the rest of the file is not lost.

use crate::disk::File;

const CHUNK: usize = 256 << 10;
const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct Window {
    file: Box<dyn File>,
    len: u64,
    /// Where in the file `bytes` begins.
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// A view of the first `len` bytes of `file`.
    pub(super) fn new(file: Box<dyn File>, len: u64) -> Self {
        Self { file, len, start: 0, bytes: Vec::new() }
    }

    /// Length of the file as it was when the view was opened.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The file has grown to `len` bytes.
    pub(super) fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// The `n` bytes at `offset`; `None` where the file does not hold as many.
    pub(super) fn at(&mut self, offset: u64, n: usize) -> Option<&[u8]> {
        let left = self.len.checked_sub(offset)?;
        if left < n as u64 {
            return None;
        }
        let held = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + n as u64 > held {
            self.fill(offset, n.max(CHUNK).min(usize::try_from(left).unwrap_or(usize::MAX)));
        }
        let at = (offset - self.start) as usize;
        Some(&self.bytes[at..at + n])
    }

    fn fill(&mut self, offset: u64, n: usize) {
        // One long record must not hold its memory for the rest of the replay.
        if n <= CHUNK && self.bytes.capacity() > 4 * CHUNK {
            self.bytes = Vec::new();
        }
        self.bytes.resize(n, 0);
        self.start = offset;
        if self.file.read_at(offset, &mut self.bytes).is_ok() {
            return;
        }
        for (i, page) in self.bytes.chunks_mut(PAGE).enumerate() {
            let at = offset + (i * PAGE) as u64;
            if self.file.read_at(at, page).is_err() && self.file.read_at(at, page).is_err() {
                page.fill(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Call, Disk, Fault, SimulatedDisk};

    #[test]
    fn bytes_are_found_forwards_and_back_and_never_past_the_end() {
        let disk = SimulatedDisk::new(1);
        let bytes: Vec<u8> = (0..3 * CHUNK as u32).map(|i| (i % 251) as u8).collect();
        disk.set_file_bytes(Path::new("f"), bytes.clone()).unwrap();
        let file = disk.open(Path::new("f")).unwrap();
        let mut window = Window::new(file, bytes.len() as u64);
        for (at, n) in [(0, 10), (CHUNK - 5, 10), (2 * CHUNK, CHUNK), (7, 2 * CHUNK), (3, 0)] {
            assert_eq!(window.at(at as u64, n).unwrap(), &bytes[at..at + n]);
        }
        assert_eq!(window.at(bytes.len() as u64, 0), Some(&[][..]));
        assert!(window.at(bytes.len() as u64 - 1, 2).is_none());
        assert!(window.at(u64::MAX, 1).is_none());
    }

    #[test]
    fn a_read_that_fails_once_is_repeated_and_one_that_fails_for_good_gives_zeros() {
        let disk = SimulatedDisk::new(1);
        disk.set_file_bytes(Path::new("f"), vec![7; 3 * PAGE]).unwrap();
        let view = || Window::new(disk.open(Path::new("f")).unwrap(), 3 * PAGE as u64);
        disk.fail_nth_of(Call::ReadAt, 1, Fault::Once);
        assert_eq!(view().at(0, 3 * PAGE).unwrap(), vec![7; 3 * PAGE]);
        disk.fail_nth_of(Call::ReadAt, 1, Fault::Once);
        disk.fail_nth_of(Call::ReadAt, 3, Fault::Once);
        disk.fail_nth_of(Call::ReadAt, 4, Fault::Once);
        let mut expected = vec![7; 3 * PAGE];
        expected[PAGE..2 * PAGE].fill(0);
        assert_eq!(view().at(0, 3 * PAGE).unwrap(), expected);
    }
}
