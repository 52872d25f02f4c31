//! The objects of the API, reduced to the fields that become labels. All fields are optional:
//! what a cluster leaves out is empty.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::api::or_default;
use crate::config::KubernetesRole;

/// The kinds of objects that are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Endpoints,
    EndpointSlice,
    Ingress,
    Job,
    Namespace,
    Node,
    Pod,
    ReplicaSet,
    Service,
}

impl Kind {
    pub(super) fn of(role: KubernetesRole) -> Self {
        match role {
            KubernetesRole::Endpoints => Self::Endpoints,
            KubernetesRole::EndpointSlice => Self::EndpointSlice,
            KubernetesRole::Ingress => Self::Ingress,
            KubernetesRole::Node => Self::Node,
            KubernetesRole::Pod => Self::Pod,
            KubernetesRole::Service => Self::Service,
        }
    }

    pub(super) fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::Namespace)
    }

    /// The API group's path and the plural under which objects are listed.
    pub(super) fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Endpoints => ("/api/v1", "endpoints"),
            Self::EndpointSlice => ("/apis/discovery.k8s.io/v1", "endpointslices"),
            Self::Ingress => ("/apis/networking.k8s.io/v1", "ingresses"),
            Self::Job => ("/apis/batch/v1", "jobs"),
            Self::Namespace => ("/api/v1", "namespaces"),
            Self::Node => ("/api/v1", "nodes"),
            Self::Pod => ("/api/v1", "pods"),
            Self::ReplicaSet => ("/apis/apps/v1", "replicasets"),
            Self::Service => ("/api/v1", "services"),
        }
    }

    /// The name in metrics, labels and the sources of groups.
    pub(super) fn role_name(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Ingress => "ingress",
            Self::Job => "job",
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::Pod => "pod",
            Self::ReplicaSet => "replicaset",
            Self::Service => "service",
        }
    }

    /// Reads an object of this kind.
    pub(super) fn parse(self, value: &serde_json::value::RawValue) -> serde_json::Result<Object> {
        let text = value.get();
        Ok(match self {
            Self::Endpoints => Object::Endpoints(serde_json::from_str(text)?),
            Self::EndpointSlice => Object::EndpointSlice(serde_json::from_str(text)?),
            Self::Ingress => Object::Ingress(serde_json::from_str(text)?),
            Self::Job | Self::Namespace | Self::ReplicaSet => {
                Object::Bare(self, serde_json::from_str(text)?)
            }
            Self::Node => Object::Node(serde_json::from_str(text)?),
            Self::Pod => Object::Pod(serde_json::from_str(text)?),
            Self::Service => Object::Service(serde_json::from_str(text)?),
        })
    }
}

/// An object of any kind.
#[derive(Debug)]
pub(super) enum Object {
    Endpoints(Endpoints),
    EndpointSlice(EndpointSlice),
    Ingress(Ingress),
    Node(Node),
    Pod(Box<Pod>),
    Service(Service),
    /// Of which only the metadata counts.
    Bare(Kind, Bare),
}

impl Object {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Endpoints(_) => Kind::Endpoints,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Ingress(_) => Kind::Ingress,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::Bare(kind, _) => *kind,
        }
    }

    pub(super) fn meta(&self) -> &Meta {
        match self {
            Self::Endpoints(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Ingress(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::Bare(_, object) => &object.metadata,
        }
    }
}

pub(super) type Texts = BTreeMap<String, String>;

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) labels: Texts,
    #[serde(deserialize_with = "or_default")]
    pub(super) annotations: Texts,
    #[serde(deserialize_with = "or_default")]
    pub(super) owner_references: Vec<Owner>,
}

impl Meta {
    /// Namespace and name, or the name of what has no namespace.
    pub(super) fn key(&self) -> String {
        key_of(&self.namespace, &self.name)
    }

    /// Who controls the object.
    pub(super) fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

pub(super) fn key_of(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) controller: bool,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Bare {
    pub(super) metadata: Meta,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Meta,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_containers: Vec<Container>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<ContainerPort>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct ContainerPort {
    pub(super) name: String,
    #[serde(rename = "containerPort")]
    pub(super) number: i64,
    pub(super) protocol: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    pub(super) phase: String,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: String,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) conditions: Vec<Condition>,
    #[serde(deserialize_with = "or_default")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Condition {
    pub(super) r#type: String,
    pub(super) status: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Node {
    pub(super) metadata: Meta,
    pub(super) spec: NodeSpec,
    pub(super) status: NodeStatus,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct NodeSpec {
    #[serde(rename = "providerID")]
    pub(super) provider_id: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeStatus {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<NodeAddress>,
    #[serde(deserialize_with = "or_default")]
    pub(super) conditions: Vec<Condition>,
    pub(super) daemon_endpoints: DaemonEndpoints,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct NodeAddress {
    pub(super) r#type: String,
    pub(super) address: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DaemonEndpoints {
    pub(super) kubelet_endpoint: DaemonEndpoint,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DaemonEndpoint {
    pub(super) port: i64,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Service {
    pub(super) metadata: Meta,
    pub(super) spec: ServiceSpec,
    pub(super) status: ServiceStatus,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec {
    pub(super) r#type: String,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: String,
    #[serde(rename = "loadBalancerIP")]
    pub(super) load_balancer_ip: String,
    pub(super) external_name: String,
    pub(super) ip_family_policy: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) ip_families: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct ServicePort {
    pub(super) name: String,
    pub(super) port: i64,
    pub(super) protocol: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceStatus {
    pub(super) load_balancer: LoadBalancer,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct LoadBalancer {
    #[serde(deserialize_with = "or_default")]
    pub(super) ingress: Vec<LoadBalancerIngress>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct LoadBalancerIngress {
    pub(super) ip: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Endpoints {
    pub(super) metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub(super) subsets: Vec<Subset>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subset {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "or_default")]
    pub(super) not_ready_addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<EndpointPort>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointAddress {
    pub(super) ip: String,
    pub(super) hostname: String,
    pub(super) node_name: Option<String>,
    pub(super) target_ref: Option<Reference>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Reference {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointPort {
    pub(super) name: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) protocol: Option<String>,
    pub(super) app_protocol: Option<String>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointSlice {
    pub(super) metadata: Meta,
    pub(super) address_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) endpoints: Vec<Endpoint>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ports: Vec<EndpointPort>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Endpoint {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) conditions: EndpointConditions,
    pub(super) hostname: Option<String>,
    pub(super) node_name: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) target_ref: Option<Reference>,
    #[serde(deserialize_with = "or_default")]
    pub(super) deprecated_topology: Texts,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct EndpointConditions {
    pub(super) ready: Option<bool>,
    pub(super) serving: Option<bool>,
    pub(super) terminating: Option<bool>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Ingress {
    pub(super) metadata: Meta,
    pub(super) spec: IngressSpec,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct IngressSpec {
    pub(super) ingress_class_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tls: Vec<IngressTls>,
    #[serde(deserialize_with = "or_default")]
    pub(super) rules: Vec<IngressRule>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct IngressTls {
    #[serde(deserialize_with = "or_default")]
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct IngressRule {
    pub(super) host: String,
    pub(super) http: Option<IngressPaths>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct IngressPaths {
    #[serde(deserialize_with = "or_default")]
    pub(super) paths: Vec<IngressPath>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct IngressPath {
    pub(super) path: String,
}
