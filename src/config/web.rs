//! The web configuration file: who may ask, and over what. COMPAT: the format that Prometheus's
//! exporters and servers share, and `tokens` of our own.
//!
//! ```yaml
//! tokens:
//!   - name: grafana
//!     sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//!     roles: [read]
//!     scope: '{team="shop"}'
//! ```
//!
//! This is plain data that has been checked as far as the file alone tells; certificates and keys
//! are read by who serves. Each error names the field and its place.

use std::fmt;
use std::path::Path;

use super::decode::{boolean, integer, key_text, list, mismatch, owned_text, text};
use super::error::{Complaint, ConfigError};
use super::http_options::SecretSource;
use super::load::{join, read};
use super::secret::Secret;
use super::yaml::{self, Node, NodeValue};
use crate::model::{Matcher, go_quote, parse_go_duration};
use crate::promql::parse::ParseOptions;
use crate::promql::parse_selector;

/// COMPAT: headers that may be set, and for some of them the values they may have.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// COMPAT: the names that Go gives to cipher suites it takes for safe.
const CIPHER_SUITES: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];
const CURVES: [&str; 4] = ["CurveP256", "CurveP384", "CurveP521", "X25519"];
const VERSIONS: [(&str, u8); 4] = [("TLS10", 10), ("TLS11", 11), ("TLS12", 12), ("TLS13", 13)];
const TLS: &str = "tls_server_config";
/// What is said where a field is set whose file or text is not.
const NO_CERT: &str = "missing one of cert or cert_file";
const NO_KEY: &str = "missing one of key or key_file";

/// The whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct WebConfig {
    /// `None`: plain text is spoken.
    pub tls: Option<WebTls>,
    /// Whether HTTP/2 is offered over TLS.
    pub http2: bool,
    /// Headers that every answer carries.
    pub headers: Vec<(String, String)>,
    /// Names and bcrypt hashes of those who may do everything.
    pub users: Vec<(String, Secret)>,
    /// Those who may do a part.
    pub tokens: Vec<WebToken>,
    /// `None`: as many requests as come.
    pub rate_limit: Option<RateLimit>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            tls: None,
            http2: true,
            headers: Vec::new(),
            users: Vec::new(),
            tokens: Vec::new(),
            rate_limit: None,
        }
    }
}

/// `tls_server_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTls {
    /// Certificate chain.
    pub cert: SecretSource,
    /// Its private key.
    pub key: SecretSource,
    /// Authorities of clients' certificates.
    pub client_ca: SecretSource,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Names of which a client's certificate must have one.
    pub client_allowed_sans: Option<Vec<String>>,
    /// Least version: 12 or 13.
    pub min_version: u8,
    /// Greatest version: 12 or 13.
    pub max_version: u8,
    /// Names of suites for TLS 1.2 as Go has them; empty: all that are built in.
    pub cipher_suites: Vec<String>,
    /// Whether our order of suites counts.
    pub prefer_server_cipher_suites: bool,
    /// Names of curves as Go has them, the best first; empty: all that are built in.
    pub curve_preferences: Vec<String>,
    /// What is set and not done as written.
    pub warnings: Vec<String>,
    /// Places of the fields: name, line, column.
    places: Vec<(String, usize, usize)>,
    line: usize,
}

impl WebTls {
    /// An error of the named field in `file`.
    pub fn complain(&self, file: &str, field: &str, message: impl fmt::Display) -> ConfigError {
        let place = self.places.iter().find(|(name, ..)| name == field);
        let (line, column) = place.map_or((self.line, 1), |(_, line, column)| (*line, *column));
        ConfigError {
            file: file.to_owned(),
            line,
            column,
            message: format!("{TLS}.{field}: {message}"),
        }
    }
}

/// `client_auth_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// No certificate is asked for.
    #[default]
    None,
    /// One is asked for, whether there is one or not, and whoever signed it.
    Request,
    /// There must be one, whoever signed it.
    RequireAny,
    /// One that is given must be signed by an authority.
    VerifyIfGiven,
    /// There must be one, signed by an authority.
    RequireAndVerify,
}

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles {
    /// Ask for data.
    pub read: bool,
    /// Push data.
    pub write: bool,
    /// Everything.
    pub admin: bool,
}

/// One of `tokens`.
#[derive(Debug, Clone, PartialEq)]
pub struct WebToken {
    /// Who it is given to; stands in the query log.
    pub name: String,
    /// SHA-256 of its text.
    pub sha256: [u8; 32],
    /// What its bearer may do.
    pub roles: Roles,
    /// What every series that its bearer sees satisfies; empty: no bound.
    pub scope: Vec<Matcher>,
}

/// `rate_limit`: a bucket of `burst` requests that fills by one each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Time between two requests.
    pub interval_ns: u64,
    /// Requests that may come at once.
    pub burst: u64,
}

/// Reads the web configuration file at `path`. Paths in it are relative to its folder.
pub fn load_web(path: &Path) -> Result<WebConfig, ConfigError> {
    let name = path.display().to_string();
    let text = read(path, &name)?;
    let mut config = parse_web(&text, &name)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    if let Some(tls) = &mut config.tls {
        for source in [&mut tls.cert, &mut tls.key, &mut tls.client_ca] {
            if let SecretSource::File(path) = source {
                join(path, folder);
            }
        }
    }
    Ok(config)
}

/// Reads `text` as if it stood in `file`.
pub fn parse_web(text: &str, file: &str) -> Result<WebConfig, ConfigError> {
    whole(text).map_err(|complaint| complaint.in_file(file))
}

fn whole(text: &str) -> Result<WebConfig, Complaint> {
    let mut config = WebConfig::default();
    let Some(node) = yaml::parse(text)? else { return Ok(config) };
    fields(&node, "", |name, value| {
        match name {
            TLS => config.tls = tls(value)?,
            "http_server_config" => fields(value, name, |field, value| {
                match field {
                    "http2" => config.http2 = !value.is_null() && boolean(value)?,
                    "headers" => config.headers = headers(value)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?,
            "basic_auth_users" => config.users = users(value)?,
            "tokens" => config.tokens = tokens(value)?,
            "rate_limit" => config.rate_limit = rate_limit(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(config)
}

/// Gives each pair of a mapping to `take`, which says whether it knows the field. What goes wrong
/// in a field is told with its name.
fn fields(
    node: &Node,
    section: &str,
    mut take: impl FnMut(&str, &Node) -> Result<bool, Complaint>,
) -> Result<(), Complaint> {
    if node.is_null() {
        return Ok(());
    }
    let NodeValue::Map(pairs) = &node.value else { return Err(mismatch(node, "a mapping")) };
    for (key, value) in pairs {
        let name = key_text(key)?;
        let path = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        let known = take(name, value).map_err(|complaint| within(&path, complaint))?;
        if !known {
            let place = if section.is_empty() { "the web configuration" } else { section };
            return Err(key.complain(format!("field {name} not found in {place}")));
        }
    }
    Ok(())
}

/// Puts the path of the field before a complaint that does not name it yet.
fn within(path: &str, complaint: Complaint) -> Complaint {
    let message = complaint.message;
    let is_named = message.starts_with("field ") || message.starts_with(path);
    let message = if is_named { message } else { format!("{path}: {message}") };
    Complaint { message, ..complaint }
}

fn one_of(node: &Node, what: &str, known: &[&str]) -> Result<String, Complaint> {
    let name = text(node)?;
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(node.complain(format!("unknown {what}: {}", go_quote(name))))
}

fn version(node: &Node) -> Result<u8, Complaint> {
    let name = text(node)?;
    let found = VERSIONS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, number)| *number)
        .ok_or_else(|| node.complain(format!("unknown TLS version: {}", go_quote(name))))
}

fn client_auth(node: &Node) -> Result<ClientAuth, Complaint> {
    Ok(match owned_text(node)?.as_str() {
        "" | "NoClientCert" => ClientAuth::None,
        "RequestClientCert" => ClientAuth::Request,
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
        other => return Err(node.complain(format!("invalid ClientAuth: {}", go_quote(other)))),
    })
}

/// COMPAT: a file stands before a text where both are given.
fn put(slot: &mut SecretSource, value: String, is_file: bool) {
    if value.is_empty() {
        return;
    }
    if is_file {
        *slot = SecretSource::File(value);
    } else if !matches!(slot, SecretSource::File(_)) {
        *slot = SecretSource::Inline(Secret::new(value));
    }
}

fn tls(node: &Node) -> Result<Option<WebTls>, Complaint> {
    let mut tls = WebTls {
        cert: SecretSource::Unset,
        key: SecretSource::Unset,
        client_ca: SecretSource::Unset,
        client_auth: ClientAuth::None,
        client_allowed_sans: None,
        min_version: 12,
        max_version: 13,
        cipher_suites: Vec::new(),
        prefer_server_cipher_suites: true,
        curve_preferences: Vec::new(),
        warnings: Vec::new(),
        places: Vec::new(),
        line: node.line,
    };
    let mut asks_clients = false;
    fields(node, TLS, |field, value| {
        tls.places.push((field.to_owned(), value.line, value.column));
        match field {
            "cert" | "cert_file" => put(&mut tls.cert, owned_text(value)?, field != "cert"),
            "key" | "key_file" => put(&mut tls.key, owned_text(value)?, field != "key"),
            "client_ca" | "client_ca_file" => {
                put(&mut tls.client_ca, owned_text(value)?, field != "client_ca");
            }
            "client_auth_type" => {
                asks_clients = !owned_text(value)?.is_empty();
                tls.client_auth = client_auth(value)?;
            }
            "client_allowed_sans" => tls.client_allowed_sans = Some(texts(value)?),
            "min_version" => tls.min_version = version(value)?,
            "max_version" => tls.max_version = version(value)?,
            "prefer_server_cipher_suites" => {
                tls.prefer_server_cipher_suites = !value.is_null() && boolean(value)?;
            }
            "cipher_suites" => {
                tls.cipher_suites = list_of(value, "cipher", &CIPHER_SUITES)?;
            }
            "curve_preferences" => tls.curve_preferences = list_of(value, "curve", &CURVES)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let is_there = [&tls.cert, &tls.key, &tls.client_ca].iter().any(|source| !source.is_unset());
    if !is_there && !asks_clients {
        return Ok(None);
    }
    check_tls(&mut tls).map_err(|message| node.complain(message))?;
    Ok(Some(tls))
}

fn texts(node: &Node) -> Result<Vec<String>, Complaint> {
    if node.is_null() { Ok(Vec::new()) } else { list(node, owned_text) }
}

fn list_of(node: &Node, what: &str, known: &[&str]) -> Result<Vec<String>, Complaint> {
    if node.is_null() { Ok(Vec::new()) } else { list(node, |item| one_of(item, what, known)) }
}

/// What the fields say of one another.
fn check_tls(tls: &mut WebTls) -> Result<(), String> {
    if tls.cert.is_unset() {
        return Err(NO_CERT.to_owned());
    }
    if tls.key.is_unset() {
        return Err(NO_KEY.to_owned());
    }
    if !tls.client_ca.is_unset() && tls.client_auth == ClientAuth::None {
        return Err("client CA's have been configured without a Client Auth Policy".to_owned());
    }
    if tls.client_allowed_sans.is_some() && tls.client_auth == ClientAuth::None {
        return Err(
            "client_allowed_sans: no certificate is asked for without client_auth_type".to_owned()
        );
    }
    if tls.max_version < 12 {
        return Err("max_version: versions before TLS 1.2 are not spoken".to_owned());
    }
    if tls.min_version > tls.max_version {
        return Err("max_version: less than min_version".to_owned());
    }
    if tls.min_version < 12 {
        tls.warnings.push(format!("{TLS}.min_version: versions before TLS 1.2 are not spoken"));
        tls.min_version = 12;
    }
    Ok(())
}

fn headers(node: &Node) -> Result<Vec<(String, String)>, Complaint> {
    let mut headers = Vec::new();
    fields(node, "http_server_config.headers", |name, value| {
        let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let message = format!("HTTP header {} can not be configured", go_quote(name));
            return Err(value.complain(message));
        };
        let text = owned_text(value)?;
        if !allowed.is_empty() && !allowed.contains(&text.as_str()) {
            let message = format!("{} is not one of {}", go_quote(&text), allowed.join(", "));
            return Err(value.complain(message));
        }
        if text.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 127) {
            return Err(value.complain("a header must not hold control characters"));
        }
        headers.push((name.to_owned(), text));
        Ok(true)
    })?;
    Ok(headers)
}

fn users(node: &Node) -> Result<Vec<(String, Secret)>, Complaint> {
    let mut users = Vec::new();
    fields(node, "basic_auth_users", |name, value| {
        let hash = owned_text(value)?;
        if !is_bcrypt(&hash) {
            return Err(value.complain("not a bcrypt hash"));
        }
        users.push((name.to_owned(), Secret::new(hash)));
        Ok(true)
    })?;
    Ok(users)
}

/// Whether a text has the form of a bcrypt hash.
fn is_bcrypt(hash: &str) -> bool {
    hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| (4..=31).contains(&parts.get_cost()))
}

fn tokens(node: &Node) -> Result<Vec<WebToken>, Complaint> {
    if node.is_null() {
        return Ok(Vec::new());
    }
    let mut tokens: Vec<WebToken> = Vec::new();
    let read = list(node, token)?;
    let NodeValue::List(items) = &node.value else { return Err(mismatch(node, "a list")) };
    for (token, item) in read.into_iter().zip(items) {
        if tokens.iter().any(|known| known.name == token.name) {
            let name = go_quote(&token.name);
            return Err(item.complain(format!("name: {name} stands twice")));
        }
        if tokens.iter().any(|known| known.sha256 == token.sha256) {
            return Err(item.complain("sha256: stands twice"));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

fn token(node: &Node) -> Result<WebToken, Complaint> {
    let (mut name, mut hash, mut roles) = (String::new(), None, None);
    let mut scope: Option<Vec<Matcher>> = None;
    fields(node, "tokens", |field, value| {
        match field {
            "name" => name = owned_text(value)?,
            "sha256" => hash = Some(sha256(value)?),
            "roles" => roles = Some(self::roles(value)?),
            "scope" => scope = Some(self::scope(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if name.is_empty() {
        return Err(node.complain("name: missing"));
    }
    let sha256 = hash.ok_or_else(|| node.complain("sha256: missing"))?;
    let roles = roles.ok_or_else(|| node.complain("roles: missing"))?;
    if scope.is_some() && roles != (Roles { read: true, ..Roles::default() }) {
        let message = "scope: bounds what is read; such a token can have no role but read";
        return Err(node.complain(message));
    }
    Ok(WebToken { name, sha256, roles, scope: scope.unwrap_or_default() })
}

fn sha256(node: &Node) -> Result<[u8; 32], Complaint> {
    let digits = text(node)?.as_bytes();
    let mut sum = [0; 32];
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, [high, low]) in sum.iter_mut().zip(pairs) {
        match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) if digits.len() == 64 => *byte = high << 4 | low,
            _ => return Err(node.complain("must be 64 hexadecimal digits")),
        }
    }
    if digits.len() == 64 { Ok(sum) } else { Err(node.complain("must be 64 hexadecimal digits")) }
}

fn roles(node: &Node) -> Result<Roles, Complaint> {
    let names = list_of(node, "role", &["read", "write", "admin"])?;
    if names.is_empty() {
        return Err(node.complain("at least one of read, write, admin"));
    }
    let has = |role: &str| names.iter().any(|name| name == role);
    Ok(Roles { read: has("read"), write: has("write"), admin: has("admin") })
}

fn scope(node: &Node) -> Result<Vec<Matcher>, Complaint> {
    let parsed = parse_selector(text(node)?, &ParseOptions::default());
    let matchers = parsed.map_err(|error| node.complain(error.to_string()))?;
    if matchers.is_empty() {
        return Err(node.complain("bounds nothing"));
    }
    Ok(matchers)
}

fn rate_limit(node: &Node) -> Result<Option<RateLimit>, Complaint> {
    let (mut interval_ns, mut burst) = (0_i64, 0);
    fields(node, "rate_limit", |field, value| {
        match field {
            _ if value.is_null() => {}
            "interval" => {
                let text = text(value)?;
                let parsed = text.parse().ok().or_else(|| parse_go_duration(text).ok());
                interval_ns = parsed
                    .filter(|ns| *ns >= 0)
                    .ok_or_else(|| value.complain(format!("no duration: {}", go_quote(text))))?;
            }
            "burst" => {
                let number = integer(value, "int")?;
                burst =
                    u64::try_from(number).map_err(|_| value.complain("must not be less than 0"))?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let interval_ns = interval_ns.unsigned_abs();
    Ok((interval_ns > 0).then_some(RateLimit { interval_ns, burst }))
}

#[cfg(test)]
mod tests;
