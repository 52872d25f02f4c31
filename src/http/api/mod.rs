//! The functions behind `/api/v1`, one file a subject.
//!
//! Each takes decoded parameters and prints its answer into a [`Sink`]; they run on blocking
//! threads and know nothing of HTTP but the errors.

pub(super) mod admin;
pub(super) mod query;
pub(super) mod series;
pub(super) mod status;
pub(super) mod targets;
pub(super) mod write;

use super::json;
use super::reply::ApiError;
use super::stream::Sink;

/// COMPAT: the warning that follows a cut at `limit`.
const TRUNCATED: &str = "results truncated due to limit";

/// Prints the envelope of a success around `data`.
fn success(
    sink: &mut Sink,
    data: impl FnOnce(&mut Sink) -> Result<(), ApiError>,
    warnings: &[String],
    infos: &[String],
) -> Result<(), ApiError> {
    sink.buffer().extend_from_slice(b"{\"status\":\"success\",\"data\":");
    data(sink)?;
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            sink.buffer().extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::push_strings(sink.buffer(), texts);
        }
    }
    sink.buffer().push(b'}');
    Ok(())
}

/// Prints a list, item by item, and lets go of what fills a piece.
fn list<T>(
    sink: &mut Sink,
    items: impl IntoIterator<Item = T>,
    mut print: impl FnMut(&mut Vec<u8>, T),
) -> Result<(), ApiError> {
    sink.buffer().push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            sink.buffer().push(b',');
        }
        print(sink.buffer(), item);
        sink.flush_if_full()?;
    }
    sink.buffer().push(b']');
    Ok(())
}
