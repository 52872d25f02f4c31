//! `meta.json`: what a block is, what it holds, what it was made of.
//!
//! A flat JSON object that people can read, written in one fixed form; the last member is the
//! CRC-32 of all bytes before its line. Members that this version does not know are skipped.

use std::fmt::Write as _;
use std::path::Path;

use super::ulid::Ulid;
use crate::disk::{Disk, StorageError};
use crate::encoding::json::{Json, JsonError};
use crate::model::TimeRange;

/// Version of the directory's format.
pub const BLOCK_VERSION: u32 = 1;

/// File name.
pub(crate) const META_FILE: &str = "meta.json";

/// Bytes beyond which a file is not a meta file; a month of two-hour sources takes a hundredth.
const META_BYTES_MAX: u64 = 16 << 20;

/// Description of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its name.
    pub ulid: Ulid,
    /// First and last sample.
    pub range: TimeRange,
    /// 1 for a flushed window; a merged block is one above the highest of its parents.
    pub level: u32,
    /// Its place among blocks: of two samples at one time that of the lower order stands. The
    /// name of a flushed window, and the lowest of its parents' for a merged block.
    pub order: Ulid,
    /// Blocks that this one takes the place of: they are dropped where both are found.
    pub parents: Vec<Ulid>,
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Chunks.
    pub chunks: u64,
    /// Distinct vectors of timestamps.
    pub columns: u64,
}

impl Meta {
    /// The file's text.
    pub fn to_json(&self) -> String {
        let parents: Vec<String> = self.parents.iter().map(|p| format!("\"{p}\"")).collect();
        let mut out = String::from("{\n");
        let mut put = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(out, "  \"{name}\": {value},").expect("BUG: writing to memory succeeds");
        };
        put("version", &BLOCK_VERSION);
        put("ulid", &format_args!("\"{}\"", self.ulid));
        put("min_time_ms", &self.range.min_ms);
        put("max_time_ms", &self.range.max_ms);
        put("level", &self.level);
        put("order", &format_args!("\"{}\"", self.order));
        put("parents", &format_args!("[{}]", parents.join(", ")));
        put("series", &self.series);
        put("samples", &self.samples);
        put("chunks", &self.chunks);
        put("columns", &self.columns);
        let crc = crc32fast::hash(out.as_bytes());
        writeln!(out, "  \"crc32\": \"{crc:08x}\"\n}}").expect("BUG: writing to memory succeeds");
        out
    }

    /// Reads `dir/meta.json`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(META_FILE);
        let file = disk.open(&path).map_err(|e| StorageError::io("open", &path, e))?;
        let len = file.len().map_err(|e| StorageError::io("stat", &path, e))?;
        if len > META_BYTES_MAX {
            return Err(StorageError::corrupt(&path, 0, format!("{len} bytes of description")));
        }
        let mut bytes = vec![0; len as usize];
        file.read_at(0, &mut bytes).map_err(|e| StorageError::io("read", &path, e))?;
        Self::parse(&bytes).map_err(|Unread { at, what, version }| match version {
            // A version that rotted must not pass for a newer one, with which nothing starts.
            Some(found) if checks(&bytes) => {
                StorageError::TooNew { path: path.clone(), found, supported: BLOCK_VERSION }
            }
            _ => StorageError::corrupt(&path, at as u64, what),
        })
    }

    /// Reads the text of a meta file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unread> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| Unread::new(e.valid_up_to(), "not UTF-8"))?;
        let mut json = Json::new(text);
        let mut meta = Self {
            ulid: Ulid::parse("00000000000000000000000000").expect("BUG: a name"),
            range: TimeRange { min_ms: 0, max_ms: -1 },
            level: 0,
            order: Ulid::MIN,
            parents: Vec::new(),
            series: 0,
            samples: 0,
            chunks: 0,
            columns: 0,
        };
        let mut found = 0_u32;
        json.object(|json, name, name_at| {
            let bit = MEMBERS.iter().position(|&member| member == name);
            found |= bit.map_or(0, |bit| 1 << bit);
            meta.member(json, name, name_at)
        })?;
        json.end()?;
        if let Some(bit) = (0..MEMBERS.len()).find(|bit| found >> bit & 1 == 0) {
            return Err(Unread::new(bytes.len(), format!("\"{}\" is missing", MEMBERS[bit])));
        }
        if meta.range.min_ms > meta.range.max_ms {
            return Err(Unread::new(0, "times in the wrong order"));
        }
        Ok(meta)
    }

    fn member(&mut self, json: &mut Json<'_>, name: &str, name_at: usize) -> Result<(), Unread> {
        match name {
            "version" => {
                let version = json.integer()?;
                if version != i64::from(BLOCK_VERSION) {
                    let version = u32::try_from(version).ok();
                    return Err(Unread { version, ..Unread::new(name_at, "no such version") });
                }
            }
            "ulid" => self.ulid = read_ulid(json)?,
            "min_time_ms" => self.range.min_ms = json.integer()?,
            "max_time_ms" => self.range.max_ms = json.integer()?,
            "order" => self.order = read_ulid(json)?,
            "level" => self.level = json.count()?,
            "parents" => {
                self.parents.clear();
                json.array(|json| {
                    self.parents.push(read_ulid(json)?);
                    Ok::<(), Unread>(())
                })?;
            }
            "series" => self.series = json.count()?,
            "samples" => self.samples = json.count()?,
            "chunks" => self.chunks = json.count()?,
            "columns" => self.columns = json.count()?,
            "crc32" => {
                let line = json.text()[..name_at].rfind('\n').map_or(0, |at| at + 1);
                let crc = crc32fast::hash(&json.text().as_bytes()[..line]);
                let at = json.at();
                if json.string()? != format!("{crc:08x}") {
                    return Err(Unread::new(at, "the checksum does not check"));
                }
            }
            _ => json.skip()?,
        }
        Ok(())
    }
}

/// Whether the last line but one of the text is the CRC of what stands before it, as in every
/// version.
fn checks(bytes: &[u8]) -> bool {
    let Some(line) = bytes.windows(10).rposition(|part| part == b"\n  \"crc32\"") else {
        return false;
    };
    let crc = crc32fast::hash(&bytes[..=line]);
    bytes[line + 1..].starts_with(format!("  \"crc32\": \"{crc:08x}\"").as_bytes())
}

/// Members that must be there.
const MEMBERS: [&str; 12] = [
    "version",
    "ulid",
    "min_time_ms",
    "max_time_ms",
    "level",
    "order",
    "parents",
    "series",
    "samples",
    "chunks",
    "columns",
    "crc32",
];

/// Why a meta file does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// At which byte.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
    /// The version, where that is what is wrong.
    pub version: Option<u32>,
}

impl Unread {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into(), version: None }
    }
}

impl From<JsonError> for Unread {
    fn from(error: JsonError) -> Self {
        Self::new(error.at, error.what)
    }
}

fn read_ulid(json: &mut Json<'_>) -> Result<Ulid, Unread> {
    let at = json.at();
    Ulid::parse(json.string()?).ok_or_else(|| Unread::new(at, "not a ULID"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Meta {
        let ulid = Ulid::new(1_700_000_000_000, None);
        Meta {
            ulid,
            range: TimeRange { min_ms: -5, max_ms: 7_200_000 },
            level: 2,
            order: ulid,
            parents: vec![ulid, Ulid::new(5, Some(ulid))],
            series: 3,
            samples: 99,
            chunks: 4,
            columns: 1,
        }
    }

    #[test]
    fn text_reads_back_and_damage_is_found() {
        let meta = sample();
        let text = meta.to_json();
        assert_eq!(Meta::parse(text.as_bytes()), Ok(meta.clone()));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            // Only blanks between members do not matter.
            assert!(Meta::parse(&bytes).is_ok_and(|m| m == meta) || Meta::parse(&bytes).is_err());
            // Without the last line feed nothing is missing.
            let cut = Meta::parse(&text.as_bytes()[..at]);
            assert!(cut.is_err() || at == text.len() - 1);
        }
        let newer = text.replace("\"version\": 1", "\"version\": 2");
        assert_eq!(Meta::parse(newer.as_bytes()).unwrap_err().version, Some(2));
    }

    proptest! {
        #[test]
        fn any_text_ends_in_an_answer(text in "[{}\\[\\]\",: 0-9a-z-]{0,60}") {
            let _ = Meta::parse(text.as_bytes());
        }
    }
}
