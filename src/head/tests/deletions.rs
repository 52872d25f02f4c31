//! Deletions hide what stands before them, wherever it is, and nothing else.

use roaring::RoaringBitmap;

use super::{Bench, T0, capture, checkpoint, push, reference, seal_everything, values};
use crate::disk::Crash;
use crate::head::Head;
use crate::model::TimeRange;

fn delete(head: &Head, names: &[&str], min_ms: i64, max_ms: i64) {
    let ids: RoaringBitmap = names.iter().map(|name| reference(head, name).id.0).collect();
    head.delete(&ids, TimeRange { min_ms, max_ms }).unwrap();
}

/// Late samples of a deleted interval that come after the deletion show, whatever was sealed,
/// written or replayed meanwhile.
#[test]
fn what_comes_after_a_deletion_shows() {
    for (seals_before, seals_after) in [(false, false), (true, false), (false, true), (true, true)]
    {
        let mut bench = Bench::new(11);
        bench.late_ms = 3_600_000;
        let mut head = bench.open();
        for t in 0..10 {
            push(&head, "a", &[("1", T0 + t * 1000, t as f64), ("2", T0 + t * 1000, 1.0)]).unwrap();
        }
        push(&head, "a", &[("1", T0 + 500, 0.5), ("1", T0 + 4500, 4.5)]).unwrap();
        if seals_before {
            seal_everything(&head);
            push(&head, "a", &[("1", T0 + 10_000, 10.0)]).unwrap();
        }
        delete(&head, &["1"], T0 + 1000, T0 + 5000);
        push(&head, "a", &[("1", T0 + 2000, 2.25), ("1", T0 + 4500, 4.75)]).unwrap();
        let mut expected = vec![(0, 0.0), (500, 0.5), (2000, 2.25), (4500, 4.75)];
        expected.extend((6..10).map(|t| (t * 1000, t as f64)));
        expected.extend(seals_before.then_some((10_000, 10.0)));
        assert_eq!(values(&head, "1"), expected);
        assert_eq!(values(&head, "2").len(), 10);
        for round in 0..4 {
            if seals_after && round == 1 {
                seal_everything(&head);
            }
            if round == 2 {
                checkpoint(&head);
            }
            bench.disk = bench.disk.kill();
            head = bench.open();
            assert_eq!(values(&head, "1"), expected, "{seals_before} {seals_after} {round}");
            assert_eq!(values(&head, "2").len(), 10);
        }
    }
}

#[test]
fn an_answered_deletion_survives_a_loss_of_power() {
    for is_sealed in [false, true] {
        let mut bench = Bench::new(12);
        let head = bench.open();
        for t in 0..5 {
            push(&head, "a", &[("1", T0 + t * 1000, t as f64)]).unwrap();
        }
        if is_sealed {
            seal_everything(&head);
        }
        delete(&head, &["1"], i64::MIN, T0 + 2000);
        bench.disk = bench.disk.crash(Crash::Strict);
        assert_eq!(values(&bench.open(), "1"), [(3000, 3.0), (4000, 4.0)]);
    }
}

/// A file's number that a loss of power took must not be given to samples that came after.
#[test]
fn numbers_of_lost_files_are_not_used_for_what_comes_later() {
    let mut bench = Bench::new(13);
    bench.late_ms = 3_600_000;
    let head = bench.open();
    push(&head, "a", &[("1", T0, 0.0), ("1", T0 + 1000, 1.0)]).unwrap();
    // Tries that fail use up numbers.
    for _ in 0..3 {
        bench.disk.fail_nth_of(crate::disk::Call::Create, 1, crate::disk::Fault::Once);
        let groups = head.groups_read().all();
        assert!(head.seal(&groups, &mut head.maintenance().unwrap()).is_err());
    }
    delete(&head, &["1"], i64::MIN, i64::MAX);
    bench.disk = bench.disk.kill();
    let head = bench.open();
    assert_eq!(values(&head, "1"), []);
    push(&head, "a", &[("1", T0 + 500, 0.5), ("1", T0 + 2000, 2.0)]).unwrap();
    seal_everything(&head);
    assert_eq!(values(&head, "1"), [(500, 0.5), (2000, 2.0)]);
}

/// The log is not held for ever by records of which nothing is left.
#[test]
fn a_group_of_which_all_was_deleted_holds_no_log() {
    let bench = Bench::new(14);
    let head = bench.open();
    push(&head, "a", &[("1", T0, 0.0)]).unwrap();
    delete(&head, &["1"], i64::MIN, i64::MAX);
    for i in 0..2000 {
        push(&head, "b", &[("2", T0 + i, i as f64 / 7.0)]).unwrap();
    }
    seal_everything(&head);
    // The log reaches back to the checkpoint before the newest.
    checkpoint(&head);
    checkpoint(&head);
    assert_eq!(head.log.stats().segments, 1);
    push(&head, "a", &[("1", T0 + 5000, 5.0)]).unwrap();
    let disk = bench.disk.kill();
    let head = Bench { disk, ..bench }.open();
    assert_eq!(values(&head, "1"), [(5000, 5.0)]);
    assert_eq!(values(&head, "2").len(), 2000);
}

#[test]
fn a_deletion_is_forgotten_with_the_files_that_it_concerns() {
    let mut bench = Bench::new(15);
    bench.window_ms = 7_200_000;
    let head = bench.open();
    for minute in 0..3 {
        push(&head, "a", &[("1", T0 + minute * 60_000, 1.0), ("2", T0 + minute * 60_000, 1.0)])
            .unwrap();
    }
    seal_everything(&head);
    delete(&head, &["1"], T0, T0 + 60_000);
    assert_eq!(values(&head, "1"), [(120_000, 1.0)]);
    assert!(head.deletions_read().of(reference(&head, "1").id.0).is_some());
    bench.clock.set_now_ms(T0 + 4 * 3_600_000);
    push(&head, "a", &[("1", T0 + 4 * 3_600_000, 1.0)]).unwrap();
    head.seal_window(T0 + 7_200_000).unwrap();
    head.truncate(T0 + 7_200_000).unwrap();
    assert!(head.deletions_read().of(reference(&head, "1").id.0).is_none());
    assert_eq!(capture(&head, TimeRange::ALL).len(), 1);
}
