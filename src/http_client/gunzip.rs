//! Gzip (RFC 1952) of a body that is in memory as a whole.
//!
//! Inflating writes straight into the page. Where the page has room for all of a member at once,
//! the inflater needs no window of its own and copies nothing into one; how much room that is, the
//! last bytes of the body say, and they are believed as far as the body's length makes it likely.
//! Checksums are counted over the finished member.
//!
//! COMPAT: members may follow one another, and errors read as those of Go's `compress/gzip`.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes of the fixed part of a member's header.
const HEADER_LEN: usize = 10;

/// Bytes behind a member: its checksum and its length.
const TRAILER_LEN: usize = 8;

/// Times that pages of metrics are usually larger than what was sent, at most.
const LIKELY_RATIO: usize = 16;

/// Room behind the page's end that lets the inflater go at its full pace until there.
const SLACK: usize = 512;

/// What has no end.
const UNEXPECTED_EOF: &str = "unexpected EOF";

/// A body on its way to a page.
#[derive(Debug)]
pub(super) struct Gunzip<'a> {
    rest: &'a [u8],
    /// Where in the page the member begins that is being inflated.
    member: Option<usize>,
    has_members: bool,
}

impl<'a> Gunzip<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { rest: packed, member: None, has_members: false }
    }

    /// Bytes that the page will probably have.
    pub(super) fn likely_len(&self) -> usize {
        let declared = self.rest.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let likely_max = self.rest.len().saturating_mul(LIKELY_RATIO);
        (declared as usize).min(likely_max) + SLACK
    }

    /// Inflates into the room that `page` has, which is some; false at the end of the body.
    pub(super) fn step(
        &mut self,
        inflate: &mut Decompress,
        page: &mut Vec<u8>,
    ) -> Result<bool, String> {
        let start = match self.member {
            Some(start) => start,
            None if self.rest.is_empty() && self.has_members => return Ok(false),
            None if self.rest.is_empty() => return Err("EOF".to_owned()),
            None => {
                self.rest = &self.rest[header_len(self.rest)?..];
                inflate.reset(false);
                self.has_members = true;
                *self.member.insert(page.len())
            }
        };
        let before = inflate.total_in();
        let status = inflate.decompress_vec(self.rest, page, FlushDecompress::Finish);
        self.rest = &self.rest[(inflate.total_in() - before) as usize..];
        let status = status
            .map_err(|_| format!("flate: corrupt input before offset {}", inflate.total_in()))?;
        if status == Status::StreamEnd {
            let (trailer, rest) =
                self.rest.split_first_chunk::<TRAILER_LEN>().ok_or(UNEXPECTED_EOF)?;
            check(*trailer, &page[start..])?;
            (self.rest, self.member) = (rest, None);
        } else if page.len() < page.capacity() {
            // There was room for more.
            return Err(UNEXPECTED_EOF.to_owned());
        }
        Ok(true)
    }
}

/// The length of the member's header at the beginning of `bytes`.
fn header_len(bytes: &[u8]) -> Result<usize, &'static str> {
    const INVALID: &str = "gzip: invalid header";
    const HAS_CHECKSUM: u8 = 2;
    const HAS_EXTRA: u8 = 4;
    const HAS_NAME: u8 = 8;
    const HAS_COMMENT: u8 = 16;
    let fixed = bytes.first_chunk::<HEADER_LEN>().ok_or(UNEXPECTED_EOF)?;
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else { return Err(INVALID) };
    let mut len = HEADER_LEN;
    if flags & HAS_EXTRA != 0 {
        let extra = bytes[len..].first_chunk().ok_or(UNEXPECTED_EOF)?;
        len += 2 + usize::from(u16::from_le_bytes(*extra));
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if flags & text != 0 {
            let after = bytes.get(len..).ok_or(UNEXPECTED_EOF)?;
            len += after.iter().position(|&byte| byte == 0).ok_or(UNEXPECTED_EOF)? + 1;
        }
    }
    let header = bytes.get(..len).ok_or(UNEXPECTED_EOF)?;
    if flags & HAS_CHECKSUM != 0 {
        let written = bytes[len..].first_chunk().ok_or(UNEXPECTED_EOF)?;
        if u32::from(u16::from_le_bytes(*written)) != crc32fast::hash(header) & 0xffff {
            return Err(INVALID);
        }
        len += 2;
    }
    Ok(len)
}

fn check(trailer: [u8; TRAILER_LEN], member: &[u8]) -> Result<(), &'static str> {
    let [c0, c1, c2, c3, l0, l1, l2, l3] = trailer;
    let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    if checksum != crc32fast::hash(member) || len != member.len() as u32 {
        return Err("gzip: invalid checksum");
    }
    Ok(())
}

/// Decompresses a body of gzip into a page of fewer than `bytes_max` bytes; for what has no
/// buffers, and for fuzzing.
pub fn gunzip(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, String> {
    let (mut inflate, mut page) = (Decompress::new(false), Vec::new());
    let mut body = Gunzip::new(packed);
    page.reserve(body.likely_len().min(bytes_max.max(1)));
    while body.step(&mut inflate, &mut page)? {
        if page.len() >= bytes_max {
            return Err(format!("body size limit exceeded (limit: {bytes_max} bytes)"));
        }
        page.reserve(SLACK);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn headers_may_say_more() {
        let builder = GzBuilder::new().extra([7; 300]).filename("a").comment("b").mtime(9);
        let mut encoder = builder.write(Vec::new(), Compression::best());
        encoder.write_all(b"text").unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(gunzip(&packed, 100).unwrap(), b"text");
        for len in 0..packed.len() {
            assert!(gunzip(&packed[..len], 100).is_err(), "{len}");
        }
        let mut checked = packed[..10].to_vec();
        checked[3] = 2;
        let sum = crc32fast::hash(&checked).to_le_bytes();
        checked.extend_from_slice(&sum[..2]);
        checked.extend_from_slice(&pack(b"text")[10..]);
        assert_eq!(gunzip(&checked, 100).unwrap(), b"text");
        checked[10] ^= 1;
        assert_eq!(gunzip(&checked, 100).unwrap_err(), "gzip: invalid header");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let packed = pack(b"abcabcabcabcabcabc");
        let end = packed.len();
        let changed = |at: usize| {
            let mut bytes = packed.clone();
            bytes[at] ^= 0x40;
            gunzip(&bytes, 100).unwrap_err()
        };
        assert_eq!(changed(end - 1), "gzip: invalid checksum");
        assert_eq!(changed(end - 5), "gzip: invalid checksum");
        assert_eq!(changed(1), "gzip: invalid header");
        assert_eq!(gunzip(&[], 100).unwrap_err(), "EOF");
        assert_eq!(gunzip(&packed[..5], 100).unwrap_err(), UNEXPECTED_EOF);
        assert_eq!(gunzip(&packed[..end - 9], 100).unwrap_err(), UNEXPECTED_EOF);
        assert_eq!(gunzip(&packed[..end - 1], 100).unwrap_err(), UNEXPECTED_EOF);
        assert_eq!(gunzip(&[&packed[..], b"x"].concat(), 100).unwrap_err(), UNEXPECTED_EOF);
        let tail = gunzip(&[&packed[..], &[b'x'; 10]].concat(), 100).unwrap_err();
        assert_eq!(tail, "gzip: invalid header");
        let corrupt = [&packed[..10], &[0xff; 20]].concat();
        assert!(gunzip(&corrupt, 100).unwrap_err().starts_with("flate: corrupt input before"));
    }

    proptest! {
        #[test]
        fn members_come_out_one_after_another(
            members in proptest::collection::vec(
                proptest::collection::vec(0_u8..4, 0..5000), 1..4),
            declared in any::<u32>(),
        ) {
            let plain = members.concat();
            let packed: Vec<u8> = members.iter().flat_map(|member| pack(member)).collect();
            prop_assert_eq!(gunzip(&packed, plain.len() + 1).unwrap(), &plain[..]);
            prop_assert!(gunzip(&packed, plain.len()).is_err() || plain.is_empty());
            // Whatever it says of its length, only the checksum's trailer is wrong.
            let end = packed.len() - 4;
            let lying = [&packed[..end], &declared.to_le_bytes()].concat();
            let last = members.last().map_or(0, Vec::len) as u32;
            prop_assert_eq!(gunzip(&lying, plain.len() + 1).is_ok(), declared == last);
        }
    }
}
