//! Lists of series as the index file stores them.
//!
//! A list is a uvarint `count << 1 | kind`, then its ordinals. Kind 0: as uvarints, each less the
//! one before plus one. Kind 1: as the portable serialisation of a roaring bitmap, which is
//! smaller where the list is dense or has runs. The writer takes the smaller one.

use roaring::RoaringBitmap;

use crate::encoding::cursor::Cursor;
use crate::encoding::varint::write_uvarint;

/// Appends `ordinals`, strictly ascending, to `out`.
pub(super) fn put_postings(out: &mut Vec<u8>, ordinals: &[u32]) {
    let count = ordinals.len() as u64;
    let at = out.len();
    write_uvarint(out, count << 1);
    let mut next = 0;
    for &ordinal in ordinals {
        write_uvarint(out, u64::from(ordinal) - next);
        next = u64::from(ordinal) + 1;
    }
    // The smallest bitmap with anything in it takes 18 bytes.
    if out.len() - at <= 18 {
        return;
    }
    let mut bitmap =
        RoaringBitmap::from_sorted_iter(ordinals.iter().copied()).expect("BUG: postings ascend");
    bitmap.optimize();
    if bitmap.serialized_size() + 3 < out.len() - at {
        out.truncate(at);
        write_uvarint(out, count << 1 | 1);
        bitmap.serialize_into(&mut *out).expect("BUG: writing to memory succeeds");
    }
}

/// How many ordinals the list holds, read from its first bytes.
pub(super) fn postings_len(bytes: &[u8]) -> Option<u64> {
    Cursor::new(bytes).uvarint().ok().map(|head| head >> 1)
}

/// Decodes a list; `None` where the bytes do not hold one, or one with an ordinal that is not
/// below `series_count`.
pub(super) fn read_postings(bytes: &[u8], series_count: u32) -> Option<RoaringBitmap> {
    let mut cursor = Cursor::new(bytes);
    let head = cursor.uvarint().ok()?;
    if head & 1 == 1 {
        let bitmap = RoaringBitmap::deserialize_from(cursor.rest()).ok()?;
        let is_sound = bitmap.len() == head >> 1 && bitmap.max().is_none_or(|m| m < series_count);
        return is_sound.then_some(bitmap);
    }
    // Every ordinal takes a byte at least, so a count that is too high ends with the bytes.
    let mut next = 0_u64;
    let mut ordinals = Vec::new();
    for _ in 0..head >> 1 {
        let ordinal = next.checked_add(cursor.uvarint().ok()?)?;
        if ordinal >= u64::from(series_count) {
            return None;
        }
        ordinals.push(ordinal as u32);
        next = ordinal + 1;
    }
    if !cursor.is_empty() {
        return None;
    }
    RoaringBitmap::from_sorted_iter(ordinals).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_take_few_bytes() {
        let mut bytes = Vec::new();
        put_postings(&mut bytes, &(0..100_000).collect::<Vec<_>>());
        assert!(bytes.len() < 60, "{} bytes", bytes.len());
        assert_eq!(read_postings(&bytes, 100_000).unwrap().len(), 100_000);
        assert_eq!(read_postings(&bytes, 99_999), None);
    }

    proptest! {
        #[test]
        fn lists_round_trip(
            gaps in proptest::collection::vec(
                prop_oneof![Just(0_u32), 0_u32..200, 0_u32..9999],
                0..300,
            )
        ) {
            let mut ordinals = Vec::new();
            let mut next = 0;
            for gap in gaps {
                ordinals.push(next + gap);
                next += gap + 1;
            }
            let mut bytes = Vec::new();
            put_postings(&mut bytes, &ordinals);
            prop_assert_eq!(postings_len(&bytes), Some(ordinals.len() as u64));
            let read = read_postings(&bytes, next).unwrap();
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), ordinals);
        }

        #[test]
        fn any_bytes_end_in_an_answer(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let _ = read_postings(&bytes, 1000);
        }
    }
}
