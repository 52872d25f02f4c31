//! The page at `/`: where a person who opens the address finds the way.
//!
//! Static text; nothing of what a target sent is ever printed into it.

use axum::response::Response;
use http::header::HeaderValue;

use super::reply;

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Narthex</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}
code{background:#eee;padding:0 .3em}</style>
<h1>Narthex</h1>
<p>A metrics database that answers as Prometheus does. Point Grafana at this address as a data
source of type Prometheus, or ask it directly:</p>
<p><code>curl 'http://localhost:9090/api/v1/query?query=up'</code></p>
<ul>
<li><a href=\"/api/v1/targets\">Targets</a></li>
<li><a href=\"/api/v1/status/tsdb\">Storage</a></li>
<li><a href=\"/api/v1/status/config\">Configuration</a></li>
<li><a href=\"/api/v1/status/flags\">Flags</a></li>
<li><a href=\"/metrics\">Own metrics</a></li>
</ul>
</html>
";

/// The page.
pub(super) fn index() -> Response {
    let mut response = reply::bytes(200, "text/html; charset=utf-8", PAGE);
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    response.headers_mut().insert("content-security-policy", policy);
    response
}
