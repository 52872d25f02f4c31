//! Who the client says it is: the `Authorization` header and those of `http_headers`, read anew
//! for each request.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::{ClientError, Reason};
use super::oauth2::TokenSource;
use super::secret_reader::SecretReader;
use crate::config::HttpClientConfig;

/// The credentials of a client.
#[derive(Debug)]
pub(super) struct Credentials {
    identity: Identity,
    headers: Vec<(HeaderName, SecretReader, String)>,
}

#[derive(Debug)]
enum Identity {
    None,
    Basic { username: SecretReader, password: SecretReader },
    Authorization { kind: String, credentials: SecretReader },
    OAuth2(Box<TokenSource>),
}

/// Headers that are not told to another host than the one that was asked.
const SENSITIVE: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

impl Credentials {
    pub(super) fn new(config: &HttpClientConfig) -> Result<Self, ClientError> {
        let reader = |what: &str, source| {
            SecretReader::new(source)
                .map_err(|error| ClientError(format!("unable to use {what}: {error}")))
        };
        let identity = if let Some(oauth2) = &config.oauth2 {
            Identity::OAuth2(Box::new(TokenSource::new(oauth2)?))
        } else if let Some(auth) = &config.basic_auth {
            Identity::Basic {
                username: reader("username", &auth.username)?,
                password: reader("password", &auth.password)?,
            }
        } else if let Some(auth) = &config.authorization {
            let credentials = reader("credentials", &auth.credentials)?;
            Identity::Authorization { kind: auth.kind.clone(), credentials }
        } else {
            Identity::None
        };
        let mut headers = Vec::new();
        for written in &config.headers {
            let name = HeaderName::try_from(written.name.as_str()).map_err(|_| {
                ClientError(format!("http_headers: {:?} is no name of a header", written.name))
            })?;
            for value in &written.values {
                let reader = reader("header", value)?;
                let described = match value {
                    crate::config::SecretSource::File(path) => path.clone(),
                    _ => String::new(),
                };
                headers.push((name.clone(), reader, described));
            }
        }
        Ok(Self { identity, headers })
    }

    /// Whether there is nothing to add.
    pub(super) fn is_none(&self) -> bool {
        matches!(self.identity, Identity::None) && self.headers.is_empty()
    }

    /// Adds what the request lacks. To a host that only a redirect named no secret is told.
    pub(super) async fn add_to(
        &self,
        headers: &mut HeaderMap,
        is_elsewhere: bool,
    ) -> Result<(), Reason> {
        for (name, reader, path) in &self.headers {
            if is_elsewhere && SENSITIVE.contains(name) {
                continue;
            }
            let value = reader.read().map_err(|error| {
                Reason::Credentials(format!("unable to read headers file {path}: {error}"))
            })?;
            headers.append(name, secret_value(value.reveal(), name.as_str())?);
        }
        if is_elsewhere {
            for name in &SENSITIVE {
                headers.remove(name);
            }
            return Ok(());
        }
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        let unreadable = |what: &str, error: String| {
            Reason::Credentials(format!("unable to read {what}: {error}"))
        };
        let value = match &self.identity {
            Identity::None => return Ok(()),
            Identity::Basic { username, password } => {
                let username =
                    username.read().map_err(|error| unreadable("basic auth username", error))?;
                let password =
                    password.read().map_err(|error| unreadable("basic auth password", error))?;
                basic(username.reveal(), password.reveal())
            }
            Identity::Authorization { kind, credentials } => {
                let credentials = credentials
                    .read()
                    .map_err(|error| unreadable("authorization credentials", error))?;
                format!("{kind} {}", credentials.reveal())
            }
            Identity::OAuth2(tokens) => tokens.header().await?,
        };
        headers.insert(header::AUTHORIZATION, secret_value(&value, "authorization")?);
        Ok(())
    }
}

/// The value of an `Authorization` header with user and password.
pub(super) fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
}

fn secret_value(text: &str, name: &str) -> Result<HeaderValue, Reason> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Reason::Credentials(format!("net/http: invalid header field value for {name:?}"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
