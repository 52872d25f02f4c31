//! Go's text/template with Prometheus's functions: alert annotations and labels, the external URL
//! and console pages.
//!
//! A text is read into a tree of nodes and walked with a [`Data`] as its dot. Values are the ones
//! that Prometheus's functions and data bring forth; they behave as Go's reflection has them
//! behave, types in error texts included. Queries are answered by the caller, through [`Queries`].
//!
//! COMPAT: syntax, functions and error texts are those of Go's `text/template` and Prometheus's
//! `template`. Unlike there, a text is stopped at limits on nesting, steps, time and output
//! ([`Limits`]), so that no text can hurt the server. Strings are UTF-8: where Go would cut a
//! character in two, its halves become U+FFFD.

mod builtins;
mod call;
mod data;
mod error;
mod escape;
mod expander;
mod float;
mod functions;
mod lex;
mod literal;
mod member;
mod page;
mod parse;
mod print;
mod time;
mod tree;
mod value;
mod walk;
mod words;
mod writer;

#[cfg(test)]
mod tests;

pub use data::{AlertData, ConsoleData, Data, Sample, SampleValue};
pub use error::TemplateError;
pub use expander::{Expander, Limits, Metrics, NoQueries, Queries, check_alert_text};
