//! `search/metric_names`, `search/label_names` and `search/label_values`: names found by what
//! somebody types, best or first ones only, as lines of JSON.
//!
//! COMPAT: parameters, their checks and texts, the lines and the scores are Prometheus 3.14's.
//! What is kept of what is found is bounded by `limit`, long terms are refused, and a search ends
//! with its time also where one name takes long.

mod score;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;

use super::query::now_ms;
use super::series::union;
use super::targets::MetricMetadata;
use crate::http::handlers::{Shared, parameters};
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::{self, ApiError, ErrorKind};
use crate::http::service::Service;
use crate::http::stream::{Sink, answer};
use crate::model::{FloatStyle, TimeRange, go_quote, push_float};
use crate::select::{Cancellation, Queryable as _};

use score::{Algorithm, Patience, Wanted};

const LINES: &str = "application/x-ndjson; charset=utf-8";
const HOUR_MS: i64 = 3_600_000;
/// Results and results of a line where nobody says.
const RESULTS_DEFAULT: usize = 100;
/// COMPAT: terms of one search.
const TERMS_MAX: usize = 32;
/// Bytes of a term.
const TERM_BYTES_MAX: usize = 4096;

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Subject {
    MetricNames,
    LabelNames,
    LabelValues,
}

impl Subject {
    fn path(self) -> &'static str {
        match self {
            Self::MetricNames => "metric_names",
            Self::LabelNames => "label_names",
            Self::LabelValues => "label_values",
        }
    }
}

/// In which order results come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Rising,
    Falling,
    BestFirst,
}

/// What a request asks for.
#[derive(Debug)]
struct Search {
    range: TimeRange,
    wanted: Wanted,
    order: Order,
    shows_score: bool,
    results_max: usize,
    line_results_max: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Found {
    name: String,
    score: f64,
}

/// One of the paths.
pub(in crate::http) async fn search(
    subject: Subject,
    State(service): Shared,
    request: Request,
) -> Response {
    if let Err(error) = is_there(&service) {
        return reply::error(&error);
    }
    let (params, gzip) = match parameters(request).await {
        Ok(parameters) => parameters,
        Err(error) => return reply::error(&error),
    };
    let timeout = service.engine().options().timeout;
    let cancellation = service.cancellation(Instant::now() + timeout);
    answer(LINES, gzip, cancellation, move |sink, cancellation| {
        run(subject, &service, &params, sink, cancellation).inspect_err(|error| {
            if let Some(limit) = error.limit {
                service.control.counts().query_refused(limit);
            }
        })
    })
    .await
}

fn is_there(service: &Arc<Service>) -> Result<(), ApiError> {
    if service.settings.search_results_max.is_none() {
        return Err(ApiError::new(ErrorKind::Unavailable, "search API disabled"));
    }
    if service.settings.is_agent {
        let why = "unavailable with Prometheus Agent";
        return Err(ApiError::new(ErrorKind::Execution, why));
    }
    Ok(())
}

fn run(
    subject: Subject,
    service: &Service,
    params: &Params,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let search = Search::parse(params, service.settings.search_results_max.unwrap_or(0))?;
    check_order(params, subject)?;
    let range = search.range;
    let label = match subject {
        Subject::LabelValues if params.text("label").is_empty() => {
            // The selectors are looked at before that.
            super::series::matcher_sets(service, params)?;
            return Err(ApiError::bad_data("missing required parameter \"label\""));
        }
        Subject::LabelValues => params.text("label"),
        Subject::MetricNames | Subject::LabelNames => "__name__",
    };
    let names = union(service, params, |source, matchers| {
        Ok(match subject {
            Subject::LabelNames => source.label_names(matchers, range, cancellation)?,
            _ => source.label_values(label, matchers, range, cancellation)?,
        })
    })?;
    let with_metadata = subject == Subject::MetricNames && flag(params, "include_metadata", false)?;
    let mut found = search.choose(names, cancellation)?;
    let has_more = found.len() > search.results_max;
    found.truncate(search.results_max);
    let metadata =
        if with_metadata && !found.is_empty() { service.control.metadata() } else { Vec::new() };
    let key = if subject == Subject::LabelValues { "value" } else { "name" };
    let printed = Printed { key, shows_score: search.shows_score, metadata: &metadata };
    printed.print(sink, &found, search.line_results_max, has_more)
}

/// COMPAT: this is looked at after all else that the paths have in common.
fn check_order(params: &Params, subject: Subject) -> Result<(), ApiError> {
    let order = params.text("sort_by");
    if matches!(order, "" | "alpha" | "score") {
        return Ok(());
    }
    Err(ApiError::bad_data(format!(
        "invalid sort_by {} for {}: must be \"alpha\" or \"score\"",
        go_quote(order),
        subject.path()
    )))
}

fn time(params: &Params, name: &str, default_ms: i64) -> Result<i64, ApiError> {
    params.time_or(name, default_ms).map_err(|error| {
        // COMPAT: the parameter is named once.
        let prefix = format!("invalid parameter \"{name}\": ");
        ApiError::bad_data(error.message.strip_prefix(&prefix).unwrap_or(&error.message))
    })
}

/// COMPAT: what Go takes for a boolean.
fn flag(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.text(name) {
        "" => Ok(default),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        text => {
            let text = go_quote(text);
            Err(ApiError::bad_data(format!("invalid {name} {text}: must be boolean")))
        }
    }
}

/// A whole number above 0.
fn positive(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let text = params.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.parse::<i64>().ok().filter(|number| *number > 0);
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.map(Some).ok_or_else(|| {
        ApiError::bad_data(format!("invalid {name} {}: must be a positive integer", go_quote(text)))
    })
}

impl Search {
    fn parse(params: &Params, cap: usize) -> Result<Self, ApiError> {
        let bad = |text: String| Err(ApiError::bad_data(text));
        let now_ms = now_ms();
        let range = TimeRange {
            min_ms: time(params, "start", now_ms - HOUR_MS)?,
            max_ms: time(params, "end", now_ms)?,
        };
        if range.max_ms < range.min_ms {
            return bad("end timestamp must not be before start timestamp".to_owned());
        }
        let count = params.all("search[]").count();
        if count > TERMS_MAX {
            return bad(format!("too many search[] terms: got {count}, maximum is {TERMS_MAX}"));
        }
        if let Some(term) = params.all("search[]").find(|term| term.len() > TERM_BYTES_MAX) {
            let len = term.len();
            return bad(format!("search[] term of {len} bytes, maximum is {TERM_BYTES_MAX}"));
        }
        let percent = match params.text("fuzz_threshold") {
            "" => Some(0),
            text => text.parse::<i64>().ok().filter(|percent| (0..=100).contains(percent)),
        };
        let Some(percent) = percent else {
            let text = go_quote(params.text("fuzz_threshold"));
            return bad(format!("invalid fuzz_threshold {text}: must be 0-100"));
        };
        let algorithm = match params.text("fuzz_alg") {
            "" | "subsequence" => Algorithm::Subsequence,
            "jarowinkler" => Algorithm::JaroWinkler,
            text => {
                let text = go_quote(text);
                return bad(format!(
                    "unsupported fuzz_alg {text}: must be one of [subsequence jarowinkler]"
                ));
            }
        };
        let folds_case = !flag(params, "case_sensitive", true)?;
        let shows_score = flag(params, "include_score", false)?;
        let order = Order::parse(params)?;
        let threshold = percent as f64 / 100.0;
        let results_max = results_max(params, cap)?;
        let line_results_max = positive(params, "batch_size")?.unwrap_or(RESULTS_DEFAULT);
        let wanted = Wanted::new(params.all("search[]"), algorithm, threshold, folds_case);
        Ok(Self { range, wanted, order, shows_score, results_max, line_results_max })
    }

    /// The results in order, and one more than are wanted where there is one.
    fn choose(
        &self,
        names: Vec<String>,
        cancellation: &Cancellation,
    ) -> Result<Vec<Found>, ApiError> {
        let count = self.results_max.saturating_add(1);
        let names: Box<dyn Iterator<Item = String>> = match self.order {
            Order::Falling => Box::new(names.into_iter().rev()),
            Order::Rising | Order::BestFirst => Box::new(names.into_iter()),
        };
        let mut patience = Patience::new(cancellation);
        let mut found = Vec::new();
        for name in names {
            let Some(score) = self.wanted.score(&name, &mut patience)? else { continue };
            found.push(Found { name, score });
            if self.order != Order::BestFirst && found.len() == count {
                break;
            }
            if found.len() >= count.saturating_mul(2) {
                keep_best(&mut found, count);
            }
        }
        if self.order == Order::BestFirst {
            keep_best(&mut found, count);
        }
        Ok(found)
    }
}

/// COMPAT: of equal scores the first name is first.
fn keep_best(found: &mut Vec<Found>, count: usize) {
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.name.cmp(&b.name)));
    found.truncate(count);
}

fn results_max(params: &Params, cap: usize) -> Result<usize, ApiError> {
    let cap = if cap == 0 { usize::MAX } else { cap };
    let asked = positive(params, "limit")?.unwrap_or(RESULTS_DEFAULT.min(cap));
    if asked <= cap {
        return Ok(asked);
    }
    Err(ApiError::bad_data(format!(
        "limit {asked} exceeds the configured maximum ({cap}, see --web.search.max-limit)"
    )))
}

impl Order {
    fn parse(params: &Params) -> Result<Self, ApiError> {
        let bad = |text: &str| Err(ApiError::bad_data(text));
        let (by, direction) = (params.text("sort_by"), params.text("sort_dir"));
        if !direction.is_empty() && by.is_empty() {
            return bad("sort_dir is only valid when sort_by is set");
        }
        if !direction.is_empty() && by == "score" {
            return bad("sort_dir is not supported for sort_by=score");
        }
        if !matches!(direction, "" | "asc" | "dsc") {
            let direction = go_quote(direction);
            return bad(&format!("invalid sort_dir {direction}: must be \"asc\" or \"dsc\""));
        }
        if by == "score" && params.all("search[]").next().is_none() {
            return bad("sort_by=score requires search[] to be set");
        }
        Ok(match (by, direction) {
            ("score", _) => Self::BestFirst,
            ("alpha", "dsc") => Self::Falling,
            _ => Self::Rising,
        })
    }
}

/// How results become lines.
struct Printed<'a> {
    key: &'static str,
    shows_score: bool,
    /// By name.
    metadata: &'a [(String, MetricMetadata)],
}

impl Printed<'_> {
    /// COMPAT: there is a first line even without results, and one that ends the answer.
    fn print(
        &self,
        sink: &mut Sink,
        found: &[Found],
        line_results_max: usize,
        has_more: bool,
    ) -> Result<(), ApiError> {
        if found.is_empty() {
            sink.buffer().extend_from_slice(b"{\"results\":[]}\n");
        }
        for line in found.chunks(line_results_max) {
            sink.buffer().extend_from_slice(b"{\"results\":[");
            for (i, one) in line.iter().enumerate() {
                if i > 0 {
                    sink.buffer().push(b',');
                }
                self.push(sink.buffer(), one);
                sink.flush_if_full()?;
            }
            sink.buffer().extend_from_slice(b"]}\n");
        }
        let last = format!("{{\"status\":\"success\",\"has_more\":{has_more}}}\n");
        sink.buffer().extend_from_slice(last.as_bytes());
        Ok(())
    }

    fn push(&self, out: &mut Vec<u8>, one: &Found) {
        out.extend_from_slice(format!("{{\"{}\":", self.key).as_bytes());
        json::push_str(out, &one.name);
        if self.shows_score {
            out.extend_from_slice(b",\"score\":");
            push_float(out, one.score, FloatStyle::Api);
        }
        let at = self.metadata.partition_point(|(name, _)| *name < one.name);
        if let Some((_, said)) = self.metadata.get(at).filter(|(name, _)| *name == one.name) {
            let fields = [("type", &said.metric_type), ("help", &said.help), ("unit", &said.unit)];
            for (key, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
                out.extend_from_slice(format!(",\"{key}\":").as_bytes());
                json::push_str(out, text);
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<Search, String> {
        let params = Params::parse(query, None).unwrap();
        Search::parse(&params, 10).map_err(|error| error.message)
    }

    fn chosen(query: &str, names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let found = parsed(query).unwrap().choose(names, &Cancellation::new()).unwrap();
        found.into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn one_more_than_is_asked_for_is_chosen_in_order() {
        let names = ["a1", "a2", "b1", "b2", "c"];
        assert_eq!(chosen("limit=2", &names), ["a1", "a2", "b1"]);
        assert_eq!(
            chosen("limit=9&sort_by=alpha&sort_dir=dsc", &names),
            ["c", "b2", "b1", "a2", "a1"]
        );
        assert_eq!(chosen("limit=1&sort_by=alpha&sort_dir=dsc&search[]=b", &names), ["b2", "b1"]);
        let many = ["xa", "xxa", "ya", "za", "a", "aa", "xxxa", "yya"];
        let best = chosen("limit=2&sort_by=score&search[]=a&fuzz_alg=jarowinkler", &many);
        assert_eq!(best, ["a", "aa", "xa"]);
        assert!(chosen("search[]=q", &names).is_empty());
    }

    #[test]
    fn work_ends_when_nobody_waits() {
        let gone = Cancellation::new();
        gone.cancel();
        let error = parsed("").unwrap().choose(vec!["a".to_owned()], &gone).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Canceled);
    }

    #[test]
    fn bounds_hold_and_name_themselves() {
        assert_eq!(parsed("").unwrap().results_max, 10);
        assert_eq!(parsed("limit=7").unwrap().results_max, 7);
        assert!(parsed("limit=11").unwrap_err().contains("(10, see --web.search.max-limit)"));
        let params = Params::parse("limit=9223372036854775807", None).unwrap();
        assert!(Search::parse(&params, 0).is_ok());
        let long = format!("search[]={}", "x".repeat(TERM_BYTES_MAX + 1));
        assert!(parsed(&long).unwrap_err().contains("maximum is 4096"));
        assert!(parsed(&"search[]=x&".repeat(33)).unwrap_err().contains("got 33, maximum is 32"));
    }
}
