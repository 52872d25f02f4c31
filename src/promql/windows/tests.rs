//! Tests of windows and lookbacks.

use super::*;
use crate::model::stale_nan;

fn samples(points: &[(i64, f64)]) -> Samples {
    let mut samples = Samples::default();
    for (t_ms, value) in points {
        samples.push(*t_ms, *value);
    }
    samples
}

fn times(start_ms: i64, step_ms: i64, steps: usize) -> SampleTimes {
    SampleTimes { grid: Grid { start_ms, step_ms, steps }, offset_ms: 0, fixed_ms: None }
}

#[test]
fn lookback_is_left_open_and_a_marker_hides() {
    let mut windows = Windows::default();
    *windows.samples_mut() = samples(&[(0, 1.0), (50, 2.0), (60, stale_nan()), (100, 3.0)]);
    let mut column = Column::empty(0);
    look_back(&mut windows, &times(0, 10, 13), 20, Taken::Value, &mut column);
    let found: Vec<_> = column.iter().collect();
    assert_eq!(found, [(0, 1.0), (1, 1.0), (5, 2.0), (10, 3.0), (11, 3.0)]);
}

#[test]
fn what_was_read_before_tells_whether_the_first_is_a_reset() {
    let hint_after = |before: f64| {
        let mut windows = Windows::new(true);
        for (t_ms, count) in [(10, before), (20, 4.0), (30, 1.0)] {
            let histogram = FloatHistogram { count, ..FloatHistogram::default() };
            let histogram = Arc::new(Histogram::Float(histogram));
            windows.samples_mut().push_histogram(t_ms, histogram);
        }
        windows.take_in_histograms();
        windows.drop_until(10);
        assert_eq!(windows.samples().timestamps, [20, 30]);
        let hints = windows.histograms.iter().flatten().map(|h| h.reset_hint);
        hints.collect::<Vec<_>>()
    };
    assert_eq!(hint_after(3.0), [ResetHint::NotReset, ResetHint::Reset]);
    assert_eq!(hint_after(5.0), [ResetHint::Unknown, ResetHint::Reset]);
}

#[test]
fn windows_are_left_open_and_without_markers() {
    let mut windows = Windows::default();
    *windows.samples_mut() = samples(&[(0, 1.0), (10, 2.0), (15, stale_nan()), (20, 3.0)]);
    let times = times(0, 10, 4);
    windows.cut(&times, 10, Overhang::default());
    assert_eq!(windows.input(&times, 10, &[]).bounds, [(0, 1), (1, 2), (2, 3), (3, 3)]);
    let input = windows.input(&times, 10, &[]);
    assert_eq!(input.values, [1.0, 2.0, 3.0]);
    assert_eq!(input.edges(1), (0, 10));
}

#[test]
fn a_pinned_time_is_the_same_at_every_step() {
    let times = SampleTimes { fixed_ms: Some(50), offset_ms: 10, ..times(0, 10, 3) };
    assert_eq!((times.at(0), times.at(2)), (40, 40));
    assert_eq!(times.touched(5, Overhang::default()), Some(TimeRange { min_ms: 36, max_ms: 40 }));
}
