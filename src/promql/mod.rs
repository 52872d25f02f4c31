//! The query language: parse, plan, evaluate by columns.

pub mod annotations;
pub mod ast;
mod budget;
mod calls;
pub mod columns;
pub mod compensated;
mod cores;
mod cuts;
pub mod duration_expr;
pub mod engine;
mod evaluator;
pub mod extended;
mod forecast;
pub mod functions;
mod info;
pub mod lex;
mod nested;
mod operators;
pub mod parse;
mod plan;
mod prepare;
pub mod pretty;
pub mod print;
pub mod quote;
mod reading;
pub mod reuse;
pub mod script;
mod spread;
mod stream;
mod tally;
pub mod windows;

pub use parse::{ParseError, ParseOptions, Position, parse, parse_selector};
