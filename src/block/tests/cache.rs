//! Selections that share what was read give what those give that read it themselves.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::{ReadCache, Tombstones, Wanted};
use crate::model::{STALE_NAN_BITS, is_stale};

/// What a selection reads where it may lend, and how many series it lent.
fn read_lent(selection: &Selection, range: TimeRange) -> (Model, usize) {
    read_wanted(selection, range, Wanted::Samples)
}

/// Times, and whether a staleness marker stands there.
fn times(model: &Model) -> Vec<(Labels, Vec<(i64, bool)>)> {
    let marked = |(t_ms, bits): &(i64, u64)| (*t_ms, *bits == STALE_NAN_BITS);
    let series = model.iter();
    series.map(|(labels, samples)| (labels.clone(), samples.iter().map(marked).collect())).collect()
}

fn read_wanted(selection: &Selection, range: TimeRange, wanted: Wanted) -> (Model, usize) {
    let (mut found, mut count) = (Model::new(), 0);
    let mut samples = Samples::default();
    for i in 0..selection.len() {
        let damaged = &mut |error| panic!("{error}");
        let lent = selection.read_or_lend(i, (range, wanted), &mut samples, damaged).unwrap();
        if let Some(lent) = lent {
            assert!(samples.is_empty());
            let (column, part) = lent.column();
            assert_eq!(&column[part], lent.timestamps());
            lent.copy_to(&mut samples);
            let values = lent.values();
            assert!(lent.may_have_stale() || !values.iter().any(|value| is_stale(*value)));
            assert!(lent.may_fall() || !values.windows(2).any(|pair| pair[1] < pair[0]));
            count += 1;
        }
        if !samples.is_empty() {
            found.insert(selection.labels(i).clone(), pairs(&samples));
        }
    }
    (found, count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_kept_changes_no_answer(
        model in arbitrary_model(),
        ranges in proptest::collection::vec((0..9 * HOUR, 0..9 * HOUR), 1..5),
        bytes_max in prop_oneof![Just(0_usize), 2_000_usize..50_000, Just(1 << 22)],
        hidden in proptest::option::of((0..9 * HOUR, 0..9 * HOUR)),
    ) {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
        let dir = write(&disk, &model, 2 * HOUR).unwrap();
        let cached = Arc::new(Block::open(&*disk, &dir).unwrap());
        cached.set_cache(Arc::new(ReadCache::new(bytes_max)));
        let plain = Arc::new(Block::open(&*disk, &dir).unwrap());
        for (round, &(from, len)) in ranges.iter().chain(&ranges).enumerate() {
            if let (true, Some((from, len))) = (round == ranges.len(), hidden) {
                let mut tombstones = Tombstones::default();
                let gone = TimeRange { min_ms: NOW + from, max_ms: NOW + from + len };
                tombstones.hide(&(0..3).collect(), gone);
                let tombstones = Arc::new(tombstones);
                cached.set_tombstones(Arc::clone(&tombstones));
                plain.set_tombstones(tombstones);
            }
            let range = TimeRange { min_ms: NOW + from, max_ms: NOW + from + len };
            for matchers in [vec![], vec![Matcher::equal("instance", "x")]] {
                let known = cached.select(&matchers, range, &none).unwrap();
                let fresh = plain.select(&matchers, range, &none).unwrap();
                let labels = |selection: &Selection| -> Vec<Labels> {
                    (0..selection.len()).map(|i| selection.labels(i).clone()).collect()
                };
                prop_assert_eq!(labels(&known), labels(&fresh));
                prop_assert_eq!(read(&known, range).unwrap(), read(&fresh, range).unwrap());
                prop_assert_eq!(read_lent(&known, range).0, read(&fresh, range).unwrap());
                prop_assert_eq!(read_lent(&fresh, range).0, read(&fresh, range).unwrap());
                for selection in [&known, &fresh] {
                    let found = read_wanted(selection, range, Wanted::Times).0;
                    prop_assert_eq!(times(&found), times(&read(&fresh, range).unwrap()));
                }
                let ordinals = plain.ordinals(&matchers, range).unwrap();
                prop_assert_eq!(cached.ordinals(&matchers, range).unwrap(), ordinals);
            }
        }
    }
}

#[test]
fn a_second_look_reads_nothing_anew() {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
    let samples: Vec<(i64, u64)> =
        (0..400).map(|i| (NOW + i * 15_000, ((i * i % 977) as f64).to_bits())).collect();
    let model = Model::from([(Labels::from_pairs([("__name__", "m")]), samples)]);
    let dir = write(&disk, &model, 2 * HOUR).unwrap();
    let cache = Arc::new(ReadCache::new(1 << 20));
    let block = Arc::new(Block::open(&*disk, &dir).unwrap());
    block.set_cache(Arc::clone(&cache));
    assert!(cache.is_empty());
    let selection = block.select(&[], TimeRange::ALL, &none).unwrap();
    let part = TimeRange { min_ms: NOW, max_ms: NOW + 1_500_000 };
    assert_eq!(read(&selection, part).unwrap(), within(&model, part));
    assert!(!cache.is_empty());
    assert_eq!(read_lent(&selection, part), (within(&model, part), 1));
    for _ in 0..2 {
        assert_eq!(read(&selection, TimeRange::ALL).unwrap(), model);
    }
    // Another selection gives the same rows, not equal ones.
    let again = block.select(&[], TimeRange::ALL, &none).unwrap();
    assert!(std::ptr::eq(selection.labels(0), again.labels(0)));
}
