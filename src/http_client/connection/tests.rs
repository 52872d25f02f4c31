//! Against small servers on the loopback interface that behave in every way but well.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::HttpClientConfig;

/// Answers each request with what `answer` gives for (connection, request) numbers and the
/// request's text; `None` closes the connection.
async fn serve(
    answer: impl Fn(usize, usize, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    let connections = AtomicUsize::new(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let connection = connections.fetch_add(1, Ordering::Relaxed);
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                for request in 0.. {
                    let mut text = Vec::new();
                    while !text.ends_with(b"\r\n\r\n") {
                        let mut byte = [0; 1];
                        if stream.read_exact(&mut byte).await.is_err() {
                            return;
                        }
                        text.push(byte[0]);
                    }
                    let text = String::from_utf8(text).unwrap();
                    let Some(bytes) = answer(connection, request, &text) else { return };
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn request(url: &str) -> Request {
    Request {
        headers: vec![(header::ACCEPT, HeaderValue::from_static("text/plain"))].into(),
        timeout: Duration::from_secs(5),
        body_bytes_max: 1000,
        ..Request::get(Url::parse(url).unwrap())
    }
}

async fn fetch(connection: &mut Connection, request: &Request) -> Result<String, String> {
    let client = Client::new(&HttpClientConfig::default()).unwrap();
    fetch_by(&client, connection, request).await
}

async fn fetch_by(
    client: &Client,
    connection: &mut Connection,
    request: &Request,
) -> Result<String, String> {
    let buffers = BufferPool::new();
    let page = connection.fetch(client, request, &buffers).await;
    let page = page.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(page.body.to_vec()).unwrap())
}

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let address = serve(|connection, request, text| {
        assert!(text.starts_with("GET /m?x=1 HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("accept: text/plain\r\n"), "{text}");
        Some(ok(format!("{connection} {request}").as_bytes()))
    })
    .await;
    let mut connection = Connection::new();
    let request = request(&format!("http://{address}/m?x=1"));
    for expected in ["0 0", "0 1", "0 2"] {
        assert_eq!(fetch(&mut connection, &request).await.unwrap(), expected);
        assert!(connection.is_open());
    }
}

#[tokio::test]
async fn a_server_that_closed_is_connected_to_again() {
    let address = serve(|connection, request, _| {
        (request == 0).then(|| ok(format!("{connection}").as_bytes()))
    })
    .await;
    let mut connection = Connection::new();
    let request = request(&format!("http://{address}/"));
    for expected in ["0", "1", "2"] {
        assert_eq!(fetch(&mut connection, &request).await.unwrap(), expected);
    }
    let address = serve(|connection, _, _| {
        let mut answer = ok(format!("{connection}").as_bytes());
        let at = answer.windows(2).position(|w| w == b"\r\n").unwrap();
        answer.splice(at..at, *b"\r\nConnection: close");
        Some(answer)
    })
    .await;
    let request = self::request(&format!("http://{address}/"));
    let mut connection = Connection::new();
    for expected in ["0", "1"] {
        assert_eq!(fetch(&mut connection, &request).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn gzip_is_decompressed_and_bounded() {
    use std::io::Write;
    let address = serve(|_, request, _| {
        let size = if request == 0 { 900 } else { 1 << 20 };
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![b'x'; size]).unwrap();
        let packed = encoder.finish().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            packed.len()
        );
        Some([head.as_bytes(), &packed].concat())
    })
    .await;
    let mut connection = Connection::new();
    let mut request = request(&format!("http://{address}/"));
    assert_eq!(fetch(&mut connection, &request).await.unwrap().len(), 900);
    request.body_bytes_max = 100_000;
    let error = fetch(&mut connection, &request).await.unwrap_err();
    assert_eq!(error, "body size limit exceeded (limit: 100000 bytes)");
}

#[tokio::test]
async fn endless_bodies_and_heads_are_cut_off() {
    let address = serve(|_, _, _| {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(1 << 20, b'x');
        Some(answer)
    })
    .await;
    let mut connection = Connection::new();
    let error = fetch(&mut connection, &request(&format!("http://{address}/"))).await.unwrap_err();
    assert_eq!(error, "body size limit exceeded (limit: 1000 bytes)");
    assert!(!connection.is_open());
    let address = serve(|_, _, _| {
        let mut answer = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        answer.resize(1 << 20, b'x');
        Some(answer)
    })
    .await;
    let error = fetch(&mut connection, &request(&format!("http://{address}/"))).await.unwrap_err();
    assert!(error.contains("response head exceeds 65536 bytes"), "{error}");
}

#[tokio::test]
async fn the_time_limit_covers_head_and_body() {
    let address = serve(|_, request, _| {
        Some(if request == 0 { Vec::new() } else { unreachable!("BUG: one request") })
    })
    .await;
    let mut connection = Connection::new();
    let url = format!("http://{address}/x");
    let mut request = request(&url);
    request.timeout = Duration::from_millis(50);
    let error = fetch(&mut connection, &request).await.unwrap_err();
    assert_eq!(error, format!("Get \"{url}\": context deadline exceeded"));
    let address =
        serve(|_, _, _| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".to_vec())).await;
    request.url = Url::parse(&format!("http://{address}/x")).unwrap();
    let error = fetch(&mut connection, &request).await.unwrap_err();
    assert_eq!(error, "context deadline exceeded");
}

#[tokio::test]
async fn failures_are_told_as_prometheus_tells_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut connection = Connection::new();
    let url = format!("http://{address}/m");
    let error = fetch(&mut connection, &request(&url)).await.unwrap_err();
    let expected = format!("Get \"{url}\": dial tcp {address}: connect: connection refused");
    assert_eq!(error, expected);
    for (answer, expected) in [
        (&b""[..], "Get \"URL\": EOF"),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "server returned HTTP status 404 Not Found",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "unexpected EOF"),
        (
            b"SSH-2.0-x\r\n\r\n",
            "Get \"URL\": net/http: HTTP/1.x transport connection broken: malformed HTTP \
             response \"SSH-2.0-x",
        ),
        (
            b"SSH-2.0-x\r\n",
            "Get \"URL\": net/http: HTTP/1.x transport connection broken: malformed HTTP \
             response \"SSH-2.0-x",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "Get \"URL\": unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "unexpected EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "malformed chunked"),
    ] {
        // The first answer is followed by the end of the connection.
        let address = serve_once(answer).await;
        let url = format!("http://{address}/m");
        let error = fetch(&mut connection, &request(&url)).await.unwrap_err();
        let expected = expected.replace("URL", &url);
        assert!(error.starts_with(&expected), "{error}");
    }
}

/// Answers one request of each connection with these bytes and closes.
async fn serve_once(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

#[tokio::test]
async fn redirects_are_followed_up_to_ten() {
    let address = serve(|connection, _, text| {
        let path = text.split(' ').nth(1).unwrap();
        Some(match path.strip_prefix("/hop/").and_then(|n| n.parse::<u32>().ok()) {
            Some(0) => ok(format!("there {connection}").as_bytes()),
            Some(left) => format!(
                "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 2\r\n\r\nhi",
                left - 1
            )
            .into_bytes(),
            None => b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        })
    })
    .await;
    let mut connection = Connection::new();
    let mut request = request(&format!("http://{address}/hop/10"));
    assert_eq!(fetch(&mut connection, &request).await.unwrap(), "there 0");
    request.url = Url::parse(&format!("http://{address}/hop/11")).unwrap();
    let error = fetch(&mut connection, &request).await.unwrap_err();
    assert!(error.ends_with("stopped after 10 redirects"), "{error}");
    let config = HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() };
    let client = Client::new(&config).unwrap();
    let error = fetch_by(&client, &mut connection, &request).await.unwrap_err();
    assert_eq!(error, "server returned HTTP status 302 Found");
    request.url = Url::parse(&format!("http://{address}/nowhere")).unwrap();
    let error = fetch(&mut connection, &request).await.unwrap_err();
    assert_eq!(error, "server returned HTTP status 302 Found");
}

#[tokio::test]
async fn chunks_interim_heads_and_trailers_are_read() {
    let address = serve(|connection, request, _| {
        let tail = format!("4\r\n {connection} {request}\r\n0\r\nX-T: 1\r\n\r\n");
        let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\
                    Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n";
        Some(format!("{head}{tail}").into_bytes())
    })
    .await;
    let mut connection = Connection::new();
    let request = request(&format!("http://{address}/"));
    for expected in ["abc 0 0", "abc 0 1"] {
        assert_eq!(fetch(&mut connection, &request).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_nobody_asked_for_ends_the_connection() {
    let address = serve(|connection, _, _| {
        Some([ok(format!("{connection}").as_bytes()), b"HTTP/1.1 200 OK\r\n\r\n".to_vec()].concat())
    })
    .await;
    let mut connection = Connection::new();
    let request = request(&format!("http://{address}/"));
    for expected in ["0", "1"] {
        assert_eq!(fetch(&mut connection, &request).await.unwrap(), expected);
        assert!(!connection.is_open());
    }
}

#[tokio::test]
async fn a_client_posts_and_keeps_its_connection() {
    let address = serve(|connection, request, text| {
        let line = text.lines().next().unwrap();
        let length = text.contains("Content-Length: 0\r\n");
        Some(ok(format!("{connection} {request} {line} {length}").as_bytes()))
    })
    .await;
    let client = Client::new(&HttpClientConfig::default()).unwrap();
    let request = Request { method: Method::POST, ..request(&format!("http://{address}/p")) };
    for expected in ["0 0 POST /p HTTP/1.1 true", "0 1 POST /p HTTP/1.1 true"] {
        let response = client.send(&request).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&response.body), expected);
    }
}

#[tokio::test]
async fn a_body_is_read_as_it_comes() {
    let address = serve(|_, _, _| {
        Some(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec())
    })
    .await;
    let client = Client::new(&HttpClientConfig::default()).unwrap();
    let mut streaming = client.stream(&request(&format!("http://{address}/"))).await.unwrap();
    let mut out = Vec::new();
    assert!(streaming.read_some(&mut out).await.unwrap());
    assert_eq!(out, b"abc");
    let brief = Duration::from_millis(20);
    assert!(tokio::time::timeout(brief, streaming.read_some(&mut out)).await.is_err());
}
