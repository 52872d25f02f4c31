//! How HTTP requests are made: the fields that jobs, remote endpoints and discovery share.

use super::record::{Record, Value};
use super::schema::{
    Default, Field, Kind, Section, duration, field, flag, inline, no_check, path, secret, text,
    texts,
};
use super::url;
use crate::model::go_quote;

/// The fields with HTTP/2 on.
pub(super) static HTTP_CLIENT: Section = Section {
    name: "http_client_config",
    fields: &[
        AUTH[0],
        AUTH[1],
        AUTH[2],
        AUTH[3],
        AUTH[4],
        TLS,
        REDIRECTS,
        field("enable_http2", Kind::Bool).or(Default::Bool(true)).shown(),
        inline(&PROXY),
        HEADERS,
    ],
    check: no_check,
};

/// The fields with HTTP/2 off, as remote write has it.
pub(super) static HTTP_CLIENT_1: Section = Section {
    name: "http_client_config",
    fields: &[
        AUTH[0],
        AUTH[1],
        AUTH[2],
        AUTH[3],
        AUTH[4],
        TLS,
        REDIRECTS,
        flag("enable_http2").shown(),
        inline(&PROXY),
        HEADERS,
    ],
    check: no_check,
};

const AUTH: [Field; 5] = [
    field("basic_auth", Kind::Optional(&BASIC_AUTH)),
    field("authorization", Kind::Optional(&AUTHORIZATION)),
    field("oauth2", Kind::Optional(&OAUTH2)),
    secret("bearer_token"),
    path("bearer_token_file"),
];
const TLS: Field = field("tls_config", Kind::Section(&TLS_CONFIG));
const REDIRECTS: Field = field("follow_redirects", Kind::Bool).or(Default::Bool(true)).shown();
const HEADERS: Field = field("http_headers", Kind::SectionMap(&HEADER));

static BASIC_AUTH: Section = Section {
    name: "basic_auth",
    fields: &[
        text("username"),
        path("username_file"),
        text("username_ref"),
        secret("password"),
        path("password_file"),
        text("password_ref"),
    ],
    check: no_check,
};

static AUTHORIZATION: Section = Section {
    name: "authorization",
    fields: &[
        text("type"),
        secret("credentials"),
        path("credentials_file"),
        text("credentials_ref"),
    ],
    check: no_check,
};

static OAUTH2: Section = Section {
    name: "oauth2",
    fields: &[
        text("client_id"),
        secret("client_secret"),
        path("client_secret_file"),
        text("client_secret_ref"),
        text("client_certificate_key_id"),
        secret("client_certificate_key"),
        path("client_certificate_key_file"),
        text("client_certificate_key_ref"),
        text("grant_type"),
        text("signature_algorithm"),
        text("iss"),
        text("audience"),
        field("claims", Kind::Any),
        texts("scopes"),
        text("token_url"),
        field("endpoint_params", Kind::TextMap),
        TLS,
        inline(&PROXY),
    ],
    check: check_proxy,
};

static PROXY: Section = Section {
    name: "proxy_config",
    fields: &[
        field("proxy_url", Kind::Url),
        text("no_proxy"),
        flag("proxy_from_environment"),
        field("proxy_connect_header", Kind::SecretLists),
    ],
    check: no_check,
};

static HEADER: Section = Section {
    name: "http_header",
    fields: &[texts("values"), field("secrets", Kind::Secrets), field("files", Kind::Paths)],
    check: no_check,
};

/// `tls_config`, wherever it stands.
pub(super) static TLS_CONFIG: Section = Section {
    name: "tls_config",
    fields: &[
        text("ca"),
        text("cert"),
        secret("key"),
        path("ca_file"),
        path("cert_file"),
        path("key_file"),
        text("ca_ref"),
        text("cert_ref"),
        text("key_ref"),
        text("server_name"),
        flag("insecure_skip_verify").shown(),
        field("min_version", Kind::Checked(check_tls_version)),
        field("max_version", Kind::Checked(check_tls_version)),
    ],
    check: check_tls,
};

/// `sigv4`, for requests to AWS.
pub(super) static SIGV4: Section = Section {
    name: "sigv4",
    fields: &[
        text("region"),
        text("access_key"),
        secret("secret_key"),
        text("profile"),
        text("role_arn"),
        text("external_id"),
        flag("use_fips_sts_endpoint"),
        text("service_name"),
    ],
    check: |sigv4| {
        if sigv4.is_set("access_key") == sigv4.is_set("secret_key") {
            return Ok(());
        }
        Err("must provide a AWS SigV4 Access key and Secret Key if credentials are specified in \
             the SigV4 config"
            .to_owned())
    },
};

/// A field for how often a mechanism looks again; every discovery section has one.
pub(super) const REFRESH: Field = duration("refresh_interval");

fn check_tls_version(version: &str) -> Result<(), String> {
    if matches!(version, "TLS10" | "TLS11" | "TLS12" | "TLS13") {
        return Ok(());
    }
    Err(format!("unknown TLS version: {version}"))
}

fn check_tls(tls: &mut Record) -> Result<(), String> {
    let sources = [
        (["ca", "ca_file", "ca_ref"], "at most one of ca, ca_file & ca_ref must be configured"),
        (
            ["cert", "cert_file", "cert_ref"],
            "at most one of cert, cert_file & cert_ref must be configured",
        ),
        (["key", "key_file", "key_ref"], "at most one of key and key_file must be configured"),
    ];
    for (keys, message) in &sources {
        if tls.count_set(keys) > 1 {
            return Err((*message).to_owned());
        }
    }
    let has_certificate = tls.count_set(&sources[1].0) > 0;
    let has_key = tls.count_set(&sources[2].0) > 0;
    match (has_certificate, has_key) {
        (true, false) => Err("exactly one of key or key_file must be configured when a client \
                              certificate is configured"
            .to_owned()),
        (false, true) => Err("exactly one of cert or cert_file must be configured when a client \
                              key is configured"
            .to_owned()),
        _ => Ok(()),
    }
}

fn check_proxy(record: &mut Record) -> Result<(), String> {
    let has_url = record.is_set("proxy_url");
    let from_environment = record.flag("proxy_from_environment");
    let refuse = |message: &str| Err(message.to_owned());
    if record.is_set("proxy_connect_header") && !from_environment && !has_url {
        return refuse(
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also \
             be configured",
        );
    }
    if from_environment && has_url {
        return refuse("if proxy_from_environment is configured, proxy_url must not be configured");
    }
    if from_environment && record.is_set("no_proxy") {
        return refuse("if proxy_from_environment is configured, no_proxy must not be configured");
    }
    if !has_url && record.is_set("no_proxy") {
        return refuse("if no_proxy is configured, proxy_url must also be configured");
    }
    Ok(())
}

/// Checks the fields of [`HTTP_CLIENT`] in `record`, and moves a bearer token to where it is kept
/// today.
pub(super) fn check(record: &mut Record) -> Result<(), String> {
    let refuse = |message: &str| Err(message.to_owned());
    let bearers = record.count_set(&["bearer_token", "bearer_token_file"]);
    let (basic, oauth2) = (record.is_set_at_all("basic_auth"), record.is_set_at_all("oauth2"));
    if bearers > 1 {
        return refuse("at most one of bearer_token & bearer_token_file must be configured");
    }
    if (basic || oauth2) && bearers > 0 {
        return refuse(
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be \
             configured",
        );
    }
    if let Some(auth) = record.record("basic_auth") {
        check_basic_auth(auth)?;
    }
    if record.is_set_at_all("authorization") {
        if bearers > 0 {
            return refuse("authorization is not compatible with bearer_token & bearer_token_file");
        }
        check_authorization(record)?;
        if basic || oauth2 {
            return refuse("at most one of basic_auth, oauth2 & authorization must be configured");
        }
    } else if bearers > 0 {
        move_bearer(record);
    }
    if let Some(oauth2) = record.record("oauth2") {
        if basic {
            return refuse("at most one of basic_auth, oauth2 & authorization must be configured");
        }
        check_oauth2(oauth2)?;
    }
    check_proxy(record)?;
    check_headers(record)
}

fn check_basic_auth(auth: &Record) -> Result<(), String> {
    for (keys, message) in [
        (
            ["username", "username_file", "username_ref"],
            "at most one of basic_auth username, username_file & username_ref must be configured",
        ),
        (
            ["password", "password_file", "password_ref"],
            "at most one of basic_auth password, password_file & password_ref must be configured",
        ),
    ] {
        if auth.count_set(&keys) > 1 {
            return Err(message.to_owned());
        }
    }
    Ok(())
}

fn check_authorization(record: &mut Record) -> Result<(), String> {
    let Value::Record(auth) = record.value_mut("authorization") else { return Ok(()) };
    if auth.count_set(&["credentials", "credentials_file", "credentials_ref"]) > 1 {
        return Err("at most one of authorization credentials & credentials_file must be \
                    configured"
            .to_owned());
    }
    let kind = auth.text("type").trim().to_owned();
    if kind.eq_ignore_ascii_case("basic") {
        return Err(
            "authorization type cannot be set to \"basic\", use \"basic_auth\" instead".to_owned()
        );
    }
    let kind = if kind.is_empty() { "Bearer".to_owned() } else { kind };
    auth.set("type", Value::Text(kind));
    Ok(())
}

fn move_bearer(record: &mut Record) {
    let mut auth = Record::filled(&AUTHORIZATION);
    auth.set("type", Value::Text("Bearer".to_owned()));
    for (from, to) in [("bearer_token", "credentials"), ("bearer_token_file", "credentials_file")] {
        let kind = if from == "bearer_token" { Kind::Secret } else { Kind::Path };
        let value = std::mem::replace(record.value_mut(from), Value::zero(kind));
        auth.set(to, value);
    }
    record.set("authorization", Value::Record(Box::new(auth)));
}

fn check_oauth2(oauth2: &Record) -> Result<(), String> {
    let refuse = |message: &str| Err(message.to_owned());
    if !oauth2.is_set("client_id") {
        return refuse("oauth2 client_id must be configured");
    }
    if !oauth2.is_set("token_url") {
        return refuse("oauth2 token_url must be configured");
    }
    if oauth2.text("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        let keys =
            ["client_certificate_key", "client_certificate_key_file", "client_certificate_key_ref"];
        if oauth2.count_set(&keys) > 1 {
            return refuse(
                "at most one of oauth2 client_certificate_key, client_certificate_key_file & \
                 client_certificate_key_ref must be configured using \
                 grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer",
            );
        }
        if !matches!(oauth2.text("signature_algorithm"), "" | "RS256" | "RS384" | "RS512") {
            return refuse("valid signature algorithms are RS256, RS384 and RS512");
        }
    } else if oauth2.count_set(&["client_secret", "client_secret_file", "client_secret_ref"]) > 1 {
        return refuse(
            "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be \
             configured using grant-type=client_credentials",
        );
    }
    Ok(())
}

/// Headers that belong to the client itself.
const RESERVED_HEADERS: [&str; 18] = [
    "Authorization",
    "Host",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "User-Agent",
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Www-Authenticate",
    "Accept-Encoding",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
];

fn check_headers(record: &Record) -> Result<(), String> {
    let Value::RecordMap(headers) = record.value("http_headers") else { return Ok(()) };
    for (name, _) in headers {
        if let Some(reserved) = RESERVED_HEADERS.iter().find(|r| r.eq_ignore_ascii_case(name)) {
            return Err(format!("setting header {} is not allowed", go_quote(reserved)));
        }
    }
    Ok(())
}

/// Checks headers that remote endpoints and tracing send besides; `auth_hint` says what to use
/// instead of an `authorization` header.
pub(super) fn check_plain_headers(record: &Record, auth_hint: &str) -> Result<(), String> {
    for (name, _) in record.text_map("headers") {
        if name.eq_ignore_ascii_case("authorization") {
            return Err(auth_hint.to_owned());
        }
        let is_reserved = RESERVED_HEADERS
            .iter()
            .any(|r| r.eq_ignore_ascii_case(name) && *r != "X-Prometheus-Scrape-Timeout-Seconds");
        if is_reserved {
            return Err(format!("{name} is a reserved header. It must not be changed"));
        }
    }
    Ok(())
}

/// An address that discovery asks: `http` or `https`, with a host.
pub(super) fn check_http_url(address: &str) -> Result<(), String> {
    if address.is_empty() {
        return Err("URL is missing".to_owned());
    }
    url::check(address)?;
    let parts = url::parts(address);
    if !matches!(parts.scheme, "http" | "https") {
        return Err("URL scheme must be 'http' or 'https'".to_owned());
    }
    if parts.host.is_empty() {
        return Err("host is missing in URL".to_owned());
    }
    Ok(())
}
