//! Remote write, received.
//!
//! Knows requests and the database, not the HTTP server: what a request's headers and body give
//! is a [`WriteReply`] with status, headers and text.

mod batch;
mod known;
mod labels;
mod merged;
mod otlp;
mod read;
mod read_frames;
mod receive;
pub mod send;
mod sources;
mod traces;

pub use known::KnownSeries;
pub use merged::SeriesWithRemote;
pub use otlp::{
    DeltaStreams, LabelNames, OtlpOptions, OtlpReply, OtlpRequest, Strategy, check_otlp,
    receive_otlp,
};
pub use read::{ReadError, parse_read_request, read_chunks, read_samples};
pub use read_frames::{RemoteSeries, read_answer};
pub use receive::{BODY_BYTES_MAX, WriteReply, WriteRequest, WriteStats, receive};
pub use sources::{RemoteAnswer, RemoteSources};
pub use traces::{TraceReceiver, send_traces, trace_families};

#[cfg(test)]
mod tests;
