//! What stands between a path and the function of the API behind it: parameters read, work done
//! under its deadline where its connection is served, or else on a blocking thread, the answer
//! sent as it is printed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::access::Access;
use super::api::federate::{self, PageFormat};
use super::api::query::{Form, Job};
use super::api::{admin, otlp, query, read, series, status, write};
use super::lanes::OwnThread;
use super::params::Params;
use super::query_log::Origin;
use super::reply::{self, ApiError, ErrorKind};
use super::service::Service;
use super::stream::{
    LIST_BYTES_MAX, RESULT_BYTES_MAX, Sink, answer, answer_here, answer_with, guarded,
};
use super::turns::{self, Turn};
use crate::exposition::write_families;
use crate::remote::BODY_BYTES_MAX;
use crate::select::Cancellation;
use crate::telemetry::QuerySlice;
use crate::telemetry::traces::ambient;

/// Greatest size of a form; a query's text is limited by the parser besides.
const FORM_BYTES_MAX: usize = 10 << 20;
const JSON: &str = "application/json";

pub(super) type Shared = State<Arc<Service>>;

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|part| {
            let mut parts = part.split(';').map(str::trim);
            parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"))
                && !parts.any(|q| matches!(q, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    })
}

/// Reads the parameters of a request: its query string, and its body where that is a form.
pub(super) async fn parameters(request: Request) -> Result<(Params, bool), ApiError> {
    let (parts, body) = request.into_parts();
    let is_form = matches!(parts.method, Method::POST | Method::PUT)
        && parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|mime| mime.starts_with("application/x-www-form-urlencoded"));
    let form = if is_form { Some(collect(body, FORM_BYTES_MAX).await?) } else { None };
    let mut params = Params::parse(parts.uri.query().unwrap_or(""), form.as_deref())?;
    if let Some(access) = parts.extensions.get::<Access>() {
        params.bound(Arc::clone(&access.scope));
    }
    Ok((params, accepts_gzip(&parts.headers)))
}

/// The whole body, if it is no longer than `limit`.
pub(super) async fn collect(body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::bad_data(format!(
            "the body has more than {limit} bytes, the limit of this path"
        ))),
        Err(error) => Err(ApiError::bad_data(format!("reading the body: {error}"))),
    }
}

/// A function of the API as it is routed.
pub(super) trait Work:
    Fn(&Service, &Params, &mut Sink, &Cancellation) -> Result<(), ApiError>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<F> Work for F where
    F: Fn(&Service, &Params, &mut Sink, &Cancellation) -> Result<(), ApiError>
        + Clone
        + Send
        + Sync
        + 'static
{
}

pub(super) fn json(work: impl Work) -> MethodRouter<Arc<Service>> {
    get(json_handler(work))
}

pub(super) fn json_handler(
    work: impl Work,
) -> impl Fn(Shared, Request) -> std::pin::Pin<Box<dyn Future<Output = Response> + Send>>
+ Clone
+ Send
+ Sync
+ 'static {
    move |State(service), request| {
        let work = work.clone();
        Box::pin(async move {
            let own_thread = own_thread(&request);
            let (params, gzip) = match parameters(request).await {
                Ok(parameters) => parameters,
                Err(error) => return reply::error(&error),
            };
            let timeout = service.engine().options().timeout;
            let cancellation = service.cancellation(Instant::now() + timeout);
            let work = move |sink: &mut Sink, cancellation: &Cancellation| {
                work(&service, &params, sink, cancellation)
                    .inspect_err(|error| count_limit(&service, error))
            };
            if let Some(own_thread) = own_thread {
                let watched = own_thread.watched(cancellation.clone());
                let whole = answer_here(JSON, gzip, LIST_BYTES_MAX, watched, &work);
                if let Some(response) = whole {
                    return response;
                }
            }
            answer(JSON, gzip, cancellation, work).await
        })
    }
}

pub(super) async fn label_values(
    State(service): Shared,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path(name)) = name else {
        return reply::error(&ApiError::bad_data("invalid label name: not UTF-8"));
    };
    let work = move |service: &Service, params: &Params, sink: &mut Sink, stop: &Cancellation| {
        series::values(service, &name, params, sink, stop)
    };
    json_handler(work)(State(service), request).await
}

/// The thread that the request may be computed on, where it is this one.
fn own_thread(request: &Request) -> Option<OwnThread> {
    let is_alone = request.version() <= Version::HTTP_11;
    request.extensions().get::<OwnThread>().filter(|_| is_alone).cloned()
}

/// Who asks.
pub(super) fn origin(request: &Request) -> Origin {
    let peer = request.extensions().get::<SocketAddr>();
    let path = request.extensions().get::<MatchedPath>();
    Origin {
        method: request.method().to_string(),
        path: path.map(|path| path.as_str().to_owned()).unwrap_or_default(),
        client_ip: peer.map(|peer| peer.ip().to_string()).unwrap_or_default(),
    }
}

pub(super) async fn instant(State(service): Shared, request: Request) -> Response {
    run_query(service, request, Form::Instant).await
}

pub(super) async fn range(State(service): Shared, request: Request) -> Response {
    run_query(service, request, Form::Range).await
}

/// Runs a query once there is a place for it; waiting counts towards its time.
pub(super) async fn run_query(service: Arc<Service>, request: Request, form: Form) -> Response {
    let asked = Instant::now();
    let (origin, own_thread) = (origin(&request), own_thread(&request));
    let (params, gzip) = match parameters(request).await {
        Ok(parameters) => parameters,
        Err(error) => return reply::error(&error),
    };
    let timeout = match query::timeout(&service, &params) {
        Ok(timeout) => timeout,
        Err(error) => return reply::error(&error),
    };
    let running = service.control.counts().query_begins();
    let deadline = asked + timeout;
    let job = Arc::new(Job { form, params, origin, asked, part_of: ambient() });
    let turn = turns::wait(&service, &job, deadline).await;
    service.control.counts().observe_query_slice(QuerySlice::QueueTime, asked.elapsed());
    let cancellation = service.cancellation(deadline);
    let counting = Arc::clone(&service);
    let evaluate = move |cancellation: &Cancellation| {
        let evaluated = match turn {
            Ok(Turn::Place(place)) => {
                let active =
                    service.active_queries().and_then(|all| all.begin(job.params.text("query")));
                let _held = (place, active);
                job.evaluate(&service, cancellation, false)
            }
            Ok(Turn::Done(evaluated)) => *evaluated,
            Err(error) => Err(error),
        };
        // Others may run while this is printed, which takes as long as its client wants.
        drop(running);
        evaluated.inspect_err(|error| count_limit(&service, error))
    };
    let Some(own_thread) = own_thread else {
        return answer(JSON, gzip, cancellation, move |sink, cancellation| {
            let evaluated = evaluate(cancellation)?;
            query::print(sink, &evaluated).inspect_err(|error| count_limit(&counting, error))
        })
        .await;
    };
    let watched = own_thread.watched(cancellation.clone());
    let evaluated = match guarded(|| evaluate(&watched)) {
        Ok(evaluated) => evaluated,
        Err(error) => return reply::error(&error),
    };
    let is_short = evaluated.is_short();
    let print = move |sink: &mut Sink, _: &Cancellation| {
        query::print(sink, &evaluated).inspect_err(|error| count_limit(&counting, error))
    };
    if is_short && let Some(response) = answer_here(JSON, gzip, RESULT_BYTES_MAX, watched, &print) {
        return response;
    }
    answer(JSON, gzip, cancellation, print).await
}

/// Counts work that ended at a limit.
fn count_limit(service: &Service, error: &ApiError) {
    if let Some(limit) = error.limit {
        service.control.counts().query_refused(limit);
    }
}

pub(super) async fn metrics(State(service): Shared, request: Request) -> Response {
    let (gzip, own_thread) = (accepts_gzip(request.headers()), own_thread(&request));
    let content_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    let work = move |sink: &mut Sink, _: &Cancellation| {
        let mut page = String::new();
        write_families(&service.control.metrics(), &mut page);
        sink.buffer().extend_from_slice(page.as_bytes());
        Ok(())
    };
    if own_thread.is_some() {
        let stop = Cancellation::new();
        let whole = answer_here(content_type, gzip, LIST_BYTES_MAX, stop, &work);
        if let Some(response) = whole {
            return response;
        }
    }
    answer(content_type, gzip, Cancellation::new(), work).await
}

pub(super) async fn version() -> Response {
    let mut body = Vec::new();
    status::push_build_info(&mut body);
    reply::bytes(200, JSON, body)
}

pub(super) type Administer = fn(&Service, &Params) -> Result<admin::Answer, ApiError>;

/// Routes POST and PUT to work that is done to its end, whether or not anybody waits for it.
pub(super) fn administer(work: Administer) -> MethodRouter<Arc<Service>> {
    let handler = move |State(service): Shared, request: Request| async move {
        let params = match parameters(request).await {
            Ok((params, _)) => params,
            Err(error) => return reply::error(&error),
        };
        match tokio::task::spawn_blocking(move || work(&service, &params)).await {
            Ok(Ok(admin::Answer::Nothing)) => reply::empty(204),
            Ok(Ok(admin::Answer::Warning(text))) => {
                let mut body = b"{\"status\":\"success\",\"warnings\":[".to_vec();
                super::json::push_str(&mut body, &text);
                body.extend_from_slice(b"]}");
                reply::bytes(200, JSON, body)
            }
            Ok(Ok(admin::Answer::Data(data))) => {
                let body = [b"{\"status\":\"success\",\"data\":", data.as_slice(), b"}"].concat();
                reply::bytes(200, JSON, body)
            }
            Ok(Err(error)) => reply::error(&error),
            Err(_) => {
                let what = "the work broke off inside the server";
                reply::error(&ApiError::new(ErrorKind::Internal, what))
            }
        }
    };
    post(handler).put(handler)
}

pub(super) async fn federation(State(service): Shared, request: Request) -> Response {
    let format = PageFormat::negotiate(request.headers());
    let (params, gzip) = match parameters(request).await {
        Ok(parameters) => parameters,
        Err(error) => return federate::refuse(&error),
    };
    let timeout = service.engine().options().timeout;
    let cancellation = service.cancellation(Instant::now() + timeout);
    let content_type = format.content_type();
    answer_with(content_type, gzip, cancellation, federate::refuse, move |sink, cancellation| {
        federate::federate(&service, &params, format, sink, cancellation)
            .inspect_err(|error| count_limit(&service, error))
    })
    .await
}

pub(super) async fn remote_read(State(service): Shared, request: Request) -> Response {
    let mut params = Params::default();
    if let Some(access) = request.extensions().get::<Access>() {
        params.bound(Arc::clone(&access.scope));
    }
    match collect(request.into_body(), BODY_BYTES_MAX).await {
        Ok(body) => read::read(service, params, body).await,
        Err(error) => reply::text(413, error.message + "\n"),
    }
}

pub(super) async fn otlp_write(State(service): Shared, request: Request) -> Response {
    if !service.settings.otlp {
        let text = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n";
        return reply::text(404, text);
    }
    let (parts, body) = request.into_parts();
    let body = match collect(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return reply::text(413, error.message + "\n"),
    };
    let work = tokio::task::spawn_blocking(move || otlp::write(&service, &parts.headers, &body));
    work.await.unwrap_or_else(|_| reply::text(500, "the request failed inside the server\n"))
}

pub(super) async fn remote_write(State(service): Shared, request: Request) -> Response {
    if !service.settings.remote_write {
        return reply::text(
            404,
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n",
        );
    }
    let own_thread = own_thread(&request);
    let (parts, body) = request.into_parts();
    let body = match collect(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return reply::text(413, error.message + "\n"),
    };
    let work = move || guarded(|| Ok(write::write(&service, &parts.headers, &body)));
    let written = match own_thread {
        Some(_) => work().ok(),
        None => tokio::task::spawn_blocking(work).await.ok().and_then(Result::ok),
    };
    written.unwrap_or_else(|| reply::text(500, "the request failed inside the server\n"))
}
