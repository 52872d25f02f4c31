//! One remote-write request: decode, append, answer.
//!
//! Both versions of the protocol are taken, floats only. What is acceptable of a request is
//! stored, whatever else is wrong with it, and everything that was not stored is counted and the
//! first of it named in a 400, so that a 2xx means "stored, all of it". Retrying senders do no
//! harm: a series' newest sample is accepted again if its value is the same, and older ones are
//! refused as out of order, which ends the retries.
//! COMPAT: statuses and headers as in the remote-write 1.0 and 2.0 specifications.

use std::hash::{Hash, Hasher};

use hashbrown::{Equivalent, HashMap};

use super::labels::{canonical, describe};
use crate::db::{Appender, Database};
use crate::disk::StorageError;
use crate::head::{AppendError, GroupKey, SeriesRef};
use crate::model::Labels;
use crate::protowire::{PushedSeries, WireError, remote_write_v1, remote_write_v2};

/// Greatest size of a request, as sent and decoded. COMPAT: Prometheus takes 32 MiB decoded.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// What of an HTTP request matters here.
#[derive(Debug, Clone, Copy)]
pub struct WriteRequest<'a> {
    /// Header `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Header `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
    /// The body as it was sent.
    pub body: &'a [u8],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteReply {
    /// HTTP status.
    pub status: u16,
    /// Headers; the written-counters of version 2, `Retry-After`.
    pub headers: Vec<(&'static str, String)>,
    /// Text of an error; empty otherwise.
    pub text: String,
    /// What was taken and what not.
    pub stats: WriteStats,
}

/// Counts of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Samples stored, or there already.
    pub samples_written: usize,
    /// Samples refused.
    pub samples_refused: usize,
    /// Native histograms refused.
    pub histograms_refused: usize,
    /// Exemplars read and not stored.
    pub exemplars_dropped: usize,
    /// Series whose labels are not valid.
    pub series_invalid: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Takes one request.
pub fn receive(database: &Database, request: WriteRequest<'_>) -> WriteReply {
    let version = match version(request.content_type) {
        Ok(version) => version,
        Err(text) => return refuse(415, text),
    };
    let encoding = request.content_encoding.unwrap_or("snappy").trim();
    if !encoding.eq_ignore_ascii_case("snappy") {
        return refuse(
            415,
            format!("{encoding} encoding (compression) is not accepted; snappy is"),
        );
    }
    let message = match decompress(request.body) {
        Ok(message) => message,
        Err(text) => return refuse(400, text),
    };
    let mut intake = Intake::default();
    if let Err(error) = intake.read(version, &message) {
        return refuse(400, format!("the request is no message of this protocol: {error}"));
    }
    match intake.store(database) {
        Ok(()) => intake.reply(version),
        Err(error) => {
            let mut reply = refuse(503, error.to_string());
            reply.headers.push(("Retry-After", "5".to_owned()));
            reply.stats = intake.stats;
            if version == Version::Two {
                reply.headers.extend(written(intake.stats.samples_written));
            }
            reply
        }
    }
}

fn refuse(status: u16, text: String) -> WriteReply {
    WriteReply { status, headers: Vec::new(), text, stats: WriteStats::default() }
}

fn written(samples: usize) -> [(&'static str, String); 3] {
    [
        ("X-Prometheus-Remote-Write-Samples-Written", samples.to_string()),
        ("X-Prometheus-Remote-Write-Histograms-Written", "0".to_owned()),
        ("X-Prometheus-Remote-Write-Exemplars-Written", "0".to_owned()),
    ]
}

fn version(content_type: Option<&str>) -> Result<Version, String> {
    let Some(content_type) = content_type.filter(|text| !text.trim().is_empty()) else {
        return Ok(Version::One);
    };
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next().is_some_and(|mime| mime.eq_ignore_ascii_case("application/x-protobuf")) {
        return Err(format!("{content_type} is not accepted; application/x-protobuf is"));
    }
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else {
            return Err(format!("{content_type}: {parameter:?} is no parameter"));
        };
        if name.trim().eq_ignore_ascii_case("proto") {
            return match value.trim() {
                "prometheus.WriteRequest" => Ok(Version::One),
                "io.prometheus.write.v2.Request" => Ok(Version::Two),
                other => Err(format!("protobuf message {other} is not known here")),
            };
        }
    }
    Ok(Version::One)
}

/// The declared size is looked at before anything is allocated.
fn decompress(body: &[u8]) -> Result<Vec<u8>, String> {
    let declared = snap::raw::decompress_len(body).map_err(|e| format!("snappy: {e}"))?;
    if declared > BODY_BYTES_MAX {
        return Err(format!(
            "snappy: {declared} bytes decoded, more than the limit of {BODY_BYTES_MAX}"
        ));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|e| format!("snappy: {e}"))
}

/// The series of one source with their samples, in the order of the request.
#[derive(Debug, Default)]
struct Batch {
    job: String,
    instance: String,
    pushes: Vec<Labels>,
    /// Index in `pushes`, value, milliseconds.
    samples: Vec<(usize, f64, i64)>,
}

/// Everything of one request, gathered by source.
#[derive(Debug, Default)]
struct Intake {
    batches: Vec<Batch>,
    by_source: HashMap<(String, String), usize>,
    /// The batch of the series before: senders often send a source's series one after the other.
    last: usize,
    stats: WriteStats,
    first_fault: Option<String>,
}

/// A borrowed key of [`Intake::by_source`].
struct Source<'a>(&'a str, &'a str);

impl Hash for Source<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
    }
}

impl Equivalent<(String, String)> for Source<'_> {
    fn equivalent(&self, key: &(String, String)) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

impl Intake {
    /// The whole request is read before a sample is stored: a damaged one stores nothing.
    fn read(&mut self, version: Version, message: &[u8]) -> Result<(), WireError> {
        let (mut pairs, mut bytes) = (Vec::new(), Vec::new());
        match version {
            Version::One => remote_write_v1::visit_series(message, |series| {
                self.take(series, &mut pairs, &mut bytes);
            })
            .map(|_| ()),
            Version::Two => remote_write_v2::visit_series(message, |series| {
                self.take(series, &mut pairs, &mut bytes);
            })
            .map(|_| ()),
        }
    }

    fn take<'a>(
        &mut self,
        series: &PushedSeries<'a>,
        pairs: &mut Vec<(&'a [u8], &'a [u8])>,
        bytes: &mut Vec<u8>,
    ) {
        self.stats.exemplars_dropped += series.exemplars;
        let labels = match canonical(series, pairs, bytes) {
            Ok(labels) => labels,
            Err(fault) => {
                self.stats.series_invalid += 1;
                self.stats.samples_refused += series.samples.len();
                self.stats.histograms_refused += series.histograms;
                let place = describe(series);
                self.first_fault.get_or_insert_with(|| format!("{fault}: series {place}"));
                return;
            }
        };
        if series.histograms > 0 {
            self.stats.histograms_refused += series.histograms;
            self.first_fault.get_or_insert_with(|| {
                format!("native histograms are not taken yet: series {labels}")
            });
        }
        if series.samples.is_empty() {
            return;
        }
        let batch = self.batch(&labels);
        let push = batch.pushes.len();
        batch.samples.extend(series.samples.iter().map(|&(value, t_ms)| (push, value, t_ms)));
        batch.pushes.push(labels);
    }

    /// The batch of the source that `labels` names.
    fn batch(&mut self, labels: &Labels) -> &mut Batch {
        let job = labels.get("job").unwrap_or("");
        let instance = labels.get("instance").unwrap_or("");
        let is_last = |batch: &Batch| batch.job == job && batch.instance == instance;
        if !self.batches.get(self.last).is_some_and(is_last) {
            self.last = if let Some(&known) = self.by_source.get(&Source(job, instance)) {
                known
            } else {
                let (job, instance) = (job.to_owned(), instance.to_owned());
                self.by_source.insert((job.clone(), instance.clone()), self.batches.len());
                self.batches.push(Batch { job, instance, ..Batch::default() });
                self.batches.len() - 1
            };
        }
        &mut self.batches[self.last]
    }

    fn store(&mut self, database: &Database) -> Result<(), StorageError> {
        let mut opened = Vec::with_capacity(self.batches.len());
        for Batch { job, instance, pushes, samples } in std::mem::take(&mut self.batches) {
            let source = GroupKey::Push { job, instance };
            let appender = database.appender(&source)?;
            opened.push((source, appender, pushes, samples));
        }
        for (source, appender, pushes, samples) in opened {
            self.store_batch(database, (&source, appender), &pushes, samples)?;
        }
        Ok(())
    }

    fn store_batch(
        &mut self,
        database: &Database,
        (source, appender): (&GroupKey, Appender),
        pushes: &[Labels],
        mut remaining: Vec<(usize, f64, i64)>,
    ) -> Result<(), StorageError> {
        let mut opened = Some(appender);
        // A series can leave the head between look-up and commit; it is looked up once more.
        for attempt in 0..2 {
            let mut appender = match opened.take() {
                Some(appender) => appender,
                None => database.appender(source)?,
            };
            appender.reserve(remaining.len());
            let mut known: Option<(usize, SeriesRef)> = None;
            for &(push, value, t_ms) in &remaining {
                let series = match known {
                    Some((last, series)) if last == push => series,
                    _ => appender.series(&pushes[push])?,
                };
                known = Some((push, series));
                appender.append(series, t_ms, value);
            }
            let outcome = appender.commit()?;
            self.stats.samples_written += outcome.accepted;
            let mut again = Vec::new();
            for (index, error) in outcome.rejected {
                let (push, value, t_ms) = remaining[index];
                if error == AppendError::UnknownSeries && attempt == 0 {
                    again.push((push, value, t_ms));
                    continue;
                }
                self.stats.samples_refused += 1;
                let labels = &pushes[push];
                self.first_fault
                    .get_or_insert_with(|| format!("{error}: series {labels}, time {t_ms} ms"));
            }
            remaining = again;
            if remaining.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn reply(self, version: Version) -> WriteReply {
        let stats = self.stats;
        let mut headers = Vec::new();
        if version == Version::Two {
            headers.extend(written(stats.samples_written));
        }
        let Some(fault) = self.first_fault else {
            return WriteReply { status: 204, headers, text: String::new(), stats };
        };
        let text = format!(
            "{} samples stored; not stored: {} samples, {} native histograms, {} series with \
             invalid labels. The first: {fault}",
            stats.samples_written,
            stats.samples_refused,
            stats.histograms_refused,
            stats.series_invalid
        );
        WriteReply { status: 400, headers, text, stats }
    }
}
