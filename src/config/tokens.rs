//! Tokens of clouds, as remote write names them: `azuread` and `google_iam`.

use super::record::{Record, Value};
use super::secret::Secret;

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenConfig {
    /// Azure's Entra ID.
    Azure(AzureConfig),
    /// Google's IAM.
    Google(GoogleConfig),
}

/// `azuread`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureConfig {
    /// `AzurePublic`, `AzureChina` or `AzureGovernment`.
    pub cloud: String,
    /// What tokens are for; the cloud's own where empty.
    pub scope: String,
    /// Who asks.
    pub identity: AzureIdentity,
}

/// Who asks Azure for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureIdentity {
    /// A client with a secret.
    Client {
        /// The client.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// Whose client it is.
        tenant_id: String,
    },
    /// A workload with a token of its own.
    Workload {
        /// The client that it is known as.
        client_id: String,
        /// Whose client it is.
        tenant_id: String,
        /// The file of its token; what the environment names where empty.
        token_file: String,
    },
    /// The machine.
    Managed {
        /// Which of its identities; empty for the only one.
        client_id: String,
    },
}

/// `google_iam`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GoogleConfig {
    /// The file of a service account's key; the usual places where empty.
    pub credentials_file: String,
}

impl TokenConfig {
    /// What a completed section of remote write says; an error names what is not built in.
    pub(super) fn of(write: &Record) -> Result<Option<Self>, &'static str> {
        if let Some(google) = write.record("google_iam") {
            let credentials_file = google.text("credentials_file").to_owned();
            return Ok(Some(Self::Google(GoogleConfig { credentials_file })));
        }
        let Some(azure) = write.record("azuread") else { return Ok(None) };
        let text = |of: &Record, key: &str| of.text(key).to_owned();
        let identity = if let Some(client) = azure.record("oauth") {
            AzureIdentity::Client {
                client_id: text(client, "client_id"),
                client_secret: match client.value("client_secret") {
                    Value::Secret(secret) => secret.clone(),
                    _ => Secret::default(),
                },
                tenant_id: text(client, "tenant_id"),
            }
        } else if let Some(workload) = azure.record("workload_identity") {
            AzureIdentity::Workload {
                client_id: text(workload, "client_id"),
                tenant_id: text(workload, "tenant_id"),
                token_file: text(workload, "token_file_path"),
            }
        } else if let Some(managed) = azure.record("managed_identity") {
            AzureIdentity::Managed { client_id: text(managed, "client_id") }
        } else if azure.is_set_at_all("sdk") {
            return Err("azuread.sdk");
        } else {
            return Err("azuread.certificate");
        };
        let (cloud, scope) = (text(azure, "cloud"), text(azure, "scope"));
        Ok(Some(Self::Azure(AzureConfig { cloud, scope, identity })))
    }
}

/// COMPAT: what Prometheus wants of the sections of `azuread`, and its texts.
pub(super) fn check_azure_client(
    section: &Record,
    name: &str,
    required: &[&str],
    ids: &[&str],
) -> Result<(), String> {
    for key in required {
        let is_empty = match section.value(key) {
            Value::Secret(secret) => secret.reveal().is_empty(),
            _ => section.text(key).is_empty(),
        };
        if is_empty {
            return Err(format!("must provide an Azure {name} {key} in the Azure AD config"));
        }
    }
    for key in ids {
        let id = section.text(key);
        if !id.is_empty() && !is_uuid(id) {
            return Err(format!("the provided Azure {name} {key} is invalid"));
        }
    }
    Ok(())
}

/// COMPAT: the spellings that Go's parser takes.
fn is_uuid(text: &str) -> bool {
    let text = match text.len() {
        45 if text.get(..9).is_some_and(|begin| begin.eq_ignore_ascii_case("urn:uuid:")) => {
            &text[9..]
        }
        38 => text.get(1..37).unwrap_or_default(),
        _ => text,
    };
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.len() {
        32 => is_hex(text),
        36 => {
            let parts: Vec<&str> = text.split('-').collect();
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            lengths == [8, 4, 4, 4, 12] && parts.iter().all(|part| is_hex(part))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const ID: &str = "00000000-0000-0000-0000-00000000000a";

    fn of(section: &str) -> Result<(Option<TokenConfig>, Option<&'static str>), String> {
        let text = format!("remote_write: [{{url: 'http://a', {section}}}]");
        let config = parse(&text, "t.yml").map_err(|error| error.message)?;
        let write = &config.remote_write_configs[0];
        Ok((write.tokens.clone(), write.unsupported))
    }

    #[test]
    fn sections_say_who_asks() {
        let client =
            format!("azuread: {{oauth: {{client_id: {ID}, client_secret: s, tenant_id: t}}}}");
        let (tokens, _) = of(&client).unwrap();
        let Some(TokenConfig::Azure(azure)) = tokens else { panic!("Azure's") };
        assert_eq!((azure.cloud.as_str(), azure.scope.as_str()), ("AzurePublic", ""));
        assert!(
            matches!(azure.identity, AzureIdentity::Client { tenant_id, .. } if tenant_id == "t")
        );
        let managed = "azuread: {cloud: AzureChina, managed_identity: {}}";
        let Some(TokenConfig::Azure(azure)) = of(managed).unwrap().0 else { panic!("Azure's") };
        let expected = AzureIdentity::Managed { client_id: String::new() };
        assert_eq!((azure.cloud.as_str(), azure.identity), ("AzureChina", expected));
        let (tokens, unsupported) = of("google_iam: {credentials_file: f}").unwrap();
        assert!(matches!(tokens, Some(TokenConfig::Google(_))) && unsupported.is_none());
        for key in ["sdk", "certificate"] {
            let section = if key == "sdk" {
                "azuread: {sdk: {tenant_id: x}}".to_owned()
            } else {
                format!(
                    "azuread: {{certificate: {{client_id: {ID}, tenant_id: t, \
                     certificate_path: c}}}}"
                )
            };
            let (tokens, unsupported) = of(&section).unwrap();
            assert_eq!((tokens, unsupported), (None, Some(&*format!("azuread.{key}").leak())));
        }
    }

    #[test]
    fn mistakes_are_told_as_prometheus_tells_them() {
        for (section, text) in [
            (
                "oauth: {client_id: x, client_secret: s, tenant_id: t}",
                "Azure OAuth client_id is invalid",
            ),
            ("oauth: {client_id: x, tenant_id: t}", "provide an Azure OAuth client_secret in"),
            ("managed_identity: {client_id: x}", "Azure Managed Identity client_id is invalid"),
            ("workload_identity: {client_id: x}", "an Azure Workload Identity tenant_id in"),
            ("certificate: {client_id: x}", "an Azure Certificate tenant_id in"),
            (
                "managed_identity: {}, scope: 'a?b'",
                "the provided scope contains invalid characters",
            ),
        ] {
            let error = of(&format!("azuread: {{{section}}}")).unwrap_err();
            assert!(error.contains(text), "{section}: {error}");
        }
        for id in [ID, "{00000000-0000-0000-0000-00000000000a}", "0000000000000000000000000000000a"]
        {
            assert!(is_uuid(id), "{id}");
        }
        assert!(!is_uuid("00000000-0000-0000-0000-00000000000g") && !is_uuid(""));
    }
}
