//! How far work has come, for somebody who watches.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Columns of a bar.
const BAR: usize = 30;
/// Pause between two drawings of a bar.
const REDRAW: Duration = Duration::from_millis(200);

/// A progress bar on standard error, where that is a terminal.
#[derive(Debug, Default)]
pub(super) struct Bar {
    drawn: Option<Instant>,
}

impl Bar {
    pub(super) fn draw(&mut self, what: &str, unit: &str, done: u64, total: u64) {
        let mut out = std::io::stderr();
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) || done == total;
        if !is_due || !out.is_terminal() {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = if total == 0 { 1.0 } else { done as f64 / total as f64 };
        let full = (share * BAR as f64) as usize;
        let bar: String = (0..BAR).map(|i| if i < full { '#' } else { '-' }).collect();
        let percent = share * 100.0;
        let _ = write!(out, "\r{what} [{bar}] {percent:3.0} % {done}/{total} {unit}\x1b[K");
    }

    pub(super) fn end(&self) {
        if self.drawn.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}
