//! The query language: parse, plan, evaluate by columns.

pub mod annotations;
pub mod ast;
pub mod columns;
pub mod engine;
pub mod functions;
pub mod parse;

pub use parse::{ParseError, ParseOptions, Position, parse};
