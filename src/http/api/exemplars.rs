//! `query_exemplars`.

use super::{list, success};
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;
use crate::model::{FloatStyle, Matcher, SeriesExemplars, TimeRange, push_float};
use crate::promql::ast::Expr;
use crate::promql::parse;
use crate::select::{Cancellation, Queryable};

/// `/api/v1/query_exemplars`: the exemplars of all series that the selectors of a query name.
pub(in crate::http) fn query(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let range = TimeRange {
        min_ms: params.time_or("start", i64::MIN)?,
        max_ms: params.time_or("end", i64::MAX)?,
    };
    if range.max_ms < range.min_ms {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let ast = parse(params.text("query"), &service.settings.parse)
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    let matchers = ast.nodes.iter().filter_map(|node| match &node.expr {
        Expr::Selector(selector) => Some(selector.matchers.clone()),
        _ => None,
    });
    let selectors: Vec<Vec<Matcher>> = matchers.collect();
    if selectors.is_empty() {
        // COMPAT: a query that selects nothing has no data, not even an empty list.
        sink.buffer().extend_from_slice(b"{\"status\":\"success\"}");
        return Ok(());
    }
    let found = service.source(params)?.exemplars(&selectors, range, cancellation)?;
    success(sink, |sink| list(sink, &found, push_series), &[], &[])
}

fn push_series(out: &mut Vec<u8>, found: &SeriesExemplars) {
    out.extend_from_slice(b"{\"seriesLabels\":");
    json::push_labels(out, &found.series);
    out.extend_from_slice(b",\"exemplars\":[");
    for (i, exemplar) in found.exemplars.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"labels\":");
        json::push_labels(out, &exemplar.labels);
        out.extend_from_slice(b",\"value\":\"");
        push_float(out, exemplar.value, FloatStyle::Api);
        out.extend_from_slice(b"\",\"timestamp\":");
        json::push_time(out, exemplar.t_ms);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
