//! What an instance, or a container, can ask about itself: its region, and credentials of its
//! role.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::super::api::{check_status, parse};
use super::credentials::Credentials;
use crate::config::{HttpClientConfig, Secret};
use crate::http_client::{Client, Request, Url};

/// Where an instance asks.
const INSTANCE: &str = "http://169.254.169.254";

/// Where a container asks for a path.
const CONTAINER: &str = "http://169.254.170.2";

/// Who is not on an instance finds out soon.
const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    expiration: String,
}

impl From<Answer> for Credentials {
    fn from(answer: Answer) -> Self {
        let expires = answer.expiration.parse::<jiff::Timestamp>();
        Self {
            access_key: answer.access_key_id,
            secret_key: Secret::new(answer.secret_access_key),
            session_token: Secret::new(answer.token),
            expires_s: expires.ok().map(jiff::Timestamp::as_second),
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

async fn ask(
    method: Method,
    url: &str,
    headers: &[(&'static str, &str)],
) -> Result<Vec<u8>, String> {
    let client = Client::new(&HttpClientConfig::default()).map_err(|error| error.to_string())?;
    let header = |(name, value): &(&'static str, &str)| {
        let mut value = HeaderValue::try_from(*value).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        Ok((HeaderName::from_static(name), value))
    };
    let headers: Result<Vec<_>, String> = headers.iter().map(header).collect();
    let request = Request {
        method,
        headers: Arc::from(headers?),
        timeout: TIMEOUT,
        body_bytes_max: 1 << 20,
        ..Request::get(Url::parse(url).map_err(|error| error.to_string())?)
    };
    let response = client.send(&request).await.map_err(|error| error.to_string())?;
    check_status(&response)?;
    Ok(response.body.to_vec())
}

/// The instance's answer for a path.
async fn of_instance(path: &str) -> Result<String, String> {
    if variable("AWS_EC2_METADATA_DISABLED").eq_ignore_ascii_case("true") {
        return Err("the metadata of the instance are switched off".to_owned());
    }
    let named = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let base = if named.is_empty() { INSTANCE } else { named.trim_end_matches('/') };
    let lifetime = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
    let token = ask(Method::PUT, &format!("{base}/latest/api/token"), &lifetime).await?;
    let token = String::from_utf8_lossy(&token).trim().to_owned();
    let headers = [("x-aws-ec2-metadata-token", token.as_str())];
    let answer = ask(Method::GET, &format!("{base}{path}"), &headers).await?;
    Ok(String::from_utf8_lossy(&answer).trim().to_owned())
}

/// The region of the instance.
pub(super) async fn region() -> Result<String, String> {
    of_instance("/latest/meta-data/placement/region").await
}

/// Credentials of the container's role, where it has one, else of the instance's.
pub(super) async fn credentials() -> Result<Credentials, String> {
    let path = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if !path.is_empty() || !full.is_empty() {
        let url = if path.is_empty() { full } else { format!("{CONTAINER}{path}") };
        let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        let token = match std::fs::read_to_string(&file) {
            Ok(token) => token.trim().to_owned(),
            Err(_) => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        };
        let headers = [("authorization", token.as_str())];
        let headers = if token.is_empty() { &[] } else { &headers[..] };
        return parse::<Answer>(&ask(Method::GET, &url, headers).await?).map(Credentials::from);
    }
    let list = "/latest/meta-data/iam/security-credentials/";
    let role = of_instance(list).await?;
    let role = role.lines().next().unwrap_or("").to_owned();
    let answer = of_instance(&format!("{list}{role}")).await?;
    parse::<Answer>(answer.as_bytes()).map(Credentials::from)
}
