//! One remote-write request: decode, append, answer.
//!
//! Both versions of the protocol are taken. What is acceptable of a request is
//! stored, whatever else is wrong with it, and everything that was not stored is counted and the
//! first of it named in a 400, so that a 2xx means "stored, all of it". Retrying senders do no
//! harm: a series' newest sample is accepted again if its value is the same, and older ones are
//! refused as out of order, which ends the retries.
//! COMPAT: statuses and headers as in the remote-write 1.0 and 2.0 specifications.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};

use super::batch::{Batch, Push};
use super::known::{Known, KnownReader, KnownSeries, LabelsKey};
use super::labels::{canonical, describe, exemplar};
use crate::db::{Appender, Database};
use crate::disk::StorageError;
use crate::head::{AppendError, GroupKey};
use crate::model::{ExemplarError, Labels, METRIC_NAME, Metadata, MetricType};
use crate::protowire::remote_write_v1::SeriesVisitor;
use crate::protowire::{PushedMetadata, PushedSeries, WireError, remote_write_v1, remote_write_v2};

/// Greatest size of a request, as sent and decoded. COMPAT: Prometheus takes 32 MiB decoded.
pub const BODY_BYTES_MAX: usize = 32 << 20;

const NO_SAMPLE: &str = "TimeSeries must contain at least one sample or histogram";

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
    /// Floats stored, or there already.
    pub samples_written: usize,
    /// Native histograms stored, or there already.
    pub histograms_written: usize,
    /// Floats refused.
    pub samples_refused: usize,
    /// Native histograms refused.
    pub histograms_refused: usize,
    /// Exemplars stored, there already, or of no use because none are kept.
    pub exemplars_written: usize,
    /// Exemplars not stored.
    pub exemplars_dropped: usize,
    /// Series whose labels are not valid.
    pub series_invalid: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Takes one request. `known`: what earlier requests to this database have left.
pub fn receive(database: &Database, known: &KnownSeries, request: WriteRequest<'_>) -> WriteReply {
    let version = match version(request.content_type) {
        Ok(version) => version,
        Err(text) => return refuse(415, text),
    };
    let encoding = request.content_encoding.unwrap_or("snappy").trim();
    if !encoding.eq_ignore_ascii_case("snappy") {
        return refuse(
            415,
            format!(
                "{encoding} encoding (compression) is not accepted by this server; only snappy \
                 is acceptable"
            ),
        );
    }
    let message = match decompress(request.body) {
        Ok(message) => message,
        Err(text) => return refuse(400, text),
    };
    let mut intake = Intake::new(known, version);
    if let Err(error) = intake.read(&message) {
        return refuse(400, format!("the request is no message of this protocol: {error}"));
    }
    match intake.store(database) {
        Ok(()) => intake.reply(),
        Err(error) => {
            let mut reply = refuse(503, error.to_string());
            reply.headers.push(("Retry-After", "5".to_owned()));
            reply.stats = intake.stats;
            if version == Version::Two {
                reply.headers.extend(written(intake.stats));
            }
            reply
        }
    }
}

fn refuse(status: u16, text: String) -> WriteReply {
    WriteReply { status, headers: Vec::new(), text, stats: WriteStats::default() }
}

fn written(stats: WriteStats) -> [(&'static str, String); 3] {
    [
        ("X-Prometheus-Remote-Write-Samples-Written", stats.samples_written.to_string()),
        ("X-Prometheus-Remote-Write-Histograms-Written", stats.histograms_written.to_string()),
        ("X-Prometheus-Remote-Write-Exemplars-Written", stats.exemplars_written.to_string()),
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

/// The metric's name, where the series is new to this server: what earlier requests said of it
/// stands.
fn metric_name(push: &Push<'_>) -> Option<String> {
    push.labels.as_ref()?.get(METRIC_NAME).map(str::to_owned)
}

/// Everything of one request, gathered by source.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    known: &'a KnownSeries,
    /// Held while the request is read.
    reader: Option<KnownReader<'a>>,
    version: Version,
    batches: Vec<Batch<'a>>,
    by_source: HashMap<(String, String), usize>,
    /// The batch of the series before: senders often send a source's series one after the other.
    last: usize,
    /// Number of that batch's source, where a known series named it.
    last_source: Option<u32>,
    /// Where the series before stands in `reader`.
    place: Option<u32>,
    /// What [`SeriesVisitor::knows`] found for the series that is visited next.
    next: Option<(LabelsKey, Option<Known>)>,
    pairs: Vec<(&'a [u8], &'a [u8])>,
    bytes: Vec<u8>,
    /// By metric name.
    metadata: BTreeMap<String, Metadata>,
    stats: WriteStats,
    first_fault: Option<String>,
}

/// A borrowed key of [`Intake::by_source`].
struct Source<'a>(&'a str, &'a str);

impl<'a> Source<'a> {
    fn of(key: &'a GroupKey) -> Self {
        match key {
            GroupKey::Push { job, instance } => Self(job, instance),
            _ => unreachable!("BUG: what is pushed has a job and an instance"),
        }
    }
}

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

impl<'a> SeriesVisitor<'a> for Intake<'a> {
    fn knows(&mut self, raw_labels: &'a [u8]) -> bool {
        let reader = self.reader.as_ref().expect("BUG: a request is read once");
        let key = reader.key(raw_labels);
        let found = reader.find(key, self.place);
        if let Some((place, _)) = found {
            self.place = Some(place);
        }
        self.next = Some((key, found.map(|(_, known)| known)));
        found.is_some()
    }

    fn visit(&mut self, series: &PushedSeries<'a>) {
        let next = self.next.take().filter(|_| !series.raw_labels.is_empty());
        let (key, known) = next.map_or((None, None), |(key, known)| (Some(key), known));
        let (at, labels, series_ref) = match known {
            Some(Known { series, source }) => (self.batch_of(source), None, Some(series)),
            None => match canonical(series, &mut self.pairs, &mut self.bytes) {
                Ok(labels) => (self.batch_for(&labels), Some(labels), None),
                Err(fault) => return self.refuse(series, &fault),
            },
        };
        let push = Push { raw_labels: series.raw_labels, key, labels, series: series_ref };
        if let Some(metadata) = &series.metadata
            && let Some(name) = metric_name(&push)
        {
            self.note_metadata(name, metadata);
        }
        if series.samples.is_empty() && series.histograms.is_empty() {
            if self.version == Version::Two {
                let text = || format!("{NO_SAMPLE} for series {}", push.labels());
                self.first_fault.get_or_insert_with(text);
            }
            self.stats.exemplars_dropped += series.exemplars.len();
            return;
        }
        self.batches[at].take(push, series);
        self.take_exemplars(at, series);
    }

    fn describe(&mut self, metadata: PushedMetadata<'a>) {
        let family = String::from_utf8_lossy(metadata.family).into_owned();
        self.note_metadata(family, &metadata);
    }
}

impl<'a> Intake<'a> {
    /// For series whose bytes are nobody's: each is looked up by its labels.
    pub(super) fn of_samples(known: &'a KnownSeries) -> Self {
        Self::new(known, Version::One)
    }

    /// Takes a series that was made here.
    pub(super) fn take(&mut self, series: &PushedSeries<'a>) {
        self.visit(series);
    }

    /// Takes what is said of a metric.
    pub(super) fn describe_metric(&mut self, metadata: PushedMetadata<'a>) {
        self.describe(metadata);
    }

    /// Stores everything: what was taken, and why the first of what was not. The error has what
    /// was stored before it.
    pub(super) fn finish(
        mut self,
        database: &Database,
    ) -> Result<(WriteStats, Option<String>), (WriteStats, String)> {
        match self.store(database) {
            Ok(()) => Ok((self.stats, self.first_fault)),
            Err(error) => Err((self.stats, error.to_string())),
        }
    }

    fn new(known: &'a KnownSeries, version: Version) -> Self {
        Self {
            known,
            reader: Some(known.reader()),
            version,
            batches: Vec::new(),
            by_source: HashMap::new(),
            last: 0,
            last_source: None,
            place: None,
            next: None,
            pairs: Vec::new(),
            bytes: Vec::new(),
            metadata: BTreeMap::new(),
            stats: WriteStats::default(),
            first_fault: None,
        }
    }

    /// The whole request is read before a sample is stored: a damaged one stores nothing.
    fn read(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        match self.version {
            Version::One => remote_write_v1::visit_series(message, self).map(|_| ()),
            Version::Two => {
                remote_write_v2::visit_series(message, |series| self.visit(series)).map(|_| ())
            }
        }
    }

    fn note_metadata(&mut self, metric: String, metadata: &PushedMetadata<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Metadata {
            metric_type: MetricType::from_number(metadata.kind),
            unit: text(metadata.unit),
            help: text(metadata.help),
        };
        if said != Metadata::default() && !metric.is_empty() {
            self.metadata.insert(metric, said);
        }
    }

    /// Takes the exemplars of the series that its batch took last.
    fn take_exemplars(&mut self, at: usize, series: &PushedSeries<'a>) {
        for pushed in &series.exemplars {
            match exemplar(pushed, &mut self.bytes) {
                Ok(exemplar) => self.batches[at].take_exemplar(exemplar),
                Err(fault) => {
                    self.stats.exemplars_dropped += 1;
                    let place = describe(series);
                    let text = || format!("parsing exemplar for series {place}: {fault}");
                    self.first_fault.get_or_insert_with(text);
                }
            }
        }
    }

    fn refuse(&mut self, series: &PushedSeries<'a>, fault: &str) {
        self.stats.series_invalid += 1;
        self.stats.samples_refused += series.samples.len();
        self.stats.histograms_refused += series.histograms.len();
        self.stats.exemplars_dropped += series.exemplars.len();
        let place = describe(series);
        self.first_fault.get_or_insert_with(|| format!("{fault}: series {place}"));
    }

    /// The batch of the source that `labels` names.
    fn batch_for(&mut self, labels: &Labels) -> usize {
        let job = labels.get("job").unwrap_or("");
        let instance = labels.get("instance").unwrap_or("");
        let source = Source(job, instance);
        let is_last = |batch: &Batch<'_>| {
            let last = Source::of(&batch.source);
            last.0 == source.0 && last.1 == source.1
        };
        if !self.batches.get(self.last).is_some_and(is_last) {
            self.last_source = None;
            self.last = self.by_source.get(&source).copied().unwrap_or_else(|| {
                let (job, instance) = (job.to_owned(), instance.to_owned());
                self.add_batch(Arc::new(GroupKey::Push { job, instance }))
            });
        }
        self.last
    }

    fn batch_of(&mut self, number: u32) -> usize {
        if self.last_source != Some(number) {
            let reader = self.reader.as_ref().expect("BUG: a request is read once");
            let source = Arc::clone(reader.source(number));
            let known = self.by_source.get(&Source::of(&source)).copied();
            self.last = known.unwrap_or_else(|| self.add_batch(source));
            self.last_source = Some(number);
        }
        self.last
    }

    fn add_batch(&mut self, source: Arc<GroupKey>) -> usize {
        let at = self.batches.len();
        let Source(job, instance) = Source::of(&source);
        self.by_source.insert((job.to_owned(), instance.to_owned()), at);
        self.batches.push(Batch::new(source));
        at
    }

    fn store(&mut self, database: &Database) -> Result<(), StorageError> {
        self.reader = None;
        let mut opened = Vec::with_capacity(self.batches.len());
        for batch in std::mem::take(&mut self.batches) {
            let appender = database.appender(&*batch.source)?;
            opened.push((batch, appender));
        }
        let live = database.head_series_count();
        for (batch, appender) in opened {
            self.store_batch(database, batch, appender, live)?;
        }
        self.store_metadata(database)
    }

    fn store_batch(
        &mut self,
        database: &Database,
        mut batch: Batch<'a>,
        appender: Appender,
        live: usize,
    ) -> Result<(), StorageError> {
        let mut opened = Some(appender);
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        let mut remaining: Vec<usize> = (0..batch.samples.len()).collect();
        // A series can leave the head between look-up and commit; it is looked up once more.
        for attempt in 0..2 {
            let mut appender = match opened.take() {
                Some(appender) => appender,
                None => database.appender(&*batch.source)?,
            };
            batch.append(&mut appender, &remaining, &mut found)?;
            let outcome = appender.commit()?;
            let refused = outcome.rejected.iter().map(|refused| remaining[refused.0]);
            let histograms =
                batch.histograms_among(remaining.iter().copied()) - batch.histograms_among(refused);
            self.stats.histograms_written += histograms;
            self.stats.samples_written += outcome.accepted - histograms;
            let mut again = Vec::new();
            for (call, error) in outcome.rejected {
                let sample = remaining[call];
                if error == AppendError::UnknownSeries && attempt == 0 {
                    let push = &mut batch.pushes[batch.samples[sample].0];
                    gone.extend(push.key);
                    push.forget();
                    again.push(sample);
                } else {
                    self.refuse_sample(&batch, sample, error);
                }
            }
            remaining = again;
            if remaining.is_empty() {
                break;
            }
        }
        self.known.update(&batch.source, &found, &gone, live);
        self.store_exemplars(database, &batch)
    }

    /// After the samples: which series there are is known then.
    fn store_exemplars(
        &mut self,
        database: &Database,
        batch: &Batch<'_>,
    ) -> Result<(), StorageError> {
        if batch.exemplars.is_empty() {
            return Ok(());
        }
        let mut appender = database.appender(&*batch.source)?;
        let mut appended = Vec::new();
        for (push, exemplar) in &batch.exemplars {
            match batch.pushes[*push].series {
                Some(series) => {
                    appender.append_exemplar(series, exemplar.clone());
                    appended.push((*push, exemplar.t_ms));
                }
                None => self.stats.exemplars_dropped += 1,
            }
        }
        let outcome = appender.commit()?.exemplars;
        self.stats.exemplars_written += outcome.accepted;
        self.stats.exemplars_dropped += outcome.rejected.len();
        for (call, error) in outcome.rejected {
            // COMPAT: only what is out of order is an error to the sender.
            if error == ExemplarError::OutOfOrder && self.version == Version::Two {
                let (push, t_ms) = appended[call];
                let labels = || batch.pushes[push].labels();
                self.first_fault
                    .get_or_insert_with(|| format!("{error}: series {}, time {t_ms} ms", labels()));
            }
        }
        Ok(())
    }

    fn store_metadata(&mut self, database: &Database) -> Result<(), StorageError> {
        if self.metadata.is_empty() {
            return Ok(());
        }
        let (job, instance) = (String::new(), String::new());
        let mut appender = database.appender(GroupKey::Push { job, instance })?;
        for (metric, metadata) in std::mem::take(&mut self.metadata) {
            appender.set_metadata(&metric, metadata);
        }
        appender.commit().map(|_| ())
    }

    fn refuse_sample(&mut self, batch: &Batch<'_>, sample: usize, error: AppendError) {
        if batch.histograms_among([sample]) > 0 {
            self.stats.histograms_refused += 1;
        } else {
            self.stats.samples_refused += 1;
        }
        let (push, _, t_ms) = batch.samples[sample];
        let text = || format!("{error}: series {}, time {t_ms} ms", batch.pushes[push].labels());
        self.first_fault.get_or_insert_with(text);
    }

    fn reply(self) -> WriteReply {
        let stats = self.stats;
        let mut headers = Vec::new();
        if self.version == Version::Two {
            headers.extend(written(stats));
        }
        let Some(fault) = self.first_fault else {
            return WriteReply { status: 204, headers, text: String::new(), stats };
        };
        let text = format!(
            "{} samples and {} native histograms stored; not stored: {} samples, {} native \
             histograms, {} series with invalid labels. The first: {fault}",
            stats.samples_written,
            stats.histograms_written,
            stats.samples_refused,
            stats.histograms_refused,
            stats.series_invalid
        );
        WriteReply { status: 400, headers, text, stats }
    }
}
