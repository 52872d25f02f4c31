//! The OTLP receiver: a request over HTTP, as series in the database.
//!
//! COMPAT: content types, codings and what becomes of metrics are Prometheus 3.14's. Beyond it, a
//! point that cannot be stored takes no other with it: what was stored stays, and the answer is a
//! partial success as the protocol has it; only where nothing was stored is it an error.

mod buckets;
mod deltas;
mod exponents;
mod json;
mod names;
mod translate;

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::known::KnownSeries;
use super::receive::{BODY_BYTES_MAX, Intake, WriteStats};
use crate::db::Database;
use crate::model::Histogram;
use crate::protowire::field::{write_bytes, write_int64};
use crate::protowire::otlp::{self, ResourceMetrics};
use crate::protowire::{
    PushedExemplar, PushedHistogram, PushedMetadata, PushedSample, PushedSeries, WireError,
};

pub use deltas::DeltaStreams;
pub use names::{LabelNames, Strategy};
pub use translate::OtlpOptions;

use deltas::Dropped;
use translate::{Sampled, Translated, Translation, translate};

/// What of an HTTP request matters here.
#[derive(Debug, Clone, Copy)]
pub struct OtlpRequest<'a> {
    /// Header `Content-Type`.
    pub content_type: &'a str,
    /// Header `Content-Encoding`.
    pub content_encoding: &'a str,
    /// The body as it was sent.
    pub body: &'a [u8],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpReply {
    /// HTTP status.
    pub status: u16,
    /// Header `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
    /// Seconds after which to try again.
    pub retry_after_s: Option<u32>,
    /// What was taken and what not.
    pub stats: WriteStats,
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

fn refuse(status: u16, text: &str) -> OtlpReply {
    OtlpReply {
        status,
        content_type: TEXT,
        body: format!("{text}\n").into_bytes(),
        retry_after_s: (status == 503).then_some(5),
        stats: WriteStats::default(),
    }
}

/// The body without its coding. What it decodes to is bounded while it decodes.
fn decoded(request: OtlpRequest<'_>) -> Result<Vec<u8>, String> {
    let body = match request.content_encoding {
        "" => request.body.to_vec(),
        "gzip" => {
            let mut body = Vec::new();
            let decoder = MultiGzDecoder::new(request.body);
            decoder
                .take(BODY_BYTES_MAX as u64 + 1)
                .read_to_end(&mut body)
                .map_err(|error| format!("gzip: {error}"))?;
            body
        }
        other => {
            return Err(format!(
                "unsupported compression: {other}. Only \"gzip\" or no compression supported"
            ));
        }
    };
    if body.len() > BODY_BYTES_MAX {
        return Err(format!("the request has more than {BODY_BYTES_MAX} bytes decoded"));
    }
    Ok(body)
}

/// Reads a request's body.
fn parse_otlp(is_json: bool, body: &[u8]) -> Result<Vec<ResourceMetrics>, WireError> {
    if is_json { json::read_metrics(body) } else { otlp::read_metrics(body) }
}

/// Reads a body and translates what it says, as fuzzing wants it: no body may do harm.
pub fn check_otlp(is_json: bool, allows_utf8: bool, body: &[u8]) {
    let options = OtlpOptions {
        strategy: Strategy { adds_suffixes: !allows_utf8, allows_utf8 },
        label_names: LabelNames {
            allows_utf8,
            puts_key_before_underscore: true,
            keeps_underscores: allows_utf8,
        },
        promotes_all: true,
        promoted: Vec::new(),
        keeps_identifying: false,
        converts_histograms: allows_utf8,
        promotes_scope: true,
        allows_delta: true,
        adds_type_and_unit: true,
        lookback_ms: 300_000,
    };
    if let Ok(mut resources) = parse_otlp(is_json, body) {
        if allows_utf8 {
            // Twice, so that there is something to add to.
            let deltas = DeltaStreams::new(0);
            deltas.accumulate(&mut resources.clone());
            deltas.accumulate(&mut resources);
        }
        let translation = translate(&resources, &options);
        assert!(translation.series.iter().all(|series| !series.labels.metric_name().is_empty()));
    }
}

/// Takes one request. `deltas`: where points of delta temporality are added up, if they are.
pub fn receive_otlp(
    database: &Database,
    known: &KnownSeries,
    options: &OtlpOptions,
    deltas: Option<&DeltaStreams>,
    request: OtlpRequest<'_>,
) -> OtlpReply {
    let is_json = match request.content_type {
        PROTOBUF => false,
        JSON => true,
        other => {
            let text =
                format!("unsupported content type: {other}, supported: [{JSON}, {PROTOBUF}]");
            return refuse(400, &text);
        }
    };
    let resources = match decoded(request) {
        Ok(body) => parse_otlp(is_json, &body).map_err(|error| error.to_string()),
        Err(text) => Err(text),
    };
    let mut resources = match resources {
        Ok(resources) => resources,
        Err(text) => return refuse(400, &text),
    };
    let dropped = deltas.map(|deltas| deltas.accumulate(&mut resources)).unwrap_or_default();
    let translation = translate(&resources, options);
    drop(resources);
    match store(database, known, &translation) {
        Ok((stats, fault)) => reply(is_json, &translation, &dropped, stats, fault),
        Err((stats, text)) => OtlpReply { stats, ..refuse(503, &text) },
    }
}

type Stored = Result<(WriteStats, Option<String>), (WriteStats, String)>;

fn store(database: &Database, known: &KnownSeries, translation: &Translation) -> Stored {
    let mut intake = Intake::of_samples(known);
    for series in &translation.series {
        intake.take(&pushed(series));
    }
    for (name, said) in &translation.metadata {
        intake.describe_metric(PushedMetadata {
            kind: u64::from(said.metric_type.number()),
            family: name.as_bytes(),
            help: said.help.as_bytes(),
            unit: said.unit.as_bytes(),
        });
    }
    intake.finish(database)
}

/// A series as remote write would have sent it.
fn pushed(series: &Translated) -> PushedSeries<'_> {
    let labels = series.labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let mut pushed = PushedSeries { labels: labels.collect(), ..PushedSeries::default() };
    let (t_ms, start_ms) = (series.t_ms, series.start_ms);
    match &series.sample {
        Sampled::Float(value) => {
            pushed.samples.push(PushedSample { value: *value, t_ms, start_ms });
        }
        Sampled::Histogram(histogram) => {
            let histogram: Histogram = histogram.clone();
            pushed.histograms.push(PushedHistogram { t_ms, start_ms, histogram });
        }
    }
    for exemplar in &series.exemplars {
        let labels = exemplar.labels.iter();
        pushed.exemplars.push(PushedExemplar {
            labels: labels.map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            value: exemplar.value,
            t_ms: exemplar.t_ms,
            fault: None,
        });
    }
    pushed
}

fn reply(
    is_json: bool,
    translation: &Translation,
    dropped: &Dropped,
    stats: WriteStats,
    fault: Option<String>,
) -> OtlpReply {
    let refused = translation.refused + stats.samples_refused + stats.histograms_refused;
    let fault = translation.first_fault.clone().or(fault);
    let stored = stats.samples_written + stats.histograms_written;
    if refused > 0 && stored == 0 {
        return OtlpReply { stats, ..refuse(400, fault.as_deref().unwrap_or("nothing is stored")) };
    }
    // COMPAT: where nothing is left of deltas there is nothing wrong with the request.
    let refused = refused + dropped.points;
    let fault = fault.or_else(|| dropped.first_fault.clone());
    let mut body = Vec::new();
    if is_json {
        let mut partial = serde_json::Map::new();
        if refused > 0 {
            partial.insert("rejectedDataPoints".to_owned(), refused.to_string().into());
        }
        partial.extend(fault.map(|fault| ("errorMessage".to_owned(), fault.into())));
        let mut answer = serde_json::Map::new();
        if !partial.is_empty() {
            answer.insert("partialSuccess".to_owned(), partial.into());
        }
        body = serde_json::Value::from(answer).to_string().into_bytes();
    } else {
        let mut partial = Vec::new();
        if refused > 0 {
            write_int64(1, refused as i64, &mut partial);
        }
        if let Some(fault) = &fault {
            write_bytes(2, fault.as_bytes(), &mut partial);
        }
        if !partial.is_empty() {
            write_bytes(1, &partial, &mut body);
        }
    }
    let content_type = if is_json { JSON } else { PROTOBUF };
    OtlpReply { status: 200, content_type, body, retry_after_s: None, stats }
}
