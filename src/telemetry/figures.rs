//! Figures that others keep and that are read when the page is asked for, and the families made
//! of them.
//!
//! Plain structs: whoever wires the server fills them. What is `None` gives no family, so that a
//! page shows no zero for what nobody counted.

use crate::db::{BlockStats, Stats};
use crate::exposition::{Family, MetricType, SampleLine};
use crate::head::Limit;

use MetricType::{Counter, Gauge};

/// Everything that is read for one page.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Samples are only forwarded.
    pub is_agent: bool,
    /// Whether the server answers queries.
    pub ready: bool,
    /// Tasks that the runtime holds; `None` where there is no runtime.
    pub tasks: Option<usize>,
    /// The database; `None` while it is being opened.
    pub tsdb: Option<TsdbFigures>,
    /// What scraping did.
    pub scrape: ScrapeFigures,
    /// What discovery found, one entry for each job.
    pub discovered: Vec<DiscoveredTargets>,
    /// Families that another module made whole. A series that is there and in the figures above
    /// is taken from here.
    pub families: Vec<Family>,
}

/// The database at one moment.
#[derive(Debug, Clone, Default)]
pub struct TsdbFigures {
    /// What the database says of itself.
    pub stats: Stats,
    /// Blocks that lie this far below the newest data go; 0 keeps everything.
    pub retention_ms: i64,
    /// Bytes that blocks may take; 0 sets no limit.
    pub retention_bytes: u64,
    /// Share of the file system that data may take, in per cent; 0 sets no limit.
    pub retention_percentage: f64,
    /// Whether the process before this one ended in good order; `None` where that is not known.
    pub clean_start: Option<bool>,
}

/// Targets that discovery found for one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredTargets {
    /// Name of the job.
    pub config: String,
    /// Which manager looks: `scrape` or `notify`.
    pub name: &'static str,
    /// How many.
    pub targets: usize,
}

/// What scraping did, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct ScrapeFigures {
    /// One entry for each job.
    pub pools: Vec<PoolFigures>,
    /// Sums over all jobs.
    pub totals: Option<ScrapeTotals>,
}

/// One job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Name of the job.
    pub job: String,
    /// Targets that are scraped.
    pub targets: usize,
    /// `target_limit`; 0 sets none.
    pub target_limit: u64,
    /// Times that discovered targets were taken over.
    pub syncs: Option<u64>,
    /// Families whose HELP and TYPE are kept.
    pub metadata_entries: Option<u64>,
    /// Bytes of those.
    pub metadata_bytes: Option<u64>,
}

/// Sums since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrapeTotals {
    /// Jobs begun.
    pub pools: u64,
    /// Jobs that could not run.
    pub pools_failed: u64,
    /// Jobs that took over a changed configuration.
    pub reloads: u64,
    /// Scrapes refused by `sample_limit`.
    pub exceeded_sample_limit: u64,
    /// Scrapes refused by `body_size_limit`.
    pub exceeded_body_size_limit: u64,
    /// Scrapes refused by a limit on labels.
    pub exceeded_label_limits: u64,
    /// Discoveries that found more than `target_limit`.
    pub exceeded_target_limit: u64,
    /// Samples refused because a later one is there.
    pub out_of_order: u64,
    /// Samples refused because another stands at their time.
    pub duplicates: u64,
    /// Samples refused for lying too far back or ahead.
    pub out_of_bounds: u64,
}

/// A family with one sample and no labels.
pub(super) fn plain(metric_type: MetricType, name: &str, help: &str, value: f64) -> Family {
    family(metric_type, name, help, [(Vec::new(), value)])
}

/// A family of samples without suffix.
pub(super) fn family(
    metric_type: MetricType,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (Vec<(String, String)>, f64)>,
) -> Family {
    let line = |(labels, value)| SampleLine { suffix: "", labels, value };
    Family {
        name: name.to_owned(),
        help: help.to_owned(),
        metric_type,
        samples: samples.into_iter().map(line).collect(),
    }
}

pub(super) fn label(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Figures {
    /// All families but those of the process, in no order.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut families = self.families.clone();
        let help = "1 once queries are answered, 0 before and while the server ends.";
        families.push(plain(Gauge, "prometheus_ready", help, f64::from(u8::from(self.ready))));
        if let Some(tsdb) = &self.tsdb {
            tsdb.families(&mut families);
        }
        self.scrape.families(&mut families);
        families.push(family(
            Gauge,
            "prometheus_sd_discovered_targets",
            "Targets that discovery finds now.",
            self.discovered.iter().map(|found| {
                let labels = vec![label("config", &found.config), label("name", found.name)];
                (labels, found.targets as f64)
            }),
        ));
        families
    }
}

impl TsdbFigures {
    fn families(&self, out: &mut Vec<Family>) {
        self.head(out);
        self.times(out);
        self.blocks(out);
        self.limits(out);
        self.state(out);
    }

    fn head(&self, out: &mut Vec<Family>) {
        let stats = &self.stats;
        let gauges: [(&str, &str, u64); 7] = [
            ("prometheus_tsdb_head_series", "Series in the head.", stats.head_series as u64),
            (
                "prometheus_tsdb_head_chunks",
                "Chunks in the head: sealed ones, and one for each series with unsealed samples.",
                stats.head.chunks,
            ),
            (
                "prometheus_tsdb_head_chunks_storage_size_bytes",
                "Bytes of the files that hold the head's sealed chunks.",
                stats.head_file_bytes,
            ),
            (
                "prometheus_tsdb_wal_storage_size_bytes",
                "Bytes of the write-ahead log.",
                stats.wal_bytes,
            ),
            (
                "narthex_head_label_pairs",
                "Distinct pairs of label name and value in the head.",
                stats.head_label_pairs as u64,
            ),
            (
                "narthex_quarantined_files",
                "Damaged files and directories put aside since the start; the rest is served.",
                stats.quarantined.len() as u64,
            ),
            (
                "narthex_prometheus_shelved_bytes",
                "Bytes of Prometheus's blocks that are past retention, and therefore not served.",
                stats.shelved.bytes,
            ),
        ];
        out.extend(gauges.map(|(name, help, value)| plain(Gauge, name, help, value as f64)));
        let counters: [(&str, &str, u64); 2] = [
            (
                "prometheus_tsdb_head_series_created_total",
                "Series that entered the head.",
                stats.series_created,
            ),
            (
                "prometheus_tsdb_head_series_removed_total",
                "Series that left the head.",
                stats.series_removed,
            ),
        ];
        out.extend(counters.map(|(name, help, value)| plain(Counter, name, help, value as f64)));
        out.push(family(
            Counter,
            "prometheus_tsdb_head_samples_appended_total",
            "Samples accepted.",
            [(vec![label("type", "float")], stats.samples_appended as f64)],
        ));
    }

    /// What came of samples, and what the head takes.
    fn state(&self, out: &mut Vec<Family>) {
        let head = &self.stats.head;
        let floats: [(&str, &str, u64); 6] = [
            (
                "prometheus_tsdb_head_out_of_order_samples_appended_total",
                "Samples accepted below the newest of their series.",
                head.samples_late,
            ),
            (
                "prometheus_tsdb_out_of_order_samples_total",
                "Samples refused for lying below the newest of their series.",
                head.out_of_order,
            ),
            (
                "prometheus_tsdb_out_of_bound_samples_total",
                "Samples refused for lying below what the head takes.",
                head.out_of_bounds,
            ),
            (
                "prometheus_tsdb_too_old_samples_total",
                "Samples refused for lying below the out-of-order window.",
                head.too_old,
            ),
            (
                "narthex_head_duplicate_samples_total",
                "Samples refused because another value stands at their time.",
                head.duplicates,
            ),
            (
                "narthex_head_too_far_in_future_samples_total",
                "Samples refused for lying too far ahead of the clock.",
                head.too_far_in_future,
            ),
        ];
        out.extend(floats.map(|(name, help, value)| {
            family(Counter, name, help, [(vec![label("type", "float")], value as f64)])
        }));
        self.log(out);
        self.exemplars(out);
        let help = "Checkpoints of the head written.";
        let checkpoints = head.checkpoints as f64;
        out.push(plain(Counter, "prometheus_tsdb_checkpoint_creations_total", help, checkpoints));
        let help = "Seals of a group of series into a file of the head.";
        out.push(plain(Counter, "narthex_head_seals_total", help, head.seals as f64));
        let help = "Groups of series that arrive together.";
        out.push(plain(Gauge, "narthex_head_groups", help, head.groups as f64));
        let limits = head.series_refused.iter().map(|(limit, refused)| (*limit, *refused));
        let labels = |limit: Limit| vec![label("limit", limit.name())];
        let name = "narthex_storage_limit";
        let help = "Bound of each limit on new series; 0 sets none.";
        let bounds = limits.clone().map(|(l, _)| (labels(l), head.limits.bound(l) as f64));
        out.push(family(Gauge, name, help, bounds));
        let name = "narthex_storage_series_refused_total";
        let help = "How often a limit kept a new series out.";
        let refused = limits.map(|(l, refused)| (labels(l), refused as f64));
        out.push(family(Counter, name, help, refused));
        let help = "Memory that the head takes, estimated.";
        out.push(plain(Gauge, "narthex_head_memory_bytes", help, head.memory_bytes as f64));
    }

    fn exemplars(&self, out: &mut Vec<Family>) {
        let exemplars = &self.stats.exemplars;
        let counters: [(&str, &str, u64); 2] = [
            (
                "prometheus_tsdb_exemplar_exemplars_appended_total",
                "Exemplars kept.",
                exemplars.appended,
            ),
            (
                "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
                "Exemplars refused for lying below the newest of their series.",
                exemplars.out_of_order,
            ),
        ];
        out.extend(counters.map(|(name, help, value)| plain(Counter, name, help, value as f64)));
        // COMPAT: one that lies nowhere lies at 0.
        let oldest = exemplars.oldest_ms.unwrap_or(0) as f64 / 1000.0;
        let gauges: [(&str, &str, f64); 4] = [
            (
                "prometheus_tsdb_exemplar_exemplars_in_storage",
                "Exemplars that are kept in memory.",
                exemplars.kept as f64,
            ),
            (
                "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
                "Series of which exemplars are kept in memory.",
                exemplars.series as f64,
            ),
            (
                "prometheus_tsdb_exemplar_max_exemplars",
                "Exemplars that are kept at most.",
                exemplars.max as f64,
            ),
            (
                "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
                "Time of the exemplar that makes room next.",
                oldest,
            ),
        ];
        out.extend(gauges.map(|(name, help, value)| plain(Gauge, name, help, value)));
    }

    /// The write-ahead log.
    fn log(&self, out: &mut Vec<Family>) {
        let log = &self.stats.head.log;
        let sum_and_count = [("_sum", log.sync_time.as_secs_f64()), ("_count", log.syncs as f64)];
        let line = |(suffix, value)| SampleLine { suffix, labels: Vec::new(), value };
        out.push(Family {
            name: "prometheus_tsdb_wal_fsync_duration_seconds".to_owned(),
            help: "Time that syncs of the write-ahead log took.".to_owned(),
            metric_type: MetricType::Summary,
            samples: sum_and_count.map(line).to_vec(),
        });
        let help = "Number of the segment that is written to.";
        let segment = log.segment as f64;
        out.push(plain(Gauge, "prometheus_tsdb_wal_segment_current", help, segment));
        let head = &self.stats.head;
        let counters: [(&str, &str, u64); 3] = [
            (
                "prometheus_tsdb_checkpoint_creations_failed_total",
                "Checkpoints of the head that could not be written.",
                head.checkpoint_failures,
            ),
            (
                "prometheus_tsdb_wal_truncations_total",
                "Cuts of the write-ahead log: each checkpoint makes one.",
                head.checkpoints,
            ),
            (
                "prometheus_tsdb_wal_truncations_failed_total",
                "Cuts of the write-ahead log that failed with their checkpoint.",
                head.checkpoint_failures,
            ),
        ];
        out.extend(counters.map(|(name, help, value)| plain(Counter, name, help, value as f64)));
        let counters: [(&str, &str, u64); 3] = [
            (
                "prometheus_tsdb_wal_writes_failed_total",
                "Writes to the write-ahead log that failed.",
                log.append_failures,
            ),
            ("narthex_wal_syncs_total", "Syncs of the write-ahead log that worked.", log.syncs),
            (
                "narthex_wal_sync_failures_total",
                "Syncs of the write-ahead log that failed.",
                log.sync_failures,
            ),
        ];
        out.extend(counters.map(|(name, help, value)| plain(Counter, name, help, value as f64)));
        let writable = u8::from(self.stats.unwritable.is_none());
        let help =
            "1 while the write-ahead log takes samples, 0 while the disk is full or refuses.";
        out.push(plain(Gauge, "narthex_wal_writable", help, f64::from(writable)));
        let help = "Bytes of damaged files that were put aside.";
        let aside = self.stats.quarantine_bytes as f64;
        out.push(plain(Gauge, "narthex_quarantine_bytes", help, aside));
        let help = "Bytes of the disk kept for making room when it is full; 0 while given up.";
        let reserve = self.stats.disk_reserve_bytes as f64;
        out.push(plain(Gauge, "narthex_disk_reserve_bytes", help, reserve));
        let help = "Segments of the write-ahead log.";
        out.push(plain(Gauge, "narthex_wal_segments", help, log.segments as f64));
    }

    /// COMPAT: an empty head shows the ends of the range of times, as in Prometheus; a time in
    /// seconds is a whole number.
    fn times(&self, out: &mut Vec<Family>) {
        let (min_ms, max_ms) = match self.stats.head_range {
            Some(range) => (range.min_ms, range.max_ms),
            None => (i64::MAX, i64::MIN),
        };
        let first_block_ms = self.stats.blocks.iter().map(|block| block.range.min_ms).min();
        let lowest_ms = first_block_ms.unwrap_or(min_ms).min(min_ms);
        for (name, of, at_ms) in [
            ("prometheus_tsdb_head_min_time", "Oldest time in the head", min_ms),
            ("prometheus_tsdb_head_max_time", "Newest time in the head", max_ms),
            ("prometheus_tsdb_lowest_timestamp", "Oldest time stored", lowest_ms),
        ] {
            let help = format!("{of}, in milliseconds since the epoch.");
            out.push(plain(Gauge, name, &help, at_ms as f64));
            let help = format!("{of}, in seconds since the epoch.");
            out.push(plain(Gauge, &format!("{name}_seconds"), &help, (at_ms / 1000) as f64));
        }
    }

    fn blocks(&self, out: &mut Vec<Family>) {
        let stats = &self.stats;
        let bytes = |block: &BlockStats| block.index_bytes + block.chunk_bytes;
        let block_bytes: u64 = stats.blocks.iter().map(bytes).sum();
        let gauges: [(&str, &str, u64); 4] = [
            ("narthex_stored_bytes", "Bytes that count towards the limit.", stats.stored_bytes),
            ("narthex_snapshot_bytes", "Bytes of all snapshots.", stats.snapshot_bytes),
            ("prometheus_tsdb_blocks_loaded", "Blocks served.", stats.blocks.len() as u64),
            ("prometheus_tsdb_storage_blocks_bytes", "Bytes of all blocks.", block_bytes),
        ];
        out.extend(gauges.map(|(name, help, value)| plain(Gauge, name, help, value as f64)));
        let counters: [(&str, &str, u64); 5] = [
            (
                "prometheus_tsdb_size_retentions_total",
                "Blocks removed because all together took too many bytes.",
                stats.blocks_oversized,
            ),
            (
                "prometheus_tsdb_compactions_total",
                "Blocks written: windows of the head, and merged blocks.",
                stats.flushes + stats.compactions,
            ),
            (
                "prometheus_tsdb_head_truncations_total",
                "Windows of the head that became a block and left memory.",
                stats.flushes,
            ),
            (
                "prometheus_tsdb_time_retentions_total",
                "Blocks removed for their age.",
                stats.blocks_expired,
            ),
            (
                "narthex_maintenance_failures_total",
                "Steps of maintenance that failed; each is tried again.",
                stats.maintenance_failures,
            ),
        ];
        out.extend(counters.map(|(name, help, value)| plain(Counter, name, help, value as f64)));
    }

    fn limits(&self, out: &mut Vec<Family>) {
        let gauges: [(&str, &str, f64); 3] = [
            (
                "prometheus_tsdb_retention_limit_seconds",
                "Age at which blocks are removed; 0 keeps everything.",
                self.retention_ms as f64 / 1000.0,
            ),
            (
                "prometheus_tsdb_retention_limit_bytes",
                "Size at which the oldest blocks are removed; 0 sets no limit.",
                self.retention_bytes as f64,
            ),
            (
                "prometheus_tsdb_retention_limit_percentage",
                "Share of the file system, in per cent, at which the oldest blocks are removed.",
                self.retention_percentage,
            ),
        ];
        out.extend(gauges.map(|(name, help, value)| plain(Gauge, name, help, value)));
        if let Some(clean) = self.clean_start {
            let help = "1 where the data was left in good order, 0 after a crash.";
            let value = f64::from(u8::from(clean));
            out.push(plain(Gauge, "prometheus_tsdb_clean_start", help, value));
        }
    }
}

impl ScrapeFigures {
    fn families(&self, out: &mut Vec<Family>) {
        type Read = fn(&PoolFigures) -> Option<u64>;
        let pools: [(MetricType, &str, &str, Read); 5] = [
            (
                Gauge,
                "prometheus_target_scrape_pool_targets",
                "Targets of a job that are scraped.",
                |pool| Some(pool.targets as u64),
            ),
            (
                Gauge,
                "prometheus_target_scrape_pool_target_limit",
                "Greatest number of targets of a job; 0 sets none.",
                |pool| Some(pool.target_limit),
            ),
            (
                Counter,
                "prometheus_target_scrape_pool_sync_total",
                "Times that a job took over discovered targets.",
                |pool| pool.syncs,
            ),
            (
                Gauge,
                "prometheus_target_metadata_cache_entries",
                "Metric families of a job whose help and type are kept.",
                |pool| pool.metadata_entries,
            ),
            (
                Gauge,
                "prometheus_target_metadata_cache_bytes",
                "Bytes of the help and type texts kept for a job.",
                |pool| pool.metadata_bytes,
            ),
        ];
        for (metric_type, name, help, read) in pools {
            let sample = |pool: &PoolFigures| {
                Some((vec![label("scrape_job", &pool.job)], read(pool)? as f64))
            };
            out.push(family(metric_type, name, help, self.pools.iter().filter_map(sample)));
        }
        if let Some(totals) = &self.totals {
            totals.families(out);
        }
    }
}

impl ScrapeTotals {
    fn families(&self, out: &mut Vec<Family>) {
        let counters: [(&str, &str, u64); 10] = [
            ("prometheus_target_scrape_pools_total", "Jobs begun.", self.pools),
            (
                "prometheus_target_scrape_pools_failed_total",
                "Jobs that could not run.",
                self.pools_failed,
            ),
            (
                "prometheus_target_scrape_pool_reloads_total",
                "Jobs that took over a new configuration.",
                self.reloads,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_label_limits_total",
                "Scrapes refused by a limit on labels.",
                self.exceeded_label_limits,
            ),
            (
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Discoveries that found more targets than target_limit.",
                self.exceeded_target_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Scrapes refused by sample_limit.",
                self.exceeded_sample_limit,
            ),
            (
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Scrapes refused by body_size_limit.",
                self.exceeded_body_size_limit,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Samples refused because their series has a later one.",
                self.out_of_order,
            ),
            (
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Samples refused because their series has another value at that time.",
                self.duplicates,
            ),
            (
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Samples refused for lying too far back or ahead.",
                self.out_of_bounds,
            ),
        ];
        out.extend(counters.map(|(name, help, value)| plain(Counter, name, help, value as f64)));
    }
}
