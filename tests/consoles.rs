//! Pages below `/consoles` as a browser meets them: what templates are given, what they ask, and
//! what becomes of names that lead elsewhere. Texts and statuses of errors are Prometheus 3.14's.
#![cfg(feature = "server")]

#[allow(dead_code, reason = "each test program uses its part")]
mod client;
mod program;

use std::fs;

use client::{Client, now_ms};
use program::Server;

const FLAGS: [&str; 3] = [
    "--web.console.templates=pages",
    "--web.console.libraries=lib",
    "--web.enable-remote-write-receiver",
];

fn start(files: &[(&str, &str)]) -> (tempfile::TempDir, Server, Client) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["pages/sub", "lib"] {
        fs::create_dir_all(folder.path().join(name)).expect("a folder");
    }
    let config = "global: {external_labels: {dc: x}}\n";
    let all = [&[("prometheus.yml", config), ("secret.html", "secret")], files].concat();
    for (name, text) in all {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    let server = Server::start(folder.path(), &FLAGS);
    let client = Client::new(&server.address);
    (folder, server, client)
}

#[test]
fn pages_are_expanded_with_what_they_ask_for() {
    let page = "<!DOCTYPE html>{{ template \"head\" . }}<p>{{ $path }} {{ $params.a }} \
                {{ index $rawParams.a 1 }} {{ $externalLabels.dc }}</p>\n\
                {{ range query \"m\" }}<b>{{ .Labels.till }}={{ .Value }}</b>{{ end }}";
    let (_folder, _server, client) = start(&[
        ("pages/index.html", page),
        ("pages/sub/plain.txt", "{{ 1 | humanize }} <b>"),
        ("lib/head.lib", "{{ define \"head\" }}<h1>&amp;</h1>{{ end }}"),
    ]);
    let labels: &[(&str, &str)] = &[("__name__", "m"), ("till", "<1>")];
    assert_eq!(client.push(1, &[(labels, &[(now_ms(), 7.0)])]).status, 204);
    let answer = client.get("/consoles/index.html?a=%3C&a=2&b");
    let expected = "<!DOCTYPE html><h1>&amp;</h1><p>index.html &lt; 2 x</p>\n<b>&lt;1&gt;=7</b>";
    assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let answer = client.get("/consoles/sub/plain.txt");
    assert_eq!((answer.status, answer.text().as_str()), (200, "1 <b>"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(client.get("/query").text().contains("/consoles/index.html"));
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let (folder, _server, client) = start(&[("pages/a.html", "a")]);
    fs::write(folder.path().join("pages/sub/b.html"), "b").expect("a file");
    for path in [
        "/consoles/%2e%2e/secret.html",
        "/consoles/..%2fsecret.html",
        "/consoles/sub/%2e%2e/%2e%2e/secret.html",
        "/consoles/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/consoles//etc/passwd",
        "/consoles/%2fetc%2fpasswd",
        "/consoles/a.html%00",
        "/consoles/..%5csecret.html",
    ] {
        let answer = client.get(path);
        assert!(matches!(answer.status, 307 | 404), "{path}: {}", answer.status);
        assert!(!answer.text().contains("secret\n") && !answer.text().contains("root:"), "{path}");
        assert_ne!(answer.text(), "secret", "{path}");
    }
    assert_eq!(client.get("/consoles/sub/%2e%2e/a.html").text(), "a");
}

#[test]
fn errors_are_those_of_prometheus() {
    let (_folder, _server, client) = start(&[
        ("pages/unfinished.html", "{{ if }}"),
        ("pages/query.html", "{{ query \"1 +\" }}"),
        ("pages/string.html", "{{ query \"'a'\" }}"),
    ]);
    for (path, status, text) in [
        ("missing.html", 404, "open pages/missing.html: no such file or directory\n"),
        ("unfinished.html/x", 404, "file does not exist\n"),
        ("sub", 500, "read pages/sub: is a directory\n"),
        ("", 500, "read pages: is a directory\n"),
        (
            "unfinished.html",
            500,
            "error parsing template __console_/unfinished.html: template: \
             __console_/unfinished.html:1: missing value for if\n",
        ),
    ] {
        let answer = client.get(&format!("/consoles/{path}"));
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}");
    }
    for (path, text) in [
        ("query.html", "parse error: unexpected end of input"),
        ("string.html", "rule result is not a vector or scalar"),
    ] {
        let answer = client.get(&format!("/consoles/{path}"));
        let start = format!("error executing template __console_/{path}: template: ");
        let got = answer.text();
        assert!(answer.status == 500 && got.starts_with(&start) && got.contains(text), "{got}");
    }
}
