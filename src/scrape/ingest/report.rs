//! The series that a scrape makes about itself.

use super::super::series::SeriesRules;
use super::super::sink::Batch;
use super::Ingested;
use crate::config::ScrapeConfig;
use crate::disk::StorageError;
use crate::head::SeriesRef;

/// The series that each scrape makes; the last three only with `extra_scrape_metrics`.
pub(super) const REPORTS: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
/// How many of them every job has.
pub(super) const PLAIN_REPORTS: usize = 5;

/// The values that a scrape reports about itself.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// When the scrape began, to the end of its parsing.
    pub duration_seconds: f64,
    /// The target's timeout.
    pub timeout_seconds: f64,
    /// Bytes of the page; 0 where there is none, -1 where there were too many.
    pub body_bytes: f64,
}

/// The values of the series, in their order.
pub(super) fn report_values(
    config: &ScrapeConfig,
    report: &Report,
    ingested: &Ingested,
    is_up: bool,
) -> Vec<f64> {
    let mut values = vec![
        f64::from(u8::from(is_up)),
        report.duration_seconds,
        ingested.scraped as f64,
        ingested.post_relabeling as f64,
        ingested.series_added as f64,
    ];
    if config.extra_scrape_metrics {
        values.extend([report.timeout_seconds, config.sample_limit as f64, report.body_bytes]);
    }
    values
}

/// Collects the series, as many as there are values.
pub(super) fn append_reports(
    known: &mut [Option<SeriesRef>; REPORTS.len()],
    rules: &SeriesRules,
    values: &[f64],
    t_ms: i64,
    batch: &mut dyn Batch,
) -> Result<(), StorageError> {
    for ((series, name), value) in known.iter_mut().zip(REPORTS).zip(values) {
        let series = if let Some(known) = *series {
            known
        } else {
            let found = batch.series(&rules.report(name))?;
            *series = Some(found).filter(|found| found.refusal().is_none());
            found
        };
        batch.append(series, t_ms, *value);
    }
    Ok(())
}
