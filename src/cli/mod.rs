//! Flags, start, reload, stop.
