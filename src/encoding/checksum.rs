//! CRC-32 around bytes that go to the medium.
//!
//! Two shapes. A *sealed* run of bytes is followed by its CRC ([`seal`], [`open`]). A *frame*
//! stands in a sequence of frames: length (u32), CRC (u32) over the length's four bytes and the
//! body, body ([`write_frame`], [`read_frame`]). The length is under the CRC, so that a run of
//! zeros, as a torn write leaves it, is no valid empty frame.

use std::fmt;

use super::cursor::{Cursor, CursorError};

/// Bytes that a sealed run has behind its body.
pub const SEAL_BYTES: usize = 4;

/// Bytes that a frame has in front of its body.
pub const FRAME_HEADER_BYTES: usize = 8;

/// CRC-32 (IEEE).
#[inline]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Bytes that do not check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChecksumError {
    /// Fewer bytes than the frame says or the seal needs.
    UnexpectedEnd {
        /// Where the frame begins.
        offset: usize,
    },
    /// The CRC of the bytes is not the one stored.
    Mismatch {
        /// Where the frame or the sealed run begins.
        offset: usize,
        /// The CRC that stands there.
        stored: u32,
        /// The CRC of the bytes that stand there.
        computed: u32,
    },
    /// The frame claims more bytes than its reader takes.
    TooLong {
        /// Where the frame begins.
        offset: usize,
        /// Bytes that the frame claims.
        len: u32,
    },
}

impl ChecksumError {
    /// Where the frame or sealed run begins that does not check.
    pub fn offset(&self) -> usize {
        match *self {
            Self::UnexpectedEnd { offset }
            | Self::Mismatch { offset, .. }
            | Self::TooLong { offset, .. } => offset,
        }
    }
}

impl fmt::Display for ChecksumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd { offset } => write!(f, "the bytes from {offset} on end early"),
            Self::Mismatch { offset, stored, computed } => write!(
                f,
                "CRC of the bytes from {offset} on is {computed:08x}, but {stored:08x} is stored"
            ),
            Self::TooLong { offset, len } => {
                write!(f, "the frame at byte {offset} claims {len} bytes, which is too long")
            }
        }
    }
}

impl std::error::Error for ChecksumError {}

/// Appends the CRC of `out[start..]` to `out`.
pub fn seal(out: &mut Vec<u8>, start: usize) {
    let crc = crc32(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The body of a sealed run: `bytes` without the CRC that ends them, which must be theirs.
pub fn open(bytes: &[u8]) -> Result<&[u8], ChecksumError> {
    let Some((body, crc)) = bytes.split_last_chunk::<SEAL_BYTES>() else {
        return Err(ChecksumError::UnexpectedEnd { offset: 0 });
    };
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32(body));
    if stored != computed {
        return Err(ChecksumError::Mismatch { offset: 0, stored, computed });
    }
    Ok(body)
}

/// Appends a frame whose body `write` appends. A body has less than 4 GiB.
pub fn write_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    write(out);
    let body = start + FRAME_HEADER_BYTES;
    let len = u32::try_from(out.len() - body).expect("BUG: a frame has less than 4 GiB");
    let crc = frame_crc(len, &out[body..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the next frame and returns its body; `None` at the end of the bytes. A frame whose body
/// is longer than `body_bytes_max` is an error. After an error the cursor stands before the frame.
pub fn read_frame<'a>(
    cursor: &mut Cursor<'a>,
    body_bytes_max: u32,
) -> Result<Option<&'a [u8]>, ChecksumError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let offset = cursor.offset();
    let short = |_: CursorError| ChecksumError::UnexpectedEnd { offset };
    let mut ahead = cursor.clone();
    let len = ahead.u32().map_err(short)?;
    let stored = ahead.u32().map_err(short)?;
    if len > body_bytes_max {
        return Err(ChecksumError::TooLong { offset, len });
    }
    let body = ahead.bytes(len as usize).map_err(short)?;
    let computed = frame_crc(len, body);
    if stored != computed {
        return Err(ChecksumError::Mismatch { offset, stored, computed });
    }
    *cursor = ahead;
    Ok(Some(body))
}

fn frame_crc(len: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_polynomial_is_ieee() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut out = b"..body".to_vec();
        seal(&mut out, 2);
        assert_eq!(open(&out[2..]), Ok(&b"body"[..]));
        out[3] ^= 1;
        assert!(matches!(open(&out[2..]), Err(ChecksumError::Mismatch { .. })));
        assert_eq!(open(&[1, 2, 3]), Err(ChecksumError::UnexpectedEnd { offset: 0 }));
    }

    #[test]
    fn zeros_are_no_frame() {
        let zeros = [0; 64];
        let mut cursor = Cursor::new(&zeros);
        assert!(matches!(read_frame(&mut cursor, 100), Err(ChecksumError::Mismatch { .. })));
        assert_eq!(cursor.offset(), 0);
    }

    #[test]
    fn a_length_is_not_believed() {
        let mut out = vec![];
        write_frame(&mut out, |out| out.extend_from_slice(&[5; 50]));
        let too_long = Err(ChecksumError::TooLong { offset: 0, len: 50 });
        assert_eq!(read_frame(&mut Cursor::new(&out), 49), too_long);
        assert_eq!(read_frame(&mut Cursor::new(&out), 50), Ok(Some(&[5; 50][..])));
    }

    proptest! {
        #[test]
        fn frames_come_back_up_to_the_cut(bodies: Vec<Vec<u8>>, cut: prop::sample::Index) {
            let mut out = vec![];
            let mut ends = vec![];
            for body in &bodies {
                write_frame(&mut out, |out| out.extend_from_slice(body));
                ends.push(out.len());
            }
            let cut = cut.index(out.len() + 1);
            let whole = ends.iter().take_while(|end| **end <= cut).count();
            let mut cursor = Cursor::new(&out[..cut]);
            for body in &bodies[..whole] {
                prop_assert_eq!(read_frame(&mut cursor, u32::MAX), Ok(Some(body.as_slice())));
            }
            let end = cursor.offset();
            match read_frame(&mut cursor, u32::MAX) {
                Ok(rest) => prop_assert!(rest.is_none() && end == cut),
                Err(e) => prop_assert_eq!(e, ChecksumError::UnexpectedEnd { offset: end }),
            }
        }

        #[test]
        fn a_flipped_bit_is_noticed(body: Vec<u8>, at: prop::sample::Index, bit in 0_u8..8) {
            let mut out = vec![];
            write_frame(&mut out, |out| out.extend_from_slice(&body));
            let at = at.index(out.len());
            out[at] ^= 1_u8 << bit;
            prop_assert!(read_frame(&mut Cursor::new(&out), u32::MAX).is_err());
        }
    }
}
