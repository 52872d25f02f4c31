//! Targets from the domain name system (`dns_sd_configs`).
//!
//! Names are looked up by our own resolver: the system's gives addresses only. A name whose
//! lookup fails keeps the targets that it had; one that is known not to exist has none.

mod message;
mod resolver;

use std::collections::BTreeMap;

use super::TargetGroup;
use super::group::{ADDRESS, LabelList, join_host_port};
use super::provider::{Refresh, Refreshing, Updates};
use crate::config::{DnsDiscovery, DnsRecordType};
use crate::model::Labels;
use resolver::{Settings, look_up};

pub use message::{Message, MessageError, Record, parse_message};

#[derive(Debug)]
pub(super) struct Dns {
    config: DnsDiscovery,
    /// The system's, read anew for each refresh, where there are none.
    settings: Option<Settings>,
    known: BTreeMap<String, TargetGroup>,
}

pub(super) fn new(config: &DnsDiscovery) -> Refreshing<Dns> {
    let refresh = Dns { config: config.clone(), settings: None, known: BTreeMap::new() };
    Refreshing { mechanism: "dns", interval_ms: config.refresh_interval_ms, refresh }
}

impl Refresh for Dns {
    async fn refresh(&mut self, updates: &Updates) -> Result<Vec<TargetGroup>, String> {
        let metrics = updates.metrics();
        let read = match &self.settings {
            Some(settings) => Ok(settings.clone()),
            None => Settings::of_system(),
        };
        for name in &self.config.names {
            metrics.dns_lookups.inc();
            let found = match &read {
                Ok(settings) => look_up(settings, name, self.config.record_type).await,
                Err(error) => Err(error.clone()),
            };
            match found {
                Ok(records) => {
                    let targets = records.iter().filter_map(|record| self.target(name, record));
                    let group = TargetGroup {
                        source: name.clone(),
                        targets: targets.collect(),
                        labels: Labels::empty(),
                    };
                    self.known.insert(name.clone(), group);
                }
                Err(error) => {
                    metrics.dns_lookup_failures.inc();
                    tracing::error!(err = %error, "Error refreshing DNS targets");
                }
            }
        }
        Ok(self.known.values().cloned().collect())
    }
}

impl Dns {
    fn target(&self, name: &str, record: &Record) -> Option<Labels> {
        let port = self.config.port;
        let unrooted = |host: &str| host.trim_end_matches('.').to_owned();
        let mut labels = LabelList::new();
        let wanted = self.config.record_type;
        let address = match record {
            Record::A(address) if wanted == DnsRecordType::A => {
                join_host_port(&address.to_string(), port)
            }
            Record::Aaaa(address) if wanted == DnsRecordType::Aaaa => {
                join_host_port(&address.to_string(), port)
            }
            Record::Mx(host) if wanted == DnsRecordType::Mx => {
                labels.set("__meta_dns_mx_record_target", host);
                join_host_port(&unrooted(host), port)
            }
            Record::Ns(host) if wanted == DnsRecordType::Ns => {
                labels.set("__meta_dns_ns_record_target", host);
                join_host_port(&unrooted(host), port)
            }
            Record::Srv(host, port) if wanted == DnsRecordType::Srv => {
                labels
                    .set("__meta_dns_srv_record_target", host)
                    .set("__meta_dns_srv_record_port", port.to_string());
                join_host_port(&unrooted(host), port)
            }
            // Aliases on the way to the records that were asked for.
            _ => return None,
        };
        labels.set(ADDRESS, address).set("__meta_dns_name", name);
        Some(labels.build())
    }
}

#[cfg(test)]
mod tests;
