//! The log: one line on standard error for each event, as Prometheus's lines look.
//!
//! `logfmt` lines are those of Go's `slog` text handler, `json` lines those of its JSON handler:
//! `time`, `level`, `source`, `msg`, then the fields in the order they were given. No colours, no
//! line breaks within a line. A field `error` is written as `err`, the key that Prometheus uses.
//!
//! Our own events are written from the chosen level on, those of crates that we use only from
//! `warn` on: they speak of themselves, at length. Spans are not written.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::model::{FloatStyle, float_text, go_quote};

/// `--log.level`: the least weighty events that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator wants to follow.
    #[default]
    Info,
    /// What went wrong and was coped with.
    Warn,
    /// What went wrong.
    Error,
}

/// `--log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `key=value` pairs.
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Why a log could not be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogError {
    /// No such level.
    Level(String),
    /// No such format.
    Format(String),
    /// The process has a log already.
    Installed,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(text) => {
                write!(f, "log level {text:?} is none of debug, info, warn, error")
            }
            Self::Format(text) => write!(f, "log format {text:?} is none of logfmt, json"),
            Self::Installed => f.write_str("the process has a log already"),
        }
    }
}

impl std::error::Error for LogError {}

impl FromStr for LogLevel {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        // COMPAT: Prometheus takes any case.
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            _ => Err(LogError::Level(text.to_owned())),
        }
    }
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "logfmt" => Ok(Self::Logfmt),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(text.to_owned())),
        }
    }
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error => LevelFilter::ERROR,
        }
    }
}

/// Makes standard error the log of the whole process; once, by the program, never by the library.
pub fn install(level: LogLevel, format: LogFormat) -> Result<(), LogError> {
    let subscriber = tracing_subscriber::registry().with(Lines::new(level, format, io::stderr()));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)
}

/// Writes events as lines to `output`.
#[derive(Debug)]
pub struct Lines<W> {
    filter: LevelFilter,
    format: LogFormat,
    output: Mutex<W>,
}

impl<W: Write> Lines<W> {
    /// Lines of at least `level`.
    pub fn new(level: LogLevel, format: LogFormat, output: W) -> Self {
        Self { filter: level.filter(), format, output: Mutex::new(output) }
    }
}

impl<S: Subscriber, W: Write + 'static> Layer<S> for Lines<W>
where
    Self: 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        let target = metadata.target();
        let own = target == "narthex" || target.starts_with("narthex::");
        let level = *metadata.level();
        metadata.is_event() && level <= self.filter && (own || level <= Level::WARN)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter)
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = line(event, self.format, Timestamp::now());
        line.push('\n');
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere to say that the log cannot be written.
        let _ = output.write_all(line.as_bytes());
    }
}

/// The line of an event, without its end.
fn line(event: &Event<'_>, format: LogFormat, now: Timestamp) -> String {
    let metadata = event.metadata();
    let level = match *metadata.level() {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    };
    let file = metadata.file().unwrap_or(metadata.target());
    let file = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let source = format!("{file}:{}", metadata.line().unwrap_or(0));
    let mut fields = Fields { format, message: String::new(), text: String::new() };
    event.record(&mut fields);
    let mut line = String::with_capacity(128 + fields.text.len());
    match format {
        LogFormat::Logfmt => {
            let _ = write!(line, "time={now:.3} level={level} source=");
            push_logfmt(&mut line, &source);
            line.push_str(" msg=");
            push_logfmt(&mut line, &fields.message);
            line.push_str(&fields.text);
        }
        LogFormat::Json => {
            let _ = write!(line, "{{\"time\":\"{now}\",\"level\":\"{level}\",\"source\":");
            push_json(&mut line, &source);
            line.push_str(",\"msg\":");
            push_json(&mut line, &fields.message);
            line.push_str(&fields.text);
            line.push('}');
        }
    }
    line
}

/// Takes the fields of an event apart.
struct Fields {
    format: LogFormat,
    message: String,
    text: String,
}

impl Fields {
    fn key(&mut self, field: &Field) {
        let name = match field.name() {
            "error" => "err",
            name => name.strip_prefix("r#").unwrap_or(name),
        };
        match self.format {
            LogFormat::Logfmt => {
                self.text.push(' ');
                push_logfmt(&mut self.text, name);
                self.text.push('=');
            }
            LogFormat::Json => {
                self.text.push(',');
                push_json(&mut self.text, name);
                self.text.push(':');
            }
        }
    }

    /// A value that is written the same in both formats.
    fn bare(&mut self, field: &Field, value: &dyn fmt::Display) {
        self.key(field);
        let _ = write!(self.text, "{value}");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        self.key(field);
        match self.format {
            LogFormat::Logfmt => push_logfmt(&mut self.text, value),
            LogFormat::Json => push_json(&mut self.text, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.format {
            LogFormat::Logfmt => self.bare(field, &float_text(value, FloatStyle::General)),
            LogFormat::Json if value.is_finite() => {
                self.bare(field, &float_text(value, FloatStyle::Api));
            }
            // JSON has no such number.
            LogFormat::Json => self.record_str(field, &float_text(value, FloatStyle::Api)),
        }
    }
}

/// A key or value of logfmt: in quotes where it is empty or holds a blank, `=`, `"`, or what does
/// not print. Source: `log/slog`, `text_handler.go`.
fn push_logfmt(out: &mut String, text: &str) {
    let plain = |c: char| match c {
        ' ' | '=' | '"' => false,
        '!'..='~' => true,
        // What quoting would escape, and blanks beyond ASCII.
        _ => !c.is_ascii() && c != char::REPLACEMENT_CHARACTER && !c.is_whitespace(),
    };
    let quoted = go_quote(text);
    // The quotes add two bytes; escapes add more. A backslash alone asks for no quotes.
    let backslashes = text.bytes().filter(|byte| *byte == b'\\').count();
    let escaped = quoted.len() != text.len() + 2 + backslashes;
    if !text.is_empty() && text.chars().all(plain) && !escaped {
        out.push_str(text);
    } else {
        out.push_str(&quoted);
    }
}

/// A JSON string.
fn push_json(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(error) => unreachable!("BUG: a text is always JSON: {error}"),
    }
}

#[cfg(test)]
mod tests;
