//! `admin/tsdb/*`: closed unless `--web.enable-admin-api` opens it.
//!
//! COMPAT: parameters, statuses and texts are Prometheus's; the path `compact` is our own. Nothing
//! is deleted where one of several selectors does not parse.

use crate::db::Database;
use crate::disk::StorageError;
use crate::http::json;
use crate::http::params::Params;
use crate::http::reply::{ApiError, ErrorKind};
use crate::http::service::Service;
use crate::model::go_quote;
use crate::promql::parse_selector;

/// What a successful call answers.
pub(in crate::http) enum Answer {
    /// Nothing: 204.
    Nothing,
    /// The value of `data`.
    Data(Vec<u8>),
    /// It is done, and something has to be told.
    Warning(String),
}

/// The database, if the administrator opened the paths to those who can reach them.
fn database(service: &Service) -> Result<&Database, ApiError> {
    if !service.settings.admin {
        return Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled"));
    }
    service.database().ok_or_else(super::status::not_ready)
}

fn internal(error: &StorageError) -> ApiError {
    ApiError::new(ErrorKind::Internal, error.to_string())
}

/// `/api/v1/admin/tsdb/compact`: the whole head as blocks, merged as far as they go.
pub(in crate::http) fn compact(service: &Service, _: &Params) -> Result<Answer, ApiError> {
    database(service)?.compact_all().map_err(|error| internal(&error))?;
    Ok(Answer::Nothing)
}

/// `/api/v1/admin/tsdb/delete_series`
pub(in crate::http) fn delete_series(
    service: &Service,
    params: &Params,
) -> Result<Answer, ApiError> {
    let database = database(service)?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = params.range()?;
    let selectors: Result<Vec<_>, _> =
        params.all("match[]").map(|text| parse_selector(text, &service.settings.parse)).collect();
    let selectors =
        selectors.map_err(|error| ApiError::invalid_parameter("match[]", &error.to_string()))?;
    for matchers in selectors {
        database.delete(&matchers, range).map_err(|error| internal(&error))?;
    }
    Ok(Answer::Nothing)
}

/// `/api/v1/admin/tsdb/clean_tombstones`
pub(in crate::http) fn clean_tombstones(service: &Service, _: &Params) -> Result<Answer, ApiError> {
    let cleaned = database(service)?.clean_tombstones().map_err(|error| internal(&error))?;
    Ok(match cleaned.warning() {
        None => Answer::Nothing,
        Some(text) => Answer::Warning(text),
    })
}

/// `/api/v1/admin/tsdb/snapshot`
pub(in crate::http) fn snapshot(service: &Service, params: &Params) -> Result<Answer, ApiError> {
    let database = database(service)?;
    let skips_head = match params.text("skip_head") {
        "" => false,
        text => go_bool(text).ok_or_else(|| {
            let quoted = go_quote(text);
            let what = "unable to parse boolean: strconv.ParseBool: parsing";
            let what = format!("{what} {quoted}: invalid syntax");
            ApiError::invalid_parameter("skip_head", &what)
        })?,
    };
    let path = database
        .snapshot(!skips_head)
        .map_err(|error| ApiError::new(ErrorKind::Internal, format!("create snapshot: {error}")))?;
    let mut data = b"{\"name\":".to_vec();
    json::push_str(&mut data, &path.file_name().unwrap_or_default().to_string_lossy());
    data.push(b'}');
    Ok(Answer::Data(data))
}

/// COMPAT: the spellings of truth that Go knows.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
