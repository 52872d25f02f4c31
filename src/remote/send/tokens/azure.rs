//! Tokens of Azure's Entra ID: by a client's secret, by a workload's identity, or by the identity
//! that the machine has.

use super::{Request, Variable, encode_query, get, post};
use crate::config::{AzureConfig, AzureIdentity, Secret};

/// Where a machine asks for its identity.
const METADATA: &str = "http://169.254.169.254";
/// Where a token of a pod's identity lies.
const TOKEN_FILE: &str = "/var/run/secrets/azure/tokens/azure-identity-token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Who asks, of whom, for what.
#[derive(Debug)]
pub(super) struct Azure {
    scope: String,
    asker: Asker,
}

#[derive(Debug)]
enum Asker {
    /// With a client's secret.
    Client { url: String, client_id: String, secret: Secret },
    /// With the token of a workload.
    Workload { url: String, client_id: String, file: String },
    /// On a machine with an identity.
    Machine { host: String, client_id: String },
    /// In a service that has an address of its own for that, and a secret.
    Service { endpoint: String, secret: Secret, client_id: String },
}

impl Azure {
    pub(super) fn new(config: &AzureConfig, variable: Variable<'_>) -> Self {
        let authority = match config.cloud.as_str() {
            "AzureChina" => "https://login.chinacloudapi.cn",
            "AzureGovernment" => "https://login.microsoftonline.us",
            _ => "https://login.microsoftonline.com",
        };
        Self::under(config, authority, variable)
    }

    /// The same where tokens are given at another address.
    pub(super) fn under(config: &AzureConfig, authority: &str, variable: Variable<'_>) -> Self {
        let scope = match (config.scope.as_str(), config.cloud.as_str()) {
            ("", "AzureChina") => "https://monitor.azure.cn//.default",
            ("", "AzureGovernment") => "https://monitor.azure.us//.default",
            ("", _) => "https://monitor.azure.com//.default",
            (scope, _) => scope,
        };
        let url = |tenant: &str| format!("{authority}/{tenant}/oauth2/v2.0/token");
        let asker = match &config.identity {
            AzureIdentity::Client { client_id, client_secret, tenant_id } => Asker::Client {
                url: url(tenant_id),
                client_id: client_id.clone(),
                secret: client_secret.clone(),
            },
            AzureIdentity::Workload { client_id, tenant_id, token_file } => {
                let named = [token_file.clone(), variable("AZURE_FEDERATED_TOKEN_FILE")];
                let file = named.into_iter().find(|file| !file.is_empty());
                Asker::Workload {
                    url: url(tenant_id),
                    client_id: client_id.clone(),
                    file: file.unwrap_or_else(|| TOKEN_FILE.to_owned()),
                }
            }
            AzureIdentity::Managed { client_id } => {
                let (endpoint, secret) =
                    (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER"));
                let host = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST");
                let client_id = client_id.clone();
                if !endpoint.is_empty() && !secret.is_empty() {
                    Asker::Service { endpoint, secret: Secret::new(secret), client_id }
                } else if host.is_empty() {
                    Asker::Machine { host: METADATA.to_owned(), client_id }
                } else {
                    Asker::Machine { host: host.trim_end_matches('/').to_owned(), client_id }
                }
            }
        };
        Self { scope: scope.to_owned(), asker }
    }

    /// What is asked. A workload's token is read anew each time.
    pub(super) fn request(&self) -> Result<Request, String> {
        // Machines know resources, not scopes.
        let resource = self.scope.strip_suffix("/.default").unwrap_or(&self.scope);
        let query = |version: &str, client_id: &str| {
            let mut fields = vec![("api-version", version), ("resource", resource)];
            if !client_id.is_empty() {
                fields.push(("client_id", client_id));
            }
            let fields: Vec<(String, Vec<String>)> =
                fields.iter().map(|(k, v)| ((*k).to_owned(), vec![(*v).to_owned()])).collect();
            encode_query(&fields)
        };
        match &self.asker {
            Asker::Client { url, client_id, secret } => post(
                url,
                &[
                    ("client_id", client_id),
                    ("client_secret", secret.reveal()),
                    ("grant_type", "client_credentials"),
                    ("scope", &self.scope),
                ],
            ),
            Asker::Workload { url, client_id, file } => {
                let token = std::fs::read_to_string(file)
                    .map_err(|error| format!("token_file_path {file}: {error}"))?;
                post(
                    url,
                    &[
                        ("client_id", client_id),
                        ("client_assertion", token.trim()),
                        ("client_assertion_type", ASSERTION),
                        ("grant_type", "client_credentials"),
                        ("scope", &self.scope),
                    ],
                )
            }
            Asker::Machine { host, client_id } => get(
                &format!(
                    "{host}/metadata/identity/oauth2/token?{}",
                    query("2018-02-01", client_id)
                ),
                ("metadata", "true"),
            ),
            Asker::Service { endpoint, secret, client_id } => get(
                &format!("{endpoint}?{}", query("2019-08-01", client_id)),
                ("x-identity-header", secret.reveal()),
            ),
        }
    }
}
