//! Primitive codecs without policy: varints, bit-packing, checked cursors, checksums, decimals.
//!
//! Writers append to a `Vec<u8>` that the caller owns; readers take bytes from anywhere, check
//! every bound and never panic. Formats are those of `storage-format.md`, section 1.

pub mod bitpack;
pub mod checksum;
pub mod cursor;
pub mod decimal;
pub mod delta;
pub mod histogram;
pub mod json;
pub mod varint;
pub mod xxh64;
