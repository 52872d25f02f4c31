//! Discovery sections of clouds and hosters.

use super::discovery::refresh_minute;
use super::http_client::{self, HTTP_CLIENT, REFRESH, TLS_CONFIG};
use super::record::{Record, Value};
use super::schema::{
    Check, Field, Kind, Section, field, flag, inline, int_or, no_check, path, seconds, secret,
    text, text_or, texts,
};
use super::url;
use crate::model::{format_duration, go_quote};

/// The check of sections that have only an HTTP client to check.
const CLIENT: Check = http_client::check;

const REGION: Field = text("region").shown();
const ENDPOINT: Field = text("endpoint").shown();
const PORT_80: Field = int_or("port", 80).shown();
const ACCESS: [Field; 5] = [
    text("access_key"),
    secret("secret_key"),
    text("profile"),
    text("role_arn"),
    text("external_id"),
];
const CLUSTERS: Field = texts("clusters");

/// Region, endpoint, credentials, clusters, port, refresh, concurrency: what four services of AWS
/// share.
macro_rules! aws_clusters {
    ($name:literal, $concurrency:literal, $($extra:expr),*) => {
        Section {
            name: $name,
            fields: &[
                REGION,
                ENDPOINT,
                ACCESS[0],
                ACCESS[1],
                ACCESS[2],
                ACCESS[3],
                ACCESS[4],
                CLUSTERS,
                PORT_80,
                refresh_minute(),
                $($extra,)*
                int_or("request_concurrency", $concurrency),
                inline(&HTTP_CLIENT),
            ],
            check: CLIENT,
        }
    };
}

const FILTERS: Field = field("filters", Kind::Sections(&FILTER));

static FILTER: Section = Section {
    name: "filter",
    fields: &[text("name").shown(), texts("values").shown()],
    check: no_check,
};

pub(super) static ECS: Section = aws_clusters!("ecs_sd_configs", 20,);
pub(super) static ELASTICACHE: Section = aws_clusters!("elasticache_sd_configs", 10,);
pub(super) static MSK: Section = aws_clusters!("msk_sd_configs", 10,);
pub(super) static RDS: Section = aws_clusters!("rds_sd_configs", 10, FILTERS.shown());

pub(super) static EC2: Section = Section {
    name: "ec2_sd_configs",
    fields: &[
        ENDPOINT,
        REGION,
        ACCESS[0],
        ACCESS[1],
        ACCESS[2],
        ACCESS[3],
        ACCESS[4],
        refresh_minute(),
        PORT_80,
        FILTERS.shown(),
        inline(&HTTP_CLIENT),
    ],
    check: |ec2| {
        if ec2.records("filters").iter().any(|filter| !filter.is_set("values")) {
            return Err("EC2 SD configuration filter values cannot be empty".to_owned());
        }
        http_client::check(ec2)
    },
};

pub(super) static LIGHTSAIL: Section = Section {
    name: "lightsail_sd_configs",
    fields: &[
        ENDPOINT,
        REGION,
        ACCESS[0],
        ACCESS[1],
        ACCESS[2],
        ACCESS[3],
        ACCESS[4],
        refresh_minute(),
        PORT_80,
        inline(&HTTP_CLIENT),
    ],
    check: CLIENT,
};

pub(super) static AWS: Section = Section {
    name: "aws_sd_configs",
    fields: &[
        text("role").shown(),
        text("region"),
        text("endpoint"),
        ACCESS[0],
        ACCESS[1],
        ACCESS[2],
        ACCESS[3],
        ACCESS[4],
        REFRESH,
        int_or("port", 0),
        inline(&HTTP_CLIENT),
        FILTERS,
        CLUSTERS,
    ],
    check: |aws| {
        let roles = ["ec2", "ecs", "elasticache", "lightsail", "msk", "rds"];
        one_of(aws, "role", &roles, "unknown AWS SD role")?;
        http_client::check(aws)
    },
};

pub(super) static AZURE: Section = Section {
    name: "azure_sd_configs",
    fields: &[
        text_or("environment", "AzurePublicCloud"),
        PORT_80,
        text("subscription_id").shown(),
        text("tenant_id"),
        text("client_id"),
        secret("client_secret"),
        seconds("refresh_interval", 300),
        text_or("authentication_method", "OAuth"),
        text("resource_group"),
        inline(&HTTP_CLIENT),
    ],
    check: |azure| {
        let method = azure.text("authentication_method");
        let oauth = ["subscription_id", "tenant_id", "client_id", "client_secret"];
        let needed = if method == "OAuth" { &oauth[..] } else { &oauth[..1] };
        if let Some(key) = needed.iter().find(|key| !azure.is_set(key)) {
            return Err(format!("azure SD configuration requires a {key}"));
        }
        if !matches!(method, "OAuth" | "ManagedIdentity" | "SDK" | "WorkloadIdentity") {
            return Err(format!(
                "unknown authentication_type {}. Supported types are \"OAuth\", \
                 \"ManagedIdentity\", \"SDK\" or \"WorkloadIdentity\"",
                go_quote(method)
            ));
        }
        http_client::check(azure)
    },
};

pub(super) static DIGITALOCEAN: Section = Section {
    name: "digitalocean_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        refresh_minute().shown(),
        PORT_80,
        text_or("role", "droplets").shown(),
    ],
    check: |record| {
        role(record, &["droplets", "databases"], "unknown DigitalOcean SD role")?;
        http_client::check(record)
    },
};

pub(super) static GCE: Section = Section {
    name: "gce_sd_configs",
    fields: &[
        text("project").shown(),
        text("zone").shown(),
        text("filter"),
        refresh_minute(),
        PORT_80,
        text_or("tag_separator", ","),
    ],
    check: |gce| require(gce, "GCE SD configuration requires a ", &["project", "zone"]),
};

pub(super) static HETZNER: Section = Section {
    name: "hetzner_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        refresh_minute().shown(),
        PORT_80,
        text("role").shown(),
        text("label_selector"),
    ],
    check: |hetzner| {
        role(hetzner, &["robot", "hcloud"], "unknown role")?;
        http_client::check(hetzner)
    },
};

pub(super) static IONOS: Section = Section {
    name: "ionos_sd_configs",
    fields: &[
        text("datacenter_id").shown(),
        inline(&HTTP_CLIENT),
        refresh_minute().shown(),
        PORT_80,
    ],
    check: |ionos| {
        if !ionos.is_set("datacenter_id") {
            return Err("datacenter id can't be empty".to_owned());
        }
        http_client::check(ionos)
    },
};

pub(super) static LINODE: Section = Section {
    name: "linode_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        refresh_minute().shown(),
        PORT_80,
        text_or("tag_separator", ","),
        text("region"),
    ],
    check: CLIENT,
};

pub(super) static VULTR: Section = Section {
    name: "vultr_sd_configs",
    fields: &[inline(&HTTP_CLIENT), refresh_minute().shown(), PORT_80],
    check: CLIENT,
};

pub(super) static OCI: Section = Section {
    name: "oci_sd_configs",
    fields: &[
        text_or("auth", "api_key"),
        text("tenancy"),
        text("user"),
        text("fingerprint"),
        path("key_file"),
        secret("key_passphrase"),
        path("key_passphrase_file"),
        REGION,
        texts("compartments"),
        inline(&HTTP_CLIENT),
        PORT_80,
        refresh_minute().shown(),
    ],
    check: check_oci,
};

fn check_oci(oci: &mut Record) -> Result<(), String> {
    let refuse = |message: String| Err(format!("oci_sd: {message}"));
    if !oci.is_set("region") {
        return refuse("region is required".to_owned());
    }
    let keys =
        ["tenancy", "user", "fingerprint", "key_file", "key_passphrase", "key_passphrase_file"];
    match oci.text("auth") {
        "api_key" => {
            require(oci, "oci_sd: api_key auth requires ", &keys[..4])?;
            if oci.count_set(&keys[4..]) > 1 {
                return refuse(
                    "at most one of key_passphrase and key_passphrase_file must be configured"
                        .to_owned(),
                );
            }
        }
        "instance_principal" if oci.count_set(&keys) > 0 => {
            return refuse(
                "instance_principal auth must not have tenancy, user, fingerprint, key_file, \
                 key_passphrase, or key_passphrase_file set"
                    .to_owned(),
            );
        }
        "instance_principal" => {}
        other => {
            return refuse(format!(
                "unknown auth method {}, expected \"api_key\" or \"instance_principal\"",
                go_quote(other)
            ));
        }
    }
    if let Some(i) = oci.texts("compartments").iter().position(String::is_empty) {
        return refuse(format!("compartments[{i}] must not be empty"));
    }
    let refresh_ms = oci.duration_ms("refresh_interval");
    if refresh_ms <= 0 {
        let shown = format_duration(refresh_ms);
        return refuse(format!("refresh_interval must be positive, got {shown}"));
    }
    http_client::check(oci)
}

pub(super) static OPENSTACK: Section = Section {
    name: "openstack_sd_configs",
    fields: &[
        text("identity_endpoint").shown(),
        text("username").shown(),
        text("userid").shown(),
        secret("password").shown(),
        text("project_name").shown(),
        text("project_id").shown(),
        text("domain_name").shown(),
        text("domain_id").shown(),
        text("application_credential_name").shown(),
        text("application_credential_id").shown(),
        secret("application_credential_secret").shown(),
        text("role").shown(),
        REGION,
        refresh_minute().shown(),
        PORT_80,
        flag("all_tenants"),
        field("tls_config", Kind::Section(&TLS_CONFIG)),
        text_or("availability", "public"),
    ],
    check: |openstack| {
        let availability = openstack.text("availability");
        if !matches!(availability, "public" | "internal" | "admin") {
            return Err(format!(
                "unknown availability {availability}, must be one of admin, internal or public"
            ));
        }
        let roles = ["instance", "hypervisor", "loadbalancer"];
        role(openstack, &roles, "unknown OpenStack SD role")?;
        require(openstack, "openstack SD configuration requires a ", &["region"])
    },
};

pub(super) static OUTSCALE: Section = Section {
    name: "outscale_sd_configs",
    fields: &[
        text("endpoint"),
        text_or("region", "eu-west-2").shown(),
        text("access_key").shown(),
        secret("secret_key").shown(),
        path("secret_key_file").shown(),
        refresh_minute(),
        PORT_80,
        inline(&HTTP_CLIENT),
    ],
    check: |outscale| {
        require(outscale, "outscale SD configuration requires a ", &["region"])?;
        require(outscale, "outscale SD configuration requires ", &["access_key"])?;
        check_secret_key(outscale)?;
        if !outscale.is_set("endpoint") {
            let endpoint = format!("https://api.{}.outscale.com/api/v1", outscale.text("region"));
            outscale.set("endpoint", Value::Text(endpoint));
        }
        http_client::check(outscale)
    },
};

pub(super) static OVHCLOUD: Section = Section {
    name: "ovhcloud_sd_configs",
    fields: &[
        text_or("endpoint", "ovh-eu").shown(),
        text("application_key").shown(),
        secret("application_secret").shown(),
        secret("consumer_key").shown(),
        refresh_minute().shown(),
        text("service").shown(),
    ],
    check: |ovh| {
        let needed = ["endpoint", "application_key", "application_secret", "consumer_key"];
        if let Some(key) = needed.into_iter().find(|key| !ovh.is_set(key)) {
            return Err(format!("{} can not be empty", key.replace('_', " ")));
        }
        match ovh.text("service") {
            "dedicated_server" | "vps" => Ok(()),
            other => Err(format!("unknown service: {other}")),
        }
    },
};

pub(super) static SCALEWAY: Section = Section {
    name: "scaleway_sd_configs",
    fields: &[
        text("project_id").shown(),
        text_or("api_url", "https://api.scaleway.com"),
        text_or("zone", "fr-par-1").shown(),
        text("access_key").shown(),
        secret("secret_key").shown(),
        path("secret_key_file").shown(),
        text("name_filter"),
        texts("tags_filter"),
        inline(&HTTP_CLIENT),
        refresh_minute().shown(),
        PORT_80,
        text("role").shown(),
    ],
    check: |scaleway| {
        role(scaleway, &["instance", "baremetal"], "unknown role")?;
        if !scaleway.is_set("project_id") {
            return Err("project_id is mandatory".to_owned());
        }
        check_secret_key(scaleway)?;
        if !scaleway.is_set("access_key") {
            return Err("access_key is mandatory".to_owned());
        }
        http_client::check(scaleway)
    },
};

pub(super) static STACKIT: Section = Section {
    name: "stackit_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        text("project").shown(),
        refresh_minute(),
        int_or("port", 80),
        text_or("region", "eu01"),
        text("endpoint"),
        secret("service_account_key"),
        secret("private_key"),
        path("service_account_key_path"),
        path("private_key_path"),
        path("credentials_file_path"),
    ],
    check: |stackit| {
        if stackit.count_set(&["endpoint", "region"]) == 0 {
            return Err("stackit_sd: endpoint and region missing".to_owned());
        }
        let endpoint = stackit.text("endpoint");
        url::check(endpoint).map_err(|message| {
            format!("stackit_sd: invalid endpoint {}: {message}", go_quote(endpoint))
        })?;
        http_client::check(stackit)
    },
};

pub(super) static TRITON: Section = Section {
    name: "triton_sd_configs",
    fields: &[
        text("account").shown(),
        text_or("role", "container").shown(),
        text("dns_suffix").shown(),
        ENDPOINT,
        texts("groups"),
        int_or("port", 9163).shown(),
        refresh_minute(),
        field("tls_config", Kind::Section(&TLS_CONFIG)),
        int_or("version", 1).shown(),
    ],
    check: |triton| {
        let who = "triton SD configuration requires ";
        if !matches!(triton.text("role"), "container" | "cn") {
            return Err(format!("{who}role to be 'container' or 'cn'"));
        }
        require(triton, &format!("{who}an "), &["account"])?;
        require(triton, &format!("{who}a "), &["dns_suffix"])?;
        require(triton, &format!("{who}an "), &["endpoint"])?;
        if triton.duration_ms("refresh_interval") <= 0 {
            return Err(format!("{who}RefreshInterval to be a positive integer"));
        }
        Ok(())
    },
};

/// The first of `keys` that holds nothing is an error: `message` and its name.
fn require(record: &Record, message: &str, keys: &[&str]) -> Result<(), String> {
    match keys.iter().find(|key| !record.is_set(key)) {
        Some(key) => Err(format!("{message}{key}")),
        None => Ok(()),
    }
}

fn role(record: &Record, roles: &[&str], unknown: &str) -> Result<(), String> {
    if !record.is_set("role") {
        return Err(format!("role missing (one of: {})", roles.join(", ")));
    }
    one_of(record, "role", roles, unknown)
}

fn one_of(record: &Record, key: &str, known: &[&str], unknown: &str) -> Result<(), String> {
    let value = record.text(key);
    if known.contains(&value) {
        return Ok(());
    }
    Err(format!("{unknown} {}", go_quote(value)))
}

fn check_secret_key(record: &Record) -> Result<(), String> {
    match record.count_set(&["secret_key", "secret_key_file"]) {
        0 => Err("one of secret_key & secret_key_file must be configured".to_owned()),
        1 => Ok(()),
        _ => Err("at most one of secret_key & secret_key_file must be configured".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::discovery::DISCOVERY;
    use super::super::schema::Kind;

    #[test]
    fn every_mechanism_is_listed_once_and_in_order() {
        let keys: Vec<&str> = DISCOVERY.fields.iter().map(|field| field.key).collect();
        assert_eq!(keys.len(), 37);
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        for field in DISCOVERY.fields {
            assert!(matches!(field.kind, Kind::Sections(section) if section.name == field.key));
        }
    }
}
