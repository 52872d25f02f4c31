//! Series of the own storage and of other servers, as one set.

use super::read_frames::{RemoteSeries, merge};
use super::sources::RemoteAnswer;
use crate::model::{Labels, Samples, TimeRange};
use crate::select::{Cancellation, Charge, SelectError, SeriesSet, Stretch};

/// What a sample of another server takes.
const SAMPLE_BYTES: u64 = 32;

/// Where the parts of a series are.
#[derive(Debug)]
struct Row {
    local: Option<usize>,
    /// Set and index.
    remote: Vec<(usize, usize)>,
}

/// Labels strictly ascend; of two samples at one time the own storage's stands, then that of the
/// source that was named first.
#[derive(Debug)]
pub struct SeriesWithRemote {
    local: Box<dyn SeriesSet>,
    remote: Vec<Vec<RemoteSeries>>,
    rows: Vec<Row>,
    warnings: Vec<String>,
    _held: Charge,
}

impl SeriesWithRemote {
    /// Puts what the sources had beside what is stored here.
    pub fn new(
        local: Box<dyn SeriesSet>,
        answer: RemoteAnswer,
        cancellation: &Cancellation,
    ) -> Result<Self, SelectError> {
        let RemoteAnswer { sets: remote, warnings } = answer;
        let mut held = cancellation.charge();
        let samples: usize =
            remote.iter().flatten().map(|series| series.samples.len() + series.labels.len()).sum();
        held.set(samples as u64 * SAMPLE_BYTES)?;
        let mut parts: Vec<(Labels, usize, usize)> = Vec::new();
        for (set, series) in remote.iter().enumerate() {
            let own = series.iter().enumerate();
            parts.extend(own.map(|(index, series)| (series.labels.clone(), set + 1, index)));
        }
        parts.extend((0..local.len()).map(|index| (local.labels(index).clone(), 0, index)));
        parts.sort();
        let (mut rows, mut last): (Vec<Row>, Option<Labels>) = (Vec::new(), None);
        for (labels, set, index) in parts {
            if last.as_ref() != Some(&labels) {
                rows.push(Row { local: None, remote: Vec::new() });
                last = Some(labels);
            }
            let Some(row) = rows.last_mut() else { continue };
            match set {
                0 => row.local = Some(index),
                set => row.remote.push((set - 1, index)),
            }
        }
        Ok(Self { local, remote, rows, warnings, _held: held })
    }
}

impl SeriesSet for SeriesWithRemote {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        let row = &self.rows[index];
        match (row.local, row.remote.first()) {
            (Some(index), _) => self.local.labels(index),
            (None, Some((set, index))) => &self.remote[*set][*index].labels,
            (None, None) => unreachable!("BUG: a row has a part"),
        }
    }

    fn read(&self, index: usize, range: TimeRange, out: &mut Samples) -> Result<(), SelectError> {
        let row = &self.rows[index];
        match row.local {
            Some(index) => self.local.read(index, range, out)?,
            None => out.clear(),
        }
        for (set, index) in &row.remote {
            merge(out, &self.remote[*set][*index].samples);
        }
        if !row.remote.is_empty() {
            out.retain(|t_ms| range.contains(t_ms));
        }
        Ok(())
    }

    fn visit_stretches(
        &self,
        index: usize,
        range: TimeRange,
        visit: &mut dyn FnMut(Stretch<'_>),
    ) -> Result<(), SelectError> {
        let row = &self.rows[index];
        if let (Some(index), true) = (row.local, row.remote.is_empty()) {
            return self.local.visit_stretches(index, range, visit);
        }
        let mut samples = Samples::default();
        self.read(index, range, &mut samples)?;
        if !samples.is_empty() {
            visit(Stretch::Samples(&samples));
        }
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        [self.local.warnings(), self.warnings.clone()].concat()
    }
}
