//! Bit streams as Prometheus's chunks have them: most significant bit first.
//!
//! Beside plain bits there are its three codes: *varbit* numbers (a unary prefix that names one of
//! eight widths), the XOR code for floats (Gorilla's, with a window of significant bits that is
//! kept until it does not fit), and Go's byte-wise varints at any bit position. Readers check
//! every bound.
//!
//! COMPAT: Prometheus `tsdb/chunkenc/{bstream,varbit,xor}.go`.

use crate::encoding::varint::{unzigzag, zigzag};

/// The stream ends within an item, or an item is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitError;

/// Widths of varbit numbers, by the number of ones before the number.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// Reads bits.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits not yet handed out, in the upper places.
    buffer: u64,
    valid: u32,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, buffer: 0, valid: 0 }
    }

    /// Bits that are left, padding included.
    pub fn remaining(&self) -> usize {
        self.bytes.len() * 8 + self.valid as usize
    }

    #[inline]
    fn refill(&mut self) {
        while self.valid <= 56 {
            let Some((&byte, rest)) = self.bytes.split_first() else { return };
            self.buffer |= u64::from(byte) << (56 - self.valid);
            self.valid += 8;
            self.bytes = rest;
        }
    }

    /// One bit.
    #[inline]
    pub fn bit(&mut self) -> Result<bool, BitError> {
        Ok(self.bits(1)? == 1)
    }

    /// The next `n` bits, 0 to 64, as a number.
    #[inline]
    pub fn bits(&mut self, n: u32) -> Result<u64, BitError> {
        if n > 56 {
            let high = self.few_bits(n - 32)?;
            return Ok(high << 32 | self.few_bits(32)?);
        }
        self.few_bits(n)
    }

    #[inline]
    fn few_bits(&mut self, n: u32) -> Result<u64, BitError> {
        if n == 0 {
            return Ok(0);
        }
        if self.valid < n {
            self.refill();
            if self.valid < n {
                return Err(BitError);
            }
        }
        let value = self.buffer >> (64 - n);
        self.buffer <<= n;
        self.valid -= n;
        Ok(value)
    }

    /// How many ones come before the next zero, which is taken too; at most `max`, after which
    /// there is no zero.
    #[inline]
    pub fn ones(&mut self, max: u32) -> Result<u32, BitError> {
        for count in 0..max {
            if !self.bit()? {
                return Ok(count);
            }
        }
        Ok(max)
    }

    /// A number of `n` bits, 2 to 64, that may be negative: from `-(2^(n-1) - 1)` to `2^(n-1)`.
    #[inline]
    pub fn signed(&mut self, n: u32) -> Result<i64, BitError> {
        let bits = self.bits(n)?;
        if n < 64 && bits > 1 << (n - 1) {
            return Ok(bits.wrapping_sub(1 << n) as i64);
        }
        Ok(bits as i64)
    }

    /// A signed varbit number.
    pub fn varbit_int(&mut self) -> Result<i64, BitError> {
        match WIDTHS[self.ones(8)? as usize] {
            0 => Ok(0),
            width => self.signed(width),
        }
    }

    /// An unsigned varbit number.
    pub fn varbit_uint(&mut self) -> Result<u64, BitError> {
        let width = WIDTHS[self.ones(8)? as usize];
        self.bits(width)
    }

    /// An unsigned varint of bytes.
    pub fn uvarint(&mut self) -> Result<u64, BitError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bits(8)?;
            if shift == 63 && byte > 1 {
                return Err(BitError);
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(BitError)
    }

    /// A zigzag varint of bytes.
    pub fn varint(&mut self) -> Result<i64, BitError> {
        self.uvarint().map(unzigzag)
    }

    /// A float of 64 bits.
    pub fn float(&mut self) -> Result<f64, BitError> {
        self.bits(64).map(f64::from_bits)
    }
}

/// Writes bits.
#[derive(Debug, Default, Clone)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Unused bits of the last byte.
    free: u32,
}

impl BitWriter {
    /// A writer behind `header`.
    pub fn new(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), free: 0 }
    }

    /// What was written; unused bits of the last byte are 0.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The low `n` bits of `value`, 0 to 64.
    pub fn bits(&mut self, value: u64, n: u32) {
        let mut left = n;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = value >> (left - take) & (u64::MAX >> (64 - take));
            let last = self.bytes.len() - 1;
            self.bytes[last] |= (part << (self.free - take)) as u8;
            self.free -= take;
            left -= take;
        }
    }

    /// One bit.
    pub fn bit(&mut self, is_set: bool) {
        self.bits(u64::from(is_set), 1);
    }

    /// A prefix of `ones` ones and, below `max`, a zero.
    pub fn ones(&mut self, ones: u32, max: u32) {
        self.bits(u64::MAX, ones);
        if ones < max {
            self.bit(false);
        }
    }

    /// A signed varbit number.
    pub fn varbit_int(&mut self, value: i64) {
        let fits = |&n: &u32| match n {
            0 => value == 0,
            64 => true,
            n => fits_signed(value, n),
        };
        let ones = WIDTHS.iter().position(fits).expect("BUG: everything fits 64 bits");
        self.ones(ones as u32, 8);
        self.bits(value as u64, WIDTHS[ones]);
    }

    /// An unsigned varbit number.
    pub fn varbit_uint(&mut self, value: u64) {
        let needed = 64 - value.leading_zeros();
        let ones = WIDTHS.iter().position(|&n| needed <= n).expect("BUG: it has 64 bits");
        self.ones(ones as u32, 8);
        self.bits(value, WIDTHS[ones]);
    }

    /// An unsigned varint of bytes.
    pub fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    /// A zigzag varint of bytes.
    pub fn varint(&mut self, value: i64) {
        self.uvarint(zigzag(value));
    }

    /// A float of 64 bits.
    pub fn float(&mut self, value: f64) {
        self.bits(value.to_bits(), 64);
    }
}

/// Whether `value` can be written with `n` bits, below 64 of them.
pub fn fits_signed(value: i64, n: u32) -> bool {
    let half = 1_i64 << (n - 1);
    -(half - 1) <= value && value <= half
}

/// A float on its way through a chunk: each is the XOR with the one before, of which only a
/// window of bits is stored.
#[derive(Debug, Clone, Copy)]
pub struct XorFloat {
    bits: u64,
    leading: u32,
    trailing: u32,
    /// Writers: no window is open yet.
    is_fresh: bool,
}

impl XorFloat {
    /// Begins with a value that is stored whole.
    pub fn new(value: f64) -> Self {
        Self { bits: value.to_bits(), leading: 0, trailing: 0, is_fresh: true }
    }

    /// The current value.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// Reads the next value.
    #[inline]
    pub fn read(&mut self, bits: &mut BitReader<'_>) -> Result<f64, BitError> {
        if bits.bit()? {
            if bits.bit()? {
                self.read_window(bits)?;
            }
            self.read_difference(bits)?;
        }
        Ok(self.value())
    }

    /// Reads a new window.
    pub fn read_window(&mut self, bits: &mut BitReader<'_>) -> Result<(), BitError> {
        let leading = bits.bits(5)? as u32;
        let significant = match bits.bits(6)? as u32 {
            0 => 64,
            significant => significant,
        };
        self.leading = leading;
        self.trailing = (64 - leading).checked_sub(significant).ok_or(BitError)?;
        Ok(())
    }

    /// Reads the difference, in the window that is open.
    #[inline]
    pub fn read_difference(&mut self, bits: &mut BitReader<'_>) -> Result<(), BitError> {
        self.bits ^= bits.bits(64 - self.leading - self.trailing)? << self.trailing;
        Ok(())
    }

    /// Writes the next value.
    pub fn write(&mut self, value: f64, out: &mut BitWriter) {
        let difference = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if difference == 0 {
            return out.bit(false);
        }
        out.bit(true);
        let (leading, trailing) = (difference.leading_zeros().min(31), difference.trailing_zeros());
        let fits = !self.is_fresh && leading >= self.leading && trailing >= self.trailing;
        out.bit(!fits);
        if !fits {
            (self.leading, self.trailing, self.is_fresh) = (leading, trailing, false);
            out.bits(u64::from(leading), 5);
            // 64 does not fit and is written as 0, which is not needed otherwise.
            out.bits(u64::from(64 - leading - trailing), 6);
        }
        out.bits(difference >> self.trailing, 64 - self.leading - self.trailing);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varbit_numbers_have_the_widths_of_prometheus() {
        let widths = [(0, 1), (1, 5), (-3, 5), (4, 5), (5, 9), (-31, 9), (32, 9), (33, 13)];
        let wide = [(-255, 13), (2048, 17), (-131_071, 24), (1 << 24, 32), (1 << 55, 64)];
        let widest = [((1 << 55) + 1, 72), (i64::MIN, 72)];
        for (value, width) in widths.into_iter().chain(wide).chain(widest) {
            let mut out = BitWriter::default();
            out.varbit_int(value);
            let bits = out.bytes.len() as u32 * 8 - out.free;
            assert_eq!(bits, width, "{value}");
        }
    }

    #[test]
    fn bits_stand_from_the_top() {
        let mut out = BitWriter::default();
        out.bits(0b101, 3);
        out.bits(0xff, 8);
        assert_eq!(out.into_bytes(), [0b1011_1111, 0b1110_0000]);
    }

    #[derive(Debug, Clone, Copy)]
    enum Item {
        Bits(u64, u32),
        Int(i64),
        Uint(u64),
        Varint(i64),
    }

    fn item() -> impl Strategy<Value = Item> {
        let small = || (any::<i64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift);
        prop_oneof![
            (any::<u64>(), 1_u32..=64).prop_map(|(v, n)| Item::Bits(v & (u64::MAX >> (64 - n)), n)),
            small().prop_map(Item::Int),
            small().prop_map(|value| Item::Uint(value as u64)),
            small().prop_map(Item::Varint),
        ]
    }

    proptest! {
        #[test]
        fn everything_reads_back(items: Vec<u8>, list in proptest::collection::vec(item(), 0..40)) {
            let mut out = BitWriter::new(&items);
            for item in &list {
                match *item {
                    Item::Bits(value, n) => out.bits(value, n),
                    Item::Int(value) => out.varbit_int(value),
                    Item::Uint(value) => out.varbit_uint(value),
                    Item::Varint(value) => out.varint(value),
                }
            }
            let bytes = out.into_bytes();
            let mut reader = BitReader::new(&bytes[items.len()..]);
            for item in &list {
                match *item {
                    Item::Bits(value, n) => prop_assert_eq!(reader.bits(n), Ok(value)),
                    Item::Int(value) => prop_assert_eq!(reader.varbit_int(), Ok(value)),
                    Item::Uint(value) => prop_assert_eq!(reader.varbit_uint(), Ok(value)),
                    Item::Varint(value) => prop_assert_eq!(reader.varint(), Ok(value)),
                }
            }
            prop_assert!(reader.remaining() < 8);
        }

        #[test]
        fn floats_read_back(first: u64, values: Vec<u64>) {
            let mut out = BitWriter::default();
            let mut writing = XorFloat::new(f64::from_bits(first));
            for &value in &values {
                writing.write(f64::from_bits(value), &mut out);
            }
            let bytes = out.into_bytes();
            let mut bits = BitReader::new(&bytes);
            let mut reading = XorFloat::new(f64::from_bits(first));
            for &value in &values {
                prop_assert_eq!(reading.read(&mut bits).map(f64::to_bits), Ok(value));
            }
        }
    }
}
