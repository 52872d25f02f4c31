//! Wild bytes as a head file, for fuzzing.

use std::path::Path;

use super::file::HeadFile;
use super::{
    COLUMN_BYTES, END_MAGIC, ENTRY_BYTES, HEADER_BYTES, MAGIC, TRAILER_BYTES, TileMeta, VERSION,
    file_name, writer,
};
use crate::disk::SimulatedDisk;
use crate::encoding::checksum::crc32;
use crate::model::Samples;

/// Reads arbitrary bytes as a head file: as they are, and as the payloads and tables of one tile
/// under good checksums. Returns how many samples were found.
///
/// # Panics
///
/// Where what was found contradicts itself.
pub fn read_head_file(bytes: &[u8]) -> usize {
    read(bytes.to_vec()) + framed(bytes).map_or(0, read)
}

fn read(bytes: Vec<u8>) -> usize {
    let disk = SimulatedDisk::new(0);
    let path = Path::new("/head").join(file_name(1));
    disk.set_file_bytes(&path, bytes).expect("BUG: a simulated disk takes a file");
    let Ok(file) = HeadFile::open(&disk, &path, 1) else { return 0 };
    let mut found = 0;
    let (mut times, mut samples) = (Vec::new(), Samples::default());
    for index in 0..file.tiles().len() as u32 {
        for n in 0..file.tile(index).entries {
            let entry = file.entry(index, n);
            assert!(file.find(index, entry.series).contains(&n), "an entry is found by its series");
            times.clear();
            if file.read_column(index, entry.column, &mut times).is_err() {
                continue;
            }
            let (start, count) = (entry.start as usize, entry.count as usize);
            let times = &times[start..start + count];
            for range in [0..count, count / 3..count / 2] {
                samples.clear();
                let wanted = range.len();
                if file.read_samples(index, &entry, times, range, &mut samples).is_ok() {
                    assert_eq!((samples.len(), samples.values.len()), (wanted, wanted));
                    found += wanted;
                }
            }
        }
    }
    found
}

/// The first three bytes say how many entries and columns there are and whether their fields are
/// bent into what is possible; the rest is payloads, then tables.
fn framed(script: &[u8]) -> Option<Vec<u8>> {
    let (&[entries, columns, bends], body) = script.split_first_chunk()?;
    let (entries, columns) = (u32::from(entries % 8), u32::from(columns % 4));
    let tables_len = entries as usize * ENTRY_BYTES + columns as usize * COLUMN_BYTES;
    let payload_len = body.len().checked_sub(tables_len)?;
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(body);
    let directory = HEADER_BYTES as usize + payload_len;
    let (payloads, tables) = file.split_at_mut(directory);
    let payloads = &payloads[HEADER_BYTES as usize..];
    let (entry_table, column_table) = tables.split_at_mut(entries as usize * ENTRY_BYTES);
    if bends % 4 != 0 {
        entry_table.chunks_exact_mut(ENTRY_BYTES).for_each(|e| bend_entry(e, columns, payloads));
        column_table.chunks_exact_mut(COLUMN_BYTES).for_each(|c| bend_column(c, payloads));
    }
    let meta = TileMeta {
        group: 0,
        record: 1,
        next_row: 1,
        start: HEADER_BYTES,
        directory: directory as u64,
        entries,
        columns,
        min_ms: 0,
        max_ms: 1,
        crc: crc32(&file[directory..]),
    };
    let mut footer = Vec::new();
    writer::write_tile(&mut footer, &meta);
    let (len, crc) = (footer.len() as u32, crc32(&footer));
    file.extend_from_slice(&footer);
    file.extend_from_slice(&len.to_le_bytes());
    file.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(END_MAGIC);
    debug_assert_eq!(4 + 4 + END_MAGIC.len() as u64, TRAILER_BYTES);
    Some(file)
}

fn word(table: &[u8], i: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|byte| table[i * 4 + byte]))
}

fn set_word(table: &mut [u8], i: usize, word: u32) {
    table[i * 4..i * 4 + 4].copy_from_slice(&word.to_le_bytes());
}

/// Puts a payload's place within the file, and gives it its checksum.
fn bend_payload(table: &mut [u8], at: usize, payloads: &[u8], crc_at: usize) {
    let len = payloads.len() as u32;
    let begin = word(table, at) % (len + 1);
    let size = word(table, at + 1) % (len - begin + 1);
    set_word(table, at, begin);
    set_word(table, at + 1, size);
    set_word(table, crc_at, crc32(&payloads[begin as usize..(begin + size) as usize]));
}

fn bend_entry(entry: &mut [u8], columns: u32, payloads: &[u8]) {
    set_word(entry, 0, 7);
    let column = word(entry, 1).checked_rem(columns).unwrap_or(0);
    set_word(entry, 1, column);
    set_word(entry, 2, 0);
    set_word(entry, 3, 1 + word(entry, 3) % 16);
    bend_payload(entry, 4, payloads, 6);
}

fn bend_column(column: &mut [u8], payloads: &[u8]) {
    set_word(column, 2, 16 + word(column, 2) % 1000);
    bend_payload(column, 0, payloads, 3);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Coder, encode_timestamps, encode_values};

    #[test]
    fn a_framed_tile_is_read_to_its_samples() {
        let times: Vec<i64> = (0..16).map(|i| i * 15_000).collect();
        let values: Vec<f64> = (0..16).map(f64::from).collect();
        let mut payloads = Vec::new();
        encode_timestamps(&times, Coder::Fast, &mut payloads);
        let column_len = payloads.len() as u32;
        encode_values(&values, Coder::Fast, &mut payloads);
        let values_len = payloads.len() as u32 - column_len;
        let mut script = vec![1, 1, 1];
        script.extend_from_slice(&payloads);
        for field in [0, 0, 0, 15, column_len, values_len, 0] {
            script.extend_from_slice(&u32::to_le_bytes(field));
        }
        for field in [0, column_len, 0, 0] {
            script.extend_from_slice(&u32::to_le_bytes(field));
        }
        assert_eq!(read_head_file(&script), 16 + 3);
    }
}
