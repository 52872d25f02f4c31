//! `status/*`.

use super::{list, success};
use crate::db::Stats;
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::{ApiError, ErrorKind};
use crate::http::service::Service;
use crate::http::stream::Sink;

/// COMPAT: the Prometheus version whose behaviour this is; clients choose what they ask by it.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// COMPAT: the answer while the database opens.
pub(in crate::http) fn not_ready() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "TSDB not ready")
}

/// Prints an object whose values are JSON text already.
fn object(out: &mut Vec<u8>, fields: &[(&str, String)]) {
    out.push(b'{');
    for (i, (name, value)) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::push_str(out, name);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
}

/// The fields of `buildinfo` and `/version`.
pub(in crate::http) fn push_build_info(out: &mut Vec<u8>) {
    let fields = [
        ("version", PROMETHEUS_VERSION),
        ("revision", "narthex"),
        ("branch", "narthex"),
        ("buildUser", "narthex"),
        ("buildDate", ""),
        ("goVersion", ""),
        ("narthexVersion", env!("CARGO_PKG_VERSION")),
    ];
    json::push_object(out, fields);
}

/// `/api/v1/status/buildinfo`
pub(in crate::http) fn build_info(sink: &mut Sink) -> Result<(), ApiError> {
    let data = |sink: &mut Sink| {
        push_build_info(sink.buffer());
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/status/runtimeinfo`
pub(in crate::http) fn runtime_info(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let mut fields = service.control.runtime_info();
    let stats = service.database().map(crate::db::Database::stats).unwrap_or_default();
    fields.push(("corruptionCount", stats.quarantined.len().to_string()));
    // Why nothing is stored, and what was put aside, beyond what Prometheus tells.
    let text = |text: &str| {
        let mut json = Vec::new();
        json::push_str(&mut json, text);
        String::from_utf8_lossy(&json).into_owned()
    };
    fields.push(("storageUnwritable", text(&stats.unwritable.unwrap_or_default())));
    let line =
        |(path, why): &(std::path::PathBuf, String)| text(&format!("{}: {why}", path.display()));
    let quarantined: Vec<String> = stats.quarantined.iter().map(line).collect();
    fields.push(("storageQuarantined", format!("[{}]", quarantined.join(","))));
    let data = |sink: &mut Sink| {
        object(sink.buffer(), &fields);
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/status/config`
pub(in crate::http) fn config(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let yaml = service.control.config_yaml();
    let data = |sink: &mut Sink| {
        json::push_object(sink.buffer(), [("yaml", yaml.as_str())]);
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/status/flags`
pub(in crate::http) fn flags(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let flags = service.control.flags();
    let pairs = flags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let data = |sink: &mut Sink| {
        json::push_object(sink.buffer(), pairs);
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/status/tsdb`
pub(in crate::http) fn tsdb(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
) -> Result<(), ApiError> {
    let limit = match params.text("limit") {
        "" => 10,
        _ => match params.limit("limit").unwrap_or(0) {
            limit @ 1..=10_000 => limit,
            0 => return Err(ApiError::bad_data("limit must be a positive number")),
            _ => return Err(ApiError::bad_data("limit must not exceed 10000")),
        },
    };
    let database = service.database().ok_or_else(not_ready)?;
    let (stats, cardinality) = (database.stats(), database.cardinality(limit));
    let pairs = |pairs: &[(String, u64)]| {
        let mut out = vec![b'['];
        for (i, (name, value)) in pairs.iter().enumerate() {
            out.extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
            json::push_str(&mut out, name);
            out.extend_from_slice(format!(",\"value\":{value}}}").as_bytes());
        }
        out.push(b']');
        String::from_utf8(out).expect("BUG: JSON is text")
    };
    let fields = [
        ("headStats", head_stats(&stats)),
        ("seriesCountByMetricName", pairs(&cardinality.series_by_metric_name)),
        ("labelValueCountByLabelName", pairs(&cardinality.values_by_label_name)),
        ("memoryInBytesByLabelName", pairs(&cardinality.bytes_by_label_name)),
        ("seriesCountByLabelValuePair", pairs(&cardinality.series_by_pair)),
    ];
    let data = |sink: &mut Sink| {
        object(sink.buffer(), &fields);
        Ok(())
    };
    success(sink, data, &[], &[])
}

/// `/api/v1/status/tsdb/blocks`. COMPAT: the shape is that of `meta.json`, with ends of ranges that
/// are not within them.
pub(in crate::http) fn blocks(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let stats = service.database().ok_or_else(not_ready)?.stats();
    let data = |sink: &mut Sink| {
        sink.buffer().extend_from_slice(b"{\"blocks\":");
        list(sink, &stats.blocks, |out, block| {
            let mut name = Vec::new();
            json::push_str(&mut name, &block.name);
            let name = String::from_utf8_lossy(&name).into_owned();
            let fields = [
                ("ulid", name.clone()),
                ("minTime", block.range.min_ms.to_string()),
                ("maxTime", block.range.max_ms.saturating_add(1).to_string()),
                (
                    "stats",
                    format!("{{\"numSamples\":{},\"numSeries\":{}}}", block.samples, block.series),
                ),
                ("compaction", format!("{{\"level\":{},\"sources\":[{name}]}}", block.level)),
                ("version", "1".to_owned()),
            ];
            object(out, &fields);
        })?;
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}

fn head_stats(stats: &Stats) -> String {
    // COMPAT: an empty head has the ends of time the wrong way round.
    let (min_ms, max_ms) =
        stats.head_range.map_or((i64::MAX, i64::MIN), |range| (range.min_ms, range.max_ms));
    format!(
        "{{\"numSeries\":{},\"numLabelPairs\":{},\"chunkCount\":{},\"minTime\":{min_ms},\
         \"maxTime\":{max_ms}}}",
        stats.head_series, stats.head_label_pairs, stats.head_chunks
    )
}
