//! The objects that are known, and which groups must be built again.
//!
//! INVARIANT: `needs` holds, for each group that was built, everything that was looked up for it,
//! found or not; `needed_by` is the same the other way round.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::TargetGroup;
use super::object::{Kind, Object, key_of};
use crate::config::KubernetesDiscovery;

/// An object's kind and key.
pub(super) type Reference = (Kind, String);

/// Counts an event of a kind.
pub(super) trait Count: Fn(Kind, &str) {}

impl<F: Fn(Kind, &str)> Count for F {}

/// All objects that are known.
#[derive(Debug)]
pub(super) struct Store {
    config: KubernetesDiscovery,
    own: Kind,
    /// With the number of the list that they come from.
    objects: HashMap<Reference, (usize, Object)>,
    needs: HashMap<String, Vec<Reference>>,
    needed_by: HashMap<Reference, HashSet<String>>,
    /// Keys of objects of the role whose groups must be built again.
    changed: BTreeSet<String>,
}

/// Looks objects up while a group is built, and notes what for.
pub(super) struct Lookup<'a> {
    pub(super) config: &'a KubernetesDiscovery,
    objects: &'a HashMap<Reference, (usize, Object)>,
    needs: Vec<Reference>,
}

impl<'a> Lookup<'a> {
    /// The object of that kind, namespace and name.
    pub(super) fn find(&mut self, kind: Kind, namespace: &str, name: &str) -> Option<&'a Object> {
        let reference = (kind, key_of(namespace, name));
        let found = self.objects.get(&reference).map(|(_, object)| object);
        self.needs.push(reference);
        found
    }
}

impl Store {
    pub(super) fn new(config: &KubernetesDiscovery) -> Self {
        Self {
            config: config.clone(),
            own: Kind::of(config.role),
            objects: HashMap::new(),
            needs: HashMap::new(),
            needed_by: HashMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes over a list: what a list before had from the same place and this one lacks is gone.
    pub(super) fn replace(
        &mut self,
        kind: Kind,
        list: usize,
        objects: Vec<Object>,
        count: impl Count,
    ) {
        let listed: HashSet<String> = objects.iter().map(|object| object.meta().key()).collect();
        let gone: Vec<String> = self
            .objects
            .iter()
            .filter(|((k, key), (from, _))| *k == kind && *from == list && !listed.contains(key))
            .map(|((_, key), _)| key.clone())
            .collect();
        for key in gone {
            self.remove(kind, &key, &count);
        }
        for object in objects {
            self.put(list, object, &count);
        }
    }

    /// Takes over an object.
    pub(super) fn put(&mut self, list: usize, object: Object, count: impl Count) {
        let reference = (object.kind(), object.meta().key());
        let version = object.meta().resource_version.as_str();
        if let Some((_, known)) = self.objects.get(&reference)
            && !version.is_empty()
            && known.meta().resource_version == version
        {
            return;
        }
        self.touch(&reference);
        let kind = reference.0;
        let before = self.objects.insert(reference, (list, object));
        count(kind, if before.is_some() { "update" } else { "add" });
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, kind: Kind, key: &str, count: impl Count) {
        let reference = (kind, key.to_owned());
        if self.objects.remove(&reference).is_some() {
            self.touch(&reference);
            count(kind, "delete");
        }
    }

    fn touch(&mut self, reference: &Reference) {
        if reference.0 == self.own {
            self.changed.insert(reference.1.clone());
        }
        if let Some(groups) = self.needed_by.get(reference) {
            self.changed.extend(groups.iter().cloned());
        }
    }

    /// The groups that have changed since the last call, built anew; empty ones for objects that
    /// are gone.
    pub(super) fn take_changed(&mut self) -> Vec<TargetGroup> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| self.build(key)).collect()
    }

    fn build(&mut self, key: String) -> Option<TargetGroup> {
        for needed in self.needs.remove(&key).unwrap_or_default() {
            if let Some(groups) = self.needed_by.get_mut(&needed) {
                groups.remove(&key);
                if groups.is_empty() {
                    self.needed_by.remove(&needed);
                }
            }
        }
        let source = source_of(self.own, &key);
        let Some((_, object)) = self.objects.get(&(self.own, key.clone())) else {
            return Some(TargetGroup::empty(source));
        };
        let mut lookup = Lookup { config: &self.config, objects: &self.objects, needs: Vec::new() };
        let group = super::groups::build(object, source, &mut lookup);
        for needed in &lookup.needs {
            self.needed_by.entry(needed.clone()).or_default().insert(key.clone());
        }
        self.needs.insert(key, lookup.needs);
        group
    }
}

/// COMPAT: the sources are Prometheus's; relabelling does not see them, `/targets` does.
fn source_of(kind: Kind, key: &str) -> String {
    let prefix = if kind == Kind::Service { "svc" } else { kind.role_name() };
    format!("{prefix}/{key}")
}
