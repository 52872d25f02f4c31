//! Tests of the door.

use std::net::Ipv4Addr;

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// SHA-256 of `test`.
const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn parts(authorization: Option<&str>) -> Parts {
    let mut request = http::Request::get("/metrics");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    request.body(()).unwrap().into_parts().0
}

async fn status(guard: &Guard, authorization: Option<&str>) -> u16 {
    let loaded = guard.current();
    match guard.admit(&loaded, PEER, &parts(authorization), false).await {
        Ok(_) => 200,
        Err(refusal) => refusal.status().as_u16(),
    }
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn user(password: &str) -> String {
    format!("basic_auth_users: {{a: '{}'}}\n", bcrypt::hash(password, 4).unwrap())
}

#[tokio::test]
async fn the_file_in_force_is_the_one_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    std::fs::write(&path, user("one")).unwrap();
    let guard = Guard::open(&path).unwrap();
    let (one, two) = (basic("a:one"), basic("a:two"));
    assert_eq!(status(&guard, Some(&one)).await, 200);
    assert_eq!(status(&guard, Some(&two)).await, 401);
    assert_eq!(status(&guard, None).await, 401);
    std::fs::write(&path, user("two")).unwrap();
    assert_eq!(status(&guard, Some(&one)).await, 401, "at once");
    assert_eq!(status(&guard, Some(&two)).await, 200);
    // What is wrong, empty or gone opens nothing and shuts nobody out.
    for text in ["basic_auth_users: {a: x}", "", "tls_server_config: {cert_file: x, key_file: y}"] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(status(&guard, None).await, 401, "{text:?}");
        assert_eq!(status(&guard, Some(&two)).await, 200, "{text:?}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!((status(&guard, None).await, status(&guard, Some(&two)).await), (401, 200));
    let tokens = format!("tokens: [{{name: t, sha256: {SUM}, roles: [read]}}]\n");
    std::fs::write(&path, tokens).unwrap();
    assert_eq!(status(&guard, Some("bearer test")).await, 200);
    for wrong in ["Bearer tes", "Bearer", "Bearer ", "Digest test", &two, ""] {
        assert_eq!(status(&guard, Some(wrong)).await, 401, "{wrong:?}");
    }
}

#[tokio::test]
async fn odd_credentials_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    std::fs::write(&path, user("")).unwrap();
    let guard = Guard::open(&path).unwrap();
    assert_eq!(status(&guard, Some(&basic("a:"))).await, 200, "a password may be empty");
    for wrong in ["Basic", "Basic ", "Basic !", &basic("a"), &basic(":"), &basic("a:a:")] {
        assert_eq!(status(&guard, Some(wrong)).await, 401, "{wrong:?}");
    }
}

#[tokio::test]
async fn requests_are_bounded_but_for_health() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    std::fs::write(&path, "rate_limit: {interval: 1h, burst: 2}\n").unwrap();
    let guard = Guard::open(&path).unwrap();
    assert_eq!(status(&guard, None).await, 200);
    assert_eq!(status(&guard, None).await, 200);
    assert_eq!(status(&guard, None).await, 429);
    let loaded = guard.current();
    assert!(guard.admit(&loaded, PEER, &parts(None), true).await.is_ok());
}

#[test]
fn a_bucket_fills_by_one_each_interval() {
    let limit = RateLimit { interval_ns: 1_000_000_000, burst: 2 };
    let (mut bucket, start) = (Bucket::default(), Instant::now());
    let mut take = |ms: u64| bucket.take_at(limit, start + Duration::from_millis(ms));
    assert_eq!(
        [0, 0, 0, 900, 1000, 1001, 5000, 5000, 5000].map(&mut take),
        [true, true, false, false, true, false, true, true, false]
    );
}

#[test]
fn what_a_file_names_is_read_and_faults_are_told_with_their_place() {
    let tls = |cert: &str, key: &str, more: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        let files = std::path::absolute("testdata/tls").unwrap();
        let text = format!(
            "tls_server_config:\n  cert_file: {0}/{cert}\n  key_file: {0}/{key}\n{more}",
            files.display()
        );
        std::fs::write(&path, text).unwrap();
        check_web_config(&path).map_err(|error| error.to_string())
    };
    assert_eq!(tls("server.crt", "server.key", ""), Ok(Vec::new()));
    let warned = tls("server.crt", "server.key", "  curve_preferences: [CurveP521, X25519]\n");
    assert!(warned.unwrap()[0].contains("CurveP521 is not built in"));
    for (cert, key, more, part) in [
        ("gone.crt", "server.key", "", ":2:14: tls_server_config.cert_file: reading"),
        ("server.key", "server.key", "", "cert_file: no certificate in PEM form"),
        ("server.crt", "server.crt", "", ":3:13: tls_server_config.key_file: no private key"),
        ("server.crt", "client.key", "", "tls_server_config.key_file: unable to use"),
        ("server.crt", "server.key", "  curve_preferences: [CurveP521]\n", "none of these"),
        (
            "server.crt",
            "server.key",
            "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n",
            "tls_server_config.cipher_suites: none of these is built in",
        ),
        (
            "server.crt",
            "server.key",
            "  client_auth_type: RequireAndVerifyClientCert\n  client_ca: none\n",
            "tls_server_config.client_ca: ",
        ),
    ] {
        let error = tls(cert, key, more).expect_err(part);
        assert!(error.contains(part), "{error}");
    }
}
