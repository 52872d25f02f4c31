//! Own metrics and logs.
