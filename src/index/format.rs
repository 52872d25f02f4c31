//! The frame of the index file: its kind, its sections, the table of contents.

use super::units::Kind;
use crate::encoding::cursor::Cursor;

/// Kind and version of index files.
pub const INDEX: Kind = Kind { magic: *b"NXIX", version: 1 };

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// Where everything lies; the last bytes of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Toc {
    pub(super) series_count: u64,
    /// Blocks of chunk rows.
    pub(super) chunk_rows: Section,
    /// Starts of those blocks, u64 each.
    pub(super) chunk_starts: Section,
    /// Lists of ordinals.
    pub(super) postings: Section,
    /// Blocks of label rows.
    pub(super) label_rows: Section,
    /// Starts of those blocks, u32 each.
    pub(super) label_starts: Section,
    /// Label names, each with the place of its dictionary.
    pub(super) names: Section,
    /// Sets of label names.
    pub(super) shapes: Section,
    /// Which values follow from which.
    pub(super) derivations: Section,
}

/// Bytes of the table of contents.
pub(super) const TOC_BYTES: usize = 8 + 8 * 16;

impl Toc {
    fn sections(&mut self) -> [&mut Section; 8] {
        [
            &mut self.chunk_rows,
            &mut self.chunk_starts,
            &mut self.postings,
            &mut self.label_rows,
            &mut self.label_starts,
            &mut self.names,
            &mut self.shapes,
            &mut self.derivations,
        ]
    }

    /// The bytes.
    pub(super) fn encode(mut self) -> Vec<u8> {
        let mut out = self.series_count.to_le_bytes().to_vec();
        for section in self.sections() {
            out.extend_from_slice(&section.offset.to_le_bytes());
            out.extend_from_slice(&section.len.to_le_bytes());
        }
        out
    }

    /// Takes back what [`Toc::encode`] gave; `None` where a section does not lie below `end`.
    pub(super) fn decode(bytes: &[u8], end: u64) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let mut toc = Self { series_count: cursor.u64().ok()?, ..Self::default() };
        for section in toc.sections() {
            section.offset = cursor.u64().ok()?;
            section.len = cursor.u64().ok()?;
            section.offset.checked_add(section.len).filter(|&section_end| section_end <= end)?;
        }
        Some(toc)
    }
}
