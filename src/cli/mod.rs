//! Flags, start, reload, stop.
//!
//! In two steps: [`flags`] reads the command line by a table of all flags that Prometheus 3.14
//! knows, with nothing but texts as the result; [`settings`] turns those into what the parts of
//! the server take. [`run`] starts the parts in order and ends them in order. `narthex tool` is
//! for work on files beside the server (`tool/`), `narthex check` says whether files are in order
//! (`check/`).

mod auto_reload;
mod check;
mod features;
pub mod flags;
mod listed;
mod memory;
mod notifying;
mod process;
mod rules;
mod sending;
mod serve;
pub mod settings;
mod table;
mod tool;
mod tracing;

pub use serve::run;
