//! The command line as texts: which flags were given, which values hold.
//!
//! COMPAT: `--name=value` and `--name value`; booleans also as `--no-name`; what is repeatable
//! may be repeated; an unknown flag or a bad value ends the start with status 2.

use std::ffi::OsString;
use std::fmt;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::table::FLAGS;
use crate::model::{
    FloatStyle, float_text, format_duration, format_go_duration, go_quote, parse_duration,
    parse_float, parse_go_duration,
};
use crate::regex::Regex;

/// What a flag's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Text,
    /// May be repeated.
    Texts,
    /// As in configurations: `1h30m`.
    Duration,
    /// As Go has them: `1.5ms`.
    GoDuration,
    /// `512MB`; the unit is required.
    Bytes,
    Uint,
    Float,
    Regex,
    OneOf(&'static [&'static str]),
}

/// How the names of flags begin that mean nothing where samples are only forwarded.
const SERVER_ONLY: [&str; 6] =
    ["storage.tsdb.", "storage.remote.read-", "rules.", "alertmanager.", "query.", "web.search."];

/// In which of Prometheus's two modes a flag means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Both,
    Agent,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    /// Why the flag does nothing here, if so.
    pub(super) idle: Option<&'static str>,
    pub(super) mode: Mode,
    pub(super) is_hidden: bool,
    /// The name that switches a boolean off.
    pub(super) negated: &'static str,
}

/// The value of each flag, in the order of the table.
#[derive(Debug, Clone)]
pub struct Flags {
    values: Vec<(Flag, Vec<String>, bool)>,
}

/// Why there are no flags: the command line is wrong, or it asks for a text only.
#[derive(Debug)]
pub struct FlagsError {
    text: String,
    /// The status to end with.
    pub exit_code: u8,
}

impl FlagsError {
    /// Whether the text is the answer to `--help` or `--version` and belongs on standard output.
    pub fn is_answer(&self) -> bool {
        self.exit_code == 0
    }
}

impl fmt::Display for FlagsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for FlagsError {}

/// Status of a command line or configuration that is wrong.
const EXIT_USAGE: u8 = 2;
/// Status of a flag that belongs to the other mode.
const EXIT_MODE: u8 = 3;

impl Flags {
    /// Reads a command line whose first element is the program's name.
    pub fn parse<I: IntoIterator<Item = OsString>>(line: I) -> Result<Self, FlagsError> {
        let matches = command().try_get_matches_from(line).map_err(|error| FlagsError {
            text: error.to_string(),
            exit_code: match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
                _ => EXIT_USAGE,
            },
        })?;
        if matches.get_flag("write-documentation") {
            return Err(FlagsError { text: documentation(), exit_code: 0 });
        }
        let mut values = Vec::with_capacity(FLAGS.len());
        for flag in FLAGS {
            let (texts, is_given) = value_of(flag, &matches);
            let mut canonical = Vec::with_capacity(texts.len());
            for text in texts {
                canonical.push(check(flag.kind, &text).map_err(|why| FlagsError {
                    text: format!("error: invalid value for '--{}': {why}\n", flag.name),
                    exit_code: EXIT_USAGE,
                })?);
            }
            values.push((*flag, canonical, is_given));
        }
        let flags = Self { values };
        flags.refuse_other_mode()?;
        Ok(flags)
    }

    /// Whether the server only scrapes and forwards, by the flag or by its older name.
    pub fn is_agent(&self) -> bool {
        let features = self.texts("enable-feature").iter().flat_map(|list| list.split(','));
        self.is_on("agent") || features.into_iter().any(|name| name == "agent")
    }

    fn refuse_other_mode(&self) -> Result<(), FlagsError> {
        let is_agent = self.is_agent();
        let is_other = |flag: &Flag| match flag.mode {
            Mode::Agent => !is_agent,
            Mode::Both => is_agent && SERVER_ONLY.iter().any(|begin| flag.name.starts_with(begin)),
        };
        let given = self.values.iter().filter(|(flag, _, given)| *given && is_other(flag));
        let names: Vec<String> = given.map(|(flag, ..)| format!("--{}", flag.name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let list = names.join(" ");
        let may = if is_agent { "not" } else { "only" };
        Err(FlagsError {
            text: format!("The following flag(s) can {may} be used in agent mode: [{list}]\n"),
            exit_code: EXIT_MODE,
        })
    }

    fn values(&self, name: &str) -> &[String] {
        match self.values.iter().find(|(flag, ..)| flag.name == name) {
            Some((_, values, _)) => values,
            None => unreachable!("BUG: there is no flag {name}"),
        }
    }

    /// Whether the flag stands on the command line.
    pub fn is_given(&self, name: &str) -> bool {
        self.values.iter().any(|(flag, _, is_given)| flag.name == name && *is_given)
    }

    /// A flag's value.
    pub fn text(&self, name: &str) -> &str {
        self.values(name).first().map_or("", String::as_str)
    }

    /// The values of a flag that may be repeated.
    pub fn texts(&self, name: &str) -> &[String] {
        self.values(name)
    }

    /// Whether a boolean flag is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The milliseconds of a duration.
    pub fn duration_ms(&self, name: &str) -> i64 {
        parse_duration(self.text(name)).expect("BUG: the value was checked")
    }

    /// The nanoseconds of a duration in Go's form.
    pub fn go_duration_ns(&self, name: &str) -> i64 {
        parse_go_duration(self.text(name)).expect("BUG: the value was checked")
    }

    /// The value of a number of bytes.
    pub fn bytes(&self, name: &str) -> u64 {
        let bytes = crate::config::parse_bytes(self.text(name));
        u64::try_from(bytes.expect("BUG: the value was checked")).unwrap_or(0)
    }

    /// The value of a whole number.
    pub fn uint(&self, name: &str) -> u64 {
        self.text(name).parse().expect("BUG: the value was checked")
    }

    /// All flags with their values as `/api/v1/status/flags` shows them, sorted.
    pub fn listed(&self) -> Vec<(String, String)> {
        let pair = |(flag, values, _): &(Flag, Vec<String>, bool)| {
            (flag.name.to_owned(), values.join(","))
        };
        let mut list: Vec<_> = self.values.iter().map(pair).collect();
        list.sort();
        list
    }

    /// One line for each flag that was given and does nothing here.
    pub fn idle(&self) -> Vec<String> {
        let given = self.values.iter().filter(|(_, _, is_given)| *is_given);
        given
            .filter_map(|(flag, ..)| Some(format!("--{} is not active: {}", flag.name, flag.idle?)))
            .collect()
    }
}

fn value_of(flag: &Flag, matches: &ArgMatches) -> (Vec<String>, bool) {
    let is_default =
        (if flag.default.is_empty() { Vec::new() } else { vec![flag.default.to_owned()] }, false);
    if flag.kind == Kind::Bool {
        return match (matches.get_flag(flag.name), matches.get_flag(flag.negated)) {
            (true, _) => (vec!["true".to_owned()], true),
            (_, true) => (vec!["false".to_owned()], true),
            _ => is_default,
        };
    }
    match matches.get_many::<String>(flag.name) {
        Some(values) => (values.cloned().collect(), true),
        None => is_default,
    }
}

/// The value as it is shown, or why it is none.
fn check(kind: Kind, text: &str) -> Result<String, String> {
    let whole = || go_quote(text);
    match kind {
        Kind::Bool | Kind::Text | Kind::Texts | Kind::OneOf(_) => Ok(text.to_owned()),
        Kind::Duration => match parse_duration(text) {
            Ok(ms) => Ok(format_duration(ms)),
            Err(error) => Err(error.to_string()),
        },
        Kind::GoDuration => match parse_go_duration(text) {
            Ok(ns) => Ok(format_go_duration(ns)),
            Err(error) => Err(error.to_string()),
        },
        Kind::Bytes => crate::config::parse_bytes(text).map(crate::config::format_bytes),
        Kind::Uint => match text.parse::<u64>().or_else(|_| whole_number(text)) {
            Ok(value) => Ok(value.to_string()),
            Err(()) => Err(format!("{} is not a whole number", whole())),
        },
        Kind::Float => match parse_float(text) {
            Some(value) => Ok(float_text(value, FloatStyle::General)),
            None => Err(format!("{} is not a number", whole())),
        },
        Kind::Regex => Regex::new(text).map(|_| text.to_owned()).map_err(|e| e.to_string()),
    }
}

/// `5e7` stands for a whole number too.
fn whole_number(text: &str) -> Result<u64, ()> {
    let value = parse_float(text).ok_or(())?;
    let is_whole = value.fract() == 0.0 && (0.0..1e15).contains(&value);
    if is_whole { Ok(value as u64) } else { Err(()) }
}

/// All flags that are shown, as a table in Markdown.
fn documentation() -> String {
    let mut text = String::from("# narthex\n\n| Flag | Meaning | Default |\n| --- | --- | --- |\n");
    for flag in FLAGS.iter().filter(|flag| !flag.is_hidden) {
        let why = flag.idle.map(|why| format!(" Reason: {why}.")).unwrap_or_default();
        let Flag { name, help, default, .. } = flag;
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let line = format!("| `--{name}` | {help}{why} | {default} |\n");
        text.push_str(&line);
    }
    text
}

fn command() -> Command {
    let version = concat!(env!("CARGO_PKG_VERSION"), " (stands in for Prometheus 3.14.0)");
    let mut command = Command::new("narthex")
        .about("A metrics database that stands in for a Prometheus server.")
        .version(version)
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .long("version")
                .action(ArgAction::Version)
                .help("Print the version and end."),
        );
    for flag in FLAGS {
        let mut help = flag.help.to_owned();
        if let Some(why) = flag.idle {
            help = format!("{help} Reason: {why}.");
        }
        if !flag.default.is_empty() && flag.kind != Kind::Bool {
            help = format!("{help} [default: {}]", flag.default);
        }
        let arg = Arg::new(flag.name).long(flag.name).help(help).hide(flag.is_hidden);
        let arg = match flag.kind {
            Kind::Bool => arg.action(ArgAction::SetTrue),
            Kind::Texts => arg.action(ArgAction::Append).value_name("VALUE"),
            Kind::OneOf(values) => arg.value_parser(PossibleValuesParser::new(values)),
            _ => arg.action(ArgAction::Set).value_name("VALUE"),
        };
        command = command.arg(arg);
        if flag.kind == Kind::Bool {
            let negated = Arg::new(flag.negated).long(flag.negated).hide(true);
            let negated = negated.action(ArgAction::SetTrue).conflicts_with(flag.name);
            command = command.arg(negated);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Flags, FlagsError> {
        let program = std::iter::once("narthex");
        Flags::parse(program.chain(line.iter().copied()).map(OsString::from))
    }

    #[test]
    fn defaults_are_prometheus_s() {
        let flags = parse(&[]).unwrap();
        assert_eq!(flags.text("config.file"), "prometheus.yml");
        assert_eq!(flags.texts("web.listen-address"), ["0.0.0.0:9090"]);
        assert_eq!(flags.duration_ms("query.timeout"), 120_000);
        assert_eq!(flags.uint("query.max-samples"), 50_000_000);
        assert!(!flags.is_on("web.enable-lifecycle") && flags.is_on("auto-gomaxprocs"));
        assert!(flags.idle().is_empty());
        assert!(flags.listed().contains(&("storage.tsdb.path".to_owned(), "data/".to_owned())));
        assert!(flags.listed().contains(&("enable-feature".to_owned(), String::new())));
        assert!(flags.listed().windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn both_spellings_negation_and_repetition() {
        let line = [
            "--config.file=a.yml",
            "--storage.tsdb.path",
            "d",
            "--web.listen-address=127.0.0.1:1",
            "--web.listen-address=127.0.0.1:2",
            "--web.enable-lifecycle",
            "--no-auto-gomaxprocs",
            "--query.timeout=90s",
        ];
        let flags = parse(&line).unwrap();
        assert_eq!((flags.text("config.file"), flags.text("storage.tsdb.path")), ("a.yml", "d"));
        assert_eq!(flags.texts("web.listen-address"), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert!(flags.is_on("web.enable-lifecycle") && !flags.is_on("auto-gomaxprocs"));
        assert_eq!(flags.text("query.timeout"), "1m30s");
        let idle = flags.idle();
        assert_eq!(idle.len(), 1);
        assert!(idle[0].starts_with("--auto-gomaxprocs is not active: "));
    }

    #[test]
    fn mistakes_end_with_status_2() {
        for line in [
            &["--nope"][..],
            &["--query.timeout=abc"],
            &["--query.max-samples=-1"],
            &["--log.level=loud"],
            &["--config.file=a", "--config.file=b"],
            &["--web.cors.origin=("],
            &["--storage.tsdb.retention.size=5"],
            &["--storage.tsdb.retention=1d"],
            &["argument"],
            &["--web.enable-lifecycle=false"],
        ] {
            let error = parse(line).expect_err("refused");
            assert_eq!(error.exit_code, 2, "{line:?}");
            assert!(!error.to_string().is_empty());
        }
        assert!(parse(&["--nope"]).unwrap_err().to_string().contains("--nope"));
    }

    #[test]
    fn other_outcomes() {
        assert_eq!(parse(&["--storage.agent.path=x"]).unwrap_err().exit_code, 3);
        let agent = parse(&["--agent", "--storage.agent.path=x"]).unwrap();
        assert!(agent.is_agent() && parse(&["--enable-feature=a,agent"]).unwrap().is_agent());
        let error = parse(&["--agent", "--query.timeout=1m"]).unwrap_err();
        assert_eq!(error.exit_code, 3);
        let text = "can not be used in agent mode: [--query.timeout]";
        assert!(error.text.contains(text), "{}", error.text);
        let version = parse(&["--version"]).unwrap_err();
        assert!(version.is_answer() && version.to_string().contains("3.14.0"));
        let help = parse(&["--help"]).unwrap_err();
        assert!(help.is_answer() && help.to_string().contains("--query.lookback-delta"));
        assert!(!help.to_string().contains("--scrape.adjust-timestamps"));
        let table = parse(&["--write-documentation"]).unwrap_err();
        assert!(table.is_answer());
        let table = table.to_string();
        assert!(table.contains("| `--query.timeout` | ") && table.ends_with("|\n"), "{table}");
        assert_eq!(table.lines().count(), 4 + FLAGS.iter().filter(|f| !f.is_hidden).count());
    }
}
