//! Bodies of remote-write requests, decoded, through both readers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::protowire::remote_write_v1::SeriesVisitor;
use narthex::protowire::{PushedMetadata, PushedSeries, remote_write_v1, remote_write_v2};

/// Knows every other series.
#[derive(Default)]
struct Count {
    asked: usize,
    visited: usize,
}

impl<'a> SeriesVisitor<'a> for Count {
    fn knows(&mut self, _raw_labels: &'a [u8]) -> bool {
        self.asked += 1;
        self.asked % 2 == 0
    }

    fn visit(&mut self, _series: &PushedSeries<'a>) {
        self.visited += 1;
    }

    fn describe(&mut self, _metadata: PushedMetadata<'a>) {}
}

fuzz_target!(|message: &[u8]| {
    let mut count = Count::default();
    let read = remote_write_v1::visit_series(message, &mut count);
    assert!(read.is_err() || read.is_ok_and(|extent| extent.series == count.visited));
    let mut series = 0;
    let read = remote_write_v2::visit_series(message, |_| series += 1);
    assert!(read.is_err() || read == Ok(series));
});
