//! Tokens of clouds for remote write: of Azure's Entra ID and of Google's IAM.
//!
//! A token is asked for when the first request needs it, and anew after half of its life; where
//! that fails the one at hand is used while it holds. Requests that wait for a token wait for one
//! question. COMPAT: what is asked, of whom and in which order is as Azure's and Google's own
//! libraries do it, for the ways that are built in; [`super::receiver`] refuses the others by name.

mod azure;
mod google;

use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::config::{HttpClientConfig, Secret, TokenConfig};
use crate::http_client::{Client, Request, Response, Url, encode_query};

use azure::Azure;
use google::Google;

/// How long whoever gives tokens may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of its answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// After a failure nobody asks again for this long.
const PAUSE: Duration = Duration::from_secs(1);
/// The same while the token at hand holds: requests should not wait for answers that they can do
/// without.
const PAUSE_WITH_TOKEN: Duration = Duration::from_secs(30);
/// How long a token is taken to hold where nobody says.
const LIFE_DEFAULT: Duration = Duration::from_mins(10);
/// How long at most, whatever is said.
const LIFE_MAX: Duration = Duration::from_hours(24);
/// A token is not used any more this long before it expires.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// Characters of an answer that an error shows.
const SHOWN_CHARS_MAX: usize = 300;

/// What the environment says under a name; empty where it says nothing.
type Variable<'a> = &'a dyn Fn(&str) -> String;

/// Where tokens come from.
#[derive(Debug)]
pub(super) struct Tokens {
    issuer: Issuer,
    client: Client,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
enum Issuer {
    Azure(Azure),
    Google(Google),
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    failed: Option<(Instant, String)>,
}

#[derive(Debug)]
struct Token {
    header: HeaderValue,
    renewed: Instant,
    expires: Instant,
}

impl Tokens {
    /// As the section says, or why there can be none.
    pub(super) fn new(config: &TokenConfig) -> Result<Self, String> {
        Self::within(config, &|name| std::env::var(name).unwrap_or_default())
    }

    fn within(config: &TokenConfig, variable: Variable<'_>) -> Result<Self, String> {
        let issuer = match config {
            TokenConfig::Azure(config) => Issuer::Azure(Azure::new(config, variable)),
            TokenConfig::Google(config) => Issuer::Google(Google::new(config, variable)?),
        };
        let client =
            Client::new(&HttpClientConfig::default()).map_err(|error| error.to_string())?;
        Ok(Self { issuer, client, state: tokio::sync::Mutex::default() })
    }

    /// The value of the header `Authorization`.
    pub(super) async fn header(&self) -> Result<HeaderValue, String> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renewed) {
            return Ok(token.header.clone());
        }
        let holds = |token: &&Token| now + EXPIRY_MARGIN < token.expires;
        let pause =
            if state.token.as_ref().is_some_and(|t| holds(&t)) { PAUSE_WITH_TOKEN } else { PAUSE };
        let asked_lately = state.failed.as_ref().filter(|(at, _)| at.elapsed() < pause);
        let asked = match asked_lately {
            Some((_, why)) => Err(why.clone()),
            None => self.ask().await,
        };
        match asked {
            Ok(token) => {
                let header = token.header.clone();
                *state = State { token: Some(token), failed: None };
                Ok(header)
            }
            Err(why) => {
                if asked_lately.is_none() {
                    state.failed = Some((Instant::now(), why.clone()));
                }
                match state.token.as_ref().filter(holds) {
                    Some(token) => Ok(token.header.clone()),
                    None => Err(format!("Failed to get access token: {why}")),
                }
            }
        }
    }

    /// Forgets the token: it was refused.
    pub(super) async fn forget(&self) {
        self.state.lock().await.token = None;
    }

    async fn ask(&self) -> Result<Token, String> {
        let request = match &self.issuer {
            Issuer::Azure(azure) => azure.request()?,
            Issuer::Google(google) => google.request()?,
        };
        let response = self.client.send(&request).await.map_err(|error| error.to_string())?;
        read(&response)
    }
}

/// A question without a body.
fn get(url: &str, header: (&'static str, &str)) -> Result<Request, String> {
    let url = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let name = HeaderName::from_static(header.0);
    let value = HeaderValue::from_str(header.1).map_err(|error| error.to_string())?;
    Ok(Request {
        headers: [(name, value)].into(),
        timeout: TIMEOUT,
        body_bytes_max: ANSWER_BYTES_MAX,
        ..Request::get(url)
    })
}

/// A question with a form.
fn post(url: &str, fields: &[(&str, &str)]) -> Result<Request, String> {
    let url = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    let fields: Vec<(String, Vec<String>)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
        .collect();
    Ok(Request {
        method: Method::POST,
        headers: [(http::header::CONTENT_TYPE, kind)].into(),
        body: encode_query(&fields).into(),
        timeout: TIMEOUT,
        body_bytes_max: ANSWER_BYTES_MAX,
        ..Request::get(url)
    })
}

/// The token of an answer.
fn read(response: &Response) -> Result<Token, String> {
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    if !response.status.is_success() {
        let said = match text("error_description") {
            "" => text("error"),
            said => said,
        };
        let said: String = said.chars().take(SHOWN_CHARS_MAX).collect();
        return Err(format!("status {}: {said}", response.status_text));
    }
    let token = Secret::new(text("access_token"));
    if token.reveal().is_empty() {
        return Err("access token is empty".to_owned());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
        .map_err(|_| "the access token cannot be sent".to_owned())?;
    header.set_sensitive(true);
    // A number, or a text of digits.
    let number = |key: &str| match answer.get(key) {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let until = number("expires_on").map(|expires_s| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        expires_s.saturating_sub(now.unwrap_or_default().as_secs())
    });
    let life = number("expires_in").or(until).map_or(LIFE_DEFAULT, Duration::from_secs);
    let life = life.min(LIFE_MAX);
    let now = Instant::now();
    Ok(Token { header, renewed: now + life / 2, expires: now + life })
}

#[cfg(test)]
mod tests;
