//! Bit-packing of blocks of up to 128 numbers with one width of 0 to 64 bits.
//!
//! Number `i` takes the bits `i * width ..` of the block, lowest bit first, so eight numbers take
//! exactly `width` bytes and a block of `count` numbers `⌈count · width / 8⌉`. Bits behind the last
//! number are zero when written and ignored when read.

/// Most numbers in a block.
pub const BLOCK: usize = 128;

/// Greatest width in bits.
pub const WIDTH_MAX: u8 = 64;

/// Bytes that a window over eight numbers may reach past them.
const PAD: usize = 16;

/// Number of bits that `value` needs; 0 for 0.
#[inline]
pub const fn width_of(value: u64) -> u8 {
    (64 - value.leading_zeros()) as u8
}

/// Bytes that `count` numbers of `width` bits take. `count` is at most [`BLOCK`].
#[inline]
pub const fn packed_len(width: u8, count: usize) -> usize {
    (width as usize * count).div_ceil(8)
}

/// Appends the low `width` bits of each of `values`, of which there are at most [`BLOCK`].
pub fn pack(values: &[u64], width: u8, out: &mut Vec<u8>) {
    debug_assert!(values.len() <= BLOCK && width <= WIDTH_MAX);
    if width == 0 {
        return;
    }
    let width = u32::from(width);
    let mask = u64::MAX >> (64 - width);
    let mut pending = 0_u64;
    let mut filled = 0;
    for &value in values {
        let value = value & mask;
        pending |= value << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&pending.to_le_bytes());
            filled -= 64;
            pending = if filled == 0 { 0 } else { value >> (width - filled) };
        }
    }
    out.extend_from_slice(&pending.to_le_bytes()[..(filled as usize).div_ceil(8)]);
}

/// Unpacks `count` numbers from the start of `bytes` into the first places of `out` and returns
/// how many bytes they took; places from `count` on hold anything. `None` where `bytes` are too
/// few, `width` is above [`WIDTH_MAX`] or `count` above [`BLOCK`]. Faster where `bytes` go on for
/// some bytes behind the block.
pub fn unpack(bytes: &[u8], width: u8, count: usize, out: &mut [u64; BLOCK]) -> Option<usize> {
    if width > WIDTH_MAX || count > BLOCK {
        return None;
    }
    let len = packed_len(width, count);
    if len > bytes.len() {
        return None;
    }
    let groups = count.div_ceil(8);
    let reach = groups * usize::from(width) + PAD;
    if let Some(window) = bytes.get(..reach) {
        unpack_groups(window, width, groups, out);
    } else {
        let mut padded = [0; BLOCK * 8 + PAD];
        padded[..len].copy_from_slice(&bytes[..len]);
        unpack_groups(&padded[..reach], width, groups, out);
    }
    Some(len)
}

/// Unpacks groups of eight; each width has its own code with constant offsets and shifts.
fn unpack_groups(bytes: &[u8], width: u8, groups: usize, out: &mut [u64; BLOCK]) {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_groups_of::<$width>(bytes, groups, out),)*
                _ => unreachable!("BUG: unpack checks the width"),
            }
        };
    }
    by_width!(
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62
        63 64
    );
}

fn unpack_groups_of<const WIDTH: usize>(bytes: &[u8], groups: usize, out: &mut [u64; BLOCK]) {
    let (outs, _) = out.as_chunks_mut::<8>();
    let mut rest = bytes;
    for eight in outs.iter_mut().take(groups) {
        // INVARIANT: `bytes` reach PAD bytes past the last group.
        let window = &rest[..WIDTH + PAD];
        eight[0] = number_at::<WIDTH, 0>(window);
        eight[1] = number_at::<WIDTH, 1>(window);
        eight[2] = number_at::<WIDTH, 2>(window);
        eight[3] = number_at::<WIDTH, 3>(window);
        eight[4] = number_at::<WIDTH, 4>(window);
        eight[5] = number_at::<WIDTH, 5>(window);
        eight[6] = number_at::<WIDTH, 6>(window);
        eight[7] = number_at::<WIDTH, 7>(window);
        rest = &rest[WIDTH..];
    }
}

/// Number `I` of a group: an unaligned load, a shift and a mask; above 57 bits a number may reach
/// into a ninth byte. Inlined, all conditions are constants.
#[inline(always)]
#[expect(clippy::inline_always, reason = "constants must reach the loads")]
fn number_at<const WIDTH: usize, const I: usize>(window: &[u8]) -> u64 {
    if WIDTH == 0 {
        return 0;
    }
    let (byte, shift) = (I * WIDTH / 8, I * WIDTH % 8);
    let mut word = [0; 8];
    word.copy_from_slice(&window[byte..byte + 8]);
    let mut value = u64::from_le_bytes(word) >> shift;
    if shift + WIDTH > 64 {
        value |= u64::from(window[byte + 8]) << (64 - shift);
    }
    value & (u64::MAX >> (64 - WIDTH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lowest_bits_come_first() {
        let mut out = vec![];
        pack(&[1, 2, 3, 4, 5], 3, &mut out);
        assert_eq!(out, [0b1101_0001, 0b0101_1000]);
        pack(&[9; 7], 0, &mut out);
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn too_few_bytes_are_refused() {
        let mut out = [0; BLOCK];
        assert_eq!(unpack(&[0; 15], 1, 128, &mut out), None);
        assert_eq!(unpack(&[0; 16], 1, 128, &mut out), Some(16));
        assert_eq!(unpack(&[0; 2000], 65, 1, &mut out), None);
        assert_eq!(unpack(&[0; 2000], 1, 129, &mut out), None);
        assert_eq!(unpack(&[], 0, 128, &mut out), Some(0));
    }

    #[test]
    fn every_width_and_count_comes_back() {
        let mut seed = 1_u64;
        for width in 0..=WIDTH_MAX {
            for count in [0, 1, 7, 8, 9, 63, 64, 100, 127, 128] {
                let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
                let values: Vec<u64> = (0..count)
                    .map(|_| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (seed ^ (seed >> 29)) & mask
                    })
                    .collect();
                let mut packed = vec![];
                pack(&values, width, &mut packed);
                assert_eq!(packed.len(), packed_len(width, count));
                for behind in [0, 3, 40] {
                    let mut bytes = packed.clone();
                    bytes.resize(packed.len() + behind, 0xff);
                    let mut out = [u64::MAX; BLOCK];
                    assert_eq!(unpack(&bytes, width, count, &mut out), Some(packed.len()));
                    assert_eq!(&out[..count], values.as_slice(), "{width} bits, {count} numbers");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn high_bits_are_cut_off(values in prop::collection::vec(any::<u64>(), 0..=BLOCK),
                                 width in 0_u8..=64) {
            let mut packed = vec![];
            pack(&values, width, &mut packed);
            let mut out = [0; BLOCK];
            prop_assert_eq!(unpack(&packed, width, values.len(), &mut out), Some(packed.len()));
            for (read, value) in out.iter().zip(&values) {
                let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
                prop_assert_eq!(*read, value & mask);
            }
        }
    }
}
