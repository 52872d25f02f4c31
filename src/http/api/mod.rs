//! The functions behind `/api/v1`, one file a subject.
//!
//! Each takes decoded parameters and prints its answer into a [`Sink`]; they run on blocking
//! threads and know nothing of HTTP but the errors.

pub(super) mod admin;
pub(super) mod alertmanagers;
pub(super) mod exemplars;
pub(super) mod federate;
pub(super) mod otlp;
pub(super) mod query;
pub(super) mod read;
pub(super) mod rules;
pub(super) mod search;
pub(super) mod self_metrics;
pub(super) mod series;
pub(super) mod standing;
pub(super) mod status;
pub(super) mod syntax;
pub(super) mod target_pages;
pub(super) mod targets;
pub(super) mod write;

use super::json;
use super::reply::ApiError;
use super::stream::Sink;

/// COMPAT: the warning that follows a cut at `limit`.
const TRUNCATED: &str = "results truncated due to limit";

/// Warnings that one answer shows, and infos likewise.
const NOTES_MAX: usize = 10;

/// COMPAT: of many notes the first ten stand in the answer, then how many more there are.
fn within_limit(kind: &str, texts: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = texts.iter().take(NOTES_MAX).cloned().collect();
    let omitted = texts.len() - shown.len();
    if omitted > 0 {
        shown.push(format!("{omitted} more {kind} annotations omitted"));
    }
    shown
}

/// Prints the envelope of a success around `data`.
fn success(
    sink: &mut Sink,
    data: impl FnOnce(&mut Sink) -> Result<(), ApiError>,
    warnings: &[String],
    infos: &[String],
) -> Result<(), ApiError> {
    sink.buffer().extend_from_slice(b"{\"status\":\"success\",\"data\":");
    data(sink)?;
    for (kind, texts) in [("warning", warnings), ("info", infos)] {
        if !texts.is_empty() {
            sink.buffer().extend_from_slice(format!(",\"{kind}s\":").as_bytes());
            json::push_strings(sink.buffer(), &within_limit(kind, texts));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_notes_are_shown_and_the_rest_is_counted() {
        let texts: Vec<String> = (0..85).map(|i| format!("note {i}")).collect();
        assert_eq!(within_limit("warning", &texts[..10]), texts[..10]);
        let shown = within_limit("warning", &texts);
        assert_eq!(shown[..10], texts[..10]);
        assert_eq!(shown[10..], ["75 more warning annotations omitted"]);
        assert_eq!(within_limit("info", &texts[..11])[10], "1 more info annotations omitted");
        assert!(within_limit("info", &[]).is_empty());
    }
}
