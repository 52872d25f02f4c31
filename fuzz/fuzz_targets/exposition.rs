//! Any bytes as a page of any format: the line cache, fed the page several times, must tell what
//! the parser tells. The first byte names format and options.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::exposition::{Format, ParseOptions, check_cache_against_parser};

fuzz_target!(|data: &[u8]| {
    let Some((&first, page)) = data.split_first() else { return };
    let format = match first & 3 {
        0 => Format::Text,
        1 => Format::OpenMetrics,
        _ => Format::Protobuf,
    };
    let options = ParseOptions {
        reads_starts: first & 4 != 0,
        native_histograms: first & 8 != 0,
        keep_classic: first & 16 != 0,
        convert_classic: first & 32 != 0,
        type_and_unit_labels: first & 64 != 0,
    };
    check_cache_against_parser(page, format, options);
});
