//! Targets listed by a web server (`http_sd_configs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::TargetGroup;
use super::provider::{Refresh, Refreshing, Updates, interval};
use crate::config::HttpDiscovery;
use crate::http_client::{Client, Request, Url};
use crate::model::{Labels, NameScheme, go_quote};

const URL: &str = "__meta_url";

/// A list of targets and nothing else may be this long.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    request: Request,
    url: String,
}

pub(super) fn new(config: &HttpDiscovery) -> Result<Refreshing<Http>, String> {
    let client = Client::new(&config.http_client).map_err(|error| error.to_string())?;
    let url = Url::parse(&config.url).map_err(|error| error.to_string())?;
    let every = interval(config.refresh_interval_ms);
    let seconds = HeaderValue::try_from(every.as_secs_f64().to_string());
    let headers = [
        (header::ACCEPT, HeaderValue::from_static("application/json")),
        (
            header::HeaderName::from_static("x-prometheus-refresh-interval-seconds"),
            seconds.map_err(|error| error.to_string())?,
        ),
    ];
    let request = Request {
        headers: Arc::from(headers),
        timeout: every,
        body_bytes_max: ANSWER_BYTES_MAX,
        ..Request::get(url)
    };
    let refresh = Http { client, request, url: config.url.clone() };
    Ok(Refreshing { mechanism: "http", interval_ms: config.refresh_interval_ms, refresh })
}

#[derive(Deserialize)]
struct WrittenGroup {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Refresh for Http {
    async fn refresh(&mut self, updates: &Updates) -> Result<Vec<TargetGroup>, String> {
        self.client.count_dials(updates.metrics().dials.named("http"));
        let groups = self.ask().await;
        updates.metrics().http_failures.add(u64::from(groups.is_err()));
        groups
    }
}

impl Http {
    async fn ask(&self) -> Result<Vec<TargetGroup>, String> {
        let response = self.client.send(&self.request).await.map_err(|error| error.to_string())?;
        if response.status != StatusCode::OK {
            return Err(format!("server returned HTTP status {}", response.status_text));
        }
        let content_type = response.header("content-type");
        if !is_json(content_type) {
            return Err(format!("unsupported content type {}", go_quote(content_type)));
        }
        parse_groups(&response.body, &self.url)
    }
}

/// Whether the type is `application/json`, in UTF-8 if it says in what.
fn is_json(content_type: &str) -> bool {
    let content_type = content_type.trim().to_ascii_lowercase();
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((&content_type, ""));
    let parameters = parameters.trim();
    let is_utf8 = matches!(parameters, "" | "charset=utf-8" | "charset=\"utf-8\"");
    media_type.trim_end() == "application/json" && is_utf8
}

fn parse_groups(bytes: &[u8], url: &str) -> Result<Vec<TargetGroup>, String> {
    let written: Option<Vec<Option<WrittenGroup>>> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut groups = Vec::new();
    for (at, group) in written.unwrap_or_default().into_iter().enumerate() {
        let group = group.ok_or("nil target group item found")?;
        let mut labels = group.labels.unwrap_or_default();
        if let Some(name) = labels.keys().find(|name| !NameScheme::Utf8.is_label_name(name)) {
            return Err(format!("{} is not a valid label name", go_quote(name)));
        }
        labels.insert(URL.to_owned(), url.to_owned());
        let targets = group.targets.unwrap_or_default();
        let source = format!("{url}:{at}");
        groups.push(TargetGroup::of_addresses(source, targets, Labels::from_pairs(labels)));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Api, Collected};
    use super::*;
    use crate::config::HttpClientConfig;

    fn config(url: String) -> HttpDiscovery {
        HttpDiscovery { url, refresh_interval_ms: 50, http_client: HttpClientConfig::default() }
    }

    #[tokio::test]
    async fn groups_come_go_and_stay_when_the_server_fails() {
        let api = Api::serve(|number, request| {
            assert!(request.contains("x-prometheus-refresh-interval-seconds: 0.05\r\n"));
            match number {
                0 => {
                    Api::json(r#"[{"targets":["a:1","b:2"],"labels":{"x":"y"}},{"targets":["c"]}]"#)
                }
                1 => Api::status("500 Internal Server Error", ""),
                _ => Api::json(r#"[{"targets":["a:1"]}]"#),
            }
        })
        .await;
        let url = api.url("/sd");
        let mut collected = Collected::run(Box::new(new(&config(url.clone())).unwrap()));
        let groups = collected.next().await;
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].source, format!("{url}:0"));
        assert_eq!(groups[0].targets[1].get("__address__"), Some("b:2"));
        assert_eq!(
            groups[0].labels,
            Labels::from_pairs([("x", "y"), ("__meta_url", url.as_str())])
        );
        let groups = collected.next().await;
        assert_eq!((groups.len(), groups[0].targets.len()), (1, 1));
    }

    #[test]
    fn only_lists_of_groups_as_json_are_taken() {
        for (content_type, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON;charset=\"UTF-8\"", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_json(content_type), expected, "{content_type}");
        }
        for (text, expected) in [
            ("{}", "invalid type"),
            ("[null]", "nil target group item found"),
            (r#"[{"targets":[1]}]"#, "invalid type"),
            (r#"[{"targets":[],"labels":{"":"x"}}]"#, "\"\" is not a valid label name"),
        ] {
            let error = parse_groups(text.as_bytes(), "u").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(parse_groups(b"null", "u"), Ok(Vec::new()));
    }
}
