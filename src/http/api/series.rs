//! `series`, `labels` and `label/<name>/values`.

use std::collections::BTreeSet;

use super::{TRUNCATED, list, success};
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::source::Source;
use crate::http::stream::Sink;
use crate::model::go_quote;
use crate::model::{EscapingScheme, NameScheme};
use crate::model::{Labels, Matcher};
use crate::promql::parse_selector;
use crate::select::{Cancellation, Queryable};

/// The selectors of `match[]`. One that every series passes is refused: asking for everything is
/// asking without `match[]`.
pub(super) fn matcher_sets(
    service: &Service,
    params: &Params,
) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let parsed: Result<Vec<_>, _> =
        params.all("match[]").map(|text| parse_selector(text, &service.settings.parse)).collect();
    let sets = parsed.map_err(|error| ApiError::bad_data(error.to_string()))?;
    // COMPAT: the text is Prometheus's.
    if sets.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches(""))) {
        return Err(ApiError::bad_data("match[] must contain at least one non-empty matcher"));
    }
    Ok(sets)
}

/// Cuts `items` at `limit` and says so.
fn cut<T>(items: &mut Vec<T>, limit: usize) -> Vec<String> {
    if limit == 0 || items.len() <= limit {
        return Vec::new();
    }
    items.truncate(limit);
    vec![TRUNCATED.to_owned()]
}

/// `/api/v1/series`
pub(in crate::http) fn series(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit("limit")?;
    let range = params.range()?;
    let sets = matcher_sets(service, params)
        .map_err(|error| ApiError::invalid_parameter("match[]", &error.message))?;
    let mut found: Vec<Labels> = Vec::new();
    let source = service.source(params)?;
    for matchers in &sets {
        found.extend(source.series(matchers, range, cancellation)?);
    }
    if sets.len() > 1 {
        // Each selection is in order and without duplicates; several are merged.
        found.sort();
        found.dedup();
    }
    let warnings = cut(&mut found, limit);
    success(sink, |sink| list(sink, &found, json::push_labels), &warnings, &[])
}

/// The sorted union of what `select` gives for each set of matchers, or for none.
pub(super) fn union(
    service: &Service,
    params: &Params,
    mut select: impl FnMut(&Source<'_>, &[Matcher]) -> Result<Vec<String>, ApiError>,
) -> Result<Vec<String>, ApiError> {
    let sets = matcher_sets(service, params)?;
    let source = &service.source(params)?;
    match sets.as_slice() {
        [] => select(source, &[]),
        [matchers] => select(source, matchers),
        several => {
            let mut texts = BTreeSet::new();
            for matchers in several {
                texts.extend(select(source, matchers)?);
            }
            Ok(texts.into_iter().collect())
        }
    }
}

/// `/api/v1/labels`
pub(in crate::http) fn names(
    service: &Service,
    params: &Params,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let limit = params.limit("limit")?;
    let range = params.range()?;
    let mut names = union(service, params, |source, matchers| {
        Ok(source.label_names(matchers, range, cancellation)?)
    })?;
    let warnings = cut(&mut names, limit);
    success(sink, |sink| list(sink, &names, |out, name| json::push_str(out, name)), &warnings, &[])
}

/// `/api/v1/label/<name>/values`
pub(in crate::http) fn values(
    service: &Service,
    name: &str,
    params: &Params,
    sink: &mut Sink,
    cancellation: &Cancellation,
) -> Result<(), ApiError> {
    let name = if name.starts_with("U__") {
        EscapingScheme::Values.unescape(name)
    } else {
        name.to_owned()
    };
    if !NameScheme::Utf8.is_label_name(&name) {
        return Err(ApiError::bad_data(format!("invalid label name: {}", go_quote(&name))));
    }
    let limit = params.limit("limit")?;
    let range = params.range()?;
    let mut values = union(service, params, |source, matchers| {
        Ok(source.label_values(&name, matchers, range, cancellation)?)
    })?;
    let warnings = cut(&mut values, limit);
    success(sink, |sink| list(sink, &values, |out, v| json::push_str(out, v)), &warnings, &[])
}
