//! Following one kind of object: a list in pages, then a watch that begins where the list ended
//! and goes on, with bookmarks, where it broke off. When the server no longer knows that place
//! (410), everything is listed again. After failures the pauses grow.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::super::Metrics;
use super::super::api::{Api, check_status, parse};
use super::object::{Kind, Meta, Object};
use crate::http_client::encode_query;

/// Objects of a page.
const PAGE_OBJECTS: usize = 500;

/// How long the server is asked to keep a watch; a silent one is given up a little later.
const WATCH_SECONDS: u64 = 300;

/// Bytes of one event: a server stores objects of 1.5 MiB at most.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Pauses after failures.
const PAUSE_MIN: Duration = Duration::from_millis(800);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is followed.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// Empty for all.
    pub(super) namespace: String,
    pub(super) label: String,
    pub(super) field: String,
}

/// What has changed.
#[derive(Debug)]
pub(super) enum Change {
    /// All objects that there are.
    Listed(Kind, Vec<Object>),
    /// One that is new or different.
    Put(Box<Object>),
    /// One that is gone, by its key.
    Gone(Kind, String),
}

/// Why following stopped.
enum Stop {
    /// The server no longer knows the place.
    Expired,
    Failed(String),
    /// Nobody listens any more.
    Unheard,
}

impl From<String> for Stop {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PageMeta {
    resource_version: String,
    r#continue: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    code: u16,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Place {
    metadata: Meta,
}

/// Follows a resource for as long as somebody listens.
pub(super) async fn follow(
    api: Arc<Api>,
    resource: Resource,
    number: usize,
    changes: mpsc::Sender<(usize, Change)>,
    metrics: Metrics,
) {
    let follower = Follower { api, resource, number, changes };
    let mut pause = PAUSE_MIN;
    let mut place: Option<String> = None;
    loop {
        let followed = match place.take() {
            None => follower.list().await,
            Some(from) => follower.watch(from).await,
        };
        match followed {
            Ok(reached) => {
                place = Some(reached);
                pause = PAUSE_MIN;
            }
            Err((Stop::Unheard, _)) => return,
            Err((Stop::Expired, _)) => {}
            Err((Stop::Failed(error), reached)) => {
                metrics.kubernetes_failures.inc();
                let kind = follower.resource.kind.role_name();
                tracing::warn!(discovery = "kubernetes", kind, err = %error, "Following failed");
                place = reached;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

struct Follower {
    api: Arc<Api>,
    resource: Resource,
    number: usize,
    changes: mpsc::Sender<(usize, Change)>,
}

/// A place to go on from, where there is one.
type Followed = Result<String, (Stop, Option<String>)>;

impl Follower {
    fn path(&self, more: &[(&str, String)]) -> String {
        let Resource { kind, namespace, label, field } = &self.resource;
        let (group, plural) = kind.path();
        let within =
            if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        let mut parameters = Vec::new();
        for (name, value) in [("labelSelector", label), ("fieldSelector", field)] {
            if !value.is_empty() {
                parameters.push((name.to_owned(), vec![value.clone()]));
            }
        }
        for (name, value) in more {
            parameters.push(((*name).to_owned(), vec![value.clone()]));
        }
        format!("{group}{within}/{plural}?{}", encode_query(&parameters))
    }

    async fn tell(&self, change: Change) -> Result<(), Stop> {
        self.changes.send((self.number, change)).await.map_err(|_| Stop::Unheard)
    }

    async fn list(&self) -> Followed {
        self.list_pages().await.map_err(|stop| (stop, None))
    }

    async fn list_pages(&self) -> Result<String, Stop> {
        let mut objects = Vec::new();
        let mut token = String::new();
        loop {
            let mut more = vec![("limit", PAGE_OBJECTS.to_string())];
            if !token.is_empty() {
                more.push(("continue", token));
            }
            let response = self.api.send(&self.api.request(&self.path(&more))?).await?;
            if response.status == StatusCode::GONE {
                return Err(Stop::Failed("the list expired before its end".to_owned()));
            }
            check_status(&response)?;
            let text = std::str::from_utf8(&response.body)
                .map_err(|error| format!("reading the list: {error}"))?;
            let page: Page<'_> =
                serde_json::from_str(text).map_err(|error| format!("reading the list: {error}"))?;
            for item in page.items.unwrap_or_default() {
                objects.push(self.read(item)?);
            }
            token = page.metadata.r#continue;
            if token.is_empty() {
                self.tell(Change::Listed(self.resource.kind, objects)).await?;
                return Ok(page.metadata.resource_version);
            }
        }
    }

    fn read(&self, value: &RawValue) -> Result<Object, String> {
        let kind = self.resource.kind;
        kind.parse(value).map_err(|error| format!("reading a {}: {error}", kind.role_name()))
    }

    /// Watches from a place until the server ends the watch; gives the place reached.
    async fn watch(&self, mut place: String) -> Followed {
        let limit = Duration::from_secs(WATCH_SECONDS + 30);
        match tokio::time::timeout(limit, self.watch_unlimited(&mut place)).await {
            Ok(Ok(())) | Err(_) => Ok(place),
            Ok(Err(stop)) => Err((stop, Some(place))),
        }
    }

    async fn watch_unlimited(&self, place: &mut String) -> Result<(), Stop> {
        let request = self.api.request(&self.path(&[
            ("watch", "true".to_owned()),
            ("allowWatchBookmarks", "true".to_owned()),
            ("resourceVersion", place.clone()),
            ("timeoutSeconds", WATCH_SECONDS.to_string()),
        ]))?;
        let streamed = self.api.client().stream(&request).await;
        let mut streaming = streamed.map_err(|error| error.to_string())?;
        if streaming.status == StatusCode::GONE {
            return Err(Stop::Expired);
        }
        if streaming.status != StatusCode::OK {
            let status = &streaming.status_text;
            return Err(Stop::Failed(format!("server returned HTTP status {status}")));
        }
        let mut bytes = Vec::new();
        let mut has_event = false;
        loop {
            let mut begin = 0;
            while let Some(len) = bytes[begin..].iter().position(|&byte| byte == b'\n') {
                self.take(&bytes[begin..begin + len], place).await?;
                has_event = true;
                begin += len + 1;
            }
            bytes.drain(..begin);
            if bytes.len() > EVENT_BYTES_MAX {
                let text = format!("an event exceeds {EVENT_BYTES_MAX} bytes");
                return Err(Stop::Failed(text));
            }
            let read = streaming.read_some(&mut bytes).await;
            if !read.map_err(|error| error.to_string())? {
                // A server that ends each watch at once must not be asked in a circle.
                return if has_event { Ok(()) } else { Err(Stop::Failed("EOF".to_owned())) };
            }
        }
    }

    async fn take(&self, line: &[u8], place: &mut String) -> Result<(), Stop> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let event: Event<'_> = parse_event(line)?;
        if event.r#type == "ERROR" {
            let status: Status = parse(event.object.get().as_bytes())?;
            return Err(match status.code {
                410 => Stop::Expired,
                _ => Stop::Failed(status.message),
            });
        }
        if event.r#type == "BOOKMARK" {
            let at: Place = parse(event.object.get().as_bytes())?;
            *place = at.metadata.resource_version;
            return Ok(());
        }
        let object = self.read(event.object)?;
        let reached = object.meta().resource_version.clone();
        match event.r#type.as_str() {
            "ADDED" | "MODIFIED" => self.tell(Change::Put(Box::new(object))).await?,
            "DELETED" => {
                let gone = Change::Gone(self.resource.kind, object.meta().key());
                self.tell(gone).await?;
            }
            _ => {}
        }
        *place = reached;
        Ok(())
    }
}

fn parse_event(line: &[u8]) -> Result<Event<'_>, String> {
    serde_json::from_slice(line).map_err(|error| format!("reading an event: {error}"))
}
