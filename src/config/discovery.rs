//! Discovery sections: the list of all mechanisms, and those that are not clouds.
//!
//! Those that are built in become [`super::DiscoveryConfig`]s; every other one is read and checked
//! all the same, so that a mistake is found now, and makes its job
//! [`super::ScrapeConfig::unsupported`].

use super::discovery_cloud as cloud;
use super::discovery_options::BUILT_IN;
use super::http_client::{self, HTTP_CLIENT, REFRESH, check_http_url};
use super::record::Record;
use super::schema::{
    Default, Field, Kind, Section, field, flag, inline, int_or, no_check, path, seconds, secret,
    text, text_or, texts,
};
use super::url;
use crate::model::go_quote;

const fn list(key: &'static str, section: &'static Section) -> Field {
    field(key, Kind::Sections(section))
}

/// Every mechanism under its key, in the order in which they are printed.
pub(super) static DISCOVERY: Section = Section {
    name: "discovery",
    fields: &[
        list("aws_sd_configs", &cloud::AWS),
        list("azure_sd_configs", &cloud::AZURE),
        list("consul_sd_configs", &CONSUL),
        list("digitalocean_sd_configs", &cloud::DIGITALOCEAN),
        list("dns_sd_configs", &DNS),
        list("docker_sd_configs", &DOCKER),
        list("dockerswarm_sd_configs", &DOCKERSWARM),
        list("ec2_sd_configs", &cloud::EC2),
        list("ecs_sd_configs", &cloud::ECS),
        list("elasticache_sd_configs", &cloud::ELASTICACHE),
        list("eureka_sd_configs", &EUREKA),
        list("file_sd_configs", &FILE),
        list("gce_sd_configs", &cloud::GCE),
        list("hetzner_sd_configs", &cloud::HETZNER),
        list("http_sd_configs", &HTTP),
        list("ionos_sd_configs", &cloud::IONOS),
        list("kubernetes_sd_configs", &KUBERNETES),
        list("kuma_sd_configs", &KUMA),
        list("lightsail_sd_configs", &cloud::LIGHTSAIL),
        list("linode_sd_configs", &cloud::LINODE),
        list("marathon_sd_configs", &MARATHON),
        list("msk_sd_configs", &cloud::MSK),
        list("nerve_sd_configs", &NERVE),
        list("nomad_sd_configs", &NOMAD),
        list("oci_sd_configs", &cloud::OCI),
        list("openstack_sd_configs", &cloud::OPENSTACK),
        list("outscale_sd_configs", &cloud::OUTSCALE),
        list("ovhcloud_sd_configs", &cloud::OVHCLOUD),
        list("puppetdb_sd_configs", &PUPPETDB),
        list("rds_sd_configs", &cloud::RDS),
        list("scaleway_sd_configs", &cloud::SCALEWAY),
        list("serverset_sd_configs", &SERVERSET),
        list("stackit_sd_configs", &cloud::STACKIT),
        list("static_configs", &STATIC),
        list("triton_sd_configs", &cloud::TRITON),
        list("uyuni_sd_configs", &UYUNI),
        list("vultr_sd_configs", &cloud::VULTR),
    ],
    check: no_check,
};

/// The first mechanism in `record` that is used and not built in.
pub(super) fn unsupported_mechanism(record: &Record) -> Option<&'static str> {
    let mut keys = DISCOVERY.fields.iter().map(|field| field.key);
    keys.find(|key| *key != "static_configs" && !BUILT_IN.contains(key) && record.is_set(key))
}

/// Refuses URLs where addresses belong, unless relabelling may take them apart.
pub(super) fn check_static_targets(record: &mut Record) -> Result<(), String> {
    if !record.rules("relabel_configs").is_empty() {
        return Ok(());
    }
    let groups = record.records("static_configs").iter();
    match groups.flat_map(|group| group.texts("targets")).find(|target| target.contains('/')) {
        Some(target) => Err(format!("{} is not a valid hostname", go_quote(target))),
        None => Ok(()),
    }
}

/// An entry of `static_configs`, and of the files that file and HTTP discovery read.
pub(super) static STATIC: Section = Section {
    name: "static_configs",
    fields: &[texts("targets").shown(), field("labels", Kind::Labels)],
    check: |group| match group.text_map("labels").iter().find(|(name, _)| name.is_empty()) {
        Some(_) => Err("\"\" is not a valid label name".to_owned()),
        None => Ok(()),
    },
};

static FILE: Section = Section {
    name: "file_sd_configs",
    fields: &[field("files", Kind::Paths).shown(), seconds("refresh_interval", 300)],
    check: |file| {
        let paths = file.texts("files");
        if paths.is_empty() {
            return Err(
                "file service discovery config must contain at least one path name".to_owned()
            );
        }
        match paths.iter().find(|path| !is_file_pattern(path)) {
            Some(path) => {
                Err(format!("path name {} is not valid for file discovery", go_quote(path)))
            }
            None => Ok(()),
        }
    },
};

/// `^[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)$`
fn is_file_pattern(path: &str) -> bool {
    let Some((stem, extension)) = path.rsplit_once('.') else { return false };
    matches!(extension, "json" | "yml" | "yaml" | "JSON" | "YML" | "YAML") && is_glob(stem)
}

/// `^[^*]*(\*[^/]*)?$`: one star at most leads the last component.
pub(super) fn is_glob(path: &str) -> bool {
    path.split_once('*').is_none_or(|(_, rest)| !rest.contains('/'))
}

static HTTP: Section = Section {
    name: "http_sd_configs",
    fields: &[inline(&HTTP_CLIENT), seconds("refresh_interval", 60), text("url").shown()],
    check: |http| {
        check_http_url(http.text("url"))?;
        http_client::check(http)
    },
};

static DNS: Section = Section {
    name: "dns_sd_configs",
    fields: &[
        texts("names").shown(),
        seconds("refresh_interval", 30),
        text_or("type", "SRV").shown(),
        int_or("port", 0).shown(),
    ],
    check: |dns| {
        if !dns.is_set("names") {
            return Err("DNS-SD config must contain at least one SRV record name".to_owned());
        }
        match dns.text("type").to_ascii_uppercase().as_str() {
            "SRV" => Ok(()),
            "A" | "AAAA" | "MX" | "NS" if dns.is_set("port") => Ok(()),
            "A" | "AAAA" | "MX" | "NS" => Err("a port is required in DNS-SD configs for all \
                                               record types except SRV"
                .to_owned()),
            _ => Err(format!("invalid DNS-SD records type {}", dns.text("type"))),
        }
    },
};

static CONSUL: Section = Section {
    name: "consul_sd_configs",
    fields: &[
        text_or("server", "localhost:8500"),
        text("path_prefix"),
        secret("token"),
        text("datacenter"),
        text("namespace"),
        text("partition"),
        text_or("tag_separator", ","),
        text_or("scheme", "http"),
        text("username"),
        secret("password"),
        field("allow_stale", Kind::Bool).or(Default::Bool(true)).shown(),
        seconds("refresh_interval", 30),
        texts("services"),
        texts("tags"),
        field("node_meta", Kind::TextMap),
        text("filter"),
        text("health_filter"),
        inline(&HTTP_CLIENT),
    ],
    check: |consul| {
        if consul.text("server").trim().is_empty() {
            return Err("consul SD configuration requires a server address".to_owned());
        }
        let has_user = consul.count_set(&["username", "password"]) > 0;
        if has_user && consul.is_set_at_all("basic_auth") {
            return Err("at most one of consul SD configuration username and password and basic \
                        auth can be configured"
                .to_owned());
        }
        let has_other = consul.is_set_at_all("authorization") || consul.is_set_at_all("oauth2");
        if consul.is_set("token") && has_other {
            return Err("at most one of consul SD token, authorization, or oauth2 can be \
                        configured"
                .to_owned());
        }
        http_client::check(consul)
    },
};

static FILTER: Section = Section {
    name: "filter",
    fields: &[text("name").shown(), texts("values").shown()],
    check: no_check,
};

fn check_host(docker: &Record) -> Result<(), String> {
    if !docker.is_set("host") {
        return Err("host missing".to_owned());
    }
    url::check(docker.text("host"))
}

static DOCKER: Section = Section {
    name: "docker_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        text("host").shown(),
        int_or("port", 80).shown(),
        list("filters", &FILTER).shown(),
        text_or("host_networking_host", "localhost").shown(),
        seconds("refresh_interval", 60).shown(),
        field("match_first_network", Kind::Bool).or(Default::Bool(true)).shown(),
    ],
    check: |docker| {
        check_host(docker)?;
        http_client::check(docker)
    },
};

static DOCKERSWARM: Section = Section {
    name: "dockerswarm_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        text("host").shown(),
        text("role").shown(),
        int_or("port", 80).shown(),
        list("filters", &FILTER).shown(),
        seconds("refresh_interval", 60).shown(),
    ],
    check: |swarm| {
        check_host(swarm)?;
        match swarm.text("role") {
            "services" | "nodes" | "tasks" => http_client::check(swarm),
            "" => Err("role missing (one of: tasks, services, nodes)".to_owned()),
            role => Err(format!("invalid role {role}, expected tasks, services, or nodes")),
        }
    },
};

static EUREKA: Section = Section {
    name: "eureka_sd_configs",
    fields: &[text("server"), inline(&HTTP_CLIENT), seconds("refresh_interval", 30)],
    check: |eureka| {
        let server = eureka.text("server");
        if server.is_empty() {
            return Err("eureka_sd: empty or null eureka server".to_owned());
        }
        url::check(server)?;
        let parts = url::parts(server);
        if parts.scheme.is_empty() || parts.host.is_empty() {
            return Err("eureka_sd: invalid eureka server URL".to_owned());
        }
        http_client::check(eureka)
    },
};

static KUMA: Section = Section {
    name: "kuma_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        seconds("refresh_interval", 15),
        seconds("fetch_timeout", 120),
        text("server"),
        text("client_id"),
    ],
    check: |kuma| {
        let server = kuma.text("server");
        if server.is_empty() {
            return Err("kuma SD server must not be empty: ".to_owned());
        }
        url::check(server)?;
        let parts = url::parts(server);
        if parts.scheme.is_empty() || parts.host.is_empty() {
            return Err(format!("kuma SD server must not be empty and have a scheme: {server}"));
        }
        http_client::check(kuma)
    },
};

static MARATHON: Section = Section {
    name: "marathon_sd_configs",
    fields: &[
        texts("servers"),
        seconds("refresh_interval", 30),
        secret("auth_token"),
        path("auth_token_file"),
        inline(&HTTP_CLIENT),
    ],
    check: |marathon| {
        let refuse = |message: &str| Err(format!("marathon_sd: {message}"));
        let tokens = marathon.count_set(&["auth_token", "auth_token_file"]);
        if !marathon.is_set("servers") {
            return refuse("must contain at least one Marathon server");
        }
        if tokens > 1 {
            return refuse("at most one of auth_token & auth_token_file must be configured");
        }
        if tokens > 0 && marathon.is_set_at_all("basic_auth") {
            return refuse(
                "at most one of basic_auth, auth_token & auth_token_file must be configured",
            );
        }
        if tokens > 0 && marathon.count_set(&["bearer_token", "bearer_token_file"]) > 0 {
            return refuse(
                "at most one of bearer_token, bearer_token_file, auth_token & auth_token_file \
                 must be configured",
            );
        }
        if tokens > 0 && marathon.is_set_at_all("authorization") {
            return refuse(
                "at most one of auth_token, auth_token_file & authorization must be configured",
            );
        }
        http_client::check(marathon)
    },
};

static NOMAD: Section = Section {
    name: "nomad_sd_configs",
    fields: &[
        field("allow_stale", Kind::Bool).or(Default::Bool(true)).shown(),
        inline(&HTTP_CLIENT),
        text_or("namespace", "default").shown(),
        seconds("refresh_interval", 60).shown(),
        text_or("region", "global").shown(),
        text_or("server", "http://localhost:4646").shown(),
        text_or("tag_separator", ","),
    ],
    check: |nomad| {
        if nomad.text("server").trim().is_empty() {
            return Err("nomad SD configuration requires a server address".to_owned());
        }
        http_client::check(nomad)
    },
};

static PUPPETDB: Section = Section {
    name: "puppetdb_sd_configs",
    fields: &[
        inline(&HTTP_CLIENT),
        seconds("refresh_interval", 60),
        text("url").shown(),
        text("query").shown(),
        flag("include_parameters").shown(),
        int_or("port", 80).shown(),
    ],
    check: |puppet| {
        check_http_url(puppet.text("url"))?;
        if !puppet.is_set("query") {
            return Err("query missing".to_owned());
        }
        http_client::check(puppet)
    },
};

const ZOOKEEPER: [Field; 3] =
    [texts("servers").shown(), texts("paths").shown(), seconds("timeout", 10)];

static SERVERSET: Section = Section {
    name: "serverset_sd_configs",
    fields: &ZOOKEEPER,
    check: |record| check_zookeeper(record, "serverset"),
};

static NERVE: Section = Section {
    name: "nerve_sd_configs",
    fields: &ZOOKEEPER,
    check: |record| check_zookeeper(record, "nerve"),
};

fn check_zookeeper(record: &Record, who: &str) -> Result<(), String> {
    if !record.is_set("servers") {
        return Err(format!("{who} SD config must contain at least one Zookeeper server"));
    }
    if !record.is_set("paths") {
        return Err(format!("{who} SD config must contain at least one path"));
    }
    match record.texts("paths").iter().find(|path| !path.starts_with('/')) {
        Some(path) => Err(format!("{who} SD config paths must begin with '/': {path}")),
        None => Ok(()),
    }
}

static UYUNI: Section = Section {
    name: "uyuni_sd_configs",
    fields: &[
        text("server").shown(),
        text("username").shown(),
        secret("password").shown(),
        inline(&HTTP_CLIENT),
        text_or("entitlement", "monitoring_entitled"),
        text_or("separator", ","),
        seconds("refresh_interval", 60),
    ],
    check: |uyuni| {
        for (key, what) in
            [("server", "server host"), ("username", "a username"), ("password", "a password")]
        {
            if !uyuni.is_set(key) {
                return Err(format!("Uyuni SD configuration requires {what}"));
            }
        }
        url::check(uyuni.text("server"))
            .map_err(|message| format!("Uyuni Server URL is not valid: {message}"))?;
        http_client::check(uyuni)
    },
};

static KUBERNETES: Section = Section {
    name: "kubernetes_sd_configs",
    fields: &[
        field("api_server", Kind::Url),
        text("role").shown(),
        path("kubeconfig_file").shown(),
        inline(&HTTP_CLIENT),
        field("namespaces", Kind::Section(&NAMESPACES)),
        list("selectors", &SELECTOR),
        field("attach_metadata", Kind::Section(&ATTACH_METADATA)),
    ],
    check: check_kubernetes,
};

static NAMESPACES: Section = Section {
    name: "namespaces",
    fields: &[flag("own_namespace").shown(), texts("names").shown()],
    check: no_check,
};

static SELECTOR: Section = Section {
    name: "selectors",
    fields: &[text("role"), text("label"), text("field")],
    check: no_check,
};

static ATTACH_METADATA: Section = Section {
    name: "attach_metadata",
    fields: &[
        flag("node").shown(),
        flag("namespace").shown(),
        flag("deployment").shown(),
        flag("job").shown(),
        flag("cronjob").shown(),
    ],
    check: no_check,
};

/// Which roles a selector may name, by the role of the section.
const SELECTOR_ROLES: [(&str, &[&str]); 6] = [
    ("pod", &["pod", "node"]),
    ("service", &["service"]),
    ("endpointslice", &["pod", "service", "endpointslice"]),
    ("endpoints", &["pod", "service", "endpoints"]),
    ("node", &["node"]),
    ("ingress", &["ingress"]),
];

fn check_kubernetes(record: &mut Record) -> Result<(), String> {
    let refuse = |message: &str| Err(message.to_owned());
    if !record.is_set("role") {
        return refuse(
            "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)",
        );
    }
    let role = record.text("role").to_owned();
    let Some((_, allowed)) = SELECTOR_ROLES.iter().find(|(name, _)| *name == role) else {
        return Err(format!("unknown Kubernetes SD role {}", go_quote(&role)));
    };
    let is_client_default = Record::filled(&HTTP_CLIENT)
        .iter()
        .all(|(field, default)| record.value(field.key) == default);
    http_client::check(record)?;
    let has_server = record.is_set("api_server");
    let has_file = record.is_set("kubeconfig_file");
    let owns = record.record("namespaces").is_some_and(|names| names.flag("own_namespace"));
    let refusals = [
        (has_server && has_file, "cannot use 'kubeconfig_file' and 'api_server' simultaneously"),
        (
            has_file && !is_client_default,
            "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
        ),
        (
            !has_server && !is_client_default,
            "to use custom HTTP client configuration please provide the 'api_server' URL \
             explicitly",
        ),
        (
            has_server && owns,
            "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously",
        ),
        (
            has_file && owns,
            "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously",
        ),
    ];
    if let Some((_, message)) = refusals.into_iter().find(|(is_wrong, _)| *is_wrong) {
        return refuse(message);
    }
    let mut seen: Vec<&str> = Vec::new();
    for selector in record.records("selectors") {
        let name = selector.text("role");
        if seen.contains(&name) {
            return Err(format!("duplicated selector role: {name}"));
        }
        if !allowed.contains(&name) {
            let list = allowed.join(", ");
            return Err(format!("{role} role supports only {list} selectors"));
        }
        check_field_selector(selector.text("field"))?;
        seen.push(name);
    }
    Ok(())
}

/// COMPAT: terms `FIELD=VALUE`, `==` or `!=` between commas, `\\` before a mark that is meant
/// as itself; refused in the words of Kubernetes's own reader, which looks at the terms in order.
fn check_field_selector(selector: &str) -> Result<(), String> {
    let (mut terms, mut begin, mut is_escaped) = (Vec::new(), 0, false);
    for (at, c) in selector.char_indices() {
        if c == ',' && !is_escaped {
            terms.push(&selector[begin..at]);
            begin = at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    terms.push(&selector[begin..]);
    terms.sort_unstable();
    for term in terms.into_iter().filter(|term| !term.is_empty()) {
        let Some(at) = term.find('=') else {
            return Err(format!("invalid selector: '{selector}'; can't understand '{term}'"));
        };
        let mut value = term[at + 1..].strip_prefix('=').unwrap_or(&term[at + 1..]).chars();
        // `!=` has one `=` only.
        if term[..at].ends_with('!') {
            value = term[at + 1..].chars();
        }
        while let Some(c) = value.next() {
            match (c, value.clone().next()) {
                ('\\', Some('\\' | ',' | '=')) => value = value.as_str()[1..].chars(),
                ('\\', other) => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    ));
                }
                ('=', _) => {
                    return Err("invalid field selector: unescaped character in value: 61".into());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Kept here so that clouds need not name the field themselves.
pub(super) const fn refresh_minute() -> Field {
    REFRESH.or(Default::DurationMs(60_000))
}

#[cfg(test)]
mod tests {
    use super::check_field_selector;

    #[test]
    fn field_selectors_are_refused_as_kubernetes_refuses_them() {
        for fine in ["", ",", "a=b", "a==b,c!=d", r"a=b\,c,d=\\", "=", "status.phase=Running"] {
            assert_eq!(check_field_selector(fine), Ok(()), "{fine}");
        }
        for (wrong, why) in [
            ("x-y", "invalid selector: 'x-y'; can't understand 'x-y'"),
            ("b=1,z,a", "invalid selector: 'b=1,z,a'; can't understand 'a'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            ("a!==c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            (r"a=\", r"invalid field selector: invalid escape sequence: \"),
        ] {
            assert_eq!(check_field_selector(wrong), Err(why.to_owned()), "{wrong}");
        }
    }
}
