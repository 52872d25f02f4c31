//! Prefix codes for tokens: their lengths, and how the lengths are written.
//!
//! A code is known by its lengths alone: codes ascend by length, then by token, and are written
//! from their highest bit, which is the lowest of the stream's next ones. Lengths are at most
//! [`LENGTH_MAX`]. A code is complete (its lengths satisfy Kraft's inequality as an equation), or
//! has one token only, of length 1.
//!
//! Bytes: the number of lengths (u8: the last token in use, plus one), then the lengths of tokens
//! 0, 1 … as nibbles, the low one of a byte first: 0 not in use, 1–11 the length, 12 and 13 with
//! the nibble *x* that follows: the next `2 + x` and `18 + x` tokens are not in use. A nibble left
//! over is 0.

use super::ChunkError;
use super::tokens::TOKENS;
use crate::encoding::cursor::Cursor;

/// Greatest length of a code in bits.
pub(super) const LENGTH_MAX: u8 = 11;

/// The lengths of all tokens; 0 for those not in use.
pub(super) type Lengths = [u8; TOKENS];

const SHORT_GAP: u8 = 12;
const LONG_GAP: u8 = 13;
const SHORT_GAP_MIN: usize = 2;
const LONG_GAP_MIN: usize = 18;
const LONG_GAP_MAX: usize = 33;
/// First bytes kept for code tables that readers will know beforehand.
const KNOWN_TABLES: std::ops::RangeInclusive<u8> = 200..=231;

/// Lengths of a code for tokens so frequent, none above `max`; at least one token is in use, and
/// at most `2^max` are.
pub(super) fn lengths_of(counts: &[u32; TOKENS], max: u8) -> Lengths {
    let mut used: Vec<(u32, u8)> =
        (0..).zip(counts).filter(|(_, count)| **count > 0).map(|(t, count)| (*count, t)).collect();
    used.sort_unstable();
    let mut depths: Vec<u32> = used.iter().map(|(count, _)| *count).collect();
    depths_of(&mut depths);
    limit(&mut depths, u32::from(max));
    let mut lengths = [0; TOKENS];
    for ((_, token), depth) in used.iter().zip(&depths) {
        lengths[usize::from(*token)] = *depth as u8;
    }
    lengths
}

/// Turns weights, ascending, into depths in a tree of least total weight. Source: Moffat and
/// Katajainen, "In-Place Calculation of Minimum-Redundancy Codes", 1995.
fn depths_of(a: &mut [u32]) {
    let n = a.len();
    if n < 3 {
        a.fill(1);
        return;
    }
    // Parents: `a[..next]` are inner nodes, of which those from `root` on have no parent yet.
    a[0] += a[1];
    let (mut root, mut leaf) = (0, 2);
    for next in 1..n - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let takes_node = leaf >= n || (root < next && a[root] < a[leaf]);
            if takes_node {
                weight += std::mem::replace(&mut a[root], next as u32);
                root += 1;
            } else {
                weight += a[leaf];
                leaf += 1;
            }
        }
        a[next] = weight;
    }
    // Depths of inner nodes.
    a[n - 2] = 0;
    for next in (0..n - 2).rev() {
        a[next] = a[a[next] as usize] + 1;
    }
    // Depths of leaves: at each depth, what is no inner node.
    let (mut places, mut depth) = (1, 0);
    let (mut inner, mut next) = (n - 1, n);
    while places > 0 {
        let mut nodes = 0;
        while inner > 0 && a[inner - 1] == depth {
            nodes += 1;
            inner -= 1;
        }
        for _ in nodes..places {
            next -= 1;
            a[next] = depth;
        }
        places = 2 * nodes;
        depth += 1;
    }
}

/// Cuts depths, descending, to `max`, and keeps the code complete.
fn limit(depths: &mut [u32], max: u32) {
    if depths.first().is_none_or(|deepest| *deepest <= max) {
        return;
    }
    let unit = |depth: u32| 1_u32 << (max - depth);
    for depth in &mut *depths {
        *depth = (*depth).min(max);
    }
    let room = 1_u32 << max;
    let mut taken: u32 = depths.iter().map(|depth| unit(*depth)).sum();
    while taken > room {
        let rarest = depths.iter_mut().find(|depth| **depth < max);
        let depth = rarest.expect("BUG: more tokens than codes");
        *depth += 1;
        taken -= unit(*depth);
    }
    for depth in depths.iter_mut().rev() {
        while taken + unit(*depth) <= room {
            taken += unit(*depth);
            *depth -= 1;
        }
    }
}

/// Appends the lengths.
pub(super) fn write_lengths(lengths: &Lengths, out: &mut Vec<u8>) {
    let last = lengths.iter().rposition(|length| *length > 0);
    let lengths = &lengths[..=last.expect("BUG: a code has a token")];
    out.push(lengths.len() as u8);
    let mut low = None;
    let mut put = |nibble: u8| match low.take() {
        None => low = Some(nibble),
        Some(low) => out.push(low | nibble << 4),
    };
    let mut token = 0;
    while token < lengths.len() {
        let gap = lengths[token..].iter().take_while(|length| **length == 0).count();
        let gap = gap.min(LONG_GAP_MAX);
        if gap >= LONG_GAP_MIN {
            put(LONG_GAP);
            put((gap - LONG_GAP_MIN) as u8);
        } else if gap >= SHORT_GAP_MIN {
            put(SHORT_GAP);
            put((gap - SHORT_GAP_MIN) as u8);
        } else {
            put(lengths[token]);
        }
        token += if gap >= SHORT_GAP_MIN { gap } else { 1 };
    }
    out.extend(low);
}

/// Reads what [`write_lengths`] wrote; the lengths are those of a code.
pub(super) fn read_lengths(cursor: &mut Cursor<'_>) -> Result<Lengths, ChunkError> {
    const UNSOUND: ChunkError = ChunkError::Corrupt("lengths of codes that are no code");
    let count = cursor.u8()?;
    if KNOWN_TABLES.contains(&count) {
        return Err(ChunkError::NeedsNewerReader(count));
    }
    let mut lengths = [0; TOKENS];
    let Some(used) = lengths.get_mut(..usize::from(count)) else {
        return Err(UNSOUND);
    };
    let mut high = None;
    let mut nibble = || -> Result<u8, ChunkError> {
        if let Some(high) = high.take() {
            return Ok(high);
        }
        let byte = cursor.u8()?;
        high = Some(byte >> 4);
        Ok(byte & 15)
    };
    let mut token = 0;
    while token < used.len() {
        token += match nibble()? {
            SHORT_GAP => SHORT_GAP_MIN + usize::from(nibble()?),
            LONG_GAP => LONG_GAP_MIN + usize::from(nibble()?),
            length if length <= LENGTH_MAX => {
                used[token] = length;
                1
            }
            _ => return Err(UNSOUND),
        };
    }
    if token == used.len() && is_code(&lengths) { Ok(lengths) } else { Err(UNSOUND) }
}

fn is_code(lengths: &Lengths) -> bool {
    let used = || lengths.iter().filter(|length| **length > 0);
    let taken: u32 = used().map(|length| 1_u32 << (LENGTH_MAX - length)).sum();
    taken == 1 << LENGTH_MAX || (used().count() == 1 && taken == 1 << (LENGTH_MAX - 1))
}

/// Calls `visit` for each token in use, ascending by length and token, with its length and its
/// code, whose first bit is the lowest.
pub(super) fn visit_codes(lengths: &Lengths, mut visit: impl FnMut(u8, u8, u16)) {
    // Sorted by length by counting: that is done for each chunk read.
    let mut places = [0_u8; LENGTH_MAX as usize + 2];
    for length in lengths {
        places[usize::from(*length) + 1] += 1;
    }
    places[1] = 0;
    for length in 1..places.len() {
        places[length] += places[length - 1];
    }
    let ends = places;
    let mut sorted = [0_u8; TOKENS];
    for (token, length) in (0..).zip(lengths).filter(|(_, length)| **length > 0) {
        let place = &mut places[usize::from(*length)];
        sorted[usize::from(*place)] = token;
        *place += 1;
    }
    let mut code = 0_u16;
    for length in 1..=LENGTH_MAX {
        code <<= 1;
        let (begin, end) = (ends[usize::from(length)], ends[usize::from(length) + 1]);
        for token in &sorted[usize::from(begin)..usize::from(end)] {
            visit(*token, length, code.reverse_bits() >> (16 - length));
            code += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(pairs: &[(usize, u32)]) -> [u32; TOKENS] {
        let mut counts = [0; TOKENS];
        for (token, count) in pairs {
            counts[*token] = *count;
        }
        counts
    }

    fn used(lengths: &Lengths) -> Vec<u8> {
        lengths.iter().copied().filter(|length| *length > 0).collect()
    }

    #[test]
    fn frequent_tokens_get_short_codes() {
        let lengths = lengths_of(&counts(&[(0, 8), (1, 4), (2, 2), (3, 1), (151, 1)]), 11);
        assert_eq!(used(&lengths), [1, 2, 3, 4, 4]);
        assert_eq!(used(&lengths_of(&counts(&[(7, 9)]), 7)), [1]);
        assert_eq!(used(&lengths_of(&counts(&[(7, 9), (9, 1)]), 7)), [1, 1]);
        assert_eq!(used(&lengths_of(&counts(&[(7, 9), (9, 1), (11, 1)]), 7)), [1, 2, 2]);
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for bytes in [
            &[][..],
            &[0],
            &[1, 2],
            &[2, 0x12],
            &[3, 0x11, 0x01],
            &[153, 0x11],
            &[2, 0x0c],
            &[2, 0xee],
            &[5, 0x31],
        ] {
            assert!(read_lengths(&mut Cursor::new(bytes)).is_err(), "{bytes:?}");
        }
        let kept = read_lengths(&mut Cursor::new(&[200, 0]));
        assert_eq!(kept, Err(ChunkError::NeedsNewerReader(200)));
    }

    proptest! {
        #[test]
        fn every_code_is_complete_and_comes_back(
            picks in prop::collection::btree_map(
                0_usize..TOKENS, (1_u32..200, 0_u32..24).prop_map(|(n, shift)| n << shift >> 8),
                1..120),
            max in 7_u8..=LENGTH_MAX,
        ) {
            let pairs: Vec<_> = picks.iter().map(|(token, n)| (*token, (*n).max(1))).collect();
            let lengths = lengths_of(&counts(&pairs), max);
            prop_assert_eq!(used(&lengths).len(), pairs.len());
            prop_assert!(lengths.iter().all(|length| *length <= max));
            let mut out = vec![];
            write_lengths(&lengths, &mut out);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(read_lengths(&mut cursor), Ok(lengths));
            prop_assert!(cursor.is_empty());
            let mut seen = std::collections::HashSet::new();
            visit_codes(&lengths, |_, length, code| {
                for high in 0..1_u16 << (LENGTH_MAX - length) {
                    assert!(seen.insert(high << length | code), "a code begins another");
                }
            });
            prop_assert!(pairs.len() == 1 || seen.len() == 1 << LENGTH_MAX);
        }

        #[test]
        fn wild_lengths_are_a_code_or_an_error(bytes: Vec<u8>) {
            if let Ok(lengths) = read_lengths(&mut Cursor::new(&bytes)) {
                prop_assert!(is_code(&lengths));
            }
        }
    }
}
