//! Where the API server is and who asks it: named in the configuration, in a kubeconfig file, or
//! what every pod finds in its file system.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::super::api::Api;
use crate::config::{
    Authorization, BasicAuth, HttpClientConfig, KubernetesDiscovery, Secret, SecretSource,
    TlsOptions,
};

/// What a pod is given.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long a list may take, and the head of a watch.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The way to an API server.
pub(super) struct Access {
    pub(super) api: Api,
    /// The namespace of this process, where it runs in a cluster.
    pub(super) own_namespace: Result<String, String>,
}

pub(super) fn open(config: &KubernetesDiscovery) -> Result<Access, String> {
    let (server, client) = if !config.api_server.is_empty() {
        (config.api_server.clone(), config.http_client.clone())
    } else if !config.kubeconfig_file.is_empty() {
        let path = &config.kubeconfig_file;
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("kubeconfig_file {path}: {error}"))?;
        read_kubeconfig(&text, Path::new(path))
            .map_err(|error| format!("kubeconfig_file {path}: {error}"))?
    } else {
        in_cluster(&|name| std::env::var(name).unwrap_or_default())?
    };
    let path = format!("{SERVICE_ACCOUNT}/namespace");
    let own_namespace = std::fs::read_to_string(&path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| format!("could not determine the pod's namespace: {path}: {error}"));
    let api = Api::new(&client, &server, &[("accept", "application/json")], TIMEOUT)?;
    Ok(Access { api, own_namespace })
}

fn in_cluster(variable: &dyn Fn(&str) -> String) -> Result<(String, HttpClientConfig), String> {
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    if host.is_empty() || port.is_empty() {
        return Err("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and \
                    KUBERNETES_SERVICE_PORT must be defined"
            .to_owned());
    }
    let client = HttpClientConfig {
        authorization: Some(bearer(SecretSource::File(format!("{SERVICE_ACCOUNT}/token")))),
        tls: TlsOptions {
            ca: SecretSource::File(format!("{SERVICE_ACCOUNT}/ca.crt")),
            ..TlsOptions::default()
        },
        ..HttpClientConfig::default()
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok((format!("https://{host}:{port}"), client))
}

fn bearer(credentials: SecretSource) -> Authorization {
    Authorization { kind: "Bearer".to_owned(), credentials }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct KubeConfig {
    current_context: String,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
    contexts: Vec<Named<Context>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    value: T,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: String,
    certificate_authority_data: String,
    insecure_skip_tls_verify: bool,
    tls_server_name: String,
    proxy_url: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: String,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

fn find<T: Clone>(list: &[Named<T>], what: &str, name: &str) -> Result<T, String> {
    let found = list.iter().find(|named| named.name == name);
    found.map(|named| named.value.clone()).ok_or_else(|| format!("{what} {name:?} does not exist"))
}

fn read_kubeconfig(text: &str, path: &Path) -> Result<(String, HttpClientConfig), String> {
    let config: KubeConfig = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let context = find(&config.contexts, "context", &config.current_context)?;
    let cluster = find(&config.clusters, "cluster", &context.cluster)?;
    let user = match context.user.as_str() {
        "" => User::default(),
        name => find(&config.users, "user", name)?,
    };
    for (is_set, what) in
        [(user.exec.is_some(), "exec"), (user.auth_provider.is_some(), "auth-provider")]
    {
        if is_set {
            return Err(format!("user {:?}: {what} is not built in", context.user));
        }
    }
    if cluster.server.is_empty() {
        return Err(format!("cluster {:?} has no server", context.cluster));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let source = |data: &str, file: &str| -> Result<SecretSource, String> {
        if !data.is_empty() {
            let bytes = BASE64_STANDARD.decode(data.trim()).map_err(|error| error.to_string())?;
            return Ok(SecretSource::Inline(Secret::new(String::from_utf8_lossy(&bytes))));
        }
        Ok(match file {
            "" => SecretSource::Unset,
            file => SecretSource::File(folder.join(file).display().to_string()),
        })
    };
    let mut client = HttpClientConfig {
        tls: TlsOptions {
            ca: source(&cluster.certificate_authority_data, &cluster.certificate_authority)?,
            cert: source(&user.client_certificate_data, &user.client_certificate)?,
            key: source(&user.client_key_data, &user.client_key)?,
            server_name: cluster.tls_server_name,
            insecure_skip_verify: cluster.insecure_skip_tls_verify,
            ..TlsOptions::default()
        },
        ..HttpClientConfig::default()
    };
    client.proxy.url = Secret::new(cluster.proxy_url);
    if !user.token_file.is_empty() {
        client.authorization = Some(bearer(source("", &user.token_file)?));
    } else if !user.token.is_empty() {
        client.authorization = Some(bearer(SecretSource::Inline(Secret::new(user.token))));
    } else if !user.username.is_empty() {
        client.basic_auth = Some(BasicAuth {
            username: SecretSource::Inline(Secret::new(user.username)),
            password: SecretSource::Inline(Secret::new(user.password)),
        });
    }
    Ok((cluster.server, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: dev
preferences: {}
clusters:
- name: c
  cluster: {server: 'https://k:6443', certificate-authority-data: Q0E=}
contexts:
- name: dev
  context: {cluster: c, user: u, namespace: x}
- name: other
  context: {cluster: c, user: e}
users:
- name: u
  user: {client-certificate: cert.pem, client-key-data: S0VZ, token: t0k}
- name: e
  user: {exec: {command: aws}}
";

    #[test]
    fn a_kubeconfig_names_server_and_user() {
        let path = Path::new("/home/x/.kube/config");
        let (server, client) = read_kubeconfig(KUBECONFIG, path).unwrap();
        assert_eq!(server, "https://k:6443");
        assert_eq!(client.tls.ca, SecretSource::Inline(Secret::new("CA")));
        assert_eq!(client.tls.cert, SecretSource::File("/home/x/.kube/cert.pem".to_owned()));
        assert_eq!(client.tls.key, SecretSource::Inline(Secret::new("KEY")));
        let token = SecretSource::Inline(Secret::new("t0k"));
        assert_eq!(client.authorization, Some(bearer(token)));
        for (from, to, expected) in [
            ("context: dev", "context: other", "user \"e\": exec is not built in"),
            ("context: dev", "context: nope", "context \"nope\" does not exist"),
            ("cluster: c, user: u", "cluster: d, user: u", "cluster \"d\" does not exist"),
        ] {
            let error = read_kubeconfig(&KUBECONFIG.replace(from, to), path).unwrap_err();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_pod_finds_its_server() {
        let (server, client) = in_cluster(&|name| {
            if name.ends_with("HOST") { "fd00::1".to_owned() } else { "443".to_owned() }
        })
        .unwrap();
        assert_eq!(server, "https://[fd00::1]:443");
        assert!(matches!(client.tls.ca, SecretSource::File(path) if path.ends_with("/ca.crt")));
        assert!(in_cluster(&|_| String::new()).is_err());
    }
}
