//! Which path leads where. What is not listed is 404, what is listed with another method 405, and
//! a path for which a token has no role is 403.
//!
//! COMPAT: another spelling of a path, with slashes too many, with dots or a slash at its end, is
//! led to the plain one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use http::header::{ALLOW, HeaderValue, LOCATION, ORIGIN, USER_AGENT, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Uri};

use super::access::{Access, Need};
use super::api::search::{Subject, search};
use super::api::{
    admin, alertmanagers, exemplars, rules, self_metrics, series, standing, status, syntax,
    target_pages, targets,
};
use super::consoles::console;
use super::handlers::{
    Shared, administer, federation, instant, json, json_handler, label_values, metrics, otlp_write,
    range, remote_read, remote_write, version,
};
use super::reply::{self, ApiError, ErrorKind};
use super::service::{Lifecycle, Service};
use super::{cors, counted::Counted, health, page};
use crate::telemetry::traces::{self, Span};

type Routes = Router<Arc<Service>>;

/// The whole tree of paths.
pub(super) fn router(service: Arc<Service>) -> Router {
    let ready = from_fn_with_state(Arc::clone(&service), when_ready);
    let agent = from_fn_with_state(Arc::clone(&service), refuse_as_agent);
    // What is added last is asked first.
    let api = read()
        .merge(read_all())
        .merge(push())
        .merge(manage())
        .route_layer(agent)
        .route_layer(ready.clone())
        .merge(standing());
    let federation = needs(
        Router::new()
            .route("/federate", get(federation))
            .route("/consoles/", get(|state, request| console(state, None, request)))
            .route(
                "/consoles/{*filepath}",
                get(|state, name, request| console(state, Some(name), request)),
            ),
        Need::Read,
    );
    let all = pages()
        .nest("/api/v1", api)
        .merge(federation.route_layer(ready))
        .route("/-/healthy", get(async || health::healthy()))
        .route("/-/ready", get(async |State(s): Shared| health::ready(&s)))
        .merge(needs(
            Router::new()
                .route("/-/reload", post(reload).put(reload).get(only_post))
                .route("/-/quit", post(quit).put(quit).get(only_post)),
            Need::Admin,
        ));
    let prefix = service.settings.route_prefix.clone();
    let tree = if prefix.is_empty() {
        all
    } else {
        let home = prefix.clone() + "/";
        Router::new().nest(&prefix, all).route("/", get(move || async move { to_page(&home) }))
    };
    tree.fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&service), observe))
        .with_state(service)
}

/// Has these routes ask for a role.
fn needs(routes: Routes, need: Need) -> Routes {
    routes.route_layer(from_fn(move |request: Request, next: Next| async move {
        let granted = match request.extensions().get::<Access>() {
            Some(access) => access.check(need),
            // Whoever serves this router says who asks.
            None => Err("nobody knows who asks".to_owned()),
        };
        match granted {
            Ok(()) => next.run(request).await,
            Err(why) => reply::error(&ApiError::new(ErrorKind::Forbidden, why)),
        }
    }))
}

/// What reads series, and keeps to the scope of whoever asks.
fn read() -> Routes {
    let routes = Router::new()
        .route("/query", get(instant).post(instant))
        .route("/query_range", get(range).post(range))
        .route("/format_query", json(syntax::format_query).post(json_handler(syntax::format_query)))
        .route("/parse_query", json(syntax::parse_query).post(json_handler(syntax::parse_query)))
        .route("/series", json(series::series).post(json_handler(series::series)))
        .route("/labels", json(series::names).post(json_handler(series::names)))
        .route("/label/{name}/values", get(label_values))
        .route("/query_exemplars", json(exemplars::query).post(json_handler(exemplars::query)))
        .route("/read", post(remote_read))
        .route("/search/metric_names", searching(Subject::MetricNames))
        .route("/search/label_names", searching(Subject::LabelNames))
        .route("/search/label_values", searching(Subject::LabelValues))
        .route("/features", json(|s, _, k, _| standing::features(s, k)))
        .route("/openapi.yaml", get(async |uri: Uri| standing::openapi(uri.query())))
        .route("/status/buildinfo", json(|_, _, k, _| status::build_info(k)));
    needs(routes, Need::Read)
}

/// What reads the state of the server.
fn read_all() -> Routes {
    let routes = Router::new()
        .route("/metadata", json(|s, p, k, _| targets::metadata(s, p, k)))
        .route("/rules", json(|s, p, k, _| rules::rules(s, p, k)))
        .route("/alerts", json(|s, _, k, _| rules::alerts(s, k)))
        .route("/targets", json(|s, p, k, _| targets::targets(s, p, k)))
        .route("/scrape_pools", json(|s, _, k, _| targets::scrape_pools(s, k)))
        .route("/scrape_pools/config", json(|s, p, k, _| target_pages::pool_config(s, p, k)))
        .route("/alertmanagers", json(|s, _, k, _| alertmanagers::alertmanagers(s, k)))
        .route("/targets/metadata", json(|s, p, k, _| target_pages::metadata(s, p, k)))
        .route("/targets/relabel_steps", json(|s, p, k, _| target_pages::relabel_steps(s, p, k)))
        .route("/status/runtimeinfo", json(|s, _, k, _| status::runtime_info(s, k)))
        .route("/status/config", json(|s, _, k, _| status::config(s, k)))
        .route("/status/flags", json(|s, _, k, _| status::flags(s, k)))
        .route("/status/self_metrics", json(|s, p, k, _| self_metrics::self_metrics(s, p, k)))
        .route("/status/tsdb", json(|s, p, k, _| status::tsdb(s, p, k)))
        .route("/status/tsdb/blocks", json(|s, _, k, _| status::blocks(s, k)));
    needs(routes, Need::ReadAll)
}

/// What tells how the start goes, and so is answered before it has come to its end.
fn standing() -> Routes {
    let routes = Router::new()
        .route("/status/walreplay", get(async || standing::replay()))
        .route("/notifications", get(async |State(s): Shared| standing::notifications(&s)))
        .route("/notifications/live", get(async |State(s): Shared| standing::live(s)));
    needs(routes, Need::ReadAll)
}

/// One of the paths of the search API.
fn searching(subject: Subject) -> MethodRouter<Arc<Service>> {
    get(move |state: Shared, request: Request| search(subject, state, request))
        .post(move |state: Shared, request: Request| search(subject, state, request))
}

/// What takes samples.
fn push() -> Routes {
    let routes = Router::new()
        .route("/write", post(remote_write))
        .route("/otlp/v1/metrics", post(otlp_write));
    needs(routes, Need::Write)
}

/// What changes what is stored.
fn manage() -> Routes {
    let routes = Router::new()
        .route("/admin/tsdb/clean_tombstones", administer(admin::clean_tombstones))
        .route("/admin/tsdb/compact", administer(admin::compact))
        .route("/admin/tsdb/delete_series", administer(admin::delete_series))
        .route("/admin/tsdb/snapshot", administer(admin::snapshot));
    needs(routes, Need::Admin)
}

/// What people and collectors look at.
fn pages() -> Routes {
    let mut routes = Router::new()
        .route("/", get(home))
        .route("/graph", get(graph))
        .route("/metrics", get(metrics))
        .route("/version", get(version));
    for path in page::PATHS {
        routes = routes.route(path, get(index));
    }
    needs(routes, Need::ReadAll)
}

async fn home(State(service): Shared) -> Response {
    to_page(&format!("{}/query", service.settings.route_prefix))
}

/// COMPAT: the page of queries, asked for what this was asked for.
async fn graph(State(service): Shared, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    to_page(&format!("{}/query?{query}", service.settings.route_prefix))
}

async fn index(State(service): Shared) -> Response {
    page::index(&service)
}

fn to_page(path: &str) -> Response {
    let mut response = redirect(302, path);
    page::guard(&mut response);
    response
}

fn redirect(status: u16, to: &str) -> Response {
    let mut response = reply::empty(status);
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// The path without empty and dotted segments and without a slash at its end; `None` where it is
/// so already, or would name another host.
fn plain_path(path: &str) -> Option<String> {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let plain = format!("/{}", segments.join("/"));
    (plain != path && path.starts_with('/') && !plain.starts_with("/\\")).then_some(plain)
}

async fn not_found(uri: Uri) -> Response {
    let Some(mut plain) = plain_path(uri.path()) else {
        return reply::text(404, "404 page not found\n");
    };
    if let Some(query) = uri.query() {
        plain = plain + "?" + query;
    }
    // COMPAT: this status, with which a method is kept.
    redirect(307, &plain)
}

async fn reload(State(service): Shared) -> Response {
    health::reload(service).await
}

async fn quit(State(service): Shared) -> Response {
    health::quit(&service)
}

async fn only_post() -> Response {
    let mut response = reply::text(405, "Only POST or PUT requests allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, PUT"));
    response
}

async fn method_not_allowed() -> Response {
    reply::text(405, "Method Not Allowed\n")
}

/// The API before the database is open: 503 as plain text.
async fn when_ready(State(service): Shared, request: Request, next: Next) -> Response {
    match service.lifecycle() {
        Lifecycle::Ready => next.run(request).await,
        _ => health::unavailable(&service),
    }
}

/// What an agent does not have: the beginnings of paths below `/api/v1`.
///
/// COMPAT: Prometheus's list, and its text.
const NOT_OF_AGENTS: [&str; 13] = [
    "/query",
    "/query_range",
    "/query_exemplars",
    "/format_query",
    "/parse_query",
    "/labels",
    "/label/",
    "/series",
    "/alertmanagers",
    "/alerts",
    "/rules",
    "/status/tsdb",
    "/admin/",
];

/// The API of an agent, which scrapes and forwards and answers no queries.
async fn refuse_as_agent(State(service): Shared, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let is_below = |begin: &&str| match path.strip_prefix(*begin) {
        Some(rest) => begin.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    };
    if service.settings.is_agent && NOT_OF_AGENTS.iter().any(is_below) {
        let why = "unavailable with Prometheus Agent";
        return reply::error(&ApiError::new(ErrorKind::Execution, why));
    }
    next.run(request).await
}

/// Has every answer counted, and adds the headers that every answer carries.
async fn observe(
    State(service): Shared,
    path: Option<Extension<MatchedPath>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let prefix = service.settings.route_prefix.as_str();
    // COMPAT: routes are counted without the prefix.
    let route = path.map(|Extension(path)| path.as_str().to_owned());
    let route = route.map(|path| path.strip_prefix(prefix).unwrap_or(&path).to_owned());
    let origin = request.headers().get(ORIGIN).cloned();
    // COMPAT: what a browser asks before it asks is answered whatever the path below the API.
    let below = request.uri().path().strip_prefix(prefix).unwrap_or_default();
    let asks_first = request.method() == Method::OPTIONS && below.starts_with("/api/v1/");
    let mut span = Span::of_request(request.headers(), || {
        format!("{} {}", request.method(), request.uri().path())
    });
    if span.is_sampled() {
        describe(&mut span, &request, route.as_deref());
    }
    let answered = async { if asks_first { reply::empty(204) } else { next.run(request).await } };
    let mut response = traces::within(span.context(), answered).await;
    span.set("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        span.fail(response.status().canonical_reason().unwrap_or_default());
    }
    drop(span);
    cors::allow(service.settings.cors_origin.as_ref(), origin.as_ref(), response.headers_mut());
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    let handler = route.unwrap_or_else(|| "other".to_owned());
    let status = response.status().as_u16();
    response.map(|body| Body::new(Counted::new(body, service, handler, status, began)))
}

/// Says in traces what is asked.
fn describe(span: &mut Span, request: &Request, route: Option<&str>) {
    span.set("http.request.method", request.method().as_str());
    span.set("url.path", request.uri().path());
    if let Some(route) = route {
        span.set("http.route", route);
    }
    if let Some(agent) = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        span.set("user_agent.original", agent);
    }
    if let Some(peer) = request.extensions().get::<SocketAddr>() {
        span.set("client.address", peer.ip().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_spellings_lead_to_plain_paths_of_this_host() {
        for (path, plain) in [
            ("//api/v1/query", Some("/api/v1/query")),
            ("/metrics/", Some("/metrics")),
            ("/a/../metrics", Some("/metrics")),
            ("/./metrics", Some("/metrics")),
            ("//evil.example", Some("/evil.example")),
            ("///evil.example/..", Some("/")),
            ("//\\evil.example", None),
            ("/\\evil.example", None),
            ("/%2e%2e/metrics", None),
            ("/metrics", None),
            ("/", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(plain_path(path).as_deref(), plain, "{path}");
        }
    }
}
