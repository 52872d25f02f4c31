//! Where an expansion writes: plain text, or a page of HTML.

use super::page::Page;
use super::print::{Room, shown};
use super::tree::Pipe;
use super::value::Value;

/// Collects what an expansion writes.
#[derive(Debug)]
pub(super) enum Writer {
    Text(String),
    Page(Box<Page>),
}

impl Writer {
    pub(super) fn new(is_html: bool) -> Self {
        if is_html { Self::Page(Box::new(Page::new())) } else { Self::Text(String::new()) }
    }

    /// One for a page within the page.
    pub(super) fn another(&self) -> Self {
        Self::new(matches!(self, Self::Page(_)))
    }

    pub(super) fn text(&mut self, text: &str) {
        match self {
            Self::Text(out) => out.push_str(text),
            Self::Page(page) => page.text(text),
        }
    }

    /// Writes the value that the pipeline gave.
    pub(super) fn value(&mut self, value: &Value, pipe: &Pipe, room: Room) {
        match self {
            Self::Text(out) => out.push_str(&shown(value, room)),
            Self::Page(page) => page.value(value, pipe, room),
        }
    }

    pub(super) fn length(&self) -> usize {
        match self {
            Self::Text(out) => out.len(),
            Self::Page(page) => page.length(),
        }
    }

    pub(super) fn finish(self) -> String {
        match self {
            Self::Text(out) => out,
            Self::Page(page) => page.finish(),
        }
    }
}
