//! Any bytes as a page: the line cache, fed the page twice, must tell what the parser tells.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|page: &[u8]| narthex::exposition::check_cache_against_parser(page));
