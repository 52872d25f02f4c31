//! The embedded database: open, append, query, close.
