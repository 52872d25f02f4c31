//! Fetch, parse, relabel, append: one loop a target.

pub mod accept;
