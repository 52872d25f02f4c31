//! Tokens by `OAuth2`: asked for by client credentials (RFC 6749, 4.4) or a signed assertion, kept
//! until shortly before they expire, asked for once however many requests wait for one.

use std::pin::Pin;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, header};
use hyper::body::Bytes;
use serde_json::Value;

use super::credentials::basic;
use super::error::{ClientError, Reason};
use super::jwt;
use super::secret_reader::SecretReader;
use super::{Client, Request, Response, Url, encode_query};
use crate::config::{HttpClientConfig, OAuth2, Secret};

/// The grant by a signed assertion.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token is not used any more this long before it expires.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// After a failure nobody asks again for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the server of tokens may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of its answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

type HeaderFuture<'a> = Pin<Box<dyn Future<Output = Result<String, Reason>> + Send + 'a>>;

/// Where a client has its tokens from.
#[derive(Debug)]
pub(super) struct TokenSource {
    config: OAuth2,
    url: Url,
    secret: SecretReader,
    client: Client,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// The last attempt, where it failed, and why.
    failed: Option<(Instant, String)>,
    /// Whether the server takes the client's secret in the form only.
    wants_form: bool,
}

#[derive(Debug)]
struct Token {
    header: Secret,
    expires: Option<Instant>,
    /// The secret that it was asked for with: another one makes it worthless.
    secret: Secret,
}

impl TokenSource {
    pub(super) fn new(config: &OAuth2) -> Result<Self, ClientError> {
        let url = Url::parse(&config.token_url)
            .map_err(|error| ClientError(format!("oauth2 token_url: {error}")))?;
        let (what, source) = if config.grant_type == JWT_BEARER {
            ("client certificate", &config.assertion.key)
        } else {
            ("client secret", &config.client_secret)
        };
        let secret = SecretReader::new(source)
            .map_err(|error| ClientError(format!("unable to use {what}: {error}")))?;
        let client = Client::new(&HttpClientConfig {
            tls: config.tls.clone(),
            proxy: config.proxy.clone(),
            ..HttpClientConfig::default()
        })?;
        Ok(Self {
            config: config.clone(),
            url,
            secret,
            client,
            state: tokio::sync::Mutex::default(),
        })
    }

    /// The value of the `Authorization` header. Boxed: a client asks the server of tokens by a
    /// client of its own.
    pub(super) fn header(&self) -> HeaderFuture<'_> {
        Box::pin(self.current_header())
    }

    async fn current_header(&self) -> Result<String, Reason> {
        let secret = self.secret.read().map_err(|error| {
            Reason::Credentials(format!("unable to read oauth2 client secret: {error}"))
        })?;
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && token.secret == secret
            && token.expires.is_none_or(|expires| Instant::now() + EXPIRY_MARGIN < expires)
        {
            return Ok(token.header.reveal().to_owned());
        }
        if let Some((at, why)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(Reason::Credentials(why.clone()));
        }
        match self.ask(&secret, &mut state.wants_form).await {
            Ok(token) => {
                let header = token.header.reveal().to_owned();
                state.token = Some(token);
                state.failed = None;
                Ok(header)
            }
            Err(why) => {
                state.token = None;
                state.failed = Some((Instant::now(), why.clone()));
                Err(Reason::Credentials(why))
            }
        }
    }

    async fn ask(&self, secret: &Secret, wants_form: &mut bool) -> Result<Token, String> {
        if self.config.grant_type == JWT_BEARER {
            let assertion = jwt::assertion(&self.config, secret)?;
            let fields = vec![
                ("grant_type".to_owned(), vec![JWT_BEARER.to_owned()]),
                ("assertion".to_owned(), vec![assertion]),
            ];
            return read_token(&self.post(fields, None).await?, secret);
        }
        if !*wants_form {
            let answer = self.post(self.grant(), Some(secret)).await?;
            if answer.status.is_success() {
                return read_token(&answer, secret);
            }
        }
        // Servers that do not know the header want the secret in the form.
        let mut fields = self.grant();
        fields.push(("client_id".to_owned(), vec![self.config.client_id.clone()]));
        if !secret.is_empty() {
            fields.push(("client_secret".to_owned(), vec![secret.reveal().to_owned()]));
        }
        let token = read_token(&self.post(fields, None).await?, secret)?;
        *wants_form = true;
        Ok(token)
    }

    fn grant(&self) -> Vec<(String, Vec<String>)> {
        let mut fields = vec![("grant_type".to_owned(), vec!["client_credentials".to_owned()])];
        if !self.config.scopes.is_empty() {
            fields.push(("scope".to_owned(), vec![self.config.scopes.join(" ")]));
        }
        fields
    }

    async fn post(
        &self,
        mut fields: Vec<(String, Vec<String>)>,
        secret: Option<&Secret>,
    ) -> Result<Response, String> {
        for (name, value) in &self.config.endpoint_params {
            fields.retain(|(known, _)| known != name);
            fields.push((name.clone(), vec![value.clone()]));
        }
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers: Vec<(HeaderName, HeaderValue)> = vec![(header::CONTENT_TYPE, form)];
        if let Some(secret) = secret {
            let escaped = |text: &str| {
                encode_query(&[(String::new(), vec![text.to_owned()])])[1..].to_owned()
            };
            let value = basic(&escaped(&self.config.client_id), &escaped(secret.reveal()));
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| "oauth2: the client's secret fits into no header".to_owned())?;
            value.set_sensitive(true);
            headers.push((header::AUTHORIZATION, value));
        }
        let request = Request {
            method: Method::POST,
            headers: headers.into(),
            body: Bytes::from(encode_query(&fields)),
            timeout: TIMEOUT,
            body_bytes_max: ANSWER_BYTES_MAX,
            ..Request::get(self.url.clone())
        };
        self.client.send(&request).await.map_err(|error| error.to_string())
    }
}

fn read_token(answer: &Response, secret: &Secret) -> Result<Token, String> {
    let text = String::from_utf8_lossy(&answer.body);
    if !answer.status.is_success() {
        let shown: String = text.chars().take(256).collect();
        return Err(format!(
            "oauth2: cannot fetch token: {}\nResponse: {shown}",
            answer.status_text
        ));
    }
    let content_type = answer.header("content-type");
    let is_form = content_type.starts_with("application/x-www-form-urlencoded")
        || content_type.starts_with("text/plain");
    let fields: Value = if is_form {
        form_fields(&text)
    } else {
        serde_json::from_str(&text)
            .map_err(|error| format!("oauth2: cannot parse json: {error}"))?
    };
    let token = fields["access_token"].as_str().unwrap_or("");
    if token.is_empty() {
        return Err("oauth2: server response missing access_token".to_owned());
    }
    let kind = match fields["token_type"].as_str().unwrap_or("") {
        "" => "Bearer",
        kind if kind.eq_ignore_ascii_case("bearer") => "Bearer",
        kind if kind.eq_ignore_ascii_case("mac") => "MAC",
        kind if kind.eq_ignore_ascii_case("basic") => "Basic",
        kind => kind,
    };
    let expires_in = match &fields["expires_in"] {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let lifetime =
        expires_in.filter(|&s| s > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
    Ok(Token {
        header: Secret::new(format!("{kind} {token}")),
        expires: lifetime.and_then(|lifetime| Instant::now().checked_add(lifetime)),
        secret: secret.clone(),
    })
}

fn form_fields(text: &str) -> Value {
    let plain = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = text.trim().split('&').filter_map(|pair| pair.split_once('='));
    Value::Object(pairs.map(|(name, value)| (plain(name), Value::from(plain(value)))).collect())
}
