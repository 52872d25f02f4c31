//! From a discovered label set to a target that can be scraped.
//!
//! COMPAT: order of defaults, of checks and texts as in Prometheus; `globalUrl` is the API's.

use std::fmt;
use std::sync::Arc;

use crate::config::ScrapeConfig;
use crate::head::GroupKey;
use crate::http_client::{encode_query, escape_path};
use crate::model::{Labels, LabelsBuilder, format_duration, go_quote, parse_duration};
use crate::relabel;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const PARAM_PREFIX: &str = "__param_";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const META_PREFIX: &str = "__meta_";
const RESERVED_PREFIX: &str = "__";
const INSTANCE: &str = "instance";
const UNIX_SOCKET: &str = "__unix_socket__";
/// Labels with a default from the job's switches, and what an error calls them.
const SWITCHES: [(&str, &str); 3] = [
    ("__convert_classic_histograms_to_nhcb__", "convert classic histograms to nhcb"),
    ("__always_scrape_classic_histograms__", "always scrape classic histograms"),
    ("__scrape_native_histograms__", "scrape native histograms"),
];

/// Which forms of its histograms a target's pages give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistogramSwitches {
    /// Classic ones become native ones.
    pub convert_classic: bool,
    /// Classic ones are stored beside native ones.
    pub keep_classic: bool,
    /// Native ones are stored.
    pub native: bool,
}

/// One thing to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Labels before relabelling, defaults filled in.
    pub discovered: Labels,
    /// Labels that its series get.
    pub labels: Labels,
    /// Where the page is.
    pub url: Arc<str>,
    /// How often it is scraped.
    pub interval_ms: i64,
    /// When a scrape is given up.
    pub timeout_ms: i64,
    /// The socket through which it is scraped, whatever its address is.
    pub unix_socket: Option<Box<str>>,
    /// How its histograms are read.
    pub histograms: HistogramSwitches,
    /// Labels after relabelling, reserved ones included, the interval and the timeout not: with
    /// the URL they tell targets apart.
    identity: Labels,
}

/// Why a discovered label set makes no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetError {
    /// There is no `__address__`.
    NoAddress,
    /// The address has a `/`; the address, quoted.
    Address(String),
    /// Interval or timeout cannot be read: which one, and why.
    Duration(&'static str, String),
    /// Interval or timeout is 0: which one.
    Zero(&'static str),
    /// The timeout, quoted, is greater than the interval, quoted.
    TimeoutAboveInterval(String, String),
    /// A switch is neither true nor false: which one, and its value, quoted.
    Switch(&'static str, String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("no address"),
            Self::Address(address) => write!(f, "{address} is not a valid hostname"),
            Self::Duration(what, error) => write!(f, "error parsing {what}: {error}"),
            Self::Zero(what) => write!(f, "{what} cannot be 0"),
            Self::TimeoutAboveInterval(timeout, interval) => write!(
                f,
                "scrape timeout cannot be greater than scrape interval ({timeout} > {interval})"
            ),
            Self::Switch(what, value) => write!(
                f,
                "error parsing {what}: strconv.ParseBool: parsing {value}: invalid syntax"
            ),
        }
    }
}

impl std::error::Error for TargetError {}

/// The labels of a target before relabelling.
pub fn discovered_labels(config: &ScrapeConfig, target: &Labels, group: &Labels) -> Labels {
    let mut labels = LabelsBuilder::from_labels(group);
    for (name, value) in target {
        labels.set(name, value);
    }
    let mut default = |name: &str, value: &str| {
        if labels.get(name).is_none_or(str::is_empty) {
            labels.set(name, value);
        }
    };
    default("job", &config.job_name);
    default(SCRAPE_INTERVAL, &format_duration(config.scrape_interval_ms));
    default(SCRAPE_TIMEOUT, &format_duration(config.scrape_timeout_ms));
    default(METRICS_PATH, &config.metrics_path);
    default(SCHEME, &config.scheme);
    let switches = [
        config.convert_classic_histograms_to_nhcb,
        config.always_scrape_classic_histograms,
        config.scrape_native_histograms,
    ];
    for ((name, _), value) in SWITCHES.iter().zip(switches) {
        default(name, if value { "true" } else { "false" });
    }
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            default(&format!("{PARAM_PREFIX}{name}"), first);
        }
    }
    labels.build()
}

impl Target {
    /// Relabels and checks a discovered label set; `None` where relabelling drops it.
    pub fn new(config: &ScrapeConfig, discovered: Labels) -> Result<Option<Self>, TargetError> {
        let mut labels = LabelsBuilder::from_labels(&discovered);
        if !relabel::apply(&config.relabel_configs, &mut labels) {
            return Ok(None);
        }
        let address = labels.get(ADDRESS).unwrap_or("").to_owned();
        if address.is_empty() {
            return Err(TargetError::NoAddress);
        }
        if address.contains('/') {
            return Err(TargetError::Address(go_quote(&address)));
        }
        let interval = labels.get(SCRAPE_INTERVAL).unwrap_or("").to_owned();
        let interval_ms = positive("scrape interval", &interval)?;
        let timeout = labels.get(SCRAPE_TIMEOUT).unwrap_or("").to_owned();
        let timeout_ms = positive("scrape timeout", &timeout)?;
        if timeout_ms > interval_ms {
            let (timeout, interval) = (go_quote(&timeout), go_quote(&interval));
            return Err(TargetError::TimeoutAboveInterval(timeout, interval));
        }
        let mut switches = [
            config.convert_classic_histograms_to_nhcb,
            config.always_scrape_classic_histograms,
            config.scrape_native_histograms,
        ];
        for ((name, what), switch) in SWITCHES.into_iter().zip(&mut switches) {
            match labels.get(name).unwrap_or("") {
                "" => {}
                value => {
                    *switch =
                        go_bool(value).ok_or_else(|| TargetError::Switch(what, go_quote(value)))?;
                }
            }
        }
        let [convert_classic, keep_classic, native] = switches;
        if labels.get(INSTANCE).is_none_or(str::is_empty) {
            labels.set(INSTANCE, &address);
        }
        let all = labels.build().without(|name| name.starts_with(META_PREFIX));
        let public = all.without(|name| name.starts_with(RESERVED_PREFIX));
        if public.is_empty() {
            return Ok(None);
        }
        let unix_socket = all.get(UNIX_SOCKET).filter(|path| !path.is_empty()).map(Box::from);
        Ok(Some(Self {
            discovered,
            url: url(config, &all, &address).into(),
            labels: public,
            interval_ms,
            timeout_ms,
            unix_socket,
            histograms: HistogramSwitches { convert_classic, keep_classic, native },
            identity: all.without(|name| name == SCRAPE_INTERVAL || name == SCRAPE_TIMEOUT),
        }))
    }

    /// What tells it apart from others of its job.
    pub fn id(&self) -> (Labels, Arc<str>) {
        (self.identity.clone(), Arc::clone(&self.url))
    }

    /// The group that its samples belong to: the same over reload and restart.
    pub fn group(&self, job: &str) -> GroupKey {
        GroupKey::Target { job: job.to_owned(), labels: self.identity.as_bytes().to_vec() }
    }

    /// A hash of what identifies the target, the same on every run.
    pub fn hash(&self) -> u64 {
        super::schedule::fnv64(&[self.identity.as_bytes(), self.url.as_bytes()])
    }
}

fn positive(what: &'static str, text: &str) -> Result<i64, TargetError> {
    match parse_duration(text) {
        Ok(0) => Err(TargetError::Zero(what)),
        Ok(duration_ms) => Ok(duration_ms),
        Err(error) => Err(TargetError::Duration(what, error.to_string())),
    }
}

fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn url(config: &ScrapeConfig, labels: &Labels, address: &str) -> String {
    let mut parameters = config.params.clone();
    for (name, value) in labels {
        let Some(name) = name.strip_prefix(PARAM_PREFIX) else { continue };
        match parameters.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) if !values.is_empty() => value.clone_into(&mut values[0]),
            Some((_, values)) => values.push(value.to_owned()),
            None => parameters.push((name.to_owned(), vec![value.to_owned()])),
        }
    }
    let scheme = labels.get(SCHEME).unwrap_or("");
    let path = escape_path(labels.get(METRICS_PATH).unwrap_or(""));
    let query = encode_query(&parameters);
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{address}{path}{separator}{query}")
}

#[cfg(test)]
mod tests;
