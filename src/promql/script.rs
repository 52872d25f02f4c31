//! Scripts that test an engine: data, queries, what they must answer.
//!
//! The language is Prometheus's promqltest: `clear`, `load <step>` followed by series, `eval
//! instant at <time> <query>` or `eval range from … to … step … <query>` followed by what is
//! expected. A line that is blank or a comment ends a block. Scripts run against any
//! [`Store`] and any [`Engine`](super::engine::Engine); [`MemoryStore`] is one in memory.

mod compare;
mod histogram;
mod memory;
mod nhcb;
mod run;
mod series;
#[cfg(test)]
mod tests;

pub use histogram::WrittenHistogram;
pub use memory::MemoryStore;
pub use run::{Failure, Report, Runner, Store};
use series::parse_starts;
pub use series::{SeriesLine, SeriesValue, parse_series};

use std::fmt;

use super::lex;
use crate::model::Labels;

/// A parsed script.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// What to do, in order.
    pub commands: Vec<Command>,
}

/// One step of a script.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Forget all data.
    Clear,
    /// Store samples.
    Load(Load),
    /// Ask and compare.
    Eval(Box<Eval>),
}

/// Series to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// The line of the command, from 1.
    pub line: usize,
    /// Distance of two values in milliseconds; the first stands at time 0.
    pub step_ms: i64,
    /// Classic histograms are stored as native ones besides.
    pub with_nhcb: bool,
    /// The series; of two with equal labels the later one counts.
    pub series: Vec<SeriesLine>,
    /// When samples began to count, in milliseconds relative to their times, for some series.
    pub starts_ms: Vec<(Labels, Vec<Option<i64>>)>,
}

/// A query and what it must answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Eval {
    /// The line of the command, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// When it is evaluated.
    pub times: Times,
    /// What must be told besides the result.
    pub expectations: Vec<Expectation>,
    /// The result.
    pub result: Expected,
}

/// Evaluation times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// One.
    Instant(i64),
    /// Several.
    Range {
        /// First.
        start_ms: i64,
        /// None is later.
        end_ms: i64,
        /// Distance.
        step_ms: i64,
    },
}

/// One `expect` line.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// About what.
    pub about: About,
    /// What it says; `None` is anything.
    pub text: Option<Pattern>,
}

/// What an `expect` line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The query fails.
    Fail,
    /// There is a warning.
    Warn,
    /// There is no warning.
    NoWarn,
    /// There is an info.
    Info,
    /// There is no info.
    NoInfo,
    /// The result has the order of the lines.
    Ordered,
    /// As `Warn`, others beside it allowed.
    AnyWarn,
    /// As `Info`, others beside it allowed.
    AnyInfo,
}

/// A text that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Exactly this.
    Exact(String),
    /// Something in it matches this regular expression.
    Regex(String),
}

/// The result that is expected.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// A number.
    Scalar(f64),
    /// A string.
    String(String),
    /// Series with their values; in an instant vector one value each.
    Series {
        /// In the order of the lines.
        series: Vec<SeriesLine>,
        /// Times of the values where an instant query gives a range vector.
        range: Option<Times>,
    },
}

/// A script that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let lines = text.lines().map(str::trim);
        let lines: Vec<&str> = lines.map(|l| if l.starts_with('#') { "" } else { l }).collect();
        let mut commands = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let mut reader = Reader { lines: &lines, at, line: at + 1 };
            if !lines[at].is_empty() {
                let command = reader.command();
                let line = reader.line;
                commands.push(command.map_err(|message| ScriptError { line, message })?);
            }
            at = reader.at.max(at + 1);
        }
        Ok(Self { commands })
    }
}

/// Reads the lines of one command; `line` is the line read last, from 1.
struct Reader<'a> {
    lines: &'a [&'a str],
    at: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    /// The next line of the block.
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).filter(|line| !line.is_empty())?;
        self.at += 1;
        self.line = self.at;
        Some(line)
    }

    fn command(&mut self) -> Result<Command, String> {
        let head = self.next().unwrap_or_default();
        let (word, rest) = split_word(head);
        match word.to_ascii_lowercase().as_str() {
            "clear" => Ok(Command::Clear),
            "load" => self.load(rest, false),
            "load_with_nhcb" => self.load(rest, true),
            word if word.starts_with("eval") => {
                let modifier = word.trim_start_matches("eval").trim_start_matches('_').to_owned();
                self.eval(&modifier, rest).map(|eval| Command::Eval(Box::new(eval)))
            }
            _ => Err(format!("unknown command {head:?}")),
        }
    }

    fn load(&mut self, step: &str, with_nhcb: bool) -> Result<Command, String> {
        let line = self.line;
        let step_ms = duration_ms(step)?;
        let mut series = Vec::new();
        let mut starts_ms = Vec::new();
        while let Some(text) = self.next() {
            let (metric, starts) = split_word(text);
            if let Some(metric) = metric.strip_suffix("@st") {
                starts_ms.push((parse_series(metric)?.labels, parse_starts(starts)?));
            } else {
                series.push(parse_series(text)?);
            }
        }
        Ok(Command::Load(Load { line, step_ms, with_nhcb, series, starts_ms }))
    }

    fn eval(&mut self, modifier: &str, rest: &str) -> Result<Eval, String> {
        let line = self.line;
        let (times, query) = eval_head(rest)?;
        let mut expectations = match modifier {
            "" => Vec::new(),
            "fail" => vec![About::Fail],
            "warn" => vec![About::AnyWarn],
            "info" => vec![About::AnyInfo],
            "ordered" => vec![About::Ordered],
            _ => return Err(format!("unknown command \"eval_{modifier}\"")),
        }
        .into_iter()
        .map(|about| Expectation { about, text: None })
        .collect();
        let result = self.expected(&mut expectations)?;
        Ok(Eval { line, query: query.to_owned(), times, expectations, result })
    }

    fn expected(&mut self, expectations: &mut Vec<Expectation>) -> Result<Expected, String> {
        let mut series = Vec::new();
        let mut range = None;
        let mut string = None;
        while let Some(text) = self.next() {
            if let Some(message) = text.strip_prefix("expected_fail_message") {
                let text = Some(Pattern::Exact(message.trim().to_owned()));
                expectations.push(Expectation { about: About::Fail, text });
            } else if let Some(pattern) = text.strip_prefix("expected_fail_regexp") {
                let text = Some(Pattern::Regex(pattern.trim().to_owned()));
                expectations.push(Expectation { about: About::Fail, text });
            } else if let Some(times) = text.strip_prefix("expect range vector ") {
                range = Some(range_head(times)?.0);
            } else if let Some(literal) = text.strip_prefix("expect string") {
                string = Some(string_literal(literal.trim_start())?);
            } else if let ("expect", rest) = split_word(text) {
                expectations.push(expectation(rest)?);
            } else if let Ok(value) = signed_number(text) {
                return Ok(Expected::Scalar(value));
            } else {
                series.push(parse_series(text)?);
            }
        }
        Ok(string.map_or(Expected::Series { series, range }, Expected::String))
    }
}

fn string_literal(literal: &str) -> Result<String, String> {
    let length = lex::string_length(literal)?;
    if length != literal.len() {
        return Err(format!("expected one string, got {literal}"));
    }
    Ok(lex::unquote(literal))
}

fn split_word(text: &str) -> (&str, &str) {
    match text.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// The word behind `keyword`, and what follows.
fn after<'a>(text: &'a str, keyword: &str) -> Result<(&'a str, &'a str), String> {
    match split_word(text) {
        (word, rest) if word == keyword => Ok(split_word(rest)),
        (word, _) => Err(format!("expected {keyword:?}, got {word:?}")),
    }
}

fn eval_head(text: &str) -> Result<(Times, &str), String> {
    match split_word(text) {
        ("instant", rest) => {
            let (at, query) = after(rest, "at")?;
            Ok((Times::Instant(duration_ms(at)?), query))
        }
        ("range", rest) => range_head(rest),
        (word, _) => Err(format!("expected \"instant\" or \"range\", got {word:?}")),
    }
}

fn range_head(text: &str) -> Result<(Times, &str), String> {
    let (start, rest) = after(text, "from")?;
    let (end, rest) = after(rest, "to")?;
    let (step, rest) = after(rest, "step")?;
    let (start_ms, end_ms) = (duration_ms(start)?, duration_ms(end)?);
    if end_ms < start_ms {
        return Err(format!("the end {end} is before the start {start}"));
    }
    Ok((Times::Range { start_ms, end_ms, step_ms: duration_ms(step)? }, rest))
}

fn expectation(text: &str) -> Result<Expectation, String> {
    let (about, rest) = split_word(text);
    let about = match about {
        "fail" => About::Fail,
        "warn" => About::Warn,
        "no_warn" => About::NoWarn,
        "info" => About::Info,
        "no_info" => About::NoInfo,
        "ordered" => About::Ordered,
        _ => return Err(format!("nothing to expect is called {about:?}")),
    };
    let text = match rest.split_once(':') {
        None if rest.is_empty() => None,
        Some(("msg", message)) => Some(Pattern::Exact(message.trim().to_owned())),
        Some(("regex", pattern)) => Some(Pattern::Regex(pattern.trim().to_owned())),
        _ => return Err(format!("expected \"msg:\" or \"regex:\", got {rest:?}")),
    };
    Ok(Expectation { about, text })
}

fn duration_ms(text: &str) -> Result<i64, String> {
    // Zero needs no unit.
    let seconds = if text == "0" { 0.0 } else { lex::duration(text)? };
    Ok((seconds * 1000.0).round() as i64)
}

/// A number with an optional sign and nothing else.
fn signed_number(text: &str) -> Result<f64, String> {
    let (negate, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = lex::number(digits)?;
    Ok(if negate { -value } else { value })
}
