//! Bodies of remote-write requests, decoded, through both readers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::protowire::{remote_write_v1, remote_write_v2};

fuzz_target!(|message: &[u8]| {
    let mut series = 0;
    let read = remote_write_v1::visit_series(message, |_| series += 1);
    assert!(read.is_err() || read.is_ok_and(|extent| extent.series == series));
    let mut series = 0;
    let read = remote_write_v2::visit_series(message, |_| series += 1);
    assert!(read.is_err() || read == Ok(series));
});
