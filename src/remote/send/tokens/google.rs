//! Tokens of Google's IAM: by the key of a service account, by a user's consent, or by the account
//! of the machine.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::{Request, Variable, get, post};
use crate::config::{GoogleConfig, Secret};
use crate::http_client::sign_claims;

/// What tokens are for.
const SCOPE: &str = "https://www.googleapis.com/auth/monitoring.write";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const METADATA: &str = "169.254.169.254";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion holds.
const VALID_SECONDS: u64 = 3600;

/// Who asks.
#[derive(Debug)]
pub(super) enum Google {
    /// The service account of that key.
    Account(Credentials),
    /// Who consented.
    User(Credentials),
    /// The machine, of the server of metadata at that host.
    Machine(String),
}

/// A file of credentials.
#[derive(Debug, Deserialize)]
pub(super) struct Credentials {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key_id: String,
    #[serde(default, deserialize_with = "secret")]
    private_key: Secret,
    #[serde(default)]
    token_uri: String,
    #[serde(default)]
    client_id: String,
    #[serde(default, deserialize_with = "secret")]
    client_secret: Secret,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Secret,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

impl Google {
    /// COMPAT: a file that is named must be of a service account; else the environment names one,
    /// or there is that of the user's tools, or the machine is asked.
    pub(super) fn new(config: &GoogleConfig, variable: Variable<'_>) -> Result<Self, String> {
        if !config.credentials_file.is_empty() {
            let found = Credentials::read(&config.credentials_file)?;
            if found.kind != "service_account" {
                let file = &config.credentials_file;
                return Err(format!("{file}: credentials of a service_account are wanted"));
            }
            return found.into_asker(&config.credentials_file);
        }
        let named = variable("GOOGLE_APPLICATION_CREDENTIALS");
        if !named.is_empty() {
            return Credentials::read(&named)?.into_asker(&named);
        }
        let usual =
            format!("{}/.config/gcloud/application_default_credentials.json", variable("HOME"));
        if Path::new(&usual).exists() {
            return Credentials::read(&usual)?.into_asker(&usual);
        }
        let host = variable("GCE_METADATA_HOST");
        Ok(Self::Machine(if host.is_empty() { METADATA.to_owned() } else { host }))
    }

    pub(super) fn request(&self) -> Result<Request, String> {
        match self {
            Self::Account(account) => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now_s = since_epoch.as_secs();
                let claims = serde_json::json!({
                    "iss": account.client_email,
                    "scope": SCOPE,
                    "aud": account.token_url(),
                    "iat": now_s,
                    "exp": now_s + VALID_SECONDS,
                });
                let assertion =
                    sign_claims(&claims, &account.private_key_id, &account.private_key)?;
                let fields = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
                post(account.token_url(), &fields)
            }
            Self::User(user) => post(
                user.token_url(),
                &[
                    ("client_id", &user.client_id),
                    ("client_secret", user.client_secret.reveal()),
                    ("refresh_token", user.refresh_token.reveal()),
                    ("grant_type", "refresh_token"),
                ],
            ),
            Self::Machine(host) => get(
                &format!(
                    "http://{host}/computeMetadata/v1/instance/service-accounts/default/token\
                     ?scopes={SCOPE}"
                ),
                ("metadata-flavor", "Google"),
            ),
        }
    }
}

impl Credentials {
    fn read(path: &str) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        // The text of an error may have a secret in it.
        serde_json::from_str(&text)
            .map_err(|error| format!("{path}: no credentials, see line {}", error.line()))
    }

    fn into_asker(self, path: &str) -> Result<Google, String> {
        match self.kind.as_str() {
            "service_account" => {
                // A key that cannot be used shows now.
                sign_claims(&serde_json::json!({}), "", &self.private_key)
                    .map_err(|error| format!("{path}: {error}"))?;
                Ok(Google::Account(self))
            }
            "authorized_user" => Ok(Google::User(self)),
            other => Err(format!("{path}: credentials of type {other:?} are not built in")),
        }
    }

    fn token_url(&self) -> &str {
        if self.token_uri.is_empty() { TOKEN_URL } else { &self.token_uri }
    }
}
