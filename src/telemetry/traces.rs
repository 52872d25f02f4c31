//! Traces: what a piece of work was, what it was part of, and how long it took.
//!
//! A [`Span`] is such a piece of work. It ends when it is dropped and then waits in a bounded
//! [`Queue`] for whoever sends spans on; where the queue is full it is dropped and counted, so
//! tracing never holds up the work. What is part of what goes along as a [`Context`]: given to a
//! child by hand, kept beside a future by [`within`], and between processes by the header
//! `traceparent`. A trace is sampled or not at its root, and all of it then.
//!
//! The [`Tracer`] in force is one for the process, as the receiver of its log is: spans begin
//! deep inside of work whose callers know nothing of them. While there is none a span is empty
//! and costs a look at a flag.
//!
//! Source: W3C Trace Context, level 1; OpenTelemetry's sampler `TraceIdRatioBased`, under
//! `ParentBased`.

mod context;
mod encode;
mod queue;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

pub use context::{
    Context, TRACE_PARENT, TRACE_STATE, ambient, check_trace_headers, has_ambient, within,
};
pub use encode::export_request;
pub use queue::{Queue, TraceCounts};

/// Bytes of an attribute's text.
const TEXT_BYTES_MAX: usize = 4096;

static IS_ON: AtomicBool = AtomicBool::new(false);
static IN_FORCE: RwLock<Option<Arc<Tracer>>> = RwLock::new(None);

/// Which traces are sampled, and where their spans go.
#[derive(Debug)]
pub struct Tracer {
    /// Of the last 63 bits of a trace's identity: those below this are sampled.
    bound: u64,
    queue: Arc<Queue>,
}

impl Tracer {
    /// `fraction`: how many of those that begin here are sampled, from 0 to 1.
    pub fn new(fraction: f64, queue: Arc<Queue>) -> Self {
        let bound = (fraction.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Self { bound, queue }
    }

    fn samples(&self, trace: [u8; 16]) -> bool {
        let [.., a, b, c, d, e, f, g, h] = trace;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.bound
    }
}

/// From now on spans are made by this tracer, or by none.
pub fn install(tracer: Option<Arc<Tracer>>) {
    IS_ON.store(tracer.is_some(), Ordering::Release);
    *IN_FORCE.write().unwrap_or_else(PoisonError::into_inner) = tracer;
}

fn in_force() -> Option<Arc<Tracer>> {
    if !IS_ON.load(Ordering::Relaxed) {
        return None;
    }
    IN_FORCE.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// On which side of a request the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No request.
    Internal,
    /// A request is answered.
    Server,
    /// A request is sent.
    Client,
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self::Text(text[..end].to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// A piece of work that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// What it is.
    pub context: Context,
    /// What it is part of.
    pub parent: Option<[u8; 8]>,
    /// What it is called.
    pub name: Cow<'static, str>,
    /// On which side of a request it is.
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// More about it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A piece of work under way; it ends when this is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Live>>);

#[derive(Debug)]
struct Live {
    span: Finished,
    began: Instant,
    tracer: Arc<Tracer>,
}

impl Span {
    /// Work that begins here and is part of nothing.
    pub fn root(name: &'static str) -> Self {
        Self::begin(None, || name.into())
    }

    /// Work that is part of what `parent` says, or of nothing.
    pub fn part_of(parent: Option<&Context>, name: &'static str) -> Self {
        Self::begin(parent, || name.into())
    }

    /// The answer to a request with these headers; the name is made where there is a tracer.
    pub fn of_request(headers: &HeaderMap, name: impl FnOnce() -> String) -> Self {
        if !IS_ON.load(Ordering::Relaxed) {
            return Self(None);
        }
        // Whoever asks decides how long it is.
        let name = || match Value::from(name()) {
            Value::Text(name) => name.into(),
            Value::Int(_) => Cow::default(),
        };
        let span = Self::begin(Context::from_headers(headers).as_ref(), name);
        span.with_kind(Kind::Server)
    }

    /// Work that is part of this.
    #[must_use]
    pub fn child(&self, name: &'static str) -> Self {
        match &self.0 {
            Some(live) => Self::begin_under(&live.tracer, Some(&live.span.context), name.into()),
            None => Self(None),
        }
    }

    fn begin(parent: Option<&Context>, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        match in_force() {
            Some(tracer) => Self::begin_under(&tracer, parent, name()),
            None => Self(None),
        }
    }

    fn begin_under(
        tracer: &Arc<Tracer>,
        parent: Option<&Context>,
        name: Cow<'static, str>,
    ) -> Self {
        let Some(context) = context::begin(parent, |trace| tracer.samples(trace)) else {
            return Self(None);
        };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        let span = Finished {
            context,
            parent: parent.map(|parent| parent.span),
            name,
            kind: Kind::Internal,
            start_ns,
            end_ns: start_ns,
            attributes: Vec::new(),
            error: None,
        };
        Self(Some(Box::new(Live { span, began: Instant::now(), tracer: Arc::clone(tracer) })))
    }

    /// The same on another side of a request.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        if let Some(live) = &mut self.0 {
            live.span.kind = kind;
        }
        self
    }

    /// Whether anybody will be told.
    pub fn is_sampled(&self) -> bool {
        self.0.as_ref().is_some_and(|live| live.span.context.is_sampled)
    }

    /// Says more about the work.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(live) = self.0.as_mut().filter(|live| live.span.context.is_sampled) {
            live.span.attributes.push((key, value.into()));
        }
    }

    /// Says that it failed.
    pub fn fail(&mut self, why: &str) {
        if let Some(live) = self.0.as_mut().filter(|live| live.span.context.is_sampled) {
            let Value::Text(why) = Value::from(why) else { return };
            live.span.error = Some(why);
        }
    }

    /// What others are part of when they are part of this.
    pub fn context(&self) -> Option<Context> {
        self.0.as_ref().map(|live| live.span.context.clone())
    }

    /// Work that was part of this, from `began` on, and is over.
    pub fn add_past(&self, name: &'static str, began: Instant, took: Duration) {
        if !self.is_sampled() {
            return;
        }
        let mut child = self.child(name);
        let (Some(child), Some(live)) = (&mut child.0, &self.0) else { return };
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let before = ns(live.began.saturating_duration_since(began));
        let after = ns(began.saturating_duration_since(live.began));
        let start_ns = live.span.start_ns.saturating_sub(before).saturating_add(after);
        child.span.start_ns = start_ns;
        child.span.end_ns = start_ns.saturating_add(ns(took));
        // It is over already: the time of its drop means nothing.
        child.tracer.queue.add(child.span.clone());
        child.span.context.is_sampled = false;
    }

    /// Has the work begin earlier than this was made, at a time in nanoseconds since the epoch.
    pub fn began_at(&mut self, start_ns: i64) {
        if let Some(live) = &mut self.0 {
            live.span.start_ns = u64::try_from(start_ns).unwrap_or(0);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(live) = self.0.take().filter(|live| live.span.context.is_sampled) else { return };
        let Live { mut span, began, tracer } = *live;
        // From the clock of the span's beginning, which nobody sets back meanwhile.
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        span.end_ns = span.end_ns.saturating_add(took);
        tracer.queue.add(span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(fraction: f64) -> (Arc<Tracer>, Arc<Queue>) {
        let queue = Arc::new(Queue::new(Arc::default()));
        (Arc::new(Tracer::new(fraction, Arc::clone(&queue))), queue)
    }

    fn root(tracer: &Arc<Tracer>) -> Span {
        Span::begin_under(tracer, None, "root".into())
    }

    #[test]
    fn children_belong_to_the_trace_of_their_root() {
        let (tracer, queue) = tracer(1.0);
        let mut outer = root(&tracer);
        outer.set("name", "x".repeat(TEXT_BYTES_MAX + 1).as_str());
        let mut inner = outer.child("inner").with_kind(Kind::Client);
        inner.fail("broken");
        drop(inner);
        let began = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        outer.add_past("past", began, Duration::from_secs(1));
        drop(outer);
        let spans = queue.take(9);
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["inner", "past", "root"]);
        let root = &spans[2];
        assert!(root.parent.is_none() && root.end_ns >= root.start_ns);
        assert!(matches!(&root.attributes[0].1, Value::Text(text) if text.len() == TEXT_BYTES_MAX));
        for child in &spans[..2] {
            assert_eq!(child.parent, Some(root.context.span));
            assert_eq!(child.context.trace, root.context.trace);
            assert_ne!(child.context.span, root.context.span);
        }
        assert_eq!((spans[0].error.as_deref(), spans[0].kind), (Some("broken"), Kind::Client));
        assert_eq!(spans[1].end_ns - spans[1].start_ns, 1_000_000_000);
        assert!(spans[1].end_ns < root.start_ns);
    }

    #[test]
    fn a_trace_is_sampled_as_a_whole() {
        let (none, queue) = tracer(0.0);
        let outer = root(&none);
        assert!(!outer.is_sampled() && !outer.child("inner").is_sampled());
        assert!(outer.context().is_some(), "others are told that it is not");
        outer.add_past("past", Instant::now(), Duration::ZERO);
        drop(outer);
        assert!(queue.take(9).is_empty());
        // Whoever asks has decided already.
        let (sampled, _) = tracer(1.0);
        let parent = root(&sampled).context().unwrap();
        let child = Span::begin_under(&none, Some(&parent), "child".into());
        assert!(child.is_sampled());
        let (some, _) = tracer(0.25);
        let count = (0..4000).filter(|_| root(&some).is_sampled()).count();
        assert!((700..1300).contains(&count), "{count}");
    }
}
