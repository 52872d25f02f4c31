//! Tests of head files.
