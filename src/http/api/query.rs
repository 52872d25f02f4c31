//! `query` and `query_range`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{TRUNCATED, list, success};
use crate::http::json::{self, TimeTexts};
use crate::http::params::Params;
use crate::http::query_log::{Entry, Origin};
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::go_quote;
use crate::promql::ast::ValueType;
use crate::promql::engine::{
    Query, QueryError, QueryOptions, QueryRange, QueryResult, QueryStats, Value,
};
use crate::promql::parse::parse;
use crate::select::{Cancellation, Charge, SelectError};

/// COMPAT: most points of one series that a range query may give.
const POINTS_MAX: i64 = 11_000;

/// The longest that a query with these parameters may take.
pub(in crate::http) fn timeout(service: &Service, params: &Params) -> Result<Duration, ApiError> {
    let limit = service.engine().options().timeout;
    Ok(match params.duration_ns("timeout")? {
        Some(ns) => limit.min(Duration::from_nanos(ns.max(0) as u64)),
        None => limit,
    })
}

fn options(params: &Params) -> Result<QueryOptions, ApiError> {
    let lookback_delta_ms = params.duration_ns("lookback_delta").map_err(|error| {
        let text = error.message.replacen("invalid parameter \"lookback_delta\": ", "", 1);
        ApiError::bad_data(format!("error parsing lookback delta duration: {text}"))
    })?;
    Ok(QueryOptions {
        lookback_delta_ms: lookback_delta_ms.map(|ns| ns / 1_000_000),
        ..QueryOptions::default()
    })
}

/// A query as the log has it.
struct Asked<'a> {
    text: &'a str,
    start_ms: i64,
    end_ms: i64,
    step_ms: i64,
    origin: &'a Origin,
}

/// Counts and logs an evaluated query; gives its statistics as JSON.
fn finish(
    service: &Service,
    asked: &Asked<'_>,
    result: Result<QueryResult, QueryError>,
    began: Instant,
) -> Result<(QueryResult, String), ApiError> {
    let took = began.elapsed();
    let counts = service.control.counts();
    let figures = result.as_ref().map_or(QueryStats::default(), |result| result.stats);
    counts.observe_query(took);
    counts.add_query_samples(figures.total_queryable_samples);
    let stats = statistics(figures, took);
    if let Some(log) = service.query_log() {
        let error = result.as_ref().err().map(ToString::to_string);
        let &Asked { text, start_ms, end_ms, step_ms, origin } = asked;
        let entry = Entry {
            query: text,
            start_ms,
            end_ms,
            step_ms,
            error: error.as_deref(),
            stats: &stats,
            origin,
        };
        // A duration that is none is a fault of the text: it was never evaluated.
        let is_evaluated = !matches!(result, Err(QueryError::Duration(_)));
        if is_evaluated && log.write(&entry).is_err() {
            counts.query_log_failed();
        }
    }
    Ok((result?, stats))
}

fn statistics(figures: QueryStats, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    format!(
        "{{\"timings\":{{\"evalTotalTime\":{seconds},\"resultSortTime\":0,\
         \"queryPreparationTime\":0,\"innerEvalTime\":{seconds},\"execQueueTime\":0,\
         \"execTotalTime\":{seconds}}},\"samples\":{{\"totalQueryableSamples\":{},\
         \"samplesRead\":{},\"peakSamples\":{}}}}}",
        figures.total_queryable_samples, figures.samples_read, figures.peak_samples
    )
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// `/api/v1/query`
pub(in crate::http) fn instant(
    service: &Service,
    params: &Params,
    origin: &Origin,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let limit = params.limit("limit")?;
    let t_ms = params.time_or("time", now_ms())?;
    let options = options(params)?;
    let text = params.text("query");
    let ast = parse(text, &service.settings.parse)
        .map_err(|error| ApiError::invalid_parameter("query", &error.to_string()))?;
    let query = Query { text, ast: &ast };
    let source = service.database().ok_or_else(super::status::not_ready)?;
    let began = Instant::now();
    let result = service.engine().instant(source, query, t_ms, &options, cancellation);
    let asked = Asked { text, start_ms: t_ms, end_ms: t_ms, step_ms: 0, origin };
    let (result, stats) = finish(service, &asked, result, began)?;
    let _held = hold(&result, cancellation)?;
    print(sink, result, limit, params.text("stats"), &stats)
}

/// `/api/v1/query_range`
pub(in crate::http) fn range(
    service: &Service,
    params: &Params,
    origin: &Origin,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
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
    let ast = parse(text, &service.settings.parse)
        .map_err(|error| ApiError::invalid_parameter("query", &error.to_string()))?;
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
    let query = Query { text, ast: &ast };
    let source = service.database().ok_or_else(super::status::not_ready)?;
    let began = Instant::now();
    // Steps are whole milliseconds inside; what is shorter is one.
    let step_ms = (step_ns / 1_000_000).max(1);
    let engine = service.engine();
    let range = QueryRange { start_ms, end_ms, step_ms };
    let result = engine.range(source, query, range, &options, cancellation);
    let asked = Asked { text, start_ms, end_ms, step_ms, origin };
    let (result, stats) = finish(service, &asked, result, began)?;
    let _held = hold(&result, cancellation)?;
    print(sink, result, limit, params.text("stats"), &stats)
}

/// Charges for a result while it is printed, which takes as long as its client wants.
fn hold(result: &QueryResult, cancellation: &Cancellation) -> Result<Charge, ApiError> {
    let mut charge = cancellation.charge();
    charge.set(result.value.bytes()).map_err(SelectError::from)?;
    Ok(charge)
}

fn print(
    sink: &mut Sink,
    result: QueryResult,
    limit: usize,
    asked_for: &str,
    stats: &str,
) -> Result<(), ApiError> {
    let QueryResult { mut value, mut warnings, infos, .. } = result;
    if !matches!(asked_for, "" | "true" | "all") {
        warnings.push(format!(
            "value {} for parameter \"stats\" is deprecated and will be rejected in the next \
             major release, use \"true\" or \"all\"",
            go_quote(asked_for)
        ));
    }
    let truncated = limit > 0
        && match &mut value {
            Value::Vector(vector) if vector.len() > limit => {
                vector.truncate(limit);
                true
            }
            Value::Matrix(matrix) if matrix.len() > limit => {
                matrix.truncate(limit);
                true
            }
            _ => false,
        };
    if truncated {
        // First, so that other warnings do not crowd it out.
        warnings.insert(0, TRUNCATED.to_owned());
    }
    let data = |sink: &mut Sink| {
        let head = format!("{{\"resultType\":\"{}\",\"result\":", value.value_type().as_str());
        sink.buffer().extend_from_slice(head.as_bytes());
        print_value(sink, &value)?;
        if !asked_for.is_empty() {
            sink.buffer().extend_from_slice(b",\"stats\":");
            sink.buffer().extend_from_slice(stats.as_bytes());
        }
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &warnings, &infos)
}

fn print_value(sink: &mut Sink, value: &Value) -> Result<(), ApiError> {
    match value {
        Value::Scalar { t_ms, value } => {
            json::push_scalar(sink.buffer(), *t_ms, *value);
            Ok(())
        }
        Value::String { t_ms, value } => {
            json::push_text(sink.buffer(), *t_ms, value);
            Ok(())
        }
        Value::Vector(vector) => list(sink, vector, |out, sample| {
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
            list(sink, matrix, |out, series| {
                out.extend_from_slice(b"{\"metric\":");
                json::push_labels(out, &series.labels);
                if !series.samples.is_empty() || series.histograms.is_empty() {
                    out.extend_from_slice(b",\"values\":");
                    times.push_points(out, &series.samples);
                }
                for (i, (t_ms, histogram)) in series.histograms.iter().enumerate() {
                    let open: &[u8] = if i > 0 { b"," } else { b",\"histograms\":[" };
                    out.extend_from_slice(open);
                    json::push_histogram_point(out, *t_ms, histogram);
                }
                out.extend_from_slice(if series.histograms.is_empty() { b"}" } else { b"]}" });
            })
        }
    }
}
