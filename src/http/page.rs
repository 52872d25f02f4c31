//! The page at `/`: where a person who opens the address finds the way.
//!
//! What is not static is the operator's own text, escaped; nothing of what a target or a request
//! sent is ever printed into it.

use axum::response::Response;
use http::header::HeaderValue;

use super::consoles::has_index;
use super::reply;
use super::service::Service;

/// COMPAT: other addresses of Prometheus's pages, to which alerts and dashboards link.
pub(super) const PATHS: [&str; 11] = [
    "/query",
    "/alerts",
    "/rules",
    "/targets",
    "/config",
    "/flags",
    "/status",
    "/tsdb-status",
    "/service-discovery",
    "/alertmanager-discovery",
    "/agent",
];

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

fn html(title: &str, url: &str, prefix: &str, has_consoles: bool) -> String {
    let (title, url, prefix) = (escape(title), escape(url), escape(prefix));
    let consoles = if has_consoles {
        format!("<li><a href=\"{prefix}/consoles/index.html\">Consoles</a></li>\n")
    } else {
        String::new()
    };
    format!(
        "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>{title}</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}
code{{background:#eee;padding:0 .3em}}</style>
<h1>Narthex</h1>
<p>A metrics database that answers as Prometheus does. Point Grafana at this address as a data
source of type Prometheus, or ask it directly:</p>
<p><code>curl '{url}/api/v1/query?query=up'</code></p>
<ul>
<li><a href=\"{prefix}/api/v1/targets\">Targets</a></li>
<li><a href=\"{prefix}/api/v1/status/tsdb\">Storage</a></li>
<li><a href=\"{prefix}/api/v1/status/config\">Configuration</a></li>
<li><a href=\"{prefix}/api/v1/status/flags\">Flags</a></li>
<li><a href=\"{prefix}/metrics\">Own metrics</a></li>
{consoles}</ul>
</html>
"
    )
}

/// The page.
pub(super) fn index(service: &Service) -> Response {
    let settings = &service.settings;
    let prefix = settings.external_url.path();
    let url = match &settings.own_url {
        Some(url) => url.clone(),
        None => settings.external_url.to_string(),
    };
    let body = html(&settings.page_title, &url, prefix, has_index(service));
    let mut response = reply::bytes(200, "text/html; charset=utf-8", body);
    guard(&mut response);
    response
}

/// Says to a browser that this shows or leads to a page that nobody may frame or add scripts to.
pub(super) fn guard(response: &mut Response) {
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
        ),
        ("x-frame-options", "SAMEORIGIN"),
        ("referrer-policy", "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_operator_are_escaped() {
        let page = html("<b>\"'&", "http://a'b", "/p", true);
        assert!(page.contains("<title>&lt;b&gt;&#34;&#39;&amp;</title>"));
        assert!(page.contains("http://a&#39;b/api") && page.contains("\"/p/metrics\""));
        assert!(page.contains("\"/p/consoles/index.html\""));
    }
}
