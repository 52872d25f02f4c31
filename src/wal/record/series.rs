//! Entries of series records.
//!
//! Series that begin together differ in little: the metrics of one pod have all labels but the name
//! in common. An entry says what its label bytes share with the beginning and the end of those
//! before it in the record, which leaves a tenth of them.
//!
//! Copies are bounded: labels longer than [`SHARED_FROM_MAX`] bytes share nothing with those
//! behind.

use super::RecordError;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::{write_bytes, write_uvarint, write_varint};

/// Longest labels that the next entry shares anything with.
const SHARED_FROM_MAX: usize = 16 << 10;
/// Bytes compared at a time.
const STRIDE: usize = 16;

/// One entry of a series record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesEntry<'a> {
    /// The series' number.
    pub id: u32,
    /// Which bearer of that number it is.
    pub generation: u32,
    /// Canonical label bytes, unchecked.
    pub labels: &'a [u8],
}

/// Writes the body of a series record.
#[derive(Debug, Default)]
pub struct SeriesWriter {
    body: Vec<u8>,
    id: u32,
    /// Labels of the entry before.
    labels: Vec<u8>,
}

impl SeriesWriter {
    /// Appends an entry.
    pub fn push(&mut self, entry: SeriesEntry<'_>) {
        let (before, labels) = (shared_from(&self.labels), entry.labels);
        let prefix = shared_prefix(before, labels);
        let suffix = shared_suffix(&before[prefix..], &labels[prefix..]);
        write_varint(&mut self.body, i64::from(entry.id) - i64::from(self.id));
        write_uvarint(&mut self.body, u64::from(entry.generation));
        write_uvarint(&mut self.body, prefix as u64);
        write_uvarint(&mut self.body, suffix as u64);
        write_bytes(&mut self.body, &labels[prefix..labels.len() - suffix]);
        self.id = entry.id;
        self.labels.clear();
        self.labels.extend_from_slice(labels);
    }

    /// Bytes of the body so far.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Whether there is no entry yet.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The body; the next entry begins another.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).body
    }
}

/// Reads the body of a series record.
#[derive(Debug, Default)]
pub struct SeriesReader {
    id: u32,
    labels: Vec<u8>,
}

impl SeriesReader {
    /// The next entry; `None` at the end of the record.
    pub fn next(
        &mut self,
        cursor: &mut Cursor<'_>,
    ) -> Result<Option<SeriesEntry<'_>>, RecordError> {
        if cursor.is_empty() {
            return Ok(None);
        }
        let offset = cursor.offset();
        let damaged = |what| RecordError { offset, what };
        let id = i64::from(self.id).checked_add(cursor.varint()?);
        let id = id.and_then(|id| u32::try_from(id).ok());
        self.id = id.ok_or(damaged("a number that no series has"))?;
        let generation = cursor.uvarint_u32()?;
        let prefix = cursor.uvarint_u32()? as usize;
        let suffix = cursor.uvarint_u32()? as usize;
        let own = cursor.sized_bytes()?;
        let before = shared_from(&self.labels);
        if prefix.saturating_add(suffix) > before.len() {
            return Err(damaged("labels that share more than there is"));
        }
        let end = before.len();
        self.labels.truncate(end);
        self.labels.splice(prefix..end - suffix, own.iter().copied());
        Ok(Some(SeriesEntry { id: self.id, generation, labels: &self.labels }))
    }
}

/// What of an entry's labels the next one may share.
fn shared_from(labels: &[u8]) -> &[u8] {
    if labels.len() > SHARED_FROM_MAX { &[] } else { labels }
}

/// Length of the longest common beginning.
fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    let strides = a.as_chunks::<STRIDE>().0.iter().zip(b.as_chunks::<STRIDE>().0);
    let begin = strides.take_while(|(a, b)| a == b).count() * STRIDE;
    begin + a[begin..].iter().zip(&b[begin..]).take_while(|(a, b)| a == b).count()
}

/// Length of the longest common end.
fn shared_suffix(a: &[u8], b: &[u8]) -> usize {
    let (a_strides, b_strides) = (a.as_rchunks::<STRIDE>().1, b.as_rchunks::<STRIDE>().1);
    let strides = a_strides.iter().rev().zip(b_strides.iter().rev());
    let end = strides.take_while(|(a, b)| a == b).count() * STRIDE;
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    end + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &[u8]) -> Result<Vec<(u32, u32, Vec<u8>)>, RecordError> {
        let (mut cursor, mut reader) = (Cursor::new(body), SeriesReader::default());
        let mut entries = Vec::new();
        while let Some(SeriesEntry { id, generation, labels }) = reader.next(&mut cursor)? {
            entries.push((id, generation, labels.to_vec()));
        }
        Ok(entries)
    }

    #[test]
    fn what_is_shared_stands_once() {
        let mut writer = SeriesWriter::default();
        let pod = "x".repeat(400);
        for id in 0..100 {
            let labels = format!("__name__metric_{id}{pod}");
            writer.push(SeriesEntry { id, generation: 0, labels: labels.as_bytes() });
        }
        let body = writer.take();
        assert!(body.len() < 400 + 100 * 12, "{}", body.len());
        let entries = read(&body).unwrap();
        assert_eq!(entries[99].2, format!("__name__metric_99{pod}").into_bytes());
    }

    #[test]
    fn more_than_there_is_is_an_error() {
        // id + 0, generation 0, prefix 3, suffix 3, "ab".
        assert!(read(&[0, 0, 3, 3, 2, b'a', b'b']).is_err());
        assert!(read(&[1, 0, 0, 0, 0]).is_err(), "a number below zero");
        // Behind long labels nothing is shared.
        let mut writer = SeriesWriter::default();
        let long = vec![b'l'; SHARED_FROM_MAX + 1];
        for id in 0..3 {
            writer.push(SeriesEntry { id, generation: 1, labels: &long });
        }
        let body = writer.take();
        assert!(body.len() > 3 * long.len());
        assert_eq!(read(&body).unwrap()[2], (2, 1, long));
    }

    proptest! {
        #[test]
        fn entries_come_back(
            entries in prop::collection::vec(
                (any::<u32>(), any::<u32>(), prop::collection::vec(0_u8..3, 0..60)),
                0..20,
            )
        ) {
            let mut writer = SeriesWriter::default();
            for (id, generation, labels) in &entries {
                writer.push(SeriesEntry { id: *id, generation: *generation, labels });
            }
            prop_assert_eq!(read(&writer.take()).unwrap(), entries);
        }

        #[test]
        fn wild_bytes_give_entries_or_an_error(
            body in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            let _ = read(&body);
        }
    }
}
