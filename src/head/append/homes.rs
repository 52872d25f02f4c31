//! Which group a new series lives in.
//!
//! Nearly always the root of its source. Where the samples of one commit show that the source
//! keeps times of its own (cAdvisor, federation), series are spread over several groups of that
//! source, so that those with equal times share one: a group whose rows have many empty slots
//! costs more than another group.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::Sample;
use crate::head::ended::LastSamples;
use crate::head::group::Group;
use crate::head::register::Home;
use crate::head::{GroupKey, Head};

impl Head {
    /// The root group of a source, created where there is none.
    pub(super) fn root(&self, key: &GroupKey) -> Arc<Group> {
        let bytes = key.to_bytes();
        {
            let groups = self.groups_read();
            if let Some(group) = groups.of_source(&bytes).first().and_then(|&id| groups.by_id(id)) {
                return Arc::clone(group);
            }
        }
        let mut groups = self.groups_write();
        match groups.of_source(&bytes).first().and_then(|&id| groups.by_id(id)) {
            Some(group) => Arc::clone(group),
            None => groups.add(key),
        }
    }

    /// Gives a home to every series of `samples` that has none.
    pub(super) fn settle(&self, root: &Arc<Group>, samples: &[Sample]) {
        let (homeless, by_time, times) = self.first_times(root, samples);
        if homeless.is_empty() {
            return;
        }
        let ids: Vec<u32> = homeless.iter().map(|h| h.0).collect();
        let lasts = self.last_samples(&ids);
        if times <= 1 {
            let group = by_time.values().next().copied().and_then(|id| self.group(id));
            self.add_slots(&group.unwrap_or_else(|| Arc::clone(root)), &ids, &lasts);
            return;
        }
        let mut by_time = by_time;
        let mut taken: HashSet<u32> = by_time.values().copied().collect();
        let mut batches: HashMap<u32, Vec<u32>> = HashMap::new();
        for (series, t_ms) in homeless {
            let id = *by_time.entry(t_ms).or_insert_with(|| self.unused_group(root, &mut taken));
            batches.entry(id).or_default().push(series);
        }
        for (id, series) in batches {
            if let Some(group) = self.group(id) {
                self.add_slots(&group, &series, &lasts);
            }
        }
    }

    /// The homeless series with the first time of each in this commit; which of the source's
    /// groups is fed at which time; how many different first times there are.
    fn first_times(
        &self,
        root: &Group,
        samples: &[Sample],
    ) -> (Vec<(u32, i64)>, HashMap<i64, u32>, usize) {
        let siblings = self.groups_read().of_source(&root.key.to_bytes()).to_vec();
        let siblings: HashSet<u32> = siblings.into_iter().collect();
        let register = self.register_read();
        let mut seen = HashSet::new();
        let (mut homeless, mut by_time) = (Vec::new(), HashMap::new());
        let mut times = HashSet::new();
        for sample in samples {
            let Some(home) = register.home(sample.series) else { continue };
            if !home.lacks_slot() {
                if siblings.contains(&home.group) {
                    by_time.entry(sample.t_ms).or_insert(home.group);
                    times.insert(sample.t_ms);
                }
            } else if seen.insert(sample.series.id.0) {
                homeless.push((sample.series.id.0, sample.t_ms));
                times.insert(sample.t_ms);
            }
        }
        (homeless, by_time, times.len())
    }

    /// A group of the source that this commit does not feed otherwise.
    fn unused_group(&self, root: &Group, taken: &mut HashSet<u32>) -> u32 {
        let mut groups = self.groups_write();
        let siblings = groups.of_source(&root.key.to_bytes());
        let unused = siblings.iter().copied().find(|id| !taken.contains(id));
        let id = unused.unwrap_or_else(|| groups.add(&root.key).id);
        taken.insert(id);
        id
    }

    /// Appends slots for those of `ids` that still have none; `lasts` are the newest samples of
    /// those that had ended.
    fn add_slots(&self, group: &Group, ids: &[u32], lasts: &LastSamples) {
        let mut writer = group.writer();
        if writer.is_gone {
            return;
        }
        let mut register = self.register_write();
        let mut data = group.data();
        for &id in ids {
            if register.home_of(id).is_some_and(Home::lacks_slot) {
                let slot = writer.add_slot(id);
                data.add_slot(id);
                if let Some((last_ms, last_bits, extra)) = lasts.get(&id) {
                    let state = &mut writer.slots[slot as usize];
                    state.last_ms = *last_ms;
                    state.last_bits = *last_bits;
                    writer.set_extra(slot, extra.clone());
                }
                register.move_home(id, Home { group: group.id, slot });
            }
        }
    }
}
