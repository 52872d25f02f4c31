//! The series of one source in a request, with their samples.

use std::sync::Arc;

use super::known::LabelsKey;
use super::labels::canonical;
use crate::db::Appender;
use crate::disk::StorageError;
use crate::head::{GroupKey, SeriesRef};
use crate::model::{Exemplar, Histogram, Labels};
use crate::protowire::{PushedSeries, remote_write_v1};

/// Series of one source that are expected in a request.
const USUAL: usize = 256;

/// A series of the request. It has labels, or bytes that give them.
#[derive(Debug)]
pub(super) struct Push<'a> {
    /// See [`PushedSeries::raw_labels`].
    pub raw_labels: &'a [u8],
    /// The key of these bytes, where there are some.
    pub key: Option<LabelsKey>,
    /// Its labels, where they were read.
    pub labels: Option<Labels>,
    /// The series, where an earlier request named it or it was looked up.
    pub series: Option<SeriesRef>,
}

impl Push<'_> {
    /// The labels, read again where they were not kept.
    pub(super) fn labels(&self) -> Labels {
        self.labels.clone().unwrap_or_else(|| {
            let mut series = PushedSeries::default();
            let read = remote_write_v1::read_labels(self.raw_labels, &mut series);
            read.expect("BUG: equal bytes were read before");
            let labels = canonical(&series, &mut Vec::new(), &mut Vec::new());
            labels.expect("BUG: equal bytes were valid labels before")
        })
    }

    /// The series has left the head: its labels say who it is.
    pub(super) fn forget(&mut self) {
        self.labels = Some(self.labels());
        self.series = None;
    }
}

/// The series of one source with their samples, in the order of the request.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub source: Arc<GroupKey>,
    pub pushes: Vec<Push<'a>>,
    /// Index in `pushes`, value, milliseconds.
    pub samples: Vec<(usize, f64, i64)>,
    /// Samples that are more than floats, ascending.
    extras: Vec<Extra>,
    /// Index in `pushes`, exemplar.
    pub exemplars: Vec<(usize, Exemplar)>,
}

/// What a sample has besides its value.
#[derive(Debug)]
struct Extra {
    /// Index among the samples of the batch.
    sample: usize,
    start_ms: i64,
    histogram: Option<Arc<Histogram>>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(source: Arc<GroupKey>) -> Self {
        Self {
            source,
            pushes: Vec::with_capacity(USUAL),
            samples: Vec::with_capacity(USUAL),
            extras: Vec::new(),
            exemplars: Vec::new(),
        }
    }

    /// Takes the samples of one series: floats, then histograms, as Prometheus appends them.
    pub(super) fn take(&mut self, push: Push<'a>, series: &PushedSeries<'_>) {
        let number = self.pushes.len();
        self.pushes.push(push);
        for sample in &series.samples {
            if sample.start_ms != 0 {
                let (sample, start_ms) = (self.samples.len(), sample.start_ms);
                self.extras.push(Extra { sample, start_ms, histogram: None });
            }
            self.samples.push((number, sample.value, sample.t_ms));
        }
        for pushed in &series.histograms {
            let (sample, start_ms) = (self.samples.len(), pushed.start_ms);
            let histogram = Some(Arc::new(pushed.histogram.in_known_resolution()));
            self.extras.push(Extra { sample, start_ms, histogram });
            self.samples.push((number, pushed.histogram.sum(), pushed.t_ms));
        }
    }

    /// Takes an exemplar of the series taken last.
    pub(super) fn take_exemplar(&mut self, exemplar: Exemplar) {
        self.exemplars.push((self.pushes.len() - 1, exemplar));
    }

    /// Appends the samples with these indexes, which ascend. Series that were looked up for it are
    /// added to `found`.
    pub(super) fn append(
        &mut self,
        appender: &mut Appender,
        samples: &[usize],
        found: &mut Vec<(LabelsKey, SeriesRef)>,
    ) -> Result<(), StorageError> {
        appender.reserve(samples.len());
        let mut extras = self.extras.iter().peekable();
        for &sample in samples {
            let (push, value, t_ms) = self.samples[sample];
            let push = &mut self.pushes[push];
            let series = match (push.series, &push.labels) {
                (Some(series), _) => series,
                (None, labels) => {
                    let labels = labels.as_ref().expect("BUG: a new series has labels");
                    let series = appender.series(labels)?;
                    found.extend(push.key.map(|key| (key, series)));
                    series
                }
            };
            push.series = Some(series);
            while extras.next_if(|extra| extra.sample < sample).is_some() {}
            let extra = extras.next_if(|extra| extra.sample == sample);
            match extra.and_then(|extra| extra.histogram.as_ref()) {
                Some(histogram) => appender.append_histogram(series, t_ms, Arc::clone(histogram)),
                None => appender.append(series, t_ms, value),
            }
            if let Some(extra) = extra {
                appender.set_last_start(extra.start_ms);
            }
        }
        Ok(())
    }

    /// How many of the samples with these indexes are histograms.
    pub(super) fn histograms_among(&self, samples: impl IntoIterator<Item = usize>) -> usize {
        if self.extras.is_empty() {
            return 0;
        }
        let is_histogram = |sample: &usize| {
            let at = self.extras.binary_search_by_key(sample, |extra| extra.sample);
            at.is_ok_and(|at| self.extras[at].histogram.is_some())
        };
        samples.into_iter().filter(is_histogram).count()
    }
}
