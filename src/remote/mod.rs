//! Remote write, received.
//!
//! Knows requests and the database, not the HTTP server: what a request's headers and body give
//! is a [`WriteReply`] with status, headers and text.

mod batch;
mod known;
mod labels;
mod receive;

pub use known::KnownSeries;
pub use receive::{BODY_BYTES_MAX, WriteReply, WriteRequest, WriteStats, receive};

#[cfg(test)]
mod tests;
