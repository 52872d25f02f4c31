//! Residuals as a stream of prefix codes: the smaller and slower twin of [`super::pfor`].
//!
//! The lengths of the codes ([`super::code`]), then for each token ([`super::tokens`]) its code and
//! its raw bits, in one stream of bits, the lowest bit of a byte first. The stream ends with the
//! byte that its last bit is in; bits left over are 0. In four streams, token *k* stands in stream
//! *k* mod 4, and the lengths of the first three in bytes (uvarint each) come before them: four
//! chains of dependent steps that a processor takes side by side.
//!
//! INVARIANT of the reader: it never passes the residuals that it is asked for, whatever runs the
//! bytes name, and a stream that goes on behind its bytes is an error.

use super::ChunkError;
use super::code::{self, LENGTH_MAX, Lengths};
use super::tokens::{self, TOKENS, Token};
use crate::encoding::bitpack::BLOCK;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::write_uvarint;

/// Streams side by side in the long form.
const LANES: usize = 4;

/// The longest code that pays for so many residuals: a table takes time to fill.
fn length_max(count: usize) -> u8 {
    match count {
        ..256 => 8,
        256..768 => 9,
        768..4096 => 10,
        _ => LENGTH_MAX,
    }
}

/// Appends `residuals`, of which there is one at least and whose tokens are counted in `counts`.
pub(super) fn write(residuals: &[u64], counts: &[u32; TOKENS], in_four: bool, out: &mut Vec<u8>) {
    let lengths = code::lengths_of(counts, length_max(residuals.len()));
    code::write_lengths(&lengths, out);
    let codes = codes_of(&lengths);
    if in_four {
        write_lanes(residuals, &codes, out);
        return;
    }
    let mut bits = BitWriter::new(out);
    tokens::tokenize(residuals, |token| bits.token(&codes, token));
    bits.finish();
}

fn write_lanes(residuals: &[u64], codes: &[(u16, u8); TOKENS], out: &mut Vec<u8>) {
    let mut lanes: [Vec<u8>; LANES] = Default::default();
    {
        let mut writers = lanes.each_mut().map(BitWriter::new);
        let mut lane = 0;
        tokens::tokenize(residuals, |token| {
            writers[lane].token(codes, token);
            lane = (lane + 1) % LANES;
        });
        writers.into_iter().for_each(BitWriter::finish);
    }
    for lane in &lanes[..LANES - 1] {
        write_uvarint(out, lane.len() as u64);
    }
    out.extend(lanes.iter().flatten());
}

/// Code and length of each token.
fn codes_of(lengths: &Lengths) -> [(u16, u8); TOKENS] {
    let mut codes = [(0, 0); TOKENS];
    code::visit_codes(lengths, |token, length, code| codes[usize::from(token)] = (code, length));
    codes
}

/// Appends bits, the lowest first.
struct BitWriter<'o> {
    out: &'o mut Vec<u8>,
    pending: u64,
    /// Bits pending: below 32 between calls.
    filled: u32,
}

impl<'o> BitWriter<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, pending: 0, filled: 0 }
    }

    /// At most 32 bits; those above are 0.
    #[inline]
    fn put(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.filled;
        self.filled += count;
        if self.filled >= 32 {
            self.out.extend_from_slice(&(self.pending as u32).to_le_bytes());
            self.pending >>= 32;
            self.filled -= 32;
        }
    }

    #[inline]
    fn token(&mut self, codes: &[(u16, u8); TOKENS], token: Token) {
        let (code, length) = codes[usize::from(token.number)];
        self.put(u64::from(code), u32::from(length));
        let raw_bits = u32::from(token.raw_bits);
        if raw_bits > 32 {
            self.put(token.raw & u64::from(u32::MAX), 32);
            self.put(token.raw >> 32, raw_bits - 32);
        } else if raw_bits > 0 {
            self.put(token.raw, raw_bits);
        }
    }

    fn finish(self) {
        let bytes = self.filled.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..bytes]);
    }
}

/// What the next bits of a stream say: an entry for each value of as many bits as the longest
/// code has.
///
/// Bits of an entry: 0–3 length of the code, 4–9 number of raw bits, 10 [`RARE`], 11 [`RUN`],
/// 16–23 the head.
pub(super) struct Table {
    entries: [u32; 1 << LENGTH_MAX],
    mask: u64,
}

const RAW_BITS_SHIFT: u32 = 4;
/// Set where the entry is no number that a refilled buffer holds whole.
const RARE: u32 = 1 << 10;
const RUN: u32 = 1 << 11;
const HEAD_SHIFT: u32 = 16;
/// Bits that a buffer holds at least when it was refilled.
const REFILLED: u32 = 56;
/// No code; in tables of one token.
const NO_CODE: u32 = RARE;

impl Table {
    /// A table without codes.
    #[inline]
    pub(super) fn new() -> Self {
        Self { entries: [NO_CODE; 1 << LENGTH_MAX], mask: 0 }
    }

    /// Reads the lengths of the codes into a new table. (Where it lies, for moving it costs as much
    /// as decoding a chunk.)
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ChunkError> {
        let lengths = code::read_lengths(cursor)?;
        let mut filled = 1_usize;
        // Codes ascend by length: the table for shorter ones is doubled until the next one fits.
        code::visit_codes(&lengths, |token, length, code| {
            let size = 1 << length;
            while filled < size {
                self.entries.copy_within(..filled, filled);
                filled *= 2;
            }
            self.entries[usize::from(code)] = entry(token, length);
        });
        self.mask = filled as u64 - 1;
        Ok(())
    }

    #[inline]
    fn entry(&self, bits: u64) -> u32 {
        self.entries[(bits & self.mask) as usize & ((1 << LENGTH_MAX) - 1)]
    }
}

fn entry(token: u8, length: u8) -> u32 {
    let meaning = tokens::meaning(token);
    let is_long = u32::from(meaning.raw_bits) + u32::from(LENGTH_MAX) > REFILLED;
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    u32::from(length)
        | u32::from(meaning.raw_bits) << RAW_BITS_SHIFT
        | flag(is_long || meaning.is_run, RARE)
        | flag(meaning.is_run, RUN)
        | u32::from(meaning.head) << HEAD_SHIFT
}

/// One stream of bits.
#[derive(Debug, Clone, Copy)]
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to load, and perhaps in part loaded.
    at: usize,
    buffer: u64,
    available: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, available: 0 }
    }

    /// Fills the buffer with at least [`REFILLED`] bits; behind the bytes there are zeros.
    #[inline]
    fn refill(&mut self) {
        let word = match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            Some(word) => u64::from_le_bytes(*word),
            None => self.last_word(),
        };
        self.buffer |= word.wrapping_shl(self.available);
        self.at += ((63 - self.available) >> 3) as usize;
        self.available |= REFILLED;
    }

    #[cold]
    fn last_word(&self) -> u64 {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    }

    /// Takes the code of `entry` and its raw bits, all of which are there.
    #[inline]
    fn number(&mut self, entry: u32) -> u64 {
        let (length, raw_bits) = (entry & 15, entry >> RAW_BITS_SHIFT & 63);
        let rest = self.buffer >> length;
        let head = u64::from(entry >> HEAD_SHIFT);
        self.buffer = rest >> raw_bits;
        self.available = self.available.wrapping_sub(length + raw_bits);
        head << raw_bits | rest & ((1 << raw_bits) - 1)
    }

    /// The same for raw bits that take more than one buffer.
    fn long_number(&mut self, entry: u32) -> u64 {
        let raw_bits = entry >> RAW_BITS_SHIFT & 63;
        self.take(entry & 15);
        self.refill();
        let low = self.take(32);
        self.refill();
        let high = self.take(raw_bits - 32);
        u64::from(entry >> HEAD_SHIFT) << raw_bits | high << 32 | low
    }

    /// Takes up to 32 bits that are there.
    fn take(&mut self, count: u32) -> u64 {
        let taken = self.buffer & ((1 << count) - 1);
        self.buffer >>= count;
        self.available -= count;
        taken
    }

    /// Bytes that were read; more than there are where the stream ends early.
    fn end(&self) -> usize {
        (self.at * 8 - self.available as usize).div_ceil(8)
    }
}

/// Reads residuals, a block at a time.
pub(super) struct Reader<'a, 't> {
    table: &'t Table,
    lanes: [Bits<'a>; LANES],
    /// Lanes in use: 1 or 4.
    lane_count: usize,
    /// The lane that has the next token.
    lane: usize,
    /// Zeros of a run that are still to come.
    zeros: usize,
    has_no_code: bool,
}

impl<'a, 't> Reader<'a, 't> {
    /// Reads where the streams lie; `table` was read before.
    pub(super) fn new(
        table: &'t Table,
        cursor: &mut Cursor<'a>,
        in_four: bool,
    ) -> Result<Self, ChunkError> {
        let mut lanes = [Bits::new(&[]); LANES];
        if in_four {
            let mut lens = [0; LANES - 1];
            for len in &mut lens {
                *len = cursor.uvarint_max(cursor.remaining())?;
            }
            for (lane, len) in lanes.iter_mut().zip(lens) {
                *lane = Bits::new(cursor.bytes(len)?);
            }
            lanes[LANES - 1] = Bits::new(cursor.rest());
        } else {
            lanes[0] = Bits::new(cursor.rest());
        }
        let lane_count = if in_four { LANES } else { 1 };
        Ok(Self { table, lanes, lane_count, lane: 0, zeros: 0, has_no_code: false })
    }

    /// Reads the next `len` residuals, at most [`BLOCK`], into the first places of `out`; what is
    /// wrong with them is told at the end.
    pub(super) fn read_block(&mut self, len: usize, out: &mut [u64; BLOCK]) {
        let mut done = self.take_zeros(0, len, out);
        while done < len {
            let lane = self.lane;
            if self.lane_count == 1 {
                done = self.read_frequent(done, len, out);
            } else if lane == 0 && done + LANES <= len {
                done = self.read_round(done, out);
            }
            if done < len && self.lane == lane {
                done = self.read_token(done, len, out);
            }
        }
    }

    /// Reads tokens of the only lane up to one that is rare.
    #[inline]
    fn read_frequent(&mut self, mut done: usize, len: usize, out: &mut [u64; BLOCK]) -> usize {
        let table = self.table;
        // A copy, so that its parts stay in registers.
        let mut bits = self.lanes[0];
        while done < len {
            bits.refill();
            let entry = table.entry(bits.buffer);
            if entry & RARE != 0 {
                break;
            }
            out[done & (BLOCK - 1)] = bits.number(entry);
            done += 1;
        }
        self.lanes[0] = bits;
        done
    }

    /// Reads a token of each lane up to one that is rare.
    #[inline]
    fn read_round(&mut self, done: usize, out: &mut [u64; BLOCK]) -> usize {
        let table = self.table;
        for (i, bits) in self.lanes.iter_mut().enumerate() {
            bits.refill();
            let entry = table.entry(bits.buffer);
            if entry & RARE != 0 {
                self.lane = i;
                return done + i;
            }
            out[(done + i) & (BLOCK - 1)] = bits.number(entry);
        }
        done + LANES
    }

    /// Reads any token of the lane that has the next one.
    #[inline(never)]
    fn read_token(&mut self, done: usize, len: usize, out: &mut [u64; BLOCK]) -> usize {
        let bits = &mut self.lanes[self.lane];
        self.lane = (self.lane + 1) & (self.lane_count - 1);
        bits.refill();
        let entry = self.table.entry(bits.buffer);
        if entry & RUN != 0 {
            self.zeros = bits.number(entry) as usize;
            return self.take_zeros(done, len, out);
        }
        self.has_no_code |= entry == NO_CODE;
        out[done & (BLOCK - 1)] = match entry {
            NO_CODE => 0,
            _ if entry & RARE == 0 => bits.number(entry),
            _ => bits.long_number(entry),
        };
        done + 1
    }

    /// Moves `cursor` behind the last stream; all residuals were read.
    pub(super) fn finish(&self, cursor: &mut Cursor<'_>) -> Result<(), ChunkError> {
        self.check()?;
        let (last, before) =
            self.lanes[..self.lane_count].split_last().expect("BUG: there is a stream");
        if before.iter().any(|lane| lane.end() != lane.bytes.len()) {
            return Err(ChunkError::Corrupt("a stream of codes is longer than its codes"));
        }
        if self.zeros > 0 {
            return Err(ChunkError::Corrupt("a run of zeros is longer than its stream"));
        }
        Ok(cursor.skip(last.end())?)
    }

    /// Says no to streams that were read beyond their bytes, and to bits that are no code.
    pub(super) fn check(&self) -> Result<(), ChunkError> {
        if self.has_no_code {
            return Err(ChunkError::Corrupt("bits that are no code"));
        }
        if self.lanes[..self.lane_count].iter().any(|lane| lane.end() > lane.bytes.len()) {
            return Err(ChunkError::Corrupt("a stream of codes ends early"));
        }
        Ok(())
    }

    #[inline]
    fn take_zeros(&mut self, done: usize, len: usize, out: &mut [u64; BLOCK]) -> usize {
        let zeros = self.zeros.min(len - done);
        if zeros > 0 {
            out[done..done + zeros].fill(0);
            self.zeros -= zeros;
        }
        done + zeros
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::tokens::Histogram;
    use proptest::prelude::*;

    fn written(residuals: &[u64], in_four: bool) -> Vec<u8> {
        let mut counts = Histogram::EMPTY;
        for residual in residuals {
            counts.push(*residual);
        }
        counts.finish();
        let mut out = vec![];
        write(residuals, &counts.counts, in_four, &mut out);
        out
    }

    fn read(bytes: &[u8], n: usize, in_four: bool) -> Result<(Vec<u64>, usize), ChunkError> {
        let mut cursor = Cursor::new(bytes);
        let mut table = Table::new();
        table.read(&mut cursor)?;
        let mut reader = Reader::new(&table, &mut cursor, in_four)?;
        let mut read = vec![];
        while read.len() < n {
            let len = (n - read.len()).min(BLOCK);
            let mut block = [7; BLOCK];
            reader.read_block(len, &mut block);
            read.extend_from_slice(&block[..len]);
        }
        reader.finish(&mut cursor)?;
        Ok((read, cursor.offset()))
    }

    #[test]
    fn skewed_residuals_take_few_bits() {
        let residuals: Vec<u64> = (0..1000).map(|i| u64::from(i % 8 == 0) + 1).collect();
        assert!(written(&residuals, false).len() <= 1000 / 8 + 4);
        let sparse: Vec<u64> = (0..1000).map(|i| u64::from(i % 100 == 7)).collect();
        assert!(written(&sparse, false).len() <= 30, "{}", written(&sparse, false).len());
        assert!(written(&[u64::MAX; 100], true).len() <= 100 * 8 + 100);
    }

    #[test]
    fn cut_streams_are_refused() {
        for in_four in [false, true] {
            let residuals: Vec<u64> = (0..300).map(|i| i * i * i % 1000).collect();
            let bytes = written(&residuals, in_four);
            for len in 0..bytes.len() {
                assert!(read(&bytes[..len], 300, in_four).is_err(), "{len} of {}", bytes.len());
            }
            assert!(
                read(&bytes, 299, in_four).is_ok_and(|(read, _)| read == residuals[..299])
                    || in_four
            );
        }
    }

    #[test]
    fn a_run_beyond_the_end_is_refused() {
        let bytes = written(&[0; 100], false);
        assert!(read(&bytes, 100, false).is_ok());
        assert!(read(&bytes, 99, false).is_err());
        assert!(read(&bytes, 101, false).is_err());
    }

    proptest! {
        #[test]
        fn every_sequence_comes_back(
            residuals in prop::collection::vec(
                prop_oneof![3 => Just(0), 3 => 0_u64..9, 2 => any::<u64>(), 1 => 0_u64..10_000],
                1..600),
            shift in 0_u32..64, in_four: bool,
        ) {
            let residuals: Vec<u64> = residuals.iter().map(|r| r >> shift).collect();
            let mut bytes = written(&residuals, in_four);
            let len = bytes.len();
            bytes.extend_from_slice(&[0xff; 3]);
            prop_assert_eq!(read(&bytes, residuals.len(), in_four), Ok((residuals, len)));
        }

        #[test]
        fn wild_bytes_give_residuals_or_an_error(
            bytes: Vec<u8>, n in 1_usize..700, in_four: bool,
        ) {
            if let Ok((read, end)) = read(&bytes, n, in_four) {
                prop_assert_eq!(read.len(), n);
                prop_assert!(end <= bytes.len());
            }
        }
    }
}
