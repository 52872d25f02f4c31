//! Immutable, time-partitioned directories of chunks.
