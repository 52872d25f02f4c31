//! The discovery mechanisms that are built in, as plain data: what each one is started from.

use super::http_options::HttpClientConfig;
use super::record::{Record, Value};
use super::secret::Secret;

/// One use of a discovery mechanism. Equal ones find the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryConfig {
    /// `consul_sd_configs`
    Consul(Box<ConsulDiscovery>),
    /// `dns_sd_configs`
    Dns(DnsDiscovery),
    /// `docker_sd_configs`
    Docker(Box<DockerDiscovery>),
    /// `ec2_sd_configs`
    Ec2(Box<Ec2Discovery>),
    /// `file_sd_configs`
    File(FileDiscovery),
    /// `http_sd_configs`
    Http(Box<HttpDiscovery>),
    /// `kubernetes_sd_configs`
    Kubernetes(Box<KubernetesDiscovery>),
    /// `nomad_sd_configs`
    Nomad(Box<NomadDiscovery>),
}

/// Their keys, in the order in which a job's mechanisms are listed.
pub(super) const BUILT_IN: [&str; 8] = [
    "consul_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "ec2_sd_configs",
    "file_sd_configs",
    "http_sd_configs",
    "kubernetes_sd_configs",
    "nomad_sd_configs",
];

impl DiscoveryConfig {
    /// All that a section uses.
    pub(super) fn all_of(record: &Record) -> Vec<Self> {
        let mut all = Vec::new();
        for key in BUILT_IN {
            all.extend(record.records(key).iter().map(|written| Self::of(key, written)));
        }
        all
    }

    fn of(key: &str, record: &Record) -> Self {
        match key {
            "consul_sd_configs" => Self::Consul(Box::new(ConsulDiscovery::of(record))),
            "dns_sd_configs" => Self::Dns(DnsDiscovery::of(record)),
            "docker_sd_configs" => Self::Docker(Box::new(DockerDiscovery::of(record))),
            "ec2_sd_configs" => Self::Ec2(Box::new(Ec2Discovery::of(record))),
            "file_sd_configs" => Self::File(FileDiscovery::of(record)),
            "http_sd_configs" => Self::Http(Box::new(HttpDiscovery::of(record))),
            "kubernetes_sd_configs" => Self::Kubernetes(Box::new(KubernetesDiscovery::of(record))),
            "nomad_sd_configs" => Self::Nomad(Box::new(NomadDiscovery::of(record))),
            _ => unreachable!("BUG: {key} is not built in"),
        }
    }

    /// The mechanism's name, as logs and metrics have it.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Consul(_) => "consul",
            Self::Dns(_) => "dns",
            Self::Docker(_) => "docker",
            Self::Ec2(_) => "ec2",
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Kubernetes(_) => "kubernetes",
            Self::Nomad(_) => "nomad",
        }
    }
}

/// An entry of `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDiscovery {
    /// Paths; the last component may hold one `*`.
    pub files: Vec<String>,
    /// How often the files are read again even if no change was noticed.
    pub refresh_interval_ms: i64,
}

impl FileDiscovery {
    fn of(record: &Record) -> Self {
        Self {
            files: record.texts("files").to_vec(),
            refresh_interval_ms: record.duration_ms("refresh_interval"),
        }
    }
}

/// An entry of `http_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpDiscovery {
    /// Where the groups are served.
    pub url: String,
    /// How often they are asked for.
    pub refresh_interval_ms: i64,
    /// How.
    pub http_client: HttpClientConfig,
}

impl HttpDiscovery {
    fn of(record: &Record) -> Self {
        Self {
            url: record.text("url").to_owned(),
            refresh_interval_ms: record.duration_ms("refresh_interval"),
            http_client: HttpClientConfig::of(record),
        }
    }
}

/// The type of the records that an entry of `dns_sd_configs` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsRecordType {
    /// Addresses of version 4.
    A,
    /// Addresses of version 6.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
    /// Hosts and ports of a service.
    Srv,
}

/// An entry of `dns_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsDiscovery {
    /// Names to look up.
    pub names: Vec<String>,
    /// How often.
    pub refresh_interval_ms: i64,
    /// What to look up.
    pub record_type: DnsRecordType,
    /// The port of every target; records of services have their own.
    pub port: i64,
}

impl DnsDiscovery {
    fn of(record: &Record) -> Self {
        Self {
            names: record.texts("names").to_vec(),
            refresh_interval_ms: record.duration_ms("refresh_interval"),
            record_type: match record.text("type").to_ascii_uppercase().as_str() {
                "A" => DnsRecordType::A,
                "AAAA" => DnsRecordType::Aaaa,
                "MX" => DnsRecordType::Mx,
                "NS" => DnsRecordType::Ns,
                _ => DnsRecordType::Srv,
            },
            port: record.int("port"),
        }
    }
}

/// An entry of `consul_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulDiscovery {
    /// Host and port of the agent.
    pub server: String,
    /// What stands before each path of the API.
    pub path_prefix: String,
    /// The token of access control.
    pub token: Secret,
    /// The agent's own where empty.
    pub datacenter: String,
    /// Enterprise only.
    pub namespace: String,
    /// Enterprise only.
    pub partition: String,
    /// Joins, begins and ends the tags.
    pub tag_separator: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Any server may answer, not the leader alone.
    pub allow_stale: bool,
    /// Least time between two questions.
    pub refresh_interval_ms: i64,
    /// Services; all where empty.
    pub services: Vec<String>,
    /// Tags that a service must have.
    pub tags: Vec<String>,
    /// Metadata that a node must have.
    pub node_meta: Vec<(String, String)>,
    /// An expression on the catalog.
    pub filter: String,
    /// An expression on the instances.
    pub health_filter: String,
    /// How the agent is asked; user and password of the section are in it.
    pub http_client: HttpClientConfig,
}

impl ConsulDiscovery {
    fn of(record: &Record) -> Self {
        let text = |key: &str| record.text(key).to_owned();
        let mut http_client = HttpClientConfig::of(record);
        if record.count_set(&["username", "password"]) > 0 {
            http_client.basic_auth = Some(super::BasicAuth {
                username: super::SecretSource::Inline(Secret::new(record.text("username"))),
                password: match record.value("password") {
                    Value::Secret(password) => super::SecretSource::Inline(password.clone()),
                    _ => super::SecretSource::Unset,
                },
            });
        }
        Self {
            server: text("server"),
            path_prefix: text("path_prefix"),
            token: secret(record, "token"),
            datacenter: text("datacenter"),
            namespace: text("namespace"),
            partition: text("partition"),
            tag_separator: text("tag_separator"),
            scheme: text("scheme"),
            allow_stale: record.flag("allow_stale"),
            refresh_interval_ms: record.duration_ms("refresh_interval"),
            services: record.texts("services").to_vec(),
            tags: record.texts("tags").to_vec(),
            node_meta: record.text_map("node_meta").to_vec(),
            filter: text("filter"),
            health_filter: text("health_filter"),
            http_client,
        }
    }
}

/// An entry of `docker_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerDiscovery {
    /// The daemon: `unix://`, `tcp://`, `http://` or `https://`.
    pub host: String,
    /// The port of containers that expose none.
    pub port: i64,
    /// Which containers, by the daemon's filters.
    pub filters: Vec<Filter>,
    /// The address of containers in the host's network.
    pub host_networking_host: String,
    /// How often the daemon is asked.
    pub refresh_interval_ms: i64,
    /// A container in several networks is one target, in the first of them.
    pub match_first_network: bool,
    /// How the daemon is asked.
    pub http_client: HttpClientConfig,
}

impl DockerDiscovery {
    fn of(record: &Record) -> Self {
        Self {
            host: record.text("host").to_owned(),
            port: record.int("port"),
            filters: filters(record),
            host_networking_host: record.text("host_networking_host").to_owned(),
            refresh_interval_ms: record.duration_ms("refresh_interval"),
            match_first_network: record.flag("match_first_network"),
            http_client: HttpClientConfig::of(record),
        }
    }
}

/// A filter that the asked service applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its name.
    pub name: String,
    /// Values, one of which must hold.
    pub values: Vec<String>,
}

fn filters(record: &Record) -> Vec<Filter> {
    let filters = record.records("filters").iter();
    let filter = |filter: &Record| Filter {
        name: filter.text("name").to_owned(),
        values: filter.texts("values").to_vec(),
    };
    filters.map(filter).collect()
}

fn secret(record: &Record, key: &str) -> Secret {
    match record.value(key) {
        Value::Secret(secret) => secret.clone(),
        _ => Secret::default(),
    }
}

/// An entry of `ec2_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Discovery {
    /// Where the API is; the region's own address where empty.
    pub endpoint: String,
    /// The region; the instance's own where empty.
    pub region: String,
    /// The key's name; the environment, files and the instance are asked where empty.
    pub access_key: String,
    /// The key.
    pub secret_key: Secret,
    /// The section of the shared files.
    pub profile: String,
    /// A role that is taken on.
    pub role_arn: String,
    /// What taking on the role asks for.
    pub external_id: String,
    /// How often the API is asked.
    pub refresh_interval_ms: i64,
    /// The port of every target.
    pub port: i64,
    /// Which instances, by the API's filters.
    pub filters: Vec<Filter>,
    /// How the API is asked.
    pub http_client: HttpClientConfig,
}

impl Ec2Discovery {
    fn of(record: &Record) -> Self {
        let text = |key: &str| record.text(key).to_owned();
        Self {
            endpoint: text("endpoint"),
            region: text("region"),
            access_key: text("access_key"),
            secret_key: secret(record, "secret_key"),
            profile: text("profile"),
            role_arn: text("role_arn"),
            external_id: text("external_id"),
            refresh_interval_ms: record.duration_ms("refresh_interval"),
            port: record.int("port"),
            filters: filters(record),
            http_client: HttpClientConfig::of(record),
        }
    }
}

/// What an entry of `kubernetes_sd_configs` looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KubernetesRole {
    /// The endpoints of services.
    Endpoints,
    /// The same in slices.
    EndpointSlice,
    /// Paths of ingresses.
    Ingress,
    /// Nodes.
    Node,
    /// Containers of pods.
    Pod,
    /// Ports of services.
    Service,
}

impl KubernetesRole {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Ingress => "ingress",
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Service => "service",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Endpoints,
            Self::EndpointSlice,
            Self::Ingress,
            Self::Node,
            Self::Pod,
            Self::Service,
        ];
        all.into_iter().find(|role| role.as_str() == name)
    }
}

/// An entry of `kubernetes_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesDiscovery {
    /// The API server; the one of the cluster that this process runs in where empty.
    pub api_server: String,
    /// What is looked for.
    pub role: KubernetesRole,
    /// A file that says where the API server is and who asks.
    pub kubeconfig_file: String,
    /// How the API server is asked, where it is named.
    pub http_client: HttpClientConfig,
    /// The namespace that this process runs in is looked through.
    pub own_namespace: bool,
    /// Namespaces that are looked through; all where empty.
    pub namespaces: Vec<String>,
    /// Selectors that the API server applies.
    pub selectors: Vec<KubernetesSelector>,
    /// What targets learn of what they belong to.
    pub attach: KubernetesAttachments,
}

/// A selector of one kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesSelector {
    /// The kind.
    pub role: KubernetesRole,
    /// On labels.
    pub label: String,
    /// On fields.
    pub field: String,
}

/// `attach_metadata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KubernetesAttachments {
    /// Labels of the node.
    pub node: bool,
    /// Labels of the namespace.
    pub namespace: bool,
    /// The deployment of a pod.
    pub deployment: bool,
    /// The job of a pod.
    pub job: bool,
    /// The cron job of a pod.
    pub cronjob: bool,
}

impl KubernetesDiscovery {
    fn of(record: &Record) -> Self {
        let role = |record: &Record| {
            KubernetesRole::parse(record.text("role")).expect("BUG: the role has been checked")
        };
        let selector = |written: &Record| KubernetesSelector {
            role: role(written),
            label: written.text("label").to_owned(),
            field: written.text("field").to_owned(),
        };
        let namespaces = record.record("namespaces");
        let attach = record.record("attach_metadata");
        let attached = |key: &str| attach.is_some_and(|attach| attach.flag(key));
        Self {
            api_server: record.text("api_server").to_owned(),
            role: role(record),
            kubeconfig_file: record.text("kubeconfig_file").to_owned(),
            http_client: HttpClientConfig::of(record),
            own_namespace: namespaces.is_some_and(|names| names.flag("own_namespace")),
            namespaces: namespaces.map_or(Vec::new(), |names| names.texts("names").to_vec()),
            selectors: record.records("selectors").iter().map(selector).collect(),
            attach: KubernetesAttachments {
                node: attached("node"),
                namespace: attached("namespace"),
                deployment: attached("deployment"),
                job: attached("job"),
                cronjob: attached("cronjob"),
            },
        }
    }
}

/// An entry of `nomad_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NomadDiscovery {
    /// Any server may answer, not the leader alone.
    pub allow_stale: bool,
    /// The namespace.
    pub namespace: String,
    /// The region.
    pub region: String,
    /// The API.
    pub server: String,
    /// Joins, begins and ends the tags.
    pub tag_separator: String,
    /// How often the API is asked.
    pub refresh_interval_ms: i64,
    /// How.
    pub http_client: HttpClientConfig,
}

impl NomadDiscovery {
    fn of(record: &Record) -> Self {
        let text = |key: &str| record.text(key).to_owned();
        Self {
            allow_stale: record.flag("allow_stale"),
            namespace: text("namespace"),
            region: text("region"),
            server: text("server"),
            tag_separator: text("tag_separator"),
            refresh_interval_ms: record.duration_ms("refresh_interval"),
            http_client: HttpClientConfig::of(record),
        }
    }
}
