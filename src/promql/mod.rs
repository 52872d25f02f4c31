//! The query language: parse, plan, evaluate by columns.

pub mod ast;
pub mod parse;

pub use parse::{ParseError, ParseOptions, Position, parse};
