//! What tells a piece of work from all others, and how it goes from one process to another.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::rand::{SecureRandom as _, SystemRandom};

/// The header that names trace and parent.
pub const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what others keep beside it.
pub const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
/// Bytes of that header that are handed on.
const STATE_BYTES_MAX: usize = 512;

tokio::task_local! {
    static AMBIENT: Option<Context>;
}

/// Which trace and which piece of work in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// The piece of work.
    pub span: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
    /// What others keep beside it; handed on as it is.
    pub state: Option<Arc<str>>,
}

/// A new piece of work, under `parent` or by itself. `None`: the system gives no random numbers.
pub(super) fn begin(
    parent: Option<&Context>,
    samples: impl FnOnce([u8; 16]) -> bool,
) -> Option<Context> {
    let mut random = [0; 24];
    SystemRandom::new().fill(&mut random).ok()?;
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&random[..16]);
    span.copy_from_slice(&random[16..]);
    Some(match parent {
        Some(parent) => Context { span, ..parent.clone() },
        None => Context { trace, span, is_sampled: samples(trace), state: None },
    })
}

impl Context {
    /// What the sender of a request is at; `None`: it does not say, or not in a form that holds.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACE_PARENT).iter();
        let text = all.next()?.to_str().ok()?;
        if all.next().is_some() {
            return None;
        }
        let mut context = Self::parse(text)?;
        let state: Vec<&str> =
            headers.get_all(TRACE_STATE).iter().filter_map(|value| value.to_str().ok()).collect();
        let state = state.join(",");
        if !state.is_empty() && state.len() <= STATE_BYTES_MAX {
            context.state = Some(state.into());
        }
        Some(context)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (span, flags) = (parts.next()?, parts.next()?);
        let [version] = hex::<1>(version)?;
        // Later versions may say more.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let [flags] = hex::<1>(flags)?;
        let (trace, span) = (hex::<16>(trace)?, hex::<8>(span)?);
        let is_valid = trace != [0; 16] && span != [0; 8];
        is_valid.then_some(Self { trace, span, is_sampled: flags & 1 == 1, state: None })
    }

    /// The headers that tell another process.
    pub fn to_headers(&self, headers: &mut HeaderMap) {
        let mut text = String::from("00-");
        for byte in self.trace {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('-');
        for byte in self.span {
            let _ = write!(text, "{byte:02x}");
        }
        text.push_str(if self.is_sampled { "-01" } else { "-00" });
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACE_PARENT, value);
        }
        if let Some(state) = &self.state
            && let Ok(value) = HeaderValue::from_str(state)
        {
            headers.insert(TRACE_STATE, value);
        }
    }
}

/// Reads two headers, one a line, as fuzzing wants it: what is read is what is written again.
pub fn check_trace_headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut lines = bytes.split(|byte| *byte == b'\n');
    for name in [TRACE_PARENT, TRACE_STATE] {
        if let Some(value) = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok()) {
            headers.insert(name, value);
        }
    }
    if let Some(context) = Context::from_headers(&headers) {
        let mut written = HeaderMap::new();
        context.to_headers(&mut written);
        assert_eq!(Context::from_headers(&written), Some(context), "BUG: it says something else");
    }
}

/// Lower-case digits only.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// Runs `future` as part of what `context` says: requests that it sends tell it.
pub async fn within<F: Future>(context: Option<Context>, future: F) -> F::Output {
    AMBIENT.scope(context, future).await
}

/// What the future that runs now is part of.
pub fn ambient() -> Option<Context> {
    AMBIENT.try_with(Clone::clone).ok().flatten()
}

/// Whether the future that runs now is part of something.
pub fn has_ambient() -> bool {
    AMBIENT.try_with(Option::is_some).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<Context> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACE_PARENT, HeaderValue::from_str(text).unwrap());
        Context::from_headers(&headers)
    }

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn headers_are_read_and_written() {
        let context = told(GOOD).unwrap();
        assert!(context.is_sampled && context.trace[0] == 0x0a && context.span[7] == 0x31);
        let mut headers = HeaderMap::new();
        context.to_headers(&mut headers);
        assert_eq!(headers[TRACE_PARENT], GOOD);
        headers.append(TRACE_STATE, HeaderValue::from_static("a=1"));
        headers.append(TRACE_STATE, HeaderValue::from_static("b=2"));
        let context = Context::from_headers(&headers).unwrap();
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
        let mut headers = HeaderMap::new();
        Context { is_sampled: false, ..context }.to_headers(&mut headers);
        assert!(headers[TRACE_PARENT].to_str().unwrap().ends_with("-00"));
        assert_eq!(headers[TRACE_STATE], "a=1,b=2");
        assert!(told(&GOOD.replacen("00", "01", 1).replace("-01", "-01-more")).is_some());
    }

    #[test]
    fn what_is_handed_on_is_what_came() {
        for state in ["", "a=1, b=2", "\u{e9}", "y\nz"] {
            check_trace_headers(format!("{GOOD}\n{state}").as_bytes());
        }
        check_trace_headers(b"x\ny");
    }

    #[test]
    fn what_is_no_header_is_not_taken() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
        let mut twice = HeaderMap::new();
        twice.append(TRACE_PARENT, HeaderValue::from_static(GOOD));
        twice.append(TRACE_PARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Context::from_headers(&twice), None);
    }

    #[tokio::test]
    async fn a_future_knows_what_it_is_part_of() {
        assert_eq!(ambient(), None);
        let context = told(GOOD);
        within(context.clone(), async {
            assert_eq!(ambient(), context);
            within(None, async { assert_eq!(ambient(), None) }).await;
        })
        .await;
        assert_eq!(ambient(), None);
    }
}
