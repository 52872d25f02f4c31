//! The query language: parse, plan, evaluate by columns.

pub mod annotations;
pub mod ast;
pub mod columns;
pub mod engine;
pub mod functions;
pub mod lex;
pub mod parse;
pub mod print;
pub mod quote;
pub mod script;

pub use parse::{ParseError, ParseOptions, Position, parse, parse_selector};
