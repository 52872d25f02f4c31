//! How an HTTP request is made, as plain data: what the HTTP client is built from.

use super::record::{Record, Value};
use super::secret::Secret;
use super::yaml::{Node, NodeValue};

/// How a request is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header; bearer tokens are kept here too.
    pub authorization: Option<Authorization>,
    /// A token from a server of tokens.
    pub oauth2: Option<Box<OAuth2>>,
    /// Certificates and checks of TLS.
    pub tls: TlsOptions,
    /// Redirects are followed.
    pub follow_redirects: bool,
    /// HTTP/2 is offered over TLS.
    pub enable_http2: bool,
    /// The way to the server.
    pub proxy: ProxyOptions,
    /// Headers that every request has.
    pub headers: Vec<HttpHeader>,
}

/// Where a secret, or what is treated as one, is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SecretSource {
    /// Nowhere.
    #[default]
    Unset,
    /// In the configuration.
    Inline(Secret),
    /// In the file at this path, blanks around it left out.
    File(String),
    /// With a manager of secrets, which this server does not have, under this name.
    Reference(String),
}

/// `basic_auth`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BasicAuth {
    /// The user.
    pub username: SecretSource,
    /// The password.
    pub password: SecretSource,
}

/// `authorization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// The first word of the header.
    pub kind: String,
    /// The rest of the header.
    pub credentials: SecretSource,
}

/// `oauth2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// The proof, for the grant of client credentials.
    pub client_secret: SecretSource,
    /// The grant; empty for client credentials.
    pub grant_type: String,
    /// The grant by a signed assertion.
    pub assertion: JwtAssertion,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// Where tokens are given.
    pub token_url: String,
    /// Further fields of the form.
    pub endpoint_params: Vec<(String, String)>,
    /// TLS to the server of tokens.
    pub tls: TlsOptions,
    /// The way to it.
    pub proxy: ProxyOptions,
}

/// What a signed assertion says, and who signs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JwtAssertion {
    /// An RSA key, as PEM.
    pub key: SecretSource,
    /// Its name, where it has one.
    pub key_id: String,
    /// `RS256` (also where empty), `RS384` or `RS512`.
    pub algorithm: String,
    /// Who says it; the client where empty.
    pub issuer: String,
    /// To whom; the server of tokens where empty.
    pub audience: String,
    /// What else it says: names with JSON values, an object's text.
    pub claims: Option<String>,
}

/// `tls_config`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// The authorities that are trusted, as PEM; the system's where unset.
    pub ca: SecretSource,
    /// The client's certificate and its chain, as PEM.
    pub cert: SecretSource,
    /// The client's key, as PEM.
    pub key: SecretSource,
    /// The name that the server's certificate must have; the host where empty.
    pub server_name: String,
    /// Any certificate is taken.
    pub insecure_skip_verify: bool,
    /// The oldest version (`TLS10` to `TLS13`); empty for the client's choice.
    pub min_version: String,
    /// The newest version; empty for the client's choice.
    pub max_version: String,
}

/// The proxy's part of an HTTP client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyOptions {
    /// The proxy; it may carry a password.
    pub url: Secret,
    /// Hosts that are reached without it.
    pub no_proxy: String,
    /// Proxy and exceptions stand in the environment.
    pub from_environment: bool,
    /// Headers of the request for a tunnel.
    pub connect_headers: Vec<(String, Vec<Secret>)>,
}

/// One of `http_headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHeader {
    /// The name.
    pub name: String,
    /// One header each.
    pub values: Vec<SecretSource>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls: TlsOptions::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy: ProxyOptions::default(),
            headers: Vec::new(),
        }
    }
}

impl HttpClientConfig {
    pub(super) fn of(record: &Record) -> Self {
        let headers = match record.value("http_headers") {
            Value::RecordMap(headers) => headers.iter().map(HttpHeader::of).collect(),
            _ => Vec::new(),
        };
        Self {
            basic_auth: record.record("basic_auth").map(|auth| BasicAuth {
                username: SecretSource::of(auth, "username"),
                password: SecretSource::of(auth, "password"),
            }),
            authorization: record.record("authorization").map(|auth| Authorization {
                kind: auth.text("type").to_owned(),
                credentials: SecretSource::of(auth, "credentials"),
            }),
            oauth2: record.record("oauth2").map(|oauth2| Box::new(OAuth2::of(oauth2))),
            tls: TlsOptions::of(record),
            follow_redirects: record.flag("follow_redirects"),
            enable_http2: record.flag("enable_http2"),
            proxy: ProxyOptions::of(record),
            headers,
        }
    }
}

impl SecretSource {
    /// The value of `key`, `key_file` or `key_ref`; fields that the section lacks are unset.
    fn of(record: &Record, key: &str) -> Self {
        let [file, reference] = ["file", "ref"].map(|end| {
            let key = format!("{key}_{end}");
            record.field(&key).map_or("", |_| record.text(&key)).to_owned()
        });
        let inline = match record.value(key) {
            Value::Text(text) => Secret::new(text.as_str()),
            Value::Secret(secret) => secret.clone(),
            _ => Secret::default(),
        };
        if !inline.is_empty() {
            Self::Inline(inline)
        } else if !file.is_empty() {
            Self::File(file)
        } else if !reference.is_empty() {
            Self::Reference(reference)
        } else {
            Self::Unset
        }
    }

    /// Whether there is none.
    pub fn is_unset(&self) -> bool {
        *self == Self::Unset
    }
}

impl OAuth2 {
    fn of(record: &Record) -> Self {
        Self {
            client_id: record.text("client_id").to_owned(),
            client_secret: SecretSource::of(record, "client_secret"),
            grant_type: record.text("grant_type").to_owned(),
            assertion: JwtAssertion {
                key: SecretSource::of(record, "client_certificate_key"),
                key_id: record.text("client_certificate_key_id").to_owned(),
                algorithm: record.text("signature_algorithm").to_owned(),
                issuer: record.text("iss").to_owned(),
                audience: record.text("audience").to_owned(),
                claims: match record.value("claims") {
                    Value::Any(node) => Some(json(node).to_string()),
                    _ => None,
                },
            },
            scopes: record.texts("scopes").to_vec(),
            token_url: record.text("token_url").to_owned(),
            endpoint_params: record.text_map("endpoint_params").to_vec(),
            tls: TlsOptions::of(record),
            proxy: ProxyOptions::of(record),
        }
    }
}

impl TlsOptions {
    /// The `tls_config` of a section.
    pub(super) fn of(record: &Record) -> Self {
        let Some(tls) = record.record("tls_config") else { return Self::default() };
        Self {
            ca: SecretSource::of(tls, "ca"),
            cert: SecretSource::of(tls, "cert"),
            key: SecretSource::of(tls, "key"),
            server_name: tls.text("server_name").to_owned(),
            insecure_skip_verify: tls.flag("insecure_skip_verify"),
            min_version: tls.text("min_version").to_owned(),
            max_version: tls.text("max_version").to_owned(),
        }
    }
}

impl ProxyOptions {
    fn of(record: &Record) -> Self {
        Self {
            url: Secret::new(record.text("proxy_url")),
            no_proxy: record.text("no_proxy").to_owned(),
            from_environment: record.flag("proxy_from_environment"),
            connect_headers: match record.value("proxy_connect_header") {
                Value::SecretLists(headers) => headers.clone(),
                _ => Vec::new(),
            },
        }
    }
}

impl HttpHeader {
    fn of((name, header): &(String, Record)) -> Self {
        let inline = header.texts("values").iter().map(|v| Secret::new(v.as_str()));
        let secrets = match header.value("secrets") {
            Value::Secrets(secrets) => secrets.as_slice(),
            _ => &[],
        };
        let inline = inline.chain(secrets.iter().cloned()).map(SecretSource::Inline);
        let files = header.texts("files").iter().cloned().map(SecretSource::File);
        Self { name: name.clone(), values: inline.chain(files).collect() }
    }
}

fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        NodeValue::Scalar { text, plain } => {
            let parsed = if *plain { serde_json::from_str(text).ok() } else { None };
            parsed.unwrap_or_else(|| serde_json::Value::from(text.as_str()))
        }
        NodeValue::List(items) => items.iter().map(json).collect(),
        NodeValue::Map(pairs) => {
            let pair = |(key, value): &(Node, Node)| match &key.value {
                NodeValue::Scalar { text, .. } => Some((text.clone(), json(value))),
                _ => None,
            };
            serde_json::Value::Object(pairs.iter().filter_map(pair).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn client(yaml: &str) -> HttpClientConfig {
        let text = format!("scrape_configs:\n  - job_name: j\n{yaml}");
        config::parse(&text, "/etc/x/prometheus.yml").unwrap().scrape_configs.remove(0).http_client
    }

    #[test]
    fn what_is_written_is_there_and_files_are_beside_the_configuration() {
        let read = client(concat!(
            "    oauth2:\n",
            "      client_id: me\n",
            "      client_secret_file: s\n",
            "      token_url: http://t/\n",
            "      scopes: [a, b]\n",
            "      claims: {a: 1, b: [x, true]}\n",
            "      tls_config: {ca_file: ca.pem}\n",
            "    tls_config: {ca: PEM, insecure_skip_verify: true, min_version: TLS12}\n",
            "    proxy_url: http://u:p@proxy:1\n",
            "    no_proxy: a\n",
            "    proxy_connect_header: {X: [s]}\n",
            "    http_headers: {X-A: {values: [v], secrets: [s], files: [f]}}\n",
        ));
        let oauth2 = read.oauth2.as_ref().unwrap();
        assert_eq!(oauth2.client_secret, SecretSource::File("/etc/x/s".to_owned()));
        assert_eq!(oauth2.tls.ca, SecretSource::File("/etc/x/ca.pem".to_owned()));
        assert_eq!(oauth2.assertion.claims.as_deref(), Some(r#"{"a":1,"b":["x",true]}"#));
        assert_eq!(read.tls.ca, SecretSource::Inline(Secret::new("PEM")));
        assert_eq!(read.headers[0].values.len(), 3);
        assert_eq!(read.headers[0].values[2], SecretSource::File("/etc/x/f".to_owned()));
        let printed = format!("{read:?}");
        assert!(!printed.contains("PEM") && !printed.contains("u:p"), "{printed}");
    }

    #[test]
    fn bearer_tokens_are_authorization() {
        let read = client("    bearer_token: t\n");
        let expected = Authorization {
            kind: "Bearer".to_owned(),
            credentials: SecretSource::Inline(Secret::new("t")),
        };
        assert_eq!(read.authorization, Some(expected));
        assert_eq!(client(""), HttpClientConfig::default());
        let read = client("    basic_auth: {username: u, password_file: p}\n");
        let auth = read.basic_auth.unwrap();
        assert_eq!(auth.username, SecretSource::Inline(Secret::new("u")));
        assert_eq!(auth.password, SecretSource::File("/etc/x/p".to_owned()));
    }
}
