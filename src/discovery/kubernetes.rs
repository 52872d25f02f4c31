//! Targets from the API of a Kubernetes cluster (`kubernetes_sd_configs`).
//!
//! Each kind of object that the role needs is listed once and watched from there on
//! ([`watch`]); the objects are kept ([`store`]), reduced to what becomes labels. A group is
//! built from one object of the role, and what it looked up on the way is noted: when that
//! changes, the group is built again. Nothing is told before every kind has been listed.

mod access;
mod endpoints;
mod groups;
mod object;
mod store;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::TargetGroup;
use super::api::Api;
use super::provider::{Mechanism, Running, Updates};
use crate::config::{KubernetesDiscovery, KubernetesRole};
use access::Access;
use object::Kind;
use store::Store;
use watch::{Change, Resource, follow};

/// Changes that wait for their groups to be built: a watch that is further ahead is not read.
const CHANGES_MAX: usize = 256;

const PREFIX: &str = "__meta_kubernetes_";

/// The mechanism.
#[derive(Debug)]
pub(super) struct Kubernetes {
    api: Arc<Api>,
    config: KubernetesDiscovery,
    namespaces: Vec<String>,
}

pub(super) fn new(config: &KubernetesDiscovery) -> Result<Kubernetes, String> {
    let Access { api, own_namespace } = access::open(config)?;
    let mut namespaces = config.namespaces.clone();
    if config.own_namespace {
        namespaces.push(own_namespace?);
    }
    Ok(Kubernetes { api: Arc::new(api), config: config.clone(), namespaces })
}

impl Kubernetes {
    /// The kinds of objects that the role needs, the role's own first.
    fn kinds(&self) -> Vec<Kind> {
        let own = Kind::of(self.config.role);
        let mut kinds = vec![own];
        let is_about_pods = match self.config.role {
            KubernetesRole::Endpoints | KubernetesRole::EndpointSlice => {
                kinds.extend([Kind::Service, Kind::Pod]);
                true
            }
            KubernetesRole::Pod => true,
            _ => false,
        };
        let attach = self.config.attach;
        let has_pods_or_service = own != Kind::Node;
        for (is_wanted, kind) in [
            (attach.node && is_about_pods, Kind::Node),
            (attach.namespace && has_pods_or_service, Kind::Namespace),
            (attach.deployment && is_about_pods, Kind::ReplicaSet),
            ((attach.job || attach.cronjob) && is_about_pods, Kind::Job),
        ] {
            if is_wanted {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// What is listed and watched.
    fn resources(&self) -> Vec<Resource> {
        let mut resources = Vec::new();
        for kind in self.kinds() {
            let selector =
                self.config.selectors.iter().find(|selector| Kind::of(selector.role) == kind);
            let (label, field) = selector
                .map_or((String::new(), String::new()), |s| (s.label.clone(), s.field.clone()));
            let everywhere = [String::new()];
            let namespaces = if kind.is_namespaced() && !self.namespaces.is_empty() {
                &self.namespaces[..]
            } else {
                &everywhere
            };
            resources.extend(namespaces.iter().map(|namespace| Resource {
                kind,
                namespace: namespace.clone(),
                label: label.clone(),
                field: field.clone(),
            }));
        }
        resources
    }
}

impl Mechanism for Kubernetes {
    fn run(self: Box<Self>, updates: Updates) -> Running {
        Box::pin(async move {
            self.api.client().count_dials(updates.metrics().dials.named("kubernetes_sd"));
            let (changes, mut inbox) = mpsc::channel(CHANGES_MAX);
            // They end with this future.
            let mut tasks = JoinSet::new();
            let resources = self.resources();
            let mut unlisted: BTreeSet<usize> = (0..resources.len()).collect();
            for (number, resource) in resources.into_iter().enumerate() {
                let (api, changes, metrics) =
                    (Arc::clone(&self.api), changes.clone(), updates.metrics().clone());
                tasks.spawn(follow(api, resource, number, changes, metrics));
            }
            drop(changes);
            let mut store = Store::new(&self.config);
            while let Some((number, change)) = inbox.recv().await {
                take(&mut store, &mut unlisted, number, change, &updates);
                while let Ok((number, change)) = inbox.try_recv() {
                    take(&mut store, &mut unlisted, number, change, &updates);
                }
                if unlisted.is_empty() {
                    let groups: Vec<TargetGroup> = store.take_changed();
                    if !groups.is_empty() {
                        updates.change(groups);
                    }
                }
            }
        })
    }
}

fn take(
    store: &mut Store,
    unlisted: &mut BTreeSet<usize>,
    number: usize,
    change: Change,
    updates: &Updates,
) {
    let count = |kind: Kind, event: &str| {
        updates.metrics().kubernetes_events.with(&[event, kind.role_name()]).inc();
    };
    match change {
        Change::Listed(kind, objects) => {
            unlisted.remove(&number);
            store.replace(kind, number, objects, count);
        }
        Change::Put(object) => store.put(number, *object, count),
        Change::Gone(kind, key) => store.remove(kind, &key, count),
    }
}

#[cfg(test)]
mod tests;
