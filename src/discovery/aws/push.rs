//! Signatures for bodies that are pushed to a service of AWS: remote write to Amazon Managed
//! Service for Prometheus.

use http::{HeaderName, HeaderValue};
use tokio::sync::Mutex;

use super::credentials::{Account, Chain};
use super::now_s;
use super::sigv4::{Scope, signed_headers};
use crate::config::Sigv4Config;
use crate::http_client::{Client, Url};

/// The service that is signed for where nobody says.
const SERVICE: &str = "aps";

/// Signs requests of one receiver.
#[derive(Debug)]
pub struct PushSigner {
    config: Sigv4Config,
    /// Credentials, once they were asked for.
    account: Mutex<Option<Account>>,
}

impl PushSigner {
    /// A signer with what the configuration says; nothing is asked for yet.
    pub fn new(config: Sigv4Config) -> Self {
        Self { config, account: Mutex::new(None) }
    }

    /// The headers that sign a `POST` of `body`; credentials are found with `client`.
    pub async fn headers(
        &self,
        client: &Client,
        url: &Url,
        body: &[u8],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let mut account = self.account.lock().await;
        let account = match &mut *account {
            Some(account) => account,
            none => none.insert(Account::open(&self.chain(), &self.config.region).await?),
        };
        let credentials = account.credentials(client).await?;
        let service = match self.config.service_name.as_str() {
            "" => SERVICE,
            service => service,
        };
        let scope = Scope { region: account.region(), service };
        signed_headers(url, None, body, &credentials, scope, now_s())
    }

    /// Forgets the credentials: they were refused.
    pub async fn forget(&self) {
        if let Some(account) = &mut *self.account.lock().await {
            account.forget();
        }
    }

    fn chain(&self) -> Chain {
        let config = &self.config;
        let sts_endpoint = if config.use_fips_sts_endpoint && !config.region.is_empty() {
            format!("https://sts-fips.{}.amazonaws.com/", config.region)
        } else {
            String::new()
        };
        Chain {
            access_key: config.access_key.clone(),
            secret_key: config.secret_key.clone(),
            profile: config.profile.clone(),
            role_arn: config.role_arn.clone(),
            external_id: config.external_id.clone(),
            sts_endpoint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HttpClientConfig, Secret};

    #[tokio::test]
    async fn a_body_is_signed_for_its_service() {
        let signer = PushSigner::new(Sigv4Config {
            region: "eu-west-1".to_owned(),
            access_key: "AK".to_owned(),
            secret_key: Secret::new("SK"),
            ..Sigv4Config::default()
        });
        let client = Client::new(&HttpClientConfig::default()).unwrap();
        let url = Url::parse("https://aps.example/workspaces/w/api/v1/remote_write").unwrap();
        let headers = signer.headers(&client, &url, b"body").await.unwrap();
        let value = |name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let signature = value("authorization");
        assert!(signature.contains("Credential=AK/"), "{signature}");
        assert!(signature.contains("/eu-west-1/aps/aws4_request"), "{signature}");
        assert!(signature.contains("SignedHeaders=host;x-amz-date"), "{signature}");
        assert!(!value("x-amz-date").is_empty() && value("host").is_empty());
    }
}
