//! Tests of the web configuration file: what it may say, and what is told of mistakes.

use super::*;

const HASH: &str = "$2y$10$abcdefghijklmnopqrstuuCRfiPGUWBCi0YL1p8hMEN4YHTn21Ij6";
const SUM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn read_text(text: &str) -> Result<WebConfig, String> {
    parse_web(text, "web.yml").map_err(|error| error.to_string())
}

#[test]
fn an_empty_file_asks_for_nothing() {
    for text in ["", "# nothing\n", "tls_server_config:\n", "basic_auth_users: {}\n"] {
        assert_eq!(read_text(text), Ok(WebConfig::default()), "{text}");
    }
    assert!(WebConfig::default().http2);
}

#[test]
fn every_field_is_read() {
    let text = format!(
        "tls_server_config:
  cert_file: a.crt
  key: PEM
  client_ca_file: ca.crt
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [a.example, 10.0.0.1]
  min_version: TLS10
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519, CurveP256]
http_server_config:
  http2: false
  headers: {{X-Frame-Options: deny, Content-Security-Policy: default-src}}
basic_auth_users: {{alice: {HASH}}}
tokens:
- {{name: g, sha256: {SUM}, roles: [read], scope: '{{team=\"shop\"}}'}}
- {{name: p, sha256: {}, roles: [read, write]}}
rate_limit: {{interval: 10ms, burst: 5}}
",
        SUM.replace('9', "8")
    );
    let config = read_text(&text).unwrap();
    let tls = config.tls.unwrap();
    assert_eq!(tls.cert, SecretSource::File("a.crt".to_owned()));
    assert_eq!(tls.key, SecretSource::Inline(Secret::new("PEM")));
    assert_eq!((tls.min_version, tls.max_version, tls.warnings.len()), (12, 12, 1));
    assert_eq!(tls.client_auth, ClientAuth::RequireAndVerify);
    assert_eq!(tls.client_allowed_sans.as_ref().unwrap().len(), 2);
    assert!(!tls.prefer_server_cipher_suites && !config.http2);
    assert_eq!(tls.complain("f", "key_file", "gone").line, 2);
    assert_eq!(tls.complain("f", "key", "gone").to_string(), "f:3:8: tls_server_config.key: gone");
    assert_eq!(config.headers.len(), 2);
    assert_eq!(config.users, [("alice".to_owned(), Secret::new(HASH))]);
    assert_eq!(config.tokens[0].sha256[..2], [0x9f, 0x86]);
    assert_eq!(config.tokens[0].scope.len(), 1);
    assert_eq!(config.tokens[1].roles, Roles { read: true, write: true, admin: false });
    assert_eq!(config.rate_limit, Some(RateLimit { interval_ns: 10_000_000, burst: 5 }));
}

#[test]
fn mistakes_name_field_and_place() {
    let token = |rest: &str| format!("tokens:\n- {{name: a, {rest}}}\n");
    for (text, part) in [
        ("basic_auth_userz: {a: b}\n".to_owned(), "1:1: field basic_auth_userz not found"),
        ("basic_auth_users:\n  a: plain\n".to_owned(), "2:6: basic_auth_users.a: not a bcrypt"),
        ("basic_auth_users: {a: ''}\n".to_owned(), "basic_auth_users.a: not a bcrypt hash"),
        ("tls_server_config: {cert_file: a}\n".to_owned(), "missing one of key or key_file"),
        ("tls_server_config: {key_file: a}\n".to_owned(), "missing one of cert or cert_file"),
        (
            "tls_server_config:\n  min_version: SSL3\n".to_owned(),
            "2:16: tls_server_config.min_version: unknown TLS version",
        ),
        (
            "tls_server_config: {cert: a, key: b, max_version: TLS11}\n".to_owned(),
            "before TLS 1.2 are not spoken",
        ),
        ("tls_server_config: {cipher_suites: [RC4]}\n".to_owned(), "unknown cipher: \"RC4\""),
        ("tls_server_config: {curve_preferences: [X]}\n".to_owned(), "unknown curve: \"X\""),
        ("tls_server_config: {client_auth_type: Maybe}\n".to_owned(), "invalid ClientAuth"),
        (
            "tls_server_config: {cert: a, key: b, client_ca: c}\n".to_owned(),
            "without a Client Auth Policy",
        ),
        (
            "http_server_config:\n  headers:\n    Server: x\n".to_owned(),
            "3:13: http_server_config.headers.Server: HTTP header \"Server\" can not",
        ),
        ("http_server_config: {headers: {X-Frame-Options: x}}\n".to_owned(), "is not one of deny"),
        ("http_server_config: {http3: true}\n".to_owned(), "field http3 not found"),
        ("rate_limit: {interval: soon}\n".to_owned(), "rate_limit.interval: no duration"),
        ("rate_limit: {burst: -1}\n".to_owned(), "rate_limit.burst: must not be less"),
        (token("roles: [read]"), "tokens: sha256: missing"),
        (token(&format!("sha256: {SUM}")), "tokens: roles: missing"),
        (token("sha256: abc"), "tokens.sha256: must be 64 hexadecimal digits"),
        (token("roles: [root]"), "tokens.roles: unknown role: \"root\""),
        (
            token(&format!("sha256: {SUM}, roles: [write], scope: '{{a=\"b\"}}'")),
            "such a token can have no role but read",
        ),
        (token("scope: 'a b'"), "tokens.scope: "),
        ("[]".to_owned(), "cannot unmarshal !!seq"),
    ] {
        let error = read_text(&text).expect_err(&text);
        assert!(error.starts_with("web.yml:") && error.contains(part), "{text}: {error}");
    }
}
