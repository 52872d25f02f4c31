//! Names of blocks: ULIDs, which sort by the time they were made.
//!
//! 48 bits of milliseconds and 80 of chance, as 26 characters of Crockford's base 32
//! (<https://github.com/ulid/spec>).

use std::fmt;
use std::hash::{BuildHasher, RandomState};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LEN: usize = 26;

/// The name of a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(u128);

impl Ulid {
    /// The name below all others.
    pub const MIN: Self = Self(0);

    /// The name that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// A name for something made at `now_ms`, above `after` where that is given: clocks stand
    /// still or go back, names must not.
    pub fn new(now_ms: i64, after: Option<Self>) -> Self {
        // Each RandomState has keys of its own, so this is as good as the system's entropy.
        let chance = |salt: u64| u128::from(RandomState::new().hash_one(salt));
        let time = (now_ms.max(0) as u128) & ((1 << 48) - 1);
        let fresh = time << 80 | (chance(1) << 64 | chance(2)) & ((1 << 80) - 1);
        Self(after.map_or(fresh, |after| fresh.max(after.0.saturating_add(1))))
    }

    /// The time in it, in milliseconds.
    pub fn time_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The lower half of its chance.
    pub fn low_bits(self) -> u64 {
        self.0 as u64
    }

    /// Reads a name as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != LEN || text.as_bytes()[0] > b'7' {
            return None;
        }
        text.bytes()
            .try_fold(0_u128, |value, byte| {
                let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
                Some(value << 5 | digit as u128)
            })
            .map(Self)
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for i in (0..LEN).rev() {
            let letter = ALPHABET[(self.0 >> (5 * i) & 31) as usize];
            fmt::Write::write_char(f, char::from(letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_read_back() {
        let early = Ulid::new(1_700_000_000_000, None);
        let late = Ulid::new(1_700_000_000_001, Some(early));
        let stopped = Ulid::new(0, Some(late));
        assert!(early < late && late < stopped);
        assert!(early.to_string() < late.to_string());
        assert_eq!(Ulid::parse(&late.to_string()), Some(late));
        assert_eq!(Ulid::parse("01ARZ3NDEKTSV4RRFFQ69G5FA"), None);
        assert_eq!(Ulid::parse("01ARZ3NDEKTSV4RRFFQ69G5FAI"), None);
        assert_eq!(Ulid::parse("81ARZ3NDEKTSV4RRFFQ69G5FAV"), None);
        let known = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
        assert_eq!(Ulid::parse(known).unwrap().to_string(), known);
    }
}
