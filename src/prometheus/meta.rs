//! `meta.json` of a block of Prometheus.
//!
//! Members that this reader does not know (Thanos and Mimir add some) are passed over: such a file
//! is read and never written again.

use std::fmt::Write as _;
use std::path::Path;

use super::file::read_whole;
use crate::block::Ulid;
use crate::disk::{Disk, StorageError};
use crate::encoding::json::{Json, JsonError};
use crate::model::TimeRange;

/// File name.
pub(super) const META_FILE: &str = "meta.json";
/// Bytes beyond which a file is not a meta file.
const META_BYTES_MAX: u64 = 64 << 20;

/// Description of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMeta {
    /// Its name.
    pub ulid: Ulid,
    /// What it covers. Prometheus writes the first millisecond behind it.
    pub range: TimeRange,
    /// Samples.
    pub samples: u64,
    /// Those of them that are floats; 0 in both where the file does not say.
    pub float_samples: u64,
    /// Those of them that are histograms.
    pub histogram_samples: u64,
    /// Series.
    pub series: u64,
    /// Chunks.
    pub chunks: u64,
    /// Series and intervals that are hidden.
    pub tombstones: u64,
    /// 1 for a head window.
    pub level: u32,
    /// Blocks of level 1 that it was made of, itself included where it is one.
    pub sources: Vec<Ulid>,
    /// Blocks whose place it takes.
    pub parents: Vec<Ulid>,
    /// Whether Prometheus was about to delete it: what it holds is nowhere, or elsewhere.
    pub is_deletable: bool,
}

impl BlockMeta {
    /// Reads `dir/meta.json`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(META_FILE);
        let bytes = read_whole(disk, &path, META_BYTES_MAX)?;
        Self::parse(&bytes).map_err(|e| StorageError::corrupt(&path, e.at as u64, e.what))
    }

    /// Reads the text of a meta file.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|e| JsonError::new(e.valid_up_to(), "not UTF-8"))?;
        let mut json = Json::new(text);
        let (mut ulid, mut version, mut min, mut end) = (None, None, None, None);
        let mut meta = Self::new(Ulid::MIN, TimeRange { min_ms: 0, max_ms: 0 });
        json.object(|json, name, _| -> Result<(), JsonError> {
            match name {
                "ulid" => ulid = Some(read_ulid(json)?),
                "version" => version = Some(json.integer()?),
                "minTime" => min = Some(json.integer()?),
                "maxTime" => end = Some(json.integer()?),
                "stats" => meta.read_stats(json)?,
                "compaction" => meta.read_compaction(json)?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        json.end()?;
        let missing = |name| JsonError::new(bytes.len(), format!("\"{name}\" is missing"));
        match version.ok_or_else(|| missing("version"))? {
            1 => {}
            other => return Err(JsonError::new(0, format!("version {other} is not known"))),
        }
        meta.ulid = ulid.ok_or_else(|| missing("ulid"))?;
        let min_ms = min.ok_or_else(|| missing("minTime"))?;
        let end_ms = end.ok_or_else(|| missing("maxTime"))?;
        if min_ms > end_ms {
            return Err(JsonError::new(0, "times in the wrong order"));
        }
        meta.range = TimeRange { min_ms, max_ms: end_ms.saturating_sub(1).max(min_ms) };
        Ok(meta)
    }

    pub(super) fn new(ulid: Ulid, range: TimeRange) -> Self {
        Self {
            ulid,
            range,
            samples: 0,
            float_samples: 0,
            histogram_samples: 0,
            series: 0,
            chunks: 0,
            tombstones: 0,
            level: 1,
            sources: Vec::new(),
            parents: Vec::new(),
            is_deletable: false,
        }
    }

    fn read_stats(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        json.object(|json, name, _| {
            match name {
                "numSamples" => self.samples = json.count()?,
                "numFloatSamples" => self.float_samples = json.count()?,
                "numHistogramSamples" => self.histogram_samples = json.count()?,
                "numSeries" => self.series = json.count()?,
                "numChunks" => self.chunks = json.count()?,
                "numTombstones" => self.tombstones = json.count()?,
                _ => json.skip()?,
            }
            Ok(())
        })
    }

    fn read_compaction(&mut self, json: &mut Json<'_>) -> Result<(), JsonError> {
        let (sources, parents) = (&mut self.sources, &mut self.parents);
        json.object(|json, name, at| {
            match name {
                "level" => self.level = json.count()?,
                "deletable" => {
                    json.skip()?;
                    self.is_deletable = json.text()[at..json.at()].ends_with("true");
                }
                "sources" => json.array(|json| {
                    sources.push(read_ulid(json)?);
                    Ok::<(), JsonError>(())
                })?,
                "parents" => json.array(|json| {
                    json.object(|json, name, _| {
                        match name {
                            "ulid" => parents.push(read_ulid(json)?),
                            _ => json.skip()?,
                        }
                        Ok::<(), JsonError>(())
                    })
                })?,
                _ => json.skip()?,
            }
            Ok(())
        })
    }

    /// The file's text, as Prometheus lays it out.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\n");
        let mut put = |depth: usize, text: std::fmt::Arguments<'_>| {
            let tabs = "\t".repeat(depth);
            writeln!(out, "{tabs}{text}").expect("BUG: writing to memory succeeds");
        };
        put(1, format_args!("\"ulid\": \"{}\",", self.ulid));
        put(1, format_args!("\"minTime\": {},", self.range.min_ms));
        put(1, format_args!("\"maxTime\": {},", self.range.max_ms.saturating_add(1)));
        put(1, format_args!("\"stats\": {{"));
        put(2, format_args!("\"numSamples\": {},", self.samples));
        put(2, format_args!("\"numFloatSamples\": {},", self.float_samples));
        put(2, format_args!("\"numHistogramSamples\": {},", self.histogram_samples));
        put(2, format_args!("\"numSeries\": {},", self.series));
        put(2, format_args!("\"numChunks\": {}", self.chunks));
        put(1, format_args!("}},"));
        put(1, format_args!("\"compaction\": {{"));
        put(2, format_args!("\"level\": {},", self.level));
        put(2, format_args!("\"sources\": ["));
        for (i, source) in self.sources.iter().enumerate() {
            let comma = if i + 1 == self.sources.len() { "" } else { "," };
            put(3, format_args!("\"{source}\"{comma}"));
        }
        put(2, format_args!("]"));
        put(1, format_args!("}},"));
        put(1, format_args!("\"version\": 1"));
        out.push_str("}\n");
        out
    }
}

fn read_ulid(json: &mut Json<'_>) -> Result<Ulid, JsonError> {
    let at = json.at();
    Ulid::parse(json.string()?).ok_or_else(|| JsonError::new(at, "not a ULID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let ulid = Ulid::new(1_700_000_000_000, None);
        let range = TimeRange { min_ms: -7_200_000, max_ms: -1 };
        let counts = (9, 5, 4, 3);
        let meta = BlockMeta {
            samples: counts.0,
            float_samples: counts.1,
            histogram_samples: counts.2,
            series: counts.3,
            chunks: 7,
            sources: vec![ulid, Ulid::new(1, None)],
            ..BlockMeta::new(ulid, range)
        };
        let text = meta.to_json();
        assert!(text.contains("\"maxTime\": 0,"), "{text}");
        assert_eq!(BlockMeta::parse(text.as_bytes()), Ok(meta));
    }

    #[test]
    fn members_of_others_are_passed_over() {
        let text = r#"{"version": 1, "ulid": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "minTime": 0,
            "maxTime": 10, "stats": {"numSeries": 2, "x": [1.5]}, "compaction": {"level": 3,
            "sources": [], "parents": [{"ulid": "01ARZ3NDEKTSV4RRFFQ69G5FAW", "minTime": 1}],
            "deletable": true, "hints": ["from-out-of-order"]},
            "thanos": {"labels": {"a": "\"b\""}, "downsample": {"resolution": 0}, "n": null}}"#;
        let meta = BlockMeta::parse(text.as_bytes()).unwrap();
        assert_eq!((meta.series, meta.level, meta.parents.len()), (2, 3, 1));
        assert!(meta.is_deletable);
        assert_eq!(meta.range, TimeRange { min_ms: 0, max_ms: 9 });
        let newer = text.replace("\"version\": 1", "\"version\": 2");
        assert!(BlockMeta::parse(newer.as_bytes()).unwrap_err().what.contains("version 2"));
        for at in 0..text.len() {
            assert!(BlockMeta::parse(&text.as_bytes()[..at]).is_err());
        }
    }
}
