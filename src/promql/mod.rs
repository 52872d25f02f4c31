//! The query language: parse, plan, evaluate by columns.

pub mod ast;
