//! HTTP/1.1 by hand, so that an idle connection is a socket and nothing else: buffers are taken
//! for a request and given back after it.
//!
//! What a server sends is bounded: the head in bytes and fields, the lines between chunks; the
//! body is handed on piece by piece, and who reads it says when it is enough.

use std::fmt;
use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::alert::alert_text;
use super::error::{FetchError, Reason, system_text};
use super::stream::Stream;
use super::{Buffer, BufferPool};

/// Bytes that the head of a response may have.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// Header fields of a response.
const HEADERS_MAX: usize = 256;

/// Interim responses before the one that counts.
const INTERIM_MAX: usize = 8;

/// Bytes of a line between chunks.
const CHUNK_LINE_MAX: usize = 4 << 10;

/// Bytes that are asked of the socket at a time.
const READ_BYTES: usize = 16 << 10;

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// Number and phrase as they were sent.
    pub status_text: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// Whether the server speaks HTTP/1.0.
    pub(super) is_old: bool,
}

/// A head that is none: what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// Longer than a head may be, in bytes or fields.
    TooLarge,
    /// The first line is none of HTTP/1.
    StatusLine(String),
    /// A header field is none.
    Header(String),
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => {
                write!(f, "response head exceeds {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} fields")
            }
            Self::StatusLine(line) => write!(f, "malformed HTTP response {line:?}"),
            Self::Header(line) => write!(f, "malformed MIME header line: {line:?}"),
        }
    }
}

impl std::error::Error for HeadError {}

/// Reads the head at the beginning of `bytes`: the head and its length, `None` where it is not
/// there to its end yet.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    let Some(len) = head_len(bytes, 0) else {
        return if bytes.len() >= HEAD_BYTES_MAX { Err(HeadError::TooLarge) } else { Ok(None) };
    };
    if len > HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge);
    }
    let shown = |line: &[u8]| String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
    let mut lines = bytes[..len]
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let status = parse_status(first).ok_or_else(|| HeadError::StatusLine(shown(first)))?;
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        if headers.len() >= HEADERS_MAX {
            return Err(HeadError::TooLarge);
        }
        let wrong = || HeadError::Header(shown(line));
        let colon = line.iter().position(|&byte| byte == b':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| wrong())?;
        headers.append(name, value);
    }
    let (status, status_text, is_old) = status;
    Ok(Some((ResponseHead { status, status_text, headers, is_old }, len)))
}

/// The length of the head with its empty line; the bytes before `from` are known to lack it.
fn head_len(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from.saturating_sub(3);
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == b'\n')? + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
}

fn parse_status(line: &[u8]) -> Option<(StatusCode, String, bool)> {
    let line = std::str::from_utf8(line).ok()?;
    let (version, text) = line.split_once(' ')?;
    let minor = version.strip_prefix("HTTP/1.")?;
    let is_old = match minor {
        "0" => true,
        "1" => false,
        _ => return None,
    };
    let code = text.get(..3).filter(|_| matches!(text.as_bytes().get(3), None | Some(b' ')))?;
    let status = StatusCode::from_bytes(code.as_bytes()).ok()?;
    Some((status, text.trim_end().to_owned(), is_old))
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes.
    Length(u64),
    /// Within a chunk: so many bytes of it.
    Chunk(u64),
    /// Before a chunk's size.
    ChunkSize,
    /// At the end of a chunk's line.
    ChunkEnd,
    /// Between the last chunk and the end: trailers of so many bytes were there.
    Trailers(usize),
    /// All until the connection ends.
    UntilEnd,
    /// Nothing.
    Done,
}

/// A response under way: the stream, and what was read of it and not handed on.
#[derive(Debug)]
pub(super) struct InFlight {
    stream: Stream,
    read: Buffer,
    at: usize,
    framing: Framing,
    is_kept: bool,
}

/// Sends a request, head and body, and reads the response's head. On an error the second value
/// says whether the server had answered anything.
pub(super) async fn exchange(
    mut stream: Stream,
    method: &Method,
    request: &[u8],
    buffers: &BufferPool,
) -> Result<(ResponseHead, InFlight), (Reason, bool)> {
    let broken = |error: &io::Error| {
        Reason::Exchange(match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            _ => alert_text(error).unwrap_or_else(|| system_text(error)),
        })
    };
    let sent = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| (broken(&error), false))?;
    let mut read = buffers.take();
    let mut interim = 0;
    loop {
        let mut searched = 0;
        let head = loop {
            if let Some(len) = head_len(&read, searched) {
                break parse_head(&read[..len]);
            }
            if read.len() >= HEAD_BYTES_MAX {
                break Err(HeadError::TooLarge);
            }
            searched = read.len();
            read.reserve(READ_BYTES);
            match (&mut stream).take(READ_BYTES as u64).read_buf(&mut *read).await {
                Ok(0) if read.is_empty() => {
                    return Err((Reason::Exchange("EOF".to_owned()), false));
                }
                Ok(0) => {
                    // What is no HTTP need not have a head's end.
                    let shown = &read[..read.len().min(200)];
                    let text =
                        match parse_status(shown.split(|&b| b == b'\r').next().unwrap_or(&[])) {
                            Some(_) => "unexpected EOF".to_owned(),
                            None => transport_text(&HeadError::StatusLine(
                                String::from_utf8_lossy(shown).into_owned(),
                            )),
                        };
                    return Err((Reason::Exchange(text), true));
                }
                Ok(_) => {}
                Err(error) => return Err((broken(&error), !read.is_empty())),
            }
        };
        let parsed = head.map_err(|error| (Reason::Exchange(transport_text(&error)), true))?;
        let Some((head, len)) = parsed else { unreachable!("BUG: the head is there to its end") };
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            interim += 1;
            if interim > INTERIM_MAX {
                let text = format!("more than {INTERIM_MAX} interim responses");
                return Err((Reason::Exchange(text), true));
            }
            read.drain(..len);
            continue;
        }
        let framing = framing(method, &head).map_err(|text| (Reason::Exchange(text), true))?;
        let is_kept = is_kept(&head) && framing != Framing::UntilEnd;
        return Ok((head, InFlight { stream, read, at: len, framing, is_kept }));
    }
}

fn transport_text(error: &HeadError) -> String {
    match error {
        HeadError::StatusLine(_) => {
            format!("net/http: HTTP/1.x transport connection broken: {error}")
        }
        other => other.to_string(),
    }
}

fn is_kept(head: &ResponseHead) -> bool {
    let has = |word: &str| {
        let values = head.headers.get_all(header::CONNECTION).iter();
        let mut words = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        words.any(|w| w.trim().eq_ignore_ascii_case(word))
    };
    if head.is_old { has("keep-alive") } else { !has("close") }
}

fn framing(method: &Method, head: &ResponseHead) -> Result<Framing, String> {
    let status = head.status;
    if *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Ok(Framing::Done);
    }
    if let Some(encoding) = head.headers.get_all(header::TRANSFER_ENCODING).iter().next_back() {
        let is_chunked = encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if is_chunked && !head.is_old {
            return Ok(Framing::ChunkSize);
        }
        let shown = String::from_utf8_lossy(encoding.as_bytes());
        return Err(format!("unsupported transfer encoding: {shown:?}"));
    }
    let mut length: Option<u64> = None;
    for value in head.headers.get_all(header::CONTENT_LENGTH) {
        let text = value.to_str().unwrap_or("").trim();
        let parsed = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
        match (parsed.flatten(), length) {
            (Some(parsed), None) => length = Some(parsed),
            (Some(parsed), Some(known)) if parsed == known => {}
            _ => return Err(format!("bad Content-Length {text:?}")),
        }
    }
    Ok(match length {
        Some(0) => Framing::Done,
        Some(length) => Framing::Length(length),
        None => Framing::UntilEnd,
    })
}

impl InFlight {
    /// Bytes of the body as the head declares them.
    pub(super) fn declared(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }

    /// Appends the next piece of the body, of at most some 64 KiB, to `out`; false at its end.
    pub(super) async fn read_some(&mut self, out: &mut Vec<u8>) -> Result<bool, FetchError> {
        loop {
            match self.framing {
                Framing::Done => return Ok(false),
                Framing::Length(left) => {
                    let taken = self.take(left, out).await?;
                    if taken == 0 {
                        return Err(FetchError::Body("unexpected EOF".to_owned()));
                    }
                    self.framing = match left - taken {
                        0 => Framing::Done,
                        left => Framing::Length(left),
                    };
                    return Ok(true);
                }
                Framing::Chunk(left) => {
                    let taken = self.take(left, out).await?;
                    if taken == 0 {
                        return Err(FetchError::Body("unexpected EOF".to_owned()));
                    }
                    self.framing = match left - taken {
                        0 => Framing::ChunkEnd,
                        left => Framing::Chunk(left),
                    };
                    return Ok(true);
                }
                Framing::UntilEnd => {
                    if self.take(u64::MAX, out).await? == 0 {
                        self.framing = Framing::Done;
                        return Ok(false);
                    }
                    return Ok(true);
                }
                Framing::ChunkEnd => {
                    if !self.line().await?.is_empty() {
                        return Err(FetchError::Body("malformed chunked encoding".to_owned()));
                    }
                    self.framing = Framing::ChunkSize;
                }
                Framing::ChunkSize => {
                    let size = chunk_size(&self.line().await?)
                        .ok_or_else(|| FetchError::Body("malformed chunked encoding".to_owned()))?;
                    self.framing =
                        if size == 0 { Framing::Trailers(0) } else { Framing::Chunk(size) };
                }
                Framing::Trailers(bytes) => {
                    let line = self.line().await?;
                    self.framing = if line.is_empty() {
                        Framing::Done
                    } else if bytes + line.len() > HEAD_BYTES_MAX {
                        let text = format!("trailers exceed {HEAD_BYTES_MAX} bytes");
                        return Err(FetchError::Body(text));
                    } else {
                        Framing::Trailers(bytes + line.len())
                    };
                }
            }
        }
    }

    /// Moves up to `left` bytes to `out`; 0 at the end of the stream.
    async fn take(&mut self, left: u64, out: &mut Vec<u8>) -> Result<u64, FetchError> {
        let unread = &self.read[self.at..];
        if unread.is_empty() {
            let wanted = left.min(4 * READ_BYTES as u64);
            out.reserve(wanted as usize);
            let read = (&mut self.stream).take(wanted).read_buf(out).await;
            return Ok(read.map_err(|error| body_error(&error))? as u64);
        }
        let taken = unread.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        out.extend_from_slice(&unread[..taken]);
        self.at += taken;
        Ok(taken as u64)
    }

    /// A line without its end.
    async fn line(&mut self) -> Result<Vec<u8>, FetchError> {
        loop {
            let unread = &self.read[self.at..];
            if let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                let line = unread[..end].trim_ascii_end().to_vec();
                self.at += end + 1;
                return Ok(line);
            }
            if unread.len() > CHUNK_LINE_MAX {
                let text = format!("a line between chunks exceeds {CHUNK_LINE_MAX} bytes");
                return Err(FetchError::Body(text));
            }
            self.read.drain(..self.at);
            self.at = 0;
            self.read.reserve(READ_BYTES);
            let read = (&mut self.stream).take(READ_BYTES as u64).read_buf(&mut *self.read).await;
            if read.map_err(|error| body_error(&error))? == 0 {
                return Err(FetchError::Body("unexpected EOF".to_owned()));
            }
        }
    }

    /// The stream for the next request, where the body was read to its end and the server said
    /// nothing that nobody asked for.
    pub(super) fn finish(self) -> Option<Stream> {
        let is_clean = self.framing == Framing::Done && self.at == self.read.len();
        (is_clean && self.is_kept).then_some(self.stream)
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next()?.trim_ascii();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn body_error(error: &io::Error) -> FetchError {
    FetchError::Body(match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ => system_text(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_and_garbage_is_named() {
        let (head, len) =
            parse_head(b"HTTP/1.1 200 OK\r\nA: b\r\na:  c \r\n\r\nbody").unwrap().unwrap();
        assert_eq!((head.status.as_u16(), head.status_text.as_str(), len), (200, "200 OK", 33));
        assert_eq!(head.headers.get_all("a").iter().count(), 2);
        assert!(parse_head(b"HTTP/1.1 200 OK\r\nA: b\r\n").unwrap().is_none());
        assert!(parse_head(b"HTTP/1.0 404\n\n").unwrap().unwrap().0.is_old);
        for bad in [
            &b"SSH-2.0\r\n\r\n"[..],
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert!(parse_head(bad).is_err(), "{bad:?}");
        }
        let flood = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"a: b\r\n".repeat(300), b"\r\n"].concat();
        assert_eq!(parse_head(&flood).unwrap_err(), HeadError::TooLarge);
        assert_eq!(parse_head(&vec![b'x'; HEAD_BYTES_MAX]).unwrap_err(), HeadError::TooLarge);
    }

    #[test]
    fn lengths_of_bodies_are_checked() {
        let framed = |fields: &str| {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            framing(&Method::GET, &parse_head(head.as_bytes()).unwrap().unwrap().0)
        };
        assert_eq!(framed(""), Ok(Framing::UntilEnd));
        assert_eq!(framed("Content-Length: 5\r\nContent-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(framed("Transfer-Encoding: Chunked\r\n"), Ok(Framing::ChunkSize));
        for bad in ["Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: -1\r\n"] {
            assert!(framed(bad).is_err(), "{bad}");
        }
        assert!(framed("Transfer-Encoding: gzip\r\n").is_err());
        for (line, size) in [("a", Some(10)), ("A;x=y", Some(10)), ("", None), ("-1", None)] {
            assert_eq!(chunk_size(line.as_bytes()), size, "{line}");
        }
        assert_eq!(chunk_size(b"10000000000000000"), None);
    }
}
