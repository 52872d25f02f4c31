//! `query` and `query_range`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{TRUNCATED, list, success};
use crate::http::json::{self, TimeTexts};
use crate::http::params::Params;
use crate::http::query_log::{Entry, Origin};
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::{RESULT_BYTES_MAX, Sink};
use crate::model::go_quote;
use crate::promql::ast::{Ast, ValueType};
use crate::promql::engine::{
    MatrixSeries, Query, QueryError, QueryOptions, QueryRange, QueryResult, QueryStats, StepStats,
    Value,
};
use crate::promql::parse::parse_while;
use crate::select::{Cancellation, Charge, SelectError};
use crate::telemetry::traces::{Context, Span};

/// COMPAT: most points of one series that a range query may give.
const POINTS_MAX: i64 = 11_000;
/// Points printed before it is looked whether they fill a piece.
const POINTS_PER_PIECE: usize = 2048;

/// The longest that a query with these parameters may take.
pub(in crate::http) fn timeout(service: &Service, params: &Params) -> Result<Duration, ApiError> {
    let limit = service.engine().options().timeout;
    match params.duration_ns("timeout")? {
        Some(ns) if ns < 0 => {
            Err(ApiError::invalid_parameter("timeout", "timeout must not be negative"))
        }
        Some(ns) => Ok(limit.min(Duration::from_nanos(ns as u64))),
        None => Ok(limit),
    }
}

/// Which of the two kinds of query is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Form {
    /// At one time.
    Instant,
    /// At the steps of a range.
    Range,
}

/// A query as it came.
#[derive(Debug)]
pub(in crate::http) struct Job {
    pub(in crate::http) form: Form,
    pub(in crate::http) params: Params,
    pub(in crate::http) origin: Origin,
    /// When it came.
    pub(in crate::http) asked: Instant,
    /// The request that it is part of, where that is traced.
    pub(in crate::http) part_of: Option<Context>,
}

/// A result that is ready to be printed. Holds what it takes until it is dropped.
#[derive(Debug)]
pub(in crate::http) struct Evaluated {
    result: QueryResult,
    limit: usize,
    /// What `stats` says.
    asked_for: String,
    stats: String,
    _held: Charge,
}

impl Evaluated {
    /// Whether its text is most likely no longer than what is printed whole.
    pub(in crate::http) fn is_short(&self) -> bool {
        // A point is seldom longer than thirty characters.
        self.result.value.bytes() * 2 < RESULT_BYTES_MAX as u64
    }
}

fn options(params: &Params) -> Result<QueryOptions, ApiError> {
    let lookback_delta_ms = params.duration_ns("lookback_delta").map_err(|error| {
        let text = error.message.replacen("invalid parameter \"lookback_delta\": ", "", 1);
        ApiError::bad_data(format!("error parsing lookback delta duration: {text}"))
    })?;
    Ok(QueryOptions {
        lookback_delta_ms: lookback_delta_ms.map(|ns| ns / 1_000_000),
        per_step_stats: params.text("stats") == "all",
        ..QueryOptions::default()
    })
}

/// A query that is to be evaluated.
struct Task<'a> {
    text: &'a str,
    ast: Ast,
    range: QueryRange,
    options: QueryOptions,
    limit: usize,
}

impl Job {
    /// Evaluates. `is_attempt`: it will be tried again if its time ends, and is not counted then.
    pub(in crate::http) fn evaluate(
        &self,
        service: &Service,
        cancellation: &Cancellation,
        is_attempt: bool,
    ) -> Result<Evaluated, ApiError> {
        let task = match self.form {
            Form::Instant => instant(service, &self.params, cancellation)?,
            Form::Range => range(service, &self.params, cancellation)?,
        };
        let source = service.source(&self.params)?;
        let began = Instant::now();
        let mut span = self.span(&task);
        let query = Query { text: task.text, ast: &task.ast };
        let (engine, options) = (service.engine(), &task.options);
        // Kept results are those of the whole database, and statistics those of all steps.
        let is_plain = self.params.text("stats").is_empty()
            && self.params.scope().is_empty()
            && service.remote_sources().is_none();
        let result = match (self.form, service.database(), service.results()) {
            (Form::Instant, ..) => {
                engine.instant(&source, query, task.range.start_ms, options, cancellation)
            }
            (Form::Range, Some(database), Some(cache)) if is_plain => {
                cache.range(database, &engine, query, task.range, options, cancellation)
            }
            (Form::Range, ..) => engine.range(&source, query, task.range, options, cancellation),
        };
        if is_attempt && matches!(result, Err(QueryError::TimedOut)) {
            span.fail("put back: it takes longer than a query may beside those that run");
            return Err(QueryError::TimedOut.into());
        }
        let times = Times { queued: began.saturating_duration_since(self.asked), began };
        tell(&mut span, &times, result.as_ref());
        let (result, stats) = self.finish(service, &task, result, &times)?;
        let mut held = cancellation.charge();
        held.set(result.value.bytes()).map_err(SelectError::from)?;
        let (limit, asked_for) = (task.limit, self.params.text("stats").to_owned());
        Ok(Evaluated { result, limit, asked_for, stats, _held: held })
    }

    /// The piece of work that a trace shows.
    fn span(&self, task: &Task<'_>) -> Span {
        let name = match self.form {
            Form::Instant => "promqlInstantQuery",
            Form::Range => "promqlRangeQuery",
        };
        let mut span = Span::part_of(self.part_of.as_ref(), name);
        if span.is_sampled() {
            span.set("query", task.text);
            span.set("timeout", self.params.text("timeout"));
            match self.form {
                Form::Instant => span.set("time", self.params.text("time")),
                Form::Range => {
                    for key in ["start", "end", "step"] {
                        span.set(key, self.params.text(key));
                    }
                }
            }
        }
        span
    }

    /// Counts and logs an evaluated query; gives its statistics as JSON.
    fn finish(
        &self,
        service: &Service,
        task: &Task<'_>,
        result: Result<QueryResult, QueryError>,
        times: &Times,
    ) -> Result<(QueryResult, String), ApiError> {
        let took = times.began.elapsed();
        let counts = service.control.counts();
        let unknown = QueryStats::default();
        let figures = result.as_ref().map_or(&unknown, |result| &result.stats);
        counts.observe_query(took);
        counts.add_query_samples(figures.total_queryable_samples);
        let log = service.query_log();
        let is_asked_for = log.is_some() || !self.params.text("stats").is_empty();
        let stats =
            if is_asked_for { statistics(figures, times.queued, took) } else { String::new() };
        if let Some(log) = log {
            let error = result.as_ref().err().map(ToString::to_string);
            let QueryRange { start_ms, end_ms, step_ms } = task.range;
            let entry = Entry {
                query: task.text,
                start_ms,
                end_ms,
                step_ms: if self.form == Form::Instant { 0 } else { step_ms },
                error: error.as_deref(),
                stats: &stats,
                origin: &self.origin,
            };
            // A duration that is none is a fault of the text: it was never evaluated.
            let is_evaluated = !matches!(result, Err(QueryError::Duration(_)));
            if is_evaluated && log.write(&entry).is_err() {
                counts.query_log_failed();
            }
        }
        Ok((result?, stats))
    }
}

/// When a query began to run, and how long it had waited.
struct Times {
    queued: Duration,
    began: Instant,
}

/// Says in a trace how long the parts of a query took.
fn tell(span: &mut Span, times: &Times, result: Result<&QueryResult, &QueryError>) {
    if !span.is_sampled() {
        return;
    }
    let took = times.began.elapsed();
    let stats = match result {
        Ok(result) => &result.stats,
        Err(error) => return span.fail(&error.to_string()),
    };
    let asked = times.began.checked_sub(times.queued).unwrap_or(times.began);
    span.add_past("promqlExecQueue", asked, times.queued);
    span.add_past("promqlPrepare", times.began, stats.prepare_time);
    let inner = took.saturating_sub(stats.prepare_time).saturating_sub(stats.sort_time);
    let prepared = times.began + stats.prepare_time;
    span.add_past("promqlInnerEval", prepared, inner);
    span.add_past("promqlSort", prepared + inner, stats.sort_time);
    let samples = i64::try_from(stats.total_queryable_samples).unwrap_or(i64::MAX);
    span.set("total_queryable_samples", samples);
}

/// COMPAT: keys and their order are Prometheus's.
pub(in crate::http) fn statistics(
    figures: &QueryStats,
    queued: Duration,
    took: Duration,
) -> String {
    let QueryStats { prepare_time, sort_time, .. } = *figures;
    let inner = took.saturating_sub(prepare_time).saturating_sub(sort_time);
    let total = took + queued;
    let [took, sort, prepare, inner, waited, total] =
        [took, sort_time, prepare_time, inner, queued, total].map(|time| time.as_secs_f64());
    let by_step = |key: &str, count: fn(&StepStats) -> u64| {
        let step = |step: &StepStats| {
            let mut time = Vec::new();
            json::push_time(&mut time, step.t_ms);
            format!("[{},{}]", String::from_utf8_lossy(&time), count(step))
        };
        let steps: Vec<_> = figures.steps.iter().map(step).collect();
        if steps.is_empty() { String::new() } else { format!("\"{key}\":[{}],", steps.join(",")) }
    };
    format!(
        "{{\"timings\":{{\"evalTotalTime\":{took},\"resultSortTime\":{sort},\
         \"queryPreparationTime\":{prepare},\"innerEvalTime\":{inner},\
         \"execQueueTime\":{waited},\"execTotalTime\":{total}}},\
         \"samples\":{{{}\"totalQueryableSamples\":{},{}\"samplesRead\":{},\
         \"peakSamples\":{}}}}}",
        by_step("totalQueryableSamplesPerStep", |step| step.total_queryable_samples),
        figures.total_queryable_samples,
        by_step("samplesReadPerStep", |step| step.samples_read),
        figures.samples_read,
        figures.peak_samples
    )
}

pub(in crate::http) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Parses a query while somebody waits for its answer.
fn read(service: &Service, text: &str, cancellation: &Cancellation) -> Result<Ast, ApiError> {
    let goes_on = || cancellation.check().is_ok();
    parse_while(text, &service.settings.parse, &goes_on).map_err(|error| {
        match cancellation.check() {
            Err(stopped) => QueryError::from(stopped).into(),
            Ok(()) => ApiError::invalid_parameter("query", &error.to_string()),
        }
    })
}

/// `/api/v1/query`
fn instant<'a>(
    service: &Service,
    params: &'a Params,
    cancellation: &Cancellation,
) -> Result<Task<'a>, ApiError> {
    let limit = params.limit("limit")?;
    let t_ms = params.time_or("time", now_ms())?;
    let options = options(params)?;
    let text = params.text("query");
    let ast = read(service, text, cancellation)?;
    let range = QueryRange { start_ms: t_ms, end_ms: t_ms, step_ms: 1 };
    Ok(Task { text, ast, range, options, limit })
}

/// `/api/v1/query_range`
fn range<'a>(
    service: &Service,
    params: &'a Params,
    cancellation: &Cancellation,
) -> Result<Task<'a>, ApiError> {
    let limit = params.limit("limit")?;
    let (start_ms, end_ms) = (params.time("start")?, params.time("end")?);
    if end_ms < start_ms {
        let text = "end timestamp must not be before start time";
        return Err(ApiError::invalid_parameter("end", text));
    }
    let Some(step_ns) = params.duration_ns("step")? else {
        let text = format!("cannot parse {} to a valid duration", go_quote(""));
        return Err(ApiError::invalid_parameter("step", &text));
    };
    if step_ns <= 0 {
        let text = "zero or negative query resolution step widths are not accepted. \
                    Try a positive integer";
        return Err(ApiError::invalid_parameter("step", text));
    }
    let span_ns = i128::from(end_ms - start_ms) * 1_000_000;
    if span_ns / i128::from(step_ns) > i128::from(POINTS_MAX) {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
        ));
    }
    let options = options(params)?;
    let text = params.text("query");
    let ast = read(service, text, cancellation)?;
    let value_type = ast.node(ast.root).value_type;
    if !matches!(value_type, ValueType::Vector | ValueType::Scalar) {
        let name = match value_type {
            ValueType::Matrix => "range vector",
            _ => "string",
        };
        let text = format!(
            "invalid expression type \"{name}\" for range query, must be Scalar or instant Vector"
        );
        return Err(ApiError::invalid_parameter("query", &text));
    }
    // Steps are whole milliseconds inside; what is shorter is one.
    let step_ms = (step_ns / 1_000_000).max(1);
    let range = QueryRange { start_ms, end_ms, step_ms };
    Ok(Task { text, ast, range, options, limit })
}

/// Prints a result.
pub(in crate::http) fn print(sink: &mut Sink, evaluated: &Evaluated) -> Result<(), ApiError> {
    let Evaluated { result, limit, asked_for, stats, _held } = evaluated;
    let QueryResult { value, warnings, infos, .. } = result;
    let mut warnings = warnings.clone();
    if !matches!(asked_for.as_str(), "" | "true" | "all") {
        warnings.push(format!(
            "value {} for parameter \"stats\" is deprecated and will be rejected in the next \
             major release, use \"true\" or \"all\"",
            go_quote(asked_for)
        ));
    }
    let series = match value {
        Value::Vector(vector) => vector.len(),
        Value::Matrix(matrix) => matrix.len(),
        Value::Scalar { .. } | Value::String { .. } => 0,
    };
    let shown = if *limit > 0 { series.min(*limit) } else { series };
    if shown < series {
        // First, so that other warnings do not crowd it out.
        warnings.insert(0, TRUNCATED.to_owned());
    }
    let data = |sink: &mut Sink| {
        let head = format!("{{\"resultType\":\"{}\",\"result\":", value.value_type().as_str());
        sink.buffer().extend_from_slice(head.as_bytes());
        print_value(sink, value, shown)?;
        if !asked_for.is_empty() {
            sink.buffer().extend_from_slice(b",\"stats\":");
            sink.buffer().extend_from_slice(stats.as_bytes());
        }
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &warnings, infos)
}

/// Prints the first `shown` series of a value.
fn print_value(sink: &mut Sink, value: &Value, shown: usize) -> Result<(), ApiError> {
    match value {
        Value::Scalar { t_ms, value } => {
            json::push_scalar(sink.buffer(), *t_ms, *value);
            Ok(())
        }
        Value::String { t_ms, value } => {
            json::push_text(sink.buffer(), *t_ms, value);
            Ok(())
        }
        Value::Vector(vector) => list(sink, &vector[..shown], |out, sample| {
            out.extend_from_slice(b"{\"metric\":");
            json::push_labels(out, &sample.labels);
            if let Some(histogram) = &sample.histogram {
                out.extend_from_slice(b",\"histogram\":");
                json::push_histogram_point(out, sample.t_ms, histogram);
            } else {
                out.extend_from_slice(b",\"value\":");
                json::push_point(out, sample.t_ms, sample.value);
            }
            out.push(b'}');
        }),
        Value::Matrix(matrix) => {
            let mut times = TimeTexts::default();
            for (i, series) in matrix[..shown].iter().enumerate() {
                sink.buffer().push(if i > 0 { b',' } else { b'[' });
                print_series(sink, series, &mut times)?;
            }
            let close: &[u8] = if shown == 0 { b"[]" } else { b"]" };
            sink.buffer().extend_from_slice(close);
            Ok(())
        }
    }
}

/// Prints a series of a matrix, a part at a time: one may have millions of points.
fn print_series(
    sink: &mut Sink,
    series: &MatrixSeries,
    times: &mut TimeTexts,
) -> Result<(), ApiError> {
    sink.buffer().extend_from_slice(b"{\"metric\":");
    json::push_labels(sink.buffer(), &series.labels);
    let MatrixSeries { samples, histograms, .. } = series;
    if !samples.is_empty() || histograms.is_empty() {
        sink.buffer().extend_from_slice(b",\"values\":[");
        let mut printed = 0;
        while printed < samples.len() {
            if printed > 0 {
                sink.buffer().push(b',');
            }
            let end = samples.len().min(printed + POINTS_PER_PIECE);
            times.push_points(sink.buffer(), samples, printed..end);
            printed = end;
            sink.flush_if_full()?;
        }
        sink.buffer().push(b']');
    }
    for (i, (t_ms, histogram)) in histograms.iter().enumerate() {
        let open: &[u8] = if i > 0 { b"," } else { b",\"histograms\":[" };
        sink.buffer().extend_from_slice(open);
        json::push_histogram_point(sink.buffer(), *t_ms, histogram);
        sink.flush_if_full()?;
    }
    sink.buffer().extend_from_slice(if histograms.is_empty() { b"}" } else { b"]}" });
    sink.flush_if_full()
}
