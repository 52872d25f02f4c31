//! Own metrics and logs.
//!
//! - [`Registry`] holds metrics and writes the page of `/metrics`; it knows no name of its own.
//! - [`Metrics`] are the families that the server shows, counted as things happen; [`Figures`] are
//!   those that others keep and that are read when the page is asked for.
//! - [`log`] writes events as lines on standard error; [`ObserverLog`] brings the database's there.
//!
//! - [`traces`] tells what took how long.
//!
//! Whoever starts the server makes one [`Metrics`] and hands it on. What is global is who takes
//! the lines of the log and the spans of traces.

mod agent;
mod counted;
mod figures;
pub mod log;
mod metrics;
mod observer;
mod process;
pub mod registry;
pub mod traces;
mod value;

pub use figures::{
    DiscoveredTargets, Figures, PoolFigures, ScrapeFigures, ScrapeTotals, TsdbFigures,
};
pub use metrics::{BuildInfo, Metrics, QuerySlice, ReceivedWrite, RunningQuery};
pub use observer::ObserverLog;
pub use registry::{CounterVec, GaugeVec, HistogramVec, Labelled, Registry, SummaryVec};
pub use value::{Counter, Gauge, Histogram, Summary};

#[cfg(test)]
mod tests;
