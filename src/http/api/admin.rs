//! `admin/tsdb/*`: closed unless `--web.enable-admin-api` opens it.

use crate::http::reply::{ApiError, ErrorKind};
use crate::http::service::Service;

/// `/api/v1/admin/tsdb/compact`: the whole head as blocks, merged as far as they go.
pub(in crate::http) fn compact(service: &Service) -> Result<(), ApiError> {
    if !service.settings.admin {
        return Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled"));
    }
    let database = service.database().ok_or_else(super::status::not_ready)?;
    database.compact_all().map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))
}
