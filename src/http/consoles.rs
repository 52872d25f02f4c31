//! `/consoles/*`: pages that the operator wrote as templates, in a folder of their own.
//!
//! COMPAT: what templates are given, their names in error texts, statuses and texts of errors are
//! Prometheus's. No name leads out of the folder: dots are taken as Go takes them, below the
//! folder as the root. What a page asks for keeps to the scope of whoever looks at it, and a page
//! takes one place among queries while it is made.

use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path as RoutePath, Request, State};
use axum::response::Response;

use super::api::query::now_ms;
use super::handlers::{Shared, parameters};
use super::params::Params;
use super::reply;
use super::service::Service;
use super::stream::CancelOnDrop;
use crate::config::glob;
use crate::promql::engine::{Query, QueryOptions, Value};
use crate::promql::parse::parse;
use crate::select::Cancellation;
use crate::template::{ConsoleData, Expander, Limits, Queries, Sample, SampleValue};

/// Bytes of a template or a library.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Beginnings by which a page is taken for HTML.
/// COMPAT: those that Go looks for in what has no type.
const HTML_BEGINS: [&str; 17] = [
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<body",
    "<br",
    "<p",
    "<!--",
];

/// Answers with the page of that name.
pub(super) async fn console(
    State(service): Shared,
    name: Option<RoutePath<String>>,
    request: Request,
) -> Response {
    let name = name.map(|RoutePath(name)| name).unwrap_or_default();
    if service.settings.is_agent {
        return failed(500, "unavailable with Prometheus Agent");
    }
    let params = match parameters(request).await {
        Ok((params, _)) => params,
        Err(error) => return failed(400, &error.message),
    };
    let deadline = Instant::now() + service.engine().options().timeout;
    let place = service.query_places().acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout_at(deadline.into(), place).await else {
        return failed(503, "query timed out in query queue");
    };
    let cancellation = Arc::new(service.cancellation(deadline));
    let _guard = CancelOnDrop(Arc::clone(&cancellation));
    let work = tokio::task::spawn_blocking(move || {
        let _held = place;
        page(&service, &name, &params, &cancellation)
    });
    match work.await {
        Ok(Ok(page)) => {
            let html = "text/html; charset=utf-8";
            let plain = "text/plain; charset=utf-8";
            reply::bytes(200, if is_html(&page) { html } else { plain }, page)
        }
        Ok(Err((status, text))) => failed(status, &text),
        Err(_) => failed(500, "the request failed inside the server"),
    }
}

fn failed(status: u16, text: &str) -> Response {
    reply::text(status, format!("{text}\n"))
}

type Refusal = (u16, String);

/// The file that a name stands for, in whatever spelling it stays below `folder`.
fn file_of(folder: &Path, name: &str) -> Result<PathBuf, Refusal> {
    if name.contains('\0') {
        return Err((404, "http: invalid or unsafe file path".to_owned()));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    Ok(parts.into_iter().fold(folder.to_owned(), |path, part| path.join(part)))
}

fn read(path: &Path) -> Result<String, Refusal> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| {
        // COMPAT: what lies below a file is not there either.
        let text = match error.kind() {
            IoErrorKind::NotADirectory => "file does not exist".to_owned(),
            IoErrorKind::NotFound => format!("open {shown}: no such file or directory"),
            IoErrorKind::PermissionDenied => format!("open {shown}: permission denied"),
            _ => format!("open {shown}: {error}"),
        };
        (404, text)
    })?;
    if meta.is_dir() {
        return Err((500, format!("read {shown}: is a directory")));
    }
    if meta.len() > FILE_BYTES_MAX || !meta.is_file() {
        let text = format!("read {shown}: a file of at most {FILE_BYTES_MAX} bytes is wanted");
        return Err((500, text));
    }
    let bytes = std::fs::read(path).map_err(|error| {
        let denied = error.kind() == IoErrorKind::PermissionDenied;
        let text = if denied { "permission denied".to_owned() } else { error.to_string() };
        (if denied { 404 } else { 500 }, format!("open {shown}: {text}"))
    })?;
    String::from_utf8(bytes).map_err(|_| (500, format!("read {shown}: not UTF-8 text")))
}

/// Names and texts of the templates that all pages may use.
fn libraries(folder: &Path) -> Result<Vec<(String, String)>, Refusal> {
    let pattern = format!("{}/*.lib", folder.display());
    let paths = glob(&pattern).map_err(|error| (500, error.to_string()))?;
    let library = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        read(&path).map(|text| (name, text)).map_err(|(_, text)| (500, text))
    };
    paths.into_iter().map(library).collect()
}

fn page(
    service: &Service,
    name: &str,
    params: &Params,
    cancellation: &Cancellation,
) -> Result<String, Refusal> {
    let settings = &service.settings;
    let name = format!("/{}", name.trim_start_matches('/'));
    let text = read(&file_of(&settings.console_templates, &name)?)?;
    let libraries = libraries(&settings.console_libraries)?;
    let data = ConsoleData {
        params: params.by_name(),
        path: name.trim_start_matches('/').to_owned(),
        external_labels: service.control.external_labels(),
    };
    let asker = Asker { service, params, cancellation };
    let timeout = service.engine().options().timeout;
    let url = settings.external_url.to_string();
    let expander = Expander::new(now_ms(), &url, &asker);
    let expander = expander.limited(Limits { timeout, ..Limits::default() });
    let expanded = expander.expand_console(&name, &text, &libraries, &data);
    expanded.map_err(|error| (500, error.to_string()))
}

/// Answers the queries of a page.
struct Asker<'a> {
    service: &'a Service,
    params: &'a Params,
    cancellation: &'a Cancellation,
}

impl Queries for Asker<'_> {
    fn query(&self, expr: &str, t_ms: i64) -> Result<Vec<Sample>, String> {
        let ast = parse(expr, &self.service.settings.parse).map_err(|error| error.to_string())?;
        let source = self.service.source(self.params).map_err(|error| error.message)?;
        let query = Query { text: expr, ast: &ast };
        let (engine, options) = (self.service.engine(), QueryOptions::default());
        let answer = engine.instant(&source, query, t_ms, &options, self.cancellation);
        match answer.map_err(|error| error.to_string())?.value {
            Value::Vector(vector) => Ok(vector
                .into_iter()
                .map(|sample| Sample {
                    labels: sample.labels,
                    value: match sample.histogram {
                        Some(histogram) => SampleValue::Histogram(histogram),
                        None => SampleValue::Float(sample.value),
                    },
                })
                .collect()),
            Value::Scalar { value, .. } => Ok(vec![Sample {
                labels: crate::model::Labels::empty(),
                value: SampleValue::Float(value),
            }]),
            // COMPAT: a page asks as a rule does.
            Value::String { .. } | Value::Matrix(_) => {
                Err("rule result is not a vector or scalar".to_owned())
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancellation.check().is_err()
    }
}

/// Whether a text begins as HTML does.
fn is_html(page: &str) -> bool {
    let begin = page.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
    HTML_BEGINS.iter().any(|tag| {
        let Some(head) = begin.get(..tag.len()) else { return false };
        let ends = || matches!(begin.as_bytes().get(tag.len()), Some(b' ' | b'>'));
        head.eq_ignore_ascii_case(tag) && (*tag == "<!--" || ends())
    })
}

/// Whether there is a page that others should lead to.
pub(super) fn has_index(service: &Service) -> bool {
    service.settings.console_templates.join("index.html").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = Path::new("consoles");
        for (name, path) in [
            ("/a.html", "consoles/a.html"),
            ("/a/b.html", "consoles/a/b.html"),
            ("/../../etc/passwd", "consoles/etc/passwd"),
            ("/a/../../../b", "consoles/b"),
            ("//./b//", "consoles/b"),
            ("/", "consoles"),
            ("/..", "consoles"),
            ("/..\\x", "consoles/..\\x"),
        ] {
            assert_eq!(file_of(folder, name).unwrap(), Path::new(path), "{name}");
        }
        assert_eq!(file_of(folder, "/a\0").unwrap_err().0, 404);
    }

    #[test]
    fn what_cannot_be_read_is_told_as_prometheus_tells_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.html"), "text").unwrap();
        assert_eq!(read(&at("a.html")).unwrap(), "text");
        let (status, text) = read(&at("b.html")).unwrap_err();
        assert!(status == 404 && text.ends_with("b.html: no such file or directory"), "{text}");
        assert_eq!(read(&at("a.html/x")).unwrap_err(), (404, "file does not exist".to_owned()));
        let (status, text) = read(folder.path()).unwrap_err();
        assert!(status == 500 && text.ends_with("is a directory"), "{text}");
        std::fs::write(at("bytes"), b"\xff").unwrap();
        assert!(read(&at("bytes")).unwrap_err().1.ends_with("not UTF-8 text"));
        std::fs::write(at("x.lib"), "l").unwrap();
        std::fs::write(at("y.txt"), "t").unwrap();
        assert_eq!(libraries(folder.path()).unwrap(), [("x.lib".to_owned(), "l".to_owned())]);
    }

    #[test]
    fn pages_of_html_are_told_from_text() {
        for page in ["<!DOCTYPE html>", " \n<HTML lang=x>", "<p>", "<!-- x", "<h1 a>"] {
            assert!(is_html(page), "{page}");
        }
        for page in ["", "text", "<unknown>", "<h1", "<pre>", "x<p>", "<é"] {
            assert!(!is_html(page), "{page}");
        }
    }
}
