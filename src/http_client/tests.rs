//! Credentials, TLS and proxies against servers on the loopback interface.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{
    Authorization, BasicAuth, HttpClientConfig, HttpHeader, JwtAssertion, OAuth2, ProxyOptions,
    Secret, SecretSource, TlsOptions,
};

const CA: &str = include_str!("../../testdata/tls/ca.crt");
const SERVER: [&str; 2] =
    [include_str!("../../testdata/tls/server.crt"), include_str!("../../testdata/tls/server.key")];
const CLIENT: [&str; 2] =
    [include_str!("../../testdata/tls/client.crt"), include_str!("../../testdata/tls/client.key")];
const SELF: [&str; 2] =
    [include_str!("../../testdata/tls/self.crt"), include_str!("../../testdata/tls/self.key")];
const RSA_KEY: &str = include_str!("../../testdata/tls/rsa.key");
const RSA_PUBLIC: &[u8] = include_bytes!("../../testdata/tls/rsa.pub.der");

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

type Answer = dyn Fn(&http::Request<Incoming>) -> http::Response<String> + Send + Sync;

/// Says what was asked: version, method, target and a few headers.
fn echo(request: &http::Request<Incoming>) -> http::Response<String> {
    let shown = ["authorization", "x-a", "cookie", "proxy-authorization"];
    let mut text = format!("{:?} {}", request.version(), request.uri());
    for name in shown {
        for value in request.headers().get_all(name) {
            write!(text, " {name}={}", value.to_str().unwrap()).unwrap();
        }
    }
    http::Response::new(text)
}

async fn serve_on<S>(stream: S, answer: Arc<Answer>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let response = answer(&request).map(|text| Full::new(Bytes::from(text)));
        std::future::ready(Ok::<_, std::convert::Infallible>(response))
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A plain server; its address.
async fn plain(
    answer: impl Fn(&http::Request<Incoming>) -> http::Response<String> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer: Arc<Answer> = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_on(stream, Arc::clone(&answer)));
        }
    });
    address
}

/// A server over TLS that echoes; `demands` a certificate of the client; its port.
async fn secured([cert, key]: [&str; 2], demands: bool) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let chain = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = if demands {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve_on(stream, Arc::new(echo)).await;
                }
            });
        }
    });
    port
}

async fn ask(config: &HttpClientConfig, url: &str) -> Result<String, String> {
    let client = Client::new(config).map_err(|error| error.to_string())?;
    ask_by(&client, url).await
}

async fn ask_by(client: &Client, url: &str) -> Result<String, String> {
    let request = Request::get(Url::parse(url).unwrap());
    let response = client.send(&request).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&response.body).into_owned())
}

fn trusting(ca: &str) -> HttpClientConfig {
    let tls = TlsOptions { ca: inline(ca), ..TlsOptions::default() };
    HttpClientConfig { tls, ..HttpClientConfig::default() }
}

#[tokio::test]
async fn tls_speaks_the_version_that_is_offered() {
    let port = secured(SERVER, false).await;
    let url = format!("https://localhost:{port}/m?x=1");
    let mut config = trusting(CA);
    let answer = ask(&config, &url).await.unwrap();
    assert_eq!(answer, format!("HTTP/2.0 {url}"));
    config.enable_http2 = false;
    for (min, max) in [("", ""), ("TLS12", "TLS12"), ("TLS13", "TLS13"), ("TLS10", "")] {
        (config.tls.min_version, config.tls.max_version) = (min.to_owned(), max.to_owned());
        assert_eq!(ask(&config, &url).await.unwrap(), "HTTP/1.1 /m?x=1");
    }
    (config.tls.min_version, config.tls.max_version) = ("TLS13".to_owned(), "TLS12".to_owned());
    let error = ask(&config, &url).await.unwrap_err();
    assert!(error.starts_with("tls_config.max_version must be greater"), "{error}");
    config.tls.max_version = "TLS11".to_owned();
    assert!(ask(&config, &url).await.unwrap_err().contains("TLS11 is insecure"));
}

#[tokio::test]
async fn strangers_are_refused_unless_nobody_looks() {
    let port = secured(SERVER, false).await;
    let url = format!("https://127.0.0.1:{port}/");
    let error = ask(&trusting(SELF[0]), &url).await.unwrap_err();
    let expected = "tls: failed to verify certificate: x509: certificate signed by unknown \
                    authority";
    assert_eq!(error, format!("Get \"{url}\": {expected}"));
    let mut config = trusting(CA);
    config.tls.server_name = "other.example".to_owned();
    let error = ask(&config, &url).await.unwrap_err();
    assert!(
        error.contains("certificate is valid for localhost, named.example, not other.example"),
        "{error}"
    );
    config.tls.insecure_skip_verify = true;
    assert!(ask(&config, &url).await.is_ok());
    config.tls.insecure_skip_verify = false;
    config.tls.server_name = "named.example".to_owned();
    assert!(ask(&config, &url).await.is_ok());
    let address = plain(echo).await;
    let error = ask(&trusting(CA), &format!("https://{address}/")).await.unwrap_err();
    assert!(error.ends_with("http: server gave HTTP response to HTTPS client"), "{error}");
}

#[tokio::test]
async fn a_server_may_be_its_own_authority() {
    let port = secured(SELF, false).await;
    assert!(ask(&trusting(SELF[0]), &format!("https://localhost:{port}/")).await.is_ok());
    let mut config = trusting(SELF[0]);
    config.tls.server_name = "other.example".to_owned();
    assert!(ask(&config, &format!("https://localhost:{port}/")).await.is_err());
}

#[tokio::test]
async fn client_certificates_are_shown_and_read_again_when_they_change() {
    let port = secured(SERVER, true).await;
    let url = format!("https://localhost:{port}/");
    let error = ask(&trusting(CA), &url).await.unwrap_err();
    assert!(error.contains("certificate required") || error.contains("EOF"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut config = trusting(CA);
    config.tls.cert = SecretSource::File(path("crt"));
    config.tls.key = SecretSource::File(path("key"));
    let client = Client::new(&config).unwrap();
    let error = ask_by(&client, &url).await.unwrap_err();
    assert!(error.contains("unable to read client cert: unable to read file"), "{error}");
    std::fs::write(path("crt"), SELF[0]).unwrap();
    std::fs::write(path("key"), SELF[1]).unwrap();
    assert!(ask_by(&client, &url).await.is_err());
    std::fs::write(path("crt"), CLIENT[0]).unwrap();
    std::fs::write(path("key"), CLIENT[1]).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert!(ask_by(&client, &url).await.is_ok());
    config.tls.cert = inline(CLIENT[0]);
    config.tls.key = inline("no key");
    let error = Client::new(&config).unwrap_err().to_string();
    assert!(
        error.starts_with("unable to use specified client cert (inline) & key (inline)"),
        "{error}"
    );
}

#[tokio::test]
async fn every_way_to_say_who_one_is() {
    let address = plain(echo).await;
    let url = format!("http://{address}/");
    let mut config = HttpClientConfig {
        basic_auth: Some(BasicAuth { username: inline("u"), password: inline("p:") }),
        ..HttpClientConfig::default()
    };
    assert_eq!(ask(&config, &url).await.unwrap(), "HTTP/1.1 / authorization=Basic dTpwOg==");
    let in_url = format!("http://a:b@{address}/");
    assert_eq!(ask(&config, &in_url).await.unwrap(), "HTTP/1.1 / authorization=Basic YTpi");
    config.basic_auth = None;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token").display().to_string();
    std::fs::write(&path, "tok\n").unwrap();
    let credentials = SecretSource::File(path.clone());
    config.authorization = Some(Authorization { kind: "Bearer".to_owned(), credentials });
    config.headers = vec![HttpHeader {
        name: "X-A".to_owned(),
        values: vec![inline("1"), SecretSource::File(path)],
    }];
    let answer = ask(&config, &url).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 / authorization=Bearer tok x-a=1 x-a=tok");
    let missing = SecretSource::File("/nowhere/token".to_owned());
    config.authorization = Some(Authorization { kind: "Bearer".to_owned(), credentials: missing });
    assert_eq!(
        ask(&config, &url).await.unwrap_err(),
        format!(
            "Get \"{url}\": unable to read authorization credentials: unable to read file \
             /nowhere/token: open /nowhere/token: no such file or directory"
        )
    );
}

#[tokio::test]
async fn another_host_gets_no_credentials() {
    let there = plain(echo).await;
    let port = there.rsplit(':').next().unwrap().to_owned();
    let address = plain(move |request| {
        let host = if request.uri().path() == "/same" { "127.0.0.1" } else { "localhost" };
        let location = format!("http://{host}:{port}/there");
        http::Response::builder()
            .status(302)
            .header("Location", location)
            .body(String::new())
            .unwrap()
    })
    .await;
    let config = HttpClientConfig {
        basic_auth: Some(BasicAuth { username: inline("u"), password: inline("p") }),
        headers: vec![
            HttpHeader { name: "Cookie".to_owned(), values: vec![inline("c")] },
            HttpHeader { name: "X-A".to_owned(), values: vec![inline("1")] },
        ],
        ..HttpClientConfig::default()
    };
    let same = ask(&config, &format!("http://{address}/same")).await.unwrap();
    assert_eq!(same, "HTTP/1.1 /there authorization=Basic dTpw x-a=1 cookie=c");
    let other = ask(&config, &format!("http://{address}/other")).await.unwrap();
    assert_eq!(other, "HTTP/1.1 /there x-a=1");
}

fn oauth2(token_url: String) -> OAuth2 {
    OAuth2 {
        client_id: "me".to_owned(),
        client_secret: inline("s+"),
        grant_type: String::new(),
        assertion: JwtAssertion::default(),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        token_url,
        endpoint_params: vec![("p".to_owned(), "v".to_owned())],
        tls: TlsOptions::default(),
        proxy: ProxyOptions::default(),
    }
}

/// A server of tokens that keeps the forms; each token holds for `seconds`.
async fn token_server(seconds: u32, wants_form: bool) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 16384];
            let mut len = 0;
            while !bytes[..len].windows(11).any(|w| w == b"grant_type=") {
                len += stream.read(&mut bytes[len..]).await.unwrap();
            }
            let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
            let is_refused = wants_form && !text.contains("client_secret=");
            let mut asked = kept.lock().unwrap().clone();
            asked.push(text);
            let body = format!(
                "{{\"access_token\": \"t{}\", \"token_type\": \"bearer\", \
                 \"expires_in\": {seconds}}}",
                asked.len()
            );
            *kept.lock().unwrap() = asked;
            let status = if is_refused { "401 Unauthorized" } else { "200 OK" };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: ");
            let answer = format!("{head}{}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (format!("http://{address}/token"), asked)
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_expires() {
    let address = plain(echo).await;
    let url = format!("http://{address}/");
    for (seconds, expected) in [(3600, ["t1", "t1"]), (5, ["t1", "t2"])] {
        let (token_url, asked) = token_server(seconds, false).await;
        let oauth2 = Some(Box::new(oauth2(token_url)));
        let config = HttpClientConfig { oauth2, ..HttpClientConfig::default() };
        let client = Client::new(&config).unwrap();
        for token in expected {
            let answer = ask_by(&client, &url).await.unwrap();
            assert_eq!(answer, format!("HTTP/1.1 / authorization=Bearer {token}"));
        }
        let asked = asked.lock().unwrap();
        assert!(asked[0].contains("authorization: Basic bWU6cyUyQg==\r\n"), "{}", asked[0]);
        assert!(asked[0].ends_with("grant_type=client_credentials&p=v&scope=a+b"), "{}", asked[0]);
    }
}

#[tokio::test]
async fn a_server_of_tokens_may_want_a_form_and_may_refuse() {
    let address = plain(echo).await;
    let url = format!("http://{address}/");
    let (token_url, asked) = token_server(5, true).await;
    let config = HttpClientConfig {
        oauth2: Some(Box::new(oauth2(token_url))),
        ..HttpClientConfig::default()
    };
    let client = Client::new(&config).unwrap();
    for token in ["t2", "t3"] {
        let answer = ask_by(&client, &url).await.unwrap();
        assert!(answer.ends_with(token), "{answer}");
    }
    assert!(asked.lock().unwrap()[1].contains("client_id=me&client_secret=s%2B"));
    let refusing =
        plain(|_| http::Response::builder().status(403).body("not you".to_owned()).unwrap()).await;
    let config = HttpClientConfig {
        oauth2: Some(Box::new(oauth2(format!("http://{refusing}/")))),
        ..HttpClientConfig::default()
    };
    let error = ask(&config, &url).await.unwrap_err();
    let expected = "oauth2: cannot fetch token: 403 Forbidden\nResponse: not you";
    assert_eq!(error, format!("Get \"{url}\": {expected}"));
}

#[tokio::test]
async fn an_assertion_is_signed() {
    use base64::Engine as _;
    let address = plain(echo).await;
    let (token_url, asked) = token_server(3600, false).await;
    let mut oauth2 = oauth2(token_url.clone());
    oauth2.grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned();
    oauth2.assertion.key = inline(RSA_KEY);
    oauth2.assertion.claims = Some("{\"x\": 1}".to_owned());
    let config = HttpClientConfig { oauth2: Some(Box::new(oauth2)), ..HttpClientConfig::default() };
    ask(&config, &format!("http://{address}/")).await.unwrap();
    let asked = asked.lock().unwrap();
    let assertion = asked[0].split("assertion=").nth(1).unwrap();
    let assertion = assertion.split('&').next().unwrap();
    let (message, signature) = assertion.rsplit_once('.').unwrap();
    let decode = |text: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    ring::signature::UnparsedPublicKey::new(
        &ring::signature::RSA_PKCS1_2048_8192_SHA256,
        RSA_PUBLIC,
    )
    .verify(message.as_bytes(), &decode(signature))
    .unwrap();
    let claims: serde_json::Value =
        serde_json::from_slice(&decode(message.split('.').nth(1).unwrap())).unwrap();
    assert_eq!((claims["iss"].as_str(), claims["x"].as_i64()), (Some("me"), Some(1)));
    assert_eq!(claims["aud"].as_str(), Some(token_url.as_str()));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
}

#[tokio::test]
async fn plain_requests_take_the_proxy_and_others_a_tunnel() {
    let proxy = plain(echo).await;
    let url = format!("http://u:p@{proxy}");
    let config = |url: &str| HttpClientConfig {
        proxy: ProxyOptions {
            url: Secret::new(url),
            connect_headers: vec![("X-A".to_owned(), vec![Secret::new("1")])],
            ..ProxyOptions::default()
        },
        ..trusting(CA)
    };
    let answer = ask(&config(&url), "http://target.example/x").await.unwrap();
    assert_eq!(answer, "HTTP/1.1 http://target.example/x proxy-authorization=Basic dTpw");
    // The tunnel's other end is where the test has a server, whatever is asked for.
    let port = secured(SERVER, false).await;
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://u:p@{}", listener.local_addr().unwrap());
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            kept.lock().unwrap().push(String::from_utf8(head).unwrap());
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
            let mut other = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
            });
        }
    });
    let answer = ask(&config(&url), "https://named.example/x").await.unwrap();
    assert_eq!(answer, "HTTP/2.0 https://named.example/x");
    let expected = "CONNECT named.example:443 HTTP/1.1\r\nHost: named.example:443\r\nx-a: 1\r\n\
                    Proxy-Authorization: Basic dTpw\r\n\r\n";
    assert_eq!(*heads.lock().unwrap(), [expected]);
    let error = ask(&config("http://127.0.0.1:1"), "https://named.example/x").await.unwrap_err();
    assert!(error.contains("proxyconnect tcp: dial tcp 127.0.0.1:1: connect: "), "{error}");
    let refusing =
        plain(|_| http::Response::builder().status(407).body(String::new()).unwrap()).await;
    let error = ask(&config(&format!("http://{refusing}")), "https://a/").await.unwrap_err();
    assert_eq!(error, "Get \"https://a/\": 407 Proxy Authentication Required");
}

#[tokio::test]
async fn socks_is_a_proxy_too() {
    let target = plain(echo).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("socks5://u:p@{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 4];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello, [5, 2, 0, 2]);
        stream.write_all(&[5, 2]).await.unwrap();
        let mut user = [0; 5];
        stream.read_exact(&mut user).await.unwrap();
        assert_eq!(&user, b"\x01\x01u\x01p");
        stream.write_all(&[1, 0]).await.unwrap();
        let mut asked = vec![0; 5 + 14 + 2];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked[4..19], b"\x0etarget.example");
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        let mut other = TcpStream::connect(target).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
    });
    let config = HttpClientConfig {
        proxy: ProxyOptions { url: Secret::new(url), ..ProxyOptions::default() },
        ..HttpClientConfig::default()
    };
    assert_eq!(ask(&config, "http://target.example/x").await.unwrap(), "HTTP/1.1 /x");
}

#[tokio::test]
async fn a_socket_of_this_machine_is_a_way_to_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve_on(stream, Arc::new(echo)));
        }
    });
    let client = Client::new(&HttpClientConfig::default()).unwrap();
    let request = Request {
        unix_socket: Some(path.display().to_string().into()),
        ..Request::get(Url::parse("http://docker/x").unwrap())
    };
    for _ in 0..2 {
        let response = client.send(&request).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&response.body), "HTTP/1.1 /x");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let gone = Request { unix_socket: Some("/nowhere/s".into()), ..request };
    let error = client.send(&gone).await.unwrap_err().to_string();
    assert!(error.contains("dial unix /nowhere/s: connect: no such file"), "{error}");
}
