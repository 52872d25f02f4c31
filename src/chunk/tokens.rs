//! Residuals as tokens: small numbers and runs of zeros are tokens of their own, larger ones a
//! token for their length and second bit, and the bits below as they are.
//!
//! | token | stands for | raw bits |
//! |---|---|---|
//! | 0–15 | the number | none |
//! | 16 + k | a run of `2^k + raw` zeros, k ≤ 15 | k |
//! | 32 + 2 (w − 5) + b | `(2 + b) · 2^(w − 2) + raw`, w ≥ 5 bits of which b is second | w − 2 |
//!
//! In each row the number is `head << raw bits | raw`, which is how both sides compute it. Source
//! of the idea: the hybrid integers of JPEG XL (ISO/IEC 18181-1), run lengths as in many others.

use crate::encoding::bitpack::width_of;

/// Number of tokens.
pub(super) const TOKENS: usize = 152;

const DIRECT: u64 = 16;
const RUNS: u8 = 16;
const WIDE: u8 = 32;
/// Width of the smallest number that is not a token itself.
const WIDE_WIDTH: u8 = 5;
/// Longest run of one token.
const RUN_MAX: u32 = (1 << 16) - 1;
/// Shorter runs are so many tokens 0.
const RUN_MIN: u32 = 4;

/// What a token says, without its raw bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The bits above the raw ones.
    pub(super) head: u8,
    /// Number of raw bits: 0 to 62.
    pub(super) raw_bits: u8,
    /// Whether the number is a count of zeros.
    pub(super) is_run: bool,
}

/// What token `number` says, below [`TOKENS`].
pub(super) fn meaning(number: u8) -> Meaning {
    let (head, raw_bits) = match number {
        ..RUNS => (number, 0),
        RUNS..WIDE => (1, number - RUNS),
        _ => (2 + (number & 1), (number - WIDE) / 2 + WIDE_WIDTH - 2),
    };
    Meaning { head, raw_bits, is_run: (RUNS..WIDE).contains(&number) }
}

/// A token with its raw bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) number: u8,
    pub(super) raw_bits: u8,
    pub(super) raw: u64,
}

impl Token {
    /// The token of a number that is in no run.
    #[inline]
    pub(super) fn of(residual: u64) -> Self {
        if residual < DIRECT {
            return Self { number: residual as u8, raw_bits: 0, raw: 0 };
        }
        let width = width_of(residual);
        let raw_bits = width - 2;
        let second = (residual >> raw_bits & 1) as u8;
        let number = WIDE + 2 * (width - WIDE_WIDTH) + second;
        Self { number, raw_bits, raw: residual & ((1 << raw_bits) - 1) }
    }

    /// The token of `len` zeros, 1 to [`RUN_MAX`].
    #[inline]
    fn run(len: u32) -> Self {
        let bits = len.ilog2() as u8;
        Self { number: RUNS + bits, raw_bits: bits, raw: u64::from(len - (1 << bits)) }
    }
}

/// Gives the tokens of `residuals` to `sink`, in order.
#[inline]
pub(super) fn tokenize(residuals: &[u64], mut sink: impl FnMut(Token)) {
    let mut zeros = 0;
    for &residual in residuals {
        if residual == 0 {
            zeros += 1;
            continue;
        }
        if zeros > 0 {
            tokenize_zeros(zeros, &mut sink);
            zeros = 0;
        }
        sink(Token::of(residual));
    }
    tokenize_zeros(zeros, &mut sink);
}

#[inline]
fn tokenize_zeros(mut zeros: u32, sink: &mut impl FnMut(Token)) {
    while zeros > 0 {
        let run = zeros.min(RUN_MAX);
        zeros -= run;
        if run < RUN_MIN {
            (0..run).for_each(|_| sink(Token::of(0)));
        } else {
            sink(Token::run(run));
        }
    }
}

/// How often each token stands in a stream.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    pub(super) counts: [u32; TOKENS],
    /// Raw bits of all.
    pub(super) raw_bits: u64,
    zeros: u32,
}

impl Histogram {
    pub(super) const EMPTY: Self = Self { counts: [0; TOKENS], raw_bits: 0, zeros: 0 };

    /// Counts the next residual of a stream.
    #[inline]
    pub(super) fn push(&mut self, residual: u64) {
        if residual == 0 {
            self.zeros += 1;
            return;
        }
        self.finish();
        self.count(Token::of(residual));
    }

    /// Counts the zeros at the end.
    #[inline]
    pub(super) fn finish(&mut self) {
        if self.zeros > 0 {
            let zeros = std::mem::take(&mut self.zeros);
            tokenize_zeros(zeros, &mut |token| self.count(token));
        }
    }

    #[inline]
    fn count(&mut self, token: Token) {
        self.counts[usize::from(token.number)] += 1;
        self.raw_bits += u64::from(token.raw_bits);
    }

    /// Calls `visit` with the width of residuals that are no zeros, and how many there are.
    pub(super) fn visit_widths(&self, mut visit: impl FnMut(u8, u32)) {
        for (number, &count) in (0..).zip(&self.counts) {
            let Meaning { head, raw_bits, is_run } = meaning(number);
            if count > 0 && !is_run && number != 0 {
                visit(raw_bits + width_of(u64::from(head)), count);
            }
        }
    }

    /// About how many bits the stream takes under a code made for it, the code's own included.
    pub(super) fn bits(&self) -> u64 {
        const BITS_PER_LENGTH: u64 = 5;
        let total: u32 = self.counts.iter().sum();
        let used = || self.counts.iter().filter(|count| **count > 0);
        let log2_total = f64::from(total.max(1)).log2();
        let entropy: f64 =
            used().map(|&count| f64::from(count) * (log2_total - f64::from(count).log2())).sum();
        // Codes have whole bits: what is most frequent takes one at least.
        let coded = entropy.max(f64::from(total)) as u64;
        coded + self.raw_bits + used().count() as u64 * BITS_PER_LENGTH + 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(token: Token) -> u64 {
        let Meaning { head, raw_bits, .. } = meaning(token.number);
        assert_eq!(raw_bits, token.raw_bits);
        assert_eq!(token.raw >> raw_bits, 0);
        u64::from(head) << raw_bits | token.raw
    }

    #[test]
    fn every_number_has_its_token() {
        for width in 0..64 {
            for number in [1 << width, (1 << width) - 1, 3 << width >> 1, u64::MAX >> width] {
                let token = Token::of(number);
                assert_eq!(value(token), number);
                assert!(!meaning(token.number).is_run);
            }
        }
        assert_eq!(usize::from(Token::of(u64::MAX).number), TOKENS - 1);
    }

    #[test]
    fn runs_are_counted_in_powers_of_two() {
        for len in [4, 5, 7, 8, 100, 65_535, 65_536, 200_000] {
            let mut zeros = 0;
            let mut tokens = 0;
            tokenize(&vec![0; len], |token| {
                assert!(meaning(token.number).is_run || token == Token::of(0));
                zeros += if token.number == 0 { 1 } else { value(token) };
                tokens += 1;
            });
            assert_eq!(zeros, len as u64);
            assert!(tokens <= 4);
        }
    }

    #[test]
    fn a_histogram_counts_what_is_written() {
        let residuals = [0, 0, 0, 0, 0, 3, 0, 17, 17, 1 << 40, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let (mut pushed, mut written) = (Histogram::EMPTY, Histogram::EMPTY);
        for residual in residuals {
            pushed.push(residual);
        }
        pushed.finish();
        tokenize(&residuals, |token| written.count(token));
        assert_eq!(pushed.counts, written.counts);
        assert_eq!(pushed.raw_bits, written.raw_bits);
        let mut widths = vec![];
        pushed.visit_widths(|width, count| widths.push((width, count)));
        assert_eq!(widths, [(2, 1), (5, 2), (41, 1)]);
    }
}
