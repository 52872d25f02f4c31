//! Protobuf messages of the remote protocols, read in place.
//!
//! Nothing is copied out of the request: names and values are lent, and one scratch series is
//! filled again and again. Lengths are checked against the bytes that are there, so nothing is
//! allocated from a declared size; unknown fields are skipped as protobuf asks.

pub mod field;
pub mod histogram;
pub mod histogram_write;
pub mod otlp;
pub mod otlp_value;
pub mod remote_read;
pub mod remote_write_v1;
pub mod remote_write_v2;

pub use field::WireError;
pub use histogram::PushedHistogram;

/// A float with its time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PushedSample {
    /// The value.
    pub value: f64,
    /// Milliseconds.
    pub t_ms: i64,
    /// When its counter began to count, in milliseconds; 0: not known.
    pub start_ms: i64,
}

/// An exemplar.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PushedExemplar<'a> {
    /// Pairs in the order of the request.
    pub labels: Vec<(&'a [u8], &'a [u8])>,
    /// The value.
    pub value: f64,
    /// Milliseconds; 0: not given.
    pub t_ms: i64,
    /// What is wrong with it although the message could be read.
    pub fault: Option<String>,
}

/// What is said of a metric.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushedMetadata<'a> {
    /// Number of the type: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 gauge histogram,
    /// 5 summary, 6 info, 7 state set.
    pub kind: u64,
    /// Name of the metric family, in version 1.
    pub family: &'a [u8],
    /// What it is about.
    pub help: &'a [u8],
    /// What it is measured in.
    pub unit: &'a [u8],
}

/// One time series of a remote-write request. Label texts are bytes that are not yet known to be
/// UTF-8; symbols of version 2 are resolved.
#[derive(Debug, Default)]
pub struct PushedSeries<'a> {
    /// Pairs in the order of the request.
    pub labels: Vec<(&'a [u8], &'a [u8])>,
    /// The bytes of the label fields, where they stand together in front of the series; empty
    /// otherwise. Equal bytes mean equal labels.
    pub raw_labels: &'a [u8],
    /// Floats, in the order of the request.
    pub samples: Vec<PushedSample>,
    /// Native histograms, in the order of the request.
    pub histograms: Vec<PushedHistogram>,
    /// Exemplars, in the order of the request.
    pub exemplars: Vec<PushedExemplar<'a>>,
    /// What is said of the metric, in version 2.
    pub metadata: Option<PushedMetadata<'a>>,
    /// What is wrong with the series although the message could be read: a reference beyond the
    /// symbol table, an odd number of references.
    pub fault: Option<String>,
}

impl PushedSeries<'_> {
    fn clear(&mut self) {
        self.labels.clear();
        self.raw_labels = &[];
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        (self.metadata, self.fault) = (None, None);
    }
}
