//! Where an expansion writes.

use super::print::{Room, shown};
use super::tree::Pipe;
use super::value::Value;

/// Collects what an expansion writes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: String,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// One for a page within the page.
    #[expect(clippy::unused_self, reason = "the page decides how its parts are written")]
    pub(super) fn another(&self) -> Self {
        Self::new()
    }

    pub(super) fn text(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Writes the value of an action.
    pub(super) fn value(&mut self, value: &Value, _pipe: &Pipe, room: Room) {
        self.out.push_str(&shown(value, room));
    }

    pub(super) fn length(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(self) -> String {
        self.out
    }
}
