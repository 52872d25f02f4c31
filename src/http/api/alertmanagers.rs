//! `alertmanagers`.

use super::{list, success};
use crate::http::json;
use crate::http::reply::ApiError;
use crate::http::service::Service;
use crate::http::stream::Sink;

/// `/api/v1/alertmanagers`
pub(in crate::http) fn alertmanagers(service: &Service, sink: &mut Sink) -> Result<(), ApiError> {
    let (active, dropped) = service.control.alertmanagers();
    let push_url = |out: &mut Vec<u8>, url: &String| {
        out.extend_from_slice(b"{\"url\":");
        json::push_str(out, url);
        out.push(b'}');
    };
    let data = |sink: &mut Sink| {
        sink.buffer().extend_from_slice(b"{\"activeAlertmanagers\":");
        list(sink, &active, push_url)?;
        sink.buffer().extend_from_slice(b",\"droppedAlertmanagers\":");
        list(sink, &dropped, push_url)?;
        sink.buffer().push(b'}');
        Ok(())
    };
    success(sink, data, &[], &[])
}
