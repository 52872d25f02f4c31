//! The head's window as a block.
//!
//! A block wants series in ascending order of labels, the head knows them by number. Series are
//! therefore taken metric by metric (the metric name comes first in that order for nearly all of
//! them), sorted, and captured a stretch at a time, so that memory follows the largest metric and
//! not the head. The tiles of a series are joined: one chunk for each series and window.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;

use super::Workshop;
use crate::block::{BlockWriter, Meta, Notes, Ulid};
use crate::chunk::Coder;
use crate::disk::StorageError;
use crate::head::{Captured, Head, SeriesId};
use crate::index::{LabelIndex, Visit};
use crate::model::{Labels, METRIC_NAME, Samples, TimeRange};

/// Series captured at once.
const SERIES_PER_CAPTURE: usize = 2048;

/// Writes what the head has within `window` as the block `ulid`. `None` where that is nothing.
pub fn flush_window(
    head: &Head,
    window: TimeRange,
    ulid: Ulid,
    workshop: &Workshop<'_>,
) -> Result<Option<Meta>, StorageError> {
    let Workshop { disk, blocks_dir, window_ms, .. } = workshop;
    let mut writer =
        BlockWriter::create(disk, blocks_dir, ulid, window.min_ms, *window_ms, Coder::Fast)?;
    let mut add = |labels: &Labels, samples: &Samples| writer.add(labels, samples);
    match visit_series(head, window, workshop, &mut add) {
        Ok(()) => {
            // One set of conditions that every series meets.
            let exemplars = head.exemplars(&[Vec::new()], window);
            let metadata = head.metadata().into_iter().collect();
            writer.set_notes(Notes { exemplars, metadata });
            writer.finish(1, Vec::new())
        }
        Err(error) => {
            // The first error is the one to tell; what stays is swept away at the next start.
            let _ = writer.abandon();
            Err(error)
        }
    }
}

/// The windows that the head has samples in, within `range`: late samples may lie far below the
/// rest, with nothing between.
pub fn occupied_windows(
    head: &Head,
    range: TimeRange,
    workshop: &Workshop<'_>,
) -> Result<BTreeSet<i64>, StorageError> {
    let window_ms = workshop.window_ms;
    let start_of = |t: i64| t.div_euclid(window_ms).saturating_mul(window_ms);
    let (first, last) = (start_of(range.min_ms), start_of(range.max_ms));
    if last.saturating_sub(first) <= window_ms {
        return Ok([first, last].into());
    }
    let mut occupied = BTreeSet::new();
    visit_series(head, range, workshop, &mut |_, samples| {
        let mut times = samples.timestamps.as_slice();
        while let Some(&first) = times.first() {
            let start = start_of(first);
            occupied.insert(start);
            times = &times[times.partition_point(|&t| t < start.saturating_add(window_ms))..];
        }
        Ok(())
    })?;
    Ok(occupied)
}

/// Calls `visit` for each series of the head with its samples within `window`, in ascending order
/// of labels.
fn visit_series(
    head: &Head,
    window: TimeRange,
    workshop: &Workshop<'_>,
    visit: &mut dyn FnMut(&Labels, &Samples) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut samples = Samples::default();
    for batch in batches(head) {
        let mut series: Vec<(Labels, u32)> = batch
            .iter()
            .filter_map(|id| head.labels(SeriesId(id)).map(|labels| (labels, id)))
            .collect();
        series.sort_unstable();
        for stretch in series.chunks(SERIES_PER_CAPTURE) {
            (workshop.check)()?;
            let ids: RoaringBitmap = stretch.iter().map(|(_, id)| *id).collect();
            let captured = head.capture(&ids, window, &|_| (workshop.check)())?;
            for index in in_label_order(&captured) {
                captured.read_around(index, window, &mut samples, &mut |e| (workshop.damaged)(&e));
                visit(captured.labels(index), &samples)?;
            }
        }
    }
    Ok(())
}

fn in_label_order(captured: &Captured) -> Vec<usize> {
    let mut order: Vec<usize> = (0..captured.len()).collect();
    order.sort_unstable_by(|&a, &b| captured.labels(a).cmp(captured.labels(b)));
    order
}

/// All series in sets that ascend: every series of one set is below every series of the next.
fn batches(head: &Head) -> Vec<RoaringBitmap> {
    let (mut below, metrics, mut above) = partition(&head.index());
    // The empty label set is below all others and has no pair to find it by.
    let is_empty = |id: &u32| head.labels(SeriesId(*id)).is_some_and(|labels| labels.is_empty());
    let empty: Vec<u32> = above.iter().filter(is_empty).collect();
    below.extend(empty.iter().copied());
    above -= empty.into_iter().collect::<RoaringBitmap>();
    let mut batches = vec![below];
    batches.extend(metrics);
    batches.push(above);
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Series with a label below the metric name, series of each metric, and the others.
fn partition(index: &impl LabelIndex) -> (RoaringBitmap, Vec<RoaringBitmap>, RoaringBitmap) {
    let mut names = Vec::new();
    index.visit_names(&mut |name| names.push(name.to_owned()));
    let mut below = RoaringBitmap::new();
    for name in names.iter().filter(|name| name.as_str() < METRIC_NAME) {
        let mut values = Vec::new();
        index.visit_values(name, "", &mut |value| {
            values.push(value.to_owned());
            Visit::Next
        });
        for value in &values {
            below |= index.postings(name, value);
        }
    }
    let mut metric_names = Vec::new();
    index.visit_values(METRIC_NAME, "", &mut |value| {
        metric_names.push(value.to_owned());
        Visit::Next
    });
    metric_names.sort_unstable();
    metric_names.dedup();
    let mut above = index.all() - &below;
    let mut metrics = Vec::new();
    for name in &metric_names {
        let series = index.postings(METRIC_NAME, name) - &below;
        above -= &series;
        metrics.push(series);
    }
    (below, metrics, above)
}
