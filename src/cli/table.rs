//! Every flag of Prometheus 3.14, and which of them do something here.

use super::flags::{Flag, Kind, Mode};

const AGENT: &str = "the log decides this by itself";
const GO: &str = "it tunes the runtime of Go, and there is none";
const FORMAT: &str = "the storage format decides this by itself";
const UI: &str = "the web interface is not built in yet";

const fn active(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, help, idle: None, mode: Mode::Both, is_hidden: false, negated: "" }
}

const fn idle(name: &'static str, kind: Kind, default: &'static str, why: &'static str) -> Flag {
    let mut flag = active(name, kind, default, "Accepted, without effect.");
    flag.idle = Some(why);
    flag
}

const fn hidden(mut flag: Flag) -> Flag {
    flag.is_hidden = true;
    flag
}

const fn agent(mut flag: Flag) -> Flag {
    flag.mode = Mode::Agent;
    flag
}

/// A boolean, which can be switched off too.
macro_rules! switch {
    ($name:literal, $default:literal, $help:expr $(,)?) => {{
        let mut flag = active($name, Kind::Bool, $default, $help);
        flag.negated = concat!("no-", $name);
        flag
    }};
}

macro_rules! idle_switch {
    ($name:literal, $default:literal, $why:expr $(,)?) => {{
        let mut flag = idle($name, Kind::Bool, $default, $why);
        flag.negated = concat!("no-", $name);
        flag
    }};
}

/// In the order of `--help`.
pub(super) const FLAGS: &[Flag] = &[
    active("config.file", Kind::Text, "prometheus.yml", "File to read the configuration from."),
    switch!(
        "config.auto-reload",
        "false",
        "Reload the configuration when it or a file with rules or jobs that it names changes.",
    ),
    active(
        "config.auto-reload-interval",
        Kind::Duration,
        "30s",
        "How often those files are looked at; once a second at most.",
    ),
    active(
        "web.listen-address",
        Kind::Texts,
        "0.0.0.0:9090",
        "Address to answer HTTP on. May be repeated.",
    ),
    idle_switch!("auto-gomaxprocs", "true", GO),
    idle_switch!("auto-gomemlimit", "true", GO),
    idle("auto-gomemlimit.ratio", Kind::Float, "0.9", GO),
    idle("auto-gomemlimit.refresh-interval", Kind::Duration, "0s", GO),
    active("web.config.file", Kind::Text, "", "File that switches on TLS and authentication."),
    active(
        "web.read-timeout",
        Kind::Duration,
        "5m",
        "How long a request may take to arrive, and an idle connection stays open.",
    ),
    active("web.max-connections", Kind::Uint, "512", "Connections at a time, all addresses."),
    active(
        "web.max-notifications-subscribers",
        Kind::Uint,
        "16",
        "Listeners to notifications at a time.",
    ),
    active(
        "web.external-url",
        Kind::Text,
        "",
        "Address under which others reach this server, where it is behind a proxy.",
    ),
    active(
        "web.route-prefix",
        Kind::Text,
        "",
        "What stands before every path; the path of web.external-url unless given.",
    ),
    idle("web.user-assets", Kind::Text, "", UI),
    switch!(
        "web.enable-lifecycle",
        "false",
        "Let HTTP requests reload the configuration and end the server.",
    ),
    switch!("web.enable-admin-api", "false", "Let HTTP requests change stored data."),
    switch!(
        "web.enable-remote-write-receiver",
        "false",
        "Take samples that others push by remote write.",
    ),
    idle(
        "web.remote-write-receiver.accepted-protobuf-messages",
        Kind::Texts,
        "prometheus.WriteRequest,io.prometheus.write.v2.Request",
        "both messages are always accepted",
    ),
    switch!("web.enable-otlp-receiver", "false", "Take metrics that others push by OTLP."),
    active(
        "web.console.templates",
        Kind::Text,
        "consoles",
        "Folder of the templates of pages below /consoles.",
    ),
    active(
        "web.console.libraries",
        Kind::Text,
        "console_libraries",
        "Folder of the templates (*.lib) that those pages may use.",
    ),
    active(
        "web.page-title",
        Kind::Text,
        "Prometheus Time Series Collection and Processing Server",
        "Title of the pages.",
    ),
    active(
        "web.cors.origin",
        Kind::Regex,
        ".*",
        "Origins that browsers may ask from: a regular expression, anchored at both ends.",
    ),
    active(
        "web.search.max-limit",
        Kind::Uint,
        "10000",
        "Results of a search at most, with --enable-feature=search-api; 0 sets no limit.",
    ),
    active("storage.tsdb.path", Kind::Text, "data/", "Folder for all stored data."),
    active(
        "storage.tsdb.retention.time",
        Kind::Duration,
        "0s",
        "How long samples are kept, 15d unless given here or in the configuration.",
    ),
    active(
        "storage.limits.max-labels-per-series",
        Kind::Uint,
        "1000",
        "Labels that a new series may have, its name among them; 0 sets no limit.",
    ),
    active(
        "storage.limits.max-label-name-length",
        Kind::Uint,
        "1024",
        "Bytes that a label name of a new series may have; 0 sets no limit.",
    ),
    active(
        "storage.limits.max-label-value-length",
        Kind::Uint,
        "65536",
        "Bytes that a label value of a new series may have; 0 sets no limit.",
    ),
    active(
        "storage.limits.max-series",
        Kind::Uint,
        "0",
        "Series in memory above which new ones are refused; 0 sets no limit.",
    ),
    active(
        "storage.limits.max-series-per-job",
        Kind::Uint,
        "0",
        "Series of one job in memory above which its new ones are refused; 0 sets no limit.",
    ),
    active(
        "storage.limits.max-series-per-metric",
        Kind::Uint,
        "0",
        "Series of one metric in memory above which its new ones are refused; 0 sets no limit.",
    ),
    active(
        "storage.limits.max-head-memory",
        Kind::Bytes,
        "0B",
        "Memory of recent series above which new ones are refused; 0 takes half of the memory \
         that the process may use.",
    ),
    active(
        "storage.limits.max-delta-streams",
        Kind::Uint,
        "1000000",
        "Pushed streams of delta temporality that are added up at a time, 32 buckets of a \
         histogram counting as one more; 0 sets no limit.",
    ),
    active(
        "storage.tsdb.retention.size",
        Kind::Bytes,
        "0B",
        "Bytes that all stored data may take; the oldest blocks go first. 0 sets no limit.",
    ),
    idle_switch!("storage.tsdb.no-lockfile", "false", "the data folder is always locked"),
    idle("storage.tsdb.head-chunks-write-queue-size", Kind::Uint, "0", FORMAT),
    idle("storage.tsdb.delay-compact-file.path", Kind::Text, "", "blocks are not uploaded yet"),
    agent(active(
        "storage.agent.path",
        Kind::Text,
        "data-agent/",
        "Folder for what is to be forwarded.",
    )),
    agent(idle_switch!("storage.agent.wal-compression", "true", AGENT)),
    agent(active(
        "storage.agent.retention.min-time",
        Kind::Duration,
        "5m",
        "Samples younger than this are held for receivers whatever the other limit says.",
    )),
    agent(active(
        "storage.agent.retention.max-time",
        Kind::Duration,
        "4h",
        "How long samples are held for receivers that are away.",
    )),
    agent(idle_switch!("storage.agent.no-lockfile", "false", "the data folder is always locked")),
    agent(idle_switch!("storage.agent.checkpoint-from-in-memory-series", "false", AGENT)),
    agent(idle("storage.agent.checkpoint-batch-size", Kind::Uint, "1000", AGENT)),
    active(
        "storage.remote.flush-deadline",
        Kind::Duration,
        "1m",
        "How long samples that wait to be forwarded may take at the end or a reload; what is left \
         is forwarded after the next start.",
    ),
    active(
        "remote.hold",
        Kind::Duration,
        "6h",
        "How long samples are held for a remote-write receiver that is away, while they take less \
         than a tenth of the disk; 0 sets no limit of time.",
    ),
    active(
        "storage.remote.read-sample-limit",
        Kind::Uint,
        "50000000",
        "Samples that a remote read may answer with, where they are sent as such; 0 sets no limit.",
    ),
    active(
        "storage.remote.read-concurrent-limit",
        Kind::Uint,
        "10",
        "Remote reads at a time; 0 sets no limit.",
    ),
    active(
        "storage.remote.read-max-bytes-in-frame",
        Kind::Uint,
        "1048576",
        "Bytes after which a frame of a streamed remote read ends.",
    ),
    active(
        "rules.alert.for-outage-tolerance",
        Kind::Duration,
        "1h",
        "How long the server may have been away for alerts to go on being pending where they were.",
    ),
    active(
        "rules.alert.for-grace-period",
        Kind::Duration,
        "10m",
        "Least time between a start and the firing of an alert that was pending before it.",
    ),
    active(
        "rules.alert.resend-delay",
        Kind::Duration,
        "1m",
        "How long until an alert that still fires is sent again.",
    ),
    active(
        "rules.max-concurrent-evals",
        Kind::Uint,
        "4",
        "Rules that run side by side with others of their group, where the feature \
         concurrent-rule-eval is on.",
    ),
    active(
        "rules.backfill-gap",
        Kind::Duration,
        "0s",
        "Longest time of absence for which recording rules are evaluated when the server is back; \
         0s leaves gaps as they are.",
    ),
    active(
        "alertmanager.notification-queue-capacity",
        Kind::Uint,
        "10000",
        "Alerts that may wait for one Alertmanager.",
    ),
    active(
        "alertmanager.notification-batch-size",
        Kind::Uint,
        "256",
        "Most alerts in one request to an Alertmanager.",
    ),
    switch!(
        "alertmanager.drain-notification-queue-on-shutdown",
        "true",
        "Send what waits before the end.",
    ),
    active(
        "query.lookback-delta",
        Kind::Duration,
        "5m",
        "How far back a query looks for a sample.",
    ),
    active("query.timeout", Kind::Duration, "2m", "Longest time that a query may take."),
    active("query.max-concurrency", Kind::Uint, "20", "Queries that run at a time."),
    active(
        "query.max-samples",
        Kind::Uint,
        "50000000",
        "Samples that a query may hold in memory; one that needs more fails.",
    ),
    active(
        "query.max-series",
        Kind::Uint,
        "10000000",
        "Series that one selector of a query may find; a query that finds more fails. 0 sets no \
         limit.",
    ),
    active(
        "query.max-memory",
        Kind::Bytes,
        "0B",
        "Memory that a query may take; one that needs more fails. 0 takes half of \
         query.max-total-memory.",
    ),
    active(
        "query.max-total-memory",
        Kind::Bytes,
        "0B",
        "Memory that all queries together may take; one that needs more than is left fails. 0 \
         takes a quarter of the memory that the process may use.",
    ),
    active(
        "query.result-cache-size",
        Kind::Bytes,
        "0B",
        "Memory for results of range queries, of which steps whose data has not changed are used \
         again; 0 keeps none.",
    ),
    active(
        "enable-feature",
        Kind::Texts,
        "",
        "Names of features, separated by commas. Effective: exemplar-storage, \
         promql-experimental-functions, promql-delayed-name-removal, \
         promql-extended-range-selectors, promql-binop-fill-modifiers, use-start-timestamps.",
    ),
    switch!("agent", "false", "Only scrape and forward, and answer no queries."),
    active(
        "log.level",
        Kind::OneOf(&["debug", "info", "warn", "error"]),
        "info",
        "Least severity of messages that are logged.",
    ),
    active("log.format", Kind::OneOf(&["logfmt", "json"]), "logfmt", "Form of log messages."),
    active(
        "storage.wal.sync-interval",
        Kind::Duration,
        "1s",
        "Greatest age of acknowledged samples that a loss of power may take; 0s syncs before each \
         acknowledgement.",
    ),
    active(
        "storage.disk-reserve",
        Kind::Bytes,
        "16MiB",
        "Room on the disk that is kept for making room when the disk is full.",
    ),
    active(
        "storage.quarantine.max-size",
        Kind::Bytes,
        "1GiB",
        "Damaged files are kept up to this size, the oldest are removed first; 0B keeps all.",
    ),
    hidden(active(
        "storage.tsdb.min-block-duration",
        Kind::Duration,
        "2h",
        "Length of the windows that become blocks.",
    )),
    hidden(active(
        "storage.tsdb.max-block-duration",
        Kind::Duration,
        "0s",
        "Longest block after compaction; a tenth of the retention by default.",
    )),
    hidden(idle("storage.tsdb.max-block-chunk-segment-size", Kind::Bytes, "0B", FORMAT)),
    hidden(idle("storage.tsdb.wal-segment-size", Kind::Bytes, "0B", FORMAT)),
    hidden(idle_switch!("storage.tsdb.wal-compression", "true", FORMAT)),
    hidden(idle(
        "storage.tsdb.wal-compression-type",
        Kind::OneOf(&["snappy", "zstd"]),
        "snappy",
        FORMAT,
    )),
    hidden(idle_switch!("storage.tsdb.allow-overlapping-compaction", "true", FORMAT)),
    hidden(idle("storage.tsdb.samples-per-chunk", Kind::Uint, "120", FORMAT)),
    hidden(idle("storage.tsdb.delayed-compaction.max-percent", Kind::Uint, "10", FORMAT)),
    hidden(idle("storage.tsdb.block-reload-interval", Kind::Duration, "1m", FORMAT)),
    agent(hidden(idle("storage.agent.wal-segment-size", Kind::Bytes, "0B", AGENT))),
    agent(hidden(idle(
        "storage.agent.wal-compression-type",
        Kind::OneOf(&["snappy", "zstd"]),
        "snappy",
        AGENT,
    ))),
    agent(hidden(idle("storage.agent.wal-truncate-frequency", Kind::Duration, "0s", AGENT))),
    hidden(switch!(
        "scrape.adjust-timestamps",
        "true",
        "Give samples the time at which their scrape was due, where it began a little later.",
    )),
    hidden(active(
        "scrape.timestamp-tolerance",
        Kind::GoDuration,
        "2ms",
        "How much later that may be; at most a hundredth of the interval.",
    )),
    hidden(active(
        "scrape.discovery-reload-interval",
        Kind::Duration,
        "5s",
        "Least time between two changes of targets that are taken over.",
    )),
    hidden(switch!("write-documentation", "false", "Print all flags as Markdown and end.")),
];
