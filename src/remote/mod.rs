//! Remote write, received.
