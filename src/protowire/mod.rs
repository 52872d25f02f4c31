//! Protobuf messages of the remote protocols, read in place.
//!
//! Nothing is copied out of the request: names and values are lent, and one scratch series is
//! filled again and again. Lengths are checked against the bytes that are there, so nothing is
//! allocated from a declared size; unknown fields are skipped as protobuf asks.

pub mod field;
pub mod remote_write_v1;
pub mod remote_write_v2;

pub use field::WireError;

/// One time series of a remote-write request. Label texts are bytes that are not yet known to be
/// UTF-8; symbols of version 2 are resolved.
#[derive(Debug, Default)]
pub struct PushedSeries<'a> {
    /// Pairs in the order of the request.
    pub labels: Vec<(&'a [u8], &'a [u8])>,
    /// The bytes of the label fields, where they stand together in front of the series; empty
    /// otherwise. Equal bytes mean equal labels.
    pub raw_labels: &'a [u8],
    /// Pairs of (value, milliseconds), in the order of the request.
    pub samples: Vec<(f64, i64)>,
    /// Number of native histograms.
    pub histograms: usize,
    /// Number of exemplars.
    pub exemplars: usize,
    /// What is wrong with the series although the message could be read: a reference beyond the
    /// symbol table, an odd number of references.
    pub fault: Option<String>,
}

impl PushedSeries<'_> {
    fn clear(&mut self) {
        self.labels.clear();
        self.raw_labels = &[];
        self.samples.clear();
        (self.histograms, self.exemplars, self.fault) = (0, 0, None);
    }
}
