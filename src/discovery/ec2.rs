//! Targets from the instances of an account on AWS (`ec2_sd_configs`).

use std::collections::BTreeMap;

use super::TargetGroup;
use super::aws::{Account, Chain, Element, domain};
use super::group::{ADDRESS, LabelList, join_host_port, sanitize};
use super::provider::{Refresh, Refreshing, Updates};
use crate::config::Ec2Discovery;
use crate::http_client::Client;
use crate::model::Labels;

const PREFIX: &str = "__meta_ec2_";
const VERSION: &str = "2016-11-15";

/// Pages of one answer: a hundred thousand instances.
const PAGES_MAX: usize = 1000;

#[derive(Debug)]
pub(super) struct Ec2 {
    config: Ec2Discovery,
    client: Client,
    chain: Chain,
    account: Option<Account>,
    /// The zones of the account, by name, once they are known.
    zones: Option<BTreeMap<String, String>>,
}

pub(super) fn new(config: &Ec2Discovery) -> Result<Refreshing<Ec2>, String> {
    let chain = Chain {
        access_key: config.access_key.clone(),
        secret_key: config.secret_key.clone(),
        profile: config.profile.clone(),
        role_arn: config.role_arn.clone(),
        external_id: config.external_id.clone(),
        sts_endpoint: String::new(),
    };
    let refresh = Ec2 {
        config: config.clone(),
        client: Client::new(&config.http_client).map_err(|error| error.to_string())?,
        chain,
        account: None,
        zones: None,
    };
    Ok(Refreshing { mechanism: "ec2", interval_ms: config.refresh_interval_ms, refresh })
}

impl Refresh for Ec2 {
    async fn refresh(&mut self, updates: &Updates) -> Result<Vec<TargetGroup>, String> {
        self.client.count_dials(updates.metrics().dials.named("ec2_sd"));
        let mut account = match self.account.take() {
            Some(account) => account,
            None => Account::open(&self.chain, &self.config.region).await?,
        };
        let found = self.describe(&mut account).await;
        if found.is_err() {
            account.forget();
        }
        let source = account.region().to_owned();
        self.account = Some(account);
        Ok(vec![TargetGroup { source, targets: found?, labels: Labels::empty() }])
    }
}

impl Ec2 {
    fn endpoint(&self, region: &str) -> String {
        match self.config.endpoint.as_str() {
            "" => format!("https://ec2.{region}.{}/", domain(region)),
            named if named.contains("://") => named.to_owned(),
            named => format!("https://{named}/"),
        }
    }

    async fn describe(&mut self, account: &mut Account) -> Result<Vec<Labels>, String> {
        let endpoint = self.endpoint(account.region());
        if self.zones.is_none() {
            let fields = action("DescribeAvailabilityZones");
            match account.call(&self.client, &endpoint, "ec2", &fields).await {
                Ok(document) => self.zones = Some(zones_of(&document)),
                Err(error) => {
                    tracing::debug!(err = %error, "Unable to describe availability zones");
                }
            }
        }
        let mut fields = action("DescribeInstances");
        for (at, filter) in self.config.filters.iter().enumerate() {
            let at = at + 1;
            fields.push((format!("Filter.{at}.Name"), vec![filter.name.clone()]));
            for (number, value) in filter.values.iter().enumerate() {
                fields.push((format!("Filter.{at}.Value.{}", number + 1), vec![value.clone()]));
            }
        }
        let mut targets = Vec::new();
        for _ in 0..PAGES_MAX {
            let answered = account.call(&self.client, &endpoint, "ec2", &fields).await;
            let document =
                answered.map_err(|error| format!("could not describe instances: {error}"))?;
            for reservation in document.items("reservationSet") {
                let owner = reservation.text_at(&["ownerId"]);
                for instance in reservation.items("instancesSet") {
                    targets.extend(self.target(instance, owner, account.region()));
                }
            }
            let next = document.text_at(&["nextToken"]);
            if next.is_empty() {
                return Ok(targets);
            }
            fields.retain(|(name, _)| name != "NextToken");
            fields.push(("NextToken".to_owned(), vec![next.to_owned()]));
        }
        Err(format!("could not describe instances: more than {PAGES_MAX} pages"))
    }

    fn target(&self, instance: &Element, owner: &str, region: &str) -> Option<Labels> {
        let text = |path: &[&str]| instance.text_at(path);
        let addresses = Ipv6::of(instance);
        let private_ip = text(&["privateIpAddress"]);
        let host = if private_ip.is_empty() { addresses.default()? } else { private_ip };
        let mut labels = LabelList::new();
        labels.set(ADDRESS, join_host_port(host, self.config.port));
        let mut set = |name: &str, value: &str| {
            labels.set(format!("{PREFIX}{name}"), value);
        };
        let zone = text(&["placement", "availabilityZone"]);
        let zone_id = self.zones.as_ref().and_then(|zones| zones.get(zone));
        set("instance_id", text(&["instanceId"]));
        set("region", region);
        set("owner_id", owner);
        set("private_ip", private_ip);
        set("private_dns_name", text(&["privateDnsName"]));
        set("platform", text(&["platform"]));
        set("public_ip", text(&["ipAddress"]));
        if !text(&["ipAddress"]).is_empty() {
            set("public_dns_name", text(&["dnsName"]));
        }
        set("primary_ipv6_addresses", &listed(&addresses.primary));
        set("ipv6_addresses", &listed(&addresses.all));
        set("default_ipv6_address", addresses.default().unwrap_or(""));
        set("ami", text(&["imageId"]));
        set("availability_zone", zone);
        set("availability_zone_id", zone_id.map_or("", String::as_str));
        set("instance_state", text(&["instanceState", "name"]));
        set("instance_type", text(&["instanceType"]));
        set("instance_lifecycle", text(&["instanceLifecycle"]));
        set("architecture", text(&["architecture"]));
        let vpc = text(&["vpcId"]);
        if !vpc.is_empty() {
            set("vpc_id", vpc);
            set("primary_subnet_id", text(&["subnetId"]));
            let mut subnets: Vec<&str> = Vec::new();
            for interface in instance.items("networkInterfaceSet") {
                let subnet = interface.text_at(&["subnetId"]);
                if !subnet.is_empty() && !subnets.contains(&subnet) {
                    subnets.push(subnet);
                }
            }
            set("subnet_id", &format!(",{},", subnets.join(",")));
        }
        for tag in instance.items("tagSet") {
            set(&format!("tag_{}", sanitize(tag.text_at(&["key"]))), tag.text_at(&["value"]));
        }
        Some(labels.build())
    }
}

fn action(name: &str) -> Vec<(String, Vec<String>)> {
    [("Action", name), ("Version", VERSION)]
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
        .to_vec()
}

fn zones_of(document: &Element) -> BTreeMap<String, String> {
    let zones = document.items("availabilityZoneInfo");
    let pair = |zone: &Element| {
        (zone.text_at(&["zoneName"]).to_owned(), zone.text_at(&["zoneId"]).to_owned())
    };
    zones.map(pair).collect()
}

/// The list within separators; empty where there is none.
fn listed(addresses: &[&str]) -> String {
    if addresses.is_empty() { String::new() } else { format!(",{},", addresses.join(",")) }
}

/// The addresses of version 6 that an instance has within its network.
struct Ipv6<'a> {
    all: Vec<&'a str>,
    /// By the number of the device; empty for devices without one.
    primary: Vec<&'a str>,
}

impl<'a> Ipv6<'a> {
    fn of(instance: &'a Element) -> Self {
        let mut found = Self { all: Vec::new(), primary: Vec::new() };
        if instance.text_at(&["vpcId"]).is_empty() {
            return found;
        }
        for interface in instance.items("networkInterfaceSet") {
            if interface.text_at(&["subnetId"]).is_empty() {
                continue;
            }
            let device = interface.text_at(&["attachment", "deviceIndex"]).parse().unwrap_or(0);
            for address in interface.items("ipv6AddressesSet") {
                let text = address.text_at(&["ipv6Address"]);
                found.all.push(text);
                // More devices than an instance can have are not believed.
                let device: usize = std::cmp::min(device, 255);
                if address.text_at(&["isPrimaryIpv6"]) == "true" {
                    if found.primary.len() <= device {
                        found.primary.resize(device + 1, "");
                    }
                    found.primary[device] = text;
                }
            }
        }
        found
    }

    /// The first primary one, else the first.
    fn default(&self) -> Option<&'a str> {
        self.primary.iter().chain(&self.all).copied().find(|address| !address.is_empty())
    }
}

#[cfg(test)]
mod tests;
