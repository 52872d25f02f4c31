//! Series that ended: what they leave in memory, and what comes back when they do.

use super::*;
use crate::head::AppendError;
use crate::head::group::NO_SERIES;

const STEP_MS: i64 = 15_000;

/// Feeds `1` in all of `rows`, and `ended` and `odd` in the first forty (`odd` from elsewhere).
fn feed(bench: &Bench, head: &Arc<Head>, rows: std::ops::Range<i64>) {
    for row in rows {
        let t = T0 + row * STEP_MS;
        bench.clock.set_now_ms(t);
        let mut samples = vec![("1", t, row as f64)];
        if row < 40 {
            samples.push(("ended", t, (row * row) as f64));
            push(head, "b", &[("odd", t + 1, 1.0)]).unwrap();
        }
        push(head, "a", &samples).unwrap();
        head.maintain(t).unwrap();
    }
}

/// Slots in use, and bytes of streams, of all groups.
fn in_memory(head: &Head) -> (usize, usize) {
    let groups = head.groups_read().all();
    let slots = groups
        .iter()
        .map(|group| group.writer().slots.iter().filter(|slot| slot.series != NO_SERIES).count());
    let samples = groups.iter().map(|group| group.data().unsealed_len());
    (slots.sum(), samples.sum())
}

#[test]
fn an_ended_series_keeps_labels_and_chunks_only() {
    let mut bench = Bench::new(21);
    let head = bench.open();
    feed(&bench, &head, 0..100);
    assert_eq!(in_memory(&head).0, 3, "twenty minutes have not passed");
    feed(&bench, &head, 100..140);
    let (slots, samples) = in_memory(&head);
    assert_eq!(slots, 1);
    assert!(samples <= 140);
    let all = contents(&head);
    assert_eq!(all.len(), 140 + 40 + 40);
    let of = |head: &Head, range: TimeRange| {
        let ids = head.index().all();
        let mut labels = head.labels_within::<StorageError>(&ids, range, &|_| Ok(())).unwrap();
        labels.sort();
        labels.iter().map(|labels| labels.get("i").unwrap().to_owned()).collect::<Vec<_>>()
    };
    let late = TimeRange { min_ms: T0 + 130 * STEP_MS, max_ms: T0 + 140 * STEP_MS };
    assert_eq!(of(&head, TimeRange::ALL), ["1", "ended", "odd"]);
    assert_eq!(of(&head, late), ["1"]);
    // After a crash the log brings some back to memory; nothing is doubled or missing.
    drop(head);
    for is_closed in [false, true, false] {
        bench.disk = bench.disk.kill();
        let head = bench.open();
        assert_eq!(contents(&head), all);
        if is_closed {
            bench.clock.set_now_ms(T0 + 160 * STEP_MS);
            head.maintain(T0 + 160 * STEP_MS).unwrap();
            assert_eq!(in_memory(&head).0, 1);
            head.close().unwrap();
        }
    }
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(contents(&head), all);
    assert_eq!(in_memory(&head).0, 1, "the checkpoint knows that they have no slots");
    assert_eq!(of(&head, TimeRange::ALL), ["1", "ended", "odd"]);
}

#[test]
fn a_series_that_comes_back_is_judged_by_its_last_sample() {
    for restarts in [false, true] {
        let mut bench = Bench::new(22);
        let mut head = bench.open();
        feed(&bench, &head, 0..140);
        if restarts {
            head.close().unwrap();
            drop(head);
            bench.disk = bench.disk.kill();
            head = bench.open();
        }
        let last = T0 + 39 * STEP_MS;
        let refused = push(&head, "a", &[("ended", last - 1, 5.0)]).unwrap();
        assert_eq!(refused.rejected, [(0, AppendError::OutOfOrder)]);
        let refused = push(&head, "a", &[("ended", last, 5.0)]).unwrap();
        assert_eq!(refused.rejected, [(0, AppendError::Duplicate)]);
        let again = push(&head, "a", &[("ended", last, 39.0 * 39.0)]).unwrap();
        assert_eq!(again.accepted, 1, "the same sample is there already");
        // From another source: it lives there from now on.
        let next = T0 + 140 * STEP_MS;
        assert_eq!(push(&head, "c", &[("ended", next, 7.0)]).unwrap().accepted, 1);
        let all = contents(&head);
        assert_eq!(all.len(), 140 + 40 + 40 + 1);
        assert_eq!(all[&("ended".to_owned(), next)], 7_f64.to_bits());
        for row in 141..270 {
            let t = T0 + row * STEP_MS;
            bench.clock.set_now_ms(t);
            push(&head, "a", &[("1", t, 1.0)]).unwrap();
            head.maintain(t).unwrap();
        }
        assert_eq!(in_memory(&head).0, 1, "it ended once more");
        let all = contents(&head);
        assert_eq!(all.len(), 270 - 1 + 40 + 40 + 1);
        head.close().unwrap();
        drop(head);
        bench.disk = bench.disk.kill();
        assert_eq!(contents(&bench.open()), all);
    }
}

#[test]
fn the_flush_that_takes_its_last_samples_takes_the_series() {
    let bench = Bench::new(23);
    let head = bench.open();
    feed(&bench, &head, 0..721);
    let window = head.flushable_window().unwrap();
    let border = window.max_ms + 1;
    head.seal_window(border).unwrap();
    assert_eq!(contents(&head).len(), 721 + 40 + 40);
    head.truncate(border).unwrap();
    assert!(head.find(&labels("ended")).is_none() && head.find(&labels("odd")).is_none());
    assert_eq!((head.series_count(), head.stats().groups), (1, 1));
    let again = push(&head, "a", &[("ended", T0 + 721 * STEP_MS, 1.0)]).unwrap();
    assert_eq!(again.accepted, 1);
    assert_eq!(contents(&head).len(), 721 - 480 + 1);
}

/// What an idle source has is in files whole, so the log before it can go.
#[test]
fn a_source_that_ended_holds_no_log() {
    let bench = Bench::new(24);
    let head = bench.open();
    feed(&bench, &head, 0..140);
    let groups = head.groups_read().all();
    let held: Vec<bool> = groups.iter().map(|g| g.writer().unsealed_from.is_some()).collect();
    let fed: Vec<bool> = groups.iter().map(|g| g.data().unsealed_len() > 0).collect();
    assert_eq!(held, fed);
    assert!(held.contains(&false));
}
