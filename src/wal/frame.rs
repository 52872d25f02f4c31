//! Framing: how a record stands among the bytes of a segment or a checkpoint.
//!
//! A frame is a header of 15 bytes and the payload. The header has a check of its own, so that a
//! reader can trust the length of a record whose payload is damaged, and can find the next frame
//! by looking at every byte when it cannot. Both checks begin with the *salt* of the log, which
//! nobody outside knows: text that looks like a frame, sent as a label's value, is none.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crc32fast::Hasher;

use super::PAYLOAD_BYTES_MAX;

/// Bytes before the payload: length (4), low half of the sequence (4), kind (1), check (2),
/// CRC (4).
pub(super) const HEADER_LEN: usize = 15;

/// Kind of the record that says up to where the log was synced; its payload is the first
/// sequence that was not.
pub(super) const KIND_MARKER: u8 = 255;

/// Kind of the last record of a checkpoint.
pub(super) const KIND_END: u8 = 254;

/// The part of the header that the check covers.
const CHECKED: usize = 9;

/// A header whose check is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    pub(super) len: usize,
    pub(super) sequence_low: u32,
    pub(super) kind: u8,
    crc: u32,
}

impl FrameHeader {
    /// Header and payload together.
    pub(super) fn frame_len(&self) -> u64 {
        (HEADER_LEN + self.len) as u64
    }
}

/// A salt that cannot be guessed.
pub(super) fn random_salt() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

/// Appends a frame to `out`.
pub(super) fn encode(salt: u32, kind: u8, sequence: u64, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(kind != 0 && payload.len() <= PAYLOAD_BYTES_MAX);
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&(sequence as u32).to_le_bytes());
    out.push(kind);
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(&out[start..]);
    out.extend_from_slice(&(hasher.clone().finalize() as u16).to_le_bytes());
    hasher.update(payload);
    out.extend_from_slice(&hasher.finalize().to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads a header; `None` unless it checks.
pub(super) fn parse_header(salt: u32, bytes: &[u8]) -> Option<FrameHeader> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, k0, k1, c0, c1, c2, c3] = *header;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    // Cheap first: most bytes that are looked at in a search are no header.
    if kind == 0 || len > PAYLOAD_BYTES_MAX {
        return None;
    }
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(&header[..CHECKED]);
    if hasher.finalize() as u16 != u16::from_le_bytes([k0, k1]) {
        return None;
    }
    Some(FrameHeader {
        len,
        sequence_low: u32::from_le_bytes([s0, s1, s2, s3]),
        kind,
        crc: u32::from_le_bytes([c0, c1, c2, c3]),
    })
}

/// Whether the payload of `frame` (header and payload) is what the header says.
pub(super) fn payload_checks(salt: u32, header: &FrameHeader, frame: &[u8]) -> bool {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(&frame[..CHECKED]);
    hasher.update(&frame[HEADER_LEN..]);
    hasher.finalize() == header.crc
}

/// The sequence with these low bits that is nearest to `hint`.
pub(super) fn resolve(sequence_low: u32, hint: u64) -> u64 {
    let ahead = sequence_low.wrapping_sub(hint as u32) as i32;
    hint.saturating_add_signed(i64::from(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back_and_any_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        encode(77, 3, 1 << 40 | 5, b"payload", &mut bytes);
        assert_eq!(bytes.len(), HEADER_LEN + 7);
        let header = parse_header(77, &bytes).unwrap();
        assert_eq!((header.len, header.sequence_low, header.kind), (7, 5, 3));
        assert!(payload_checks(77, &header, &bytes));
        assert!(parse_header(78, &bytes).is_none());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let good = parse_header(77, &flipped)
                .is_some_and(|h| h.len == 7 && payload_checks(77, &h, &flipped));
            assert!(!good, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert!((0..70_000).all(|salt| parse_header(salt, &[0; HEADER_LEN]).is_none()));
    }

    #[test]
    fn low_bits_resolve_to_the_nearest_sequence() {
        assert_eq!(resolve(5, 7), 5);
        assert_eq!(resolve(2, (1 << 32) - 1), (1 << 32) + 2);
        assert_eq!(resolve(u32::MAX, 1 << 32), (1 << 32) - 1);
    }
}
