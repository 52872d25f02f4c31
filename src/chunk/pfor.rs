//! Patched bit-packing: blocks of 128 numbers at a width that most of them fit.
//!
//! A block is a width byte (bit 7: has exceptions), with exceptions their number (1–128) as a byte,
//! the low `width` bits of all numbers packed, and per exception its position in the block (byte)
//! and the bits above the width (uvarint). Source of the idea: Zukowski et al., "Super-Scalar
//! RAM-CPU Cache Compression", 2006.

use super::ChunkError;
use crate::encoding::bitpack::{self, BLOCK, WIDTH_MAX, packed_len, width_of};
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::write_uvarint;

const HAS_EXCEPTIONS: u8 = 0x80;
/// An exception takes its position and at least a byte of high bits.
const EXCEPTION_BITS_MIN: usize = 16;

/// How many numbers there are of each width.
pub(super) type Widths = [u32; WIDTH_MAX as usize + 1];

/// Widths of nothing.
pub(super) const NO_WIDTHS: Widths = [0; WIDTH_MAX as usize + 1];

/// The width at which `count` numbers so wide take fewest bits, and how many bits.
pub(super) fn best_width(widths: &Widths, count: usize) -> (u8, usize) {
    let widest = widths.iter().rposition(|n| *n > 0).unwrap_or(0);
    let mut best = (widest as u8, widest * count);
    let mut exceptions = 0;
    for width in (0..widest).rev() {
        exceptions += widths[width + 1] as usize;
        let packed = width * count + 8;
        if exceptions > count / 4 {
            break;
        }
        let mut bits = packed + exceptions * EXCEPTION_BITS_MIN;
        for (above, n) in widths[width + 1..=widest].iter().enumerate().skip(7) {
            bits += *n as usize * (above / 7) * 8;
        }
        if bits < best.1 {
            best = (width as u8, bits);
        }
    }
    best
}

/// Appends one block of at most [`BLOCK`] numbers.
pub(super) fn write_block(numbers: &[u64], out: &mut Vec<u8>) {
    let mut widths = NO_WIDTHS;
    for number in numbers {
        widths[usize::from(width_of(*number))] += 1;
    }
    let (width, _) = best_width(&widths, numbers.len());
    let exceptions: u32 = widths[usize::from(width) + 1..].iter().sum();
    if exceptions == 0 {
        out.push(width);
        bitpack::pack(numbers, width, out);
        return;
    }
    out.extend_from_slice(&[width | HAS_EXCEPTIONS, exceptions as u8]);
    bitpack::pack(numbers, width, out);
    for (position, number) in numbers.iter().enumerate() {
        let high = number >> width;
        if high != 0 {
            out.push(position as u8);
            write_uvarint(out, high);
        }
    }
}

/// Reads one block of `count` numbers, at most [`BLOCK`], into the first places of `numbers`.
#[inline]
pub(super) fn read_block(
    cursor: &mut Cursor<'_>,
    count: usize,
    numbers: &mut [u64; BLOCK],
) -> Result<(), ChunkError> {
    let header = cursor.u8()?;
    let width = header & !HAS_EXCEPTIONS;
    let exceptions = if header & HAS_EXCEPTIONS == 0 { 0 } else { cursor.u8()? };
    if width > WIDTH_MAX {
        return Err(ChunkError::Corrupt("a block's width is above 64 bits"));
    }
    if bitpack::unpack(cursor.rest(), width, count, numbers).is_none() {
        return Err(ChunkError::Corrupt("a block's bytes end early"));
    }
    cursor.skip(packed_len(width, count))?;
    for _ in 0..exceptions {
        let position = usize::from(cursor.u8()?);
        let high = cursor.uvarint()?;
        if position >= count || width == WIDTH_MAX {
            return Err(ChunkError::Corrupt("an exception lies outside its block"));
        }
        numbers[position & (BLOCK - 1)] |= high << width;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(numbers: &[u64]) -> usize {
        let mut out = vec![];
        write_block(numbers, &mut out);
        let mut cursor = Cursor::new(&out);
        let mut read = [0; BLOCK];
        read_block(&mut cursor, numbers.len(), &mut read).unwrap();
        assert_eq!(&read[..numbers.len()], numbers);
        assert!(cursor.is_empty());
        out.len()
    }

    #[test]
    fn an_outlier_becomes_an_exception() {
        let mut numbers = [3; BLOCK];
        assert_eq!(round_trip(&numbers), 1 + 32);
        numbers[100] = 1 << 40;
        assert_eq!(round_trip(&numbers), 2 + 32 + 7);
        assert_eq!(round_trip(&[0; BLOCK]), 1);
        assert_eq!(round_trip(&[u64::MAX; 5]), 41);
        assert_eq!(round_trip(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, u64::MAX]), 13);
    }

    #[test]
    fn damage_is_refused() {
        let mut numbers = [0; BLOCK];
        for bytes in [&[][..], &[65], &[7, 0], &[0x80], &[0x80, 1, 8, 1], &[0xc0, 1, 0]] {
            assert!(read_block(&mut Cursor::new(bytes), 8, &mut numbers).is_err(), "{bytes:?}");
        }
        let mut bytes = vec![64 | HAS_EXCEPTIONS, 1];
        bytes.extend_from_slice(&[0; 10]);
        assert!(read_block(&mut Cursor::new(&bytes), 1, &mut numbers).is_err());
    }

    proptest! {
        #[test]
        fn every_block_comes_back(
            numbers in prop::collection::vec(
                (any::<u64>(), prop_oneof![4 => 40_u32..64, 1 => 0_u32..64]), 1..=BLOCK),
        ) {
            let numbers: Vec<u64> = numbers.into_iter().map(|(x, shift)| x >> shift).collect();
            round_trip(&numbers);
        }
    }
}
