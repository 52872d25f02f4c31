//! Serving while the log is replayed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::disk::{SimulatedClock, SimulatedDisk};
use crate::encoding::varint::write_str;
use crate::head::checkpoint::checkpoint_kind;
use crate::head::{CommitOutcome, GroupKey, NoObserver, SeriesId};
use crate::model::{Labels, Samples, TimeRange};

const START: i64 = 1_700_000_000_000;

fn options(disk: &SimulatedDisk, clock: &SimulatedClock) -> HeadOptions {
    let (disk, clock) = (Arc::new(disk.clone()), Arc::new(clock.clone()));
    HeadOptions::new(disk, clock, Arc::new(NoObserver), PathBuf::from("/data"))
}

fn labels(group: usize, i: usize) -> Labels {
    let pairs = [("__name__", "m".to_owned()), ("g", group.to_string()), ("i", i.to_string())];
    Labels::from_pairs(pairs)
}

fn key(group: usize) -> GroupKey {
    GroupKey::Embedded(group.to_string())
}

fn commit(head: &Arc<Head>, group: usize, t_ms: i64) -> Result<CommitOutcome, StorageError> {
    let mut appender = head.appender(&key(group));
    for i in 0..5 {
        let series = appender.series(&labels(group, i));
        appender.append(series, t_ms, t_ms as f64 / 10.0 + i as f64);
    }
    appender.commit()
}

/// The tables of a checkpoint with many more series than share one table of symbols.
#[test]
fn labels_come_back_from_tables_of_symbols() {
    let (disk, clock) = (SimulatedDisk::new(1), SimulatedClock::new(START));
    let head = Head::open(options(&disk, &clock)).unwrap();
    let all: Vec<Labels> = (0..45_000).map(|i| labels(i % 7, i)).collect();
    for part in all.chunks(9_000) {
        let mut appender = head.appender(&key(0));
        for labels in part {
            let series = appender.series(labels);
            appender.append(series, START, 1.0);
        }
        appender.commit().unwrap();
    }
    let before: Vec<_> = all.iter().map(|labels| head.find(labels).unwrap()).collect();
    head.shorten_log().unwrap();
    let (disk, clock) = (disk.kill(), clock);
    let head = Head::open(options(&disk, &clock)).unwrap();
    let after: Vec<_> = all.iter().map(|labels| head.find(labels).unwrap()).collect();
    assert_eq!(before, after);
    for (series, labels) in after.iter().zip(&all) {
        assert_eq!(head.labels(series.id).as_ref(), Some(labels));
    }
    assert_eq!(head.series_count(), all.len());
}

proptest! {
    #[test]
    fn wild_tables_do_not_panic(
        symbols: Vec<u8>,
        text in prop::collection::vec("[a-z]{0,3}", 0..6),
        series in prop::collection::vec(0_u8..12, 0..60),
    ) {
        let (disk, clock) = (SimulatedDisk::new(1), SimulatedClock::new(START));
        let head = Head::open(options(&disk, &clock)).unwrap();
        let mut recovery = Recovery::new(&head);
        let mut good = Vec::new();
        for text in &text {
            write_str(&mut good, text);
        }
        for symbols in [&symbols, &good] {
            let _ = recovery.apply(Position::START, checkpoint_kind::SYMBOLS, symbols);
            let _ = recovery.apply(Position::START, checkpoint_kind::SERIES, &series);
        }
        recovery.forget_symbols();
        for id in (0..40).map(SeriesId) {
            if let Some(labels) = head.labels(id) {
                prop_assert_eq!(head.find(&labels).map(|series| series.id), Some(id));
            }
        }
    }
}

/// Times of a series; an error of `check` ends the waiting.
fn times(
    head: &Head,
    series: &Labels,
    check: &dyn Fn() -> Result<(), StorageError>,
) -> Result<Vec<i64>, StorageError> {
    let SeriesId(id) = head.find(series).expect("the tables are read").id;
    let captured = head.capture(&[id].into_iter().collect(), TimeRange::ALL, &|_| check())?;
    let mut samples = Samples::default();
    captured.read(0, TimeRange::ALL, &mut samples).map(|()| samples.timestamps)
}

/// Ten groups of five series with twenty rows, the first half of the groups in a checkpoint.
fn killed() -> (SimulatedDisk, SimulatedClock, Vec<i64>) {
    let disk = SimulatedDisk::new(1);
    let clock = SimulatedClock::new(START);
    let head = Head::open(options(&disk, &clock)).unwrap();
    let rows: Vec<i64> = (0..20).map(|row| START + row * 15_000).collect();
    for (n, &t_ms) in rows.iter().enumerate() {
        clock.set_now_ms(t_ms);
        for group in 0..if n < 7 { 5 } else { 10 } {
            assert_eq!(commit(&head, group, t_ms).unwrap().accepted, 5);
        }
        if n == 6 {
            head.shorten_log().unwrap();
        }
    }
    (disk.kill(), clock, rows)
}

fn opened_at_the_gate() -> (Arc<Work>, Vec<i64>) {
    let (disk, clock, rows) = killed();
    let work = Arc::new(Head::read_tables(options(&disk, &clock)).unwrap());
    work.close_gate();
    (work, rows)
}

#[test]
fn what_is_not_replayed_is_waited_for_and_never_half_answered() {
    let (work, rows) = opened_at_the_gate();
    let head = &work.head;
    assert!(head.is_recovering());
    let refuse = || Err(StorageError::Unwritable("the query timed out".to_owned()));
    for group in 0..10 {
        let error = times(head, &labels(group, 2), &refuse).unwrap_err();
        assert!(error.to_string().contains("timed out"), "{error}");
    }
    assert_eq!(head.time_range().unwrap().max_ms, rows[19], "known before the replay");
    assert_eq!(head.flushable_window(), None);
    std::thread::scope(|scope| {
        let answers: Vec<_> = (0..10)
            .map(|group| scope.spawn(move || times(head, &labels(group, 3), &|| Ok(()))))
            .collect();
        let committed: Vec<_> =
            (0..10).map(|group| scope.spawn(move || commit(head, group, rows_end()))).collect();
        let sealed = scope.spawn(|| head.shorten_log());
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| work.run())).collect();
        for run in runs {
            run.join().unwrap();
        }
        for (group, answer) in answers.into_iter().enumerate() {
            let found = answer.join().unwrap().unwrap();
            let expected = if group < 5 { &rows[..] } else { &rows[7..] };
            // A commit may have come between.
            assert_eq!(found[..expected.len()], *expected, "group {group}");
        }
        for outcome in committed {
            assert_eq!(outcome.join().unwrap().unwrap().accepted, 5);
        }
        sealed.join().unwrap().unwrap();
    });
    assert!(!head.is_recovering());
    assert_eq!(times(head, &labels(7, 0), &|| Ok(())).unwrap().len(), 14);
}

fn rows_end() -> i64 {
    START + 20 * 15_000
}

#[test]
fn a_group_serves_as_soon_as_it_is_replayed() {
    let (work, rows) = opened_at_the_gate();
    let head = &work.head;
    let is_asked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| {
            times(head, &labels(8, 1), &|| {
                is_asked.store(true, Ordering::Release);
                Ok(())
            })
        });
        while !is_asked.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // The part that is waited for is the first to be replayed; all others wait on.
        let part = head.gate.next_part().unwrap();
        work.run_one(part);
        assert_eq!(answer.join().unwrap().unwrap(), rows[7..]);
    });
    assert!(head.is_recovering());
    assert_eq!(commit(head, 8, rows_end()).unwrap().accepted, 5);
    let refuse = || Err(StorageError::Unwritable("the query timed out".to_owned()));
    assert!(times(head, &labels(2, 1), &refuse).is_err());
    // The end of the process in the middle loses nothing of either.
    assert!(head.close().is_ok() && commit(head, 2, rows_end()).is_err());
    assert!(times(head, &labels(2, 1), &|| Ok(())).is_err(), "it will never be replayed");
    let mut again = head.options.clone();
    again.replay_threads = 2;
    let head = Head::open(again).unwrap();
    assert_eq!(times(&head, &labels(2, 1), &|| Ok(())).unwrap(), rows);
    assert_eq!(times(&head, &labels(8, 1), &|| Ok(())).unwrap().len(), 14);
    while head.is_recovering() {
        std::thread::sleep(Duration::from_millis(1));
    }
    head.close().unwrap();
}
