//! Own metrics and logs.
//!
//! [`Registry`] holds metrics and writes the page of `/metrics`; it knows no name of its own.

pub mod registry;
mod value;

pub use registry::{CounterVec, GaugeVec, HistogramVec, Labelled, Registry, SummaryVec};
pub use value::{Counter, Gauge, Histogram, Summary};
