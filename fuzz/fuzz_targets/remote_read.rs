//! Bodies of remote read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::protowire::remote_read::{ReadRequest, read_frame};
use narthex::remote::parse_read_request;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_read_request(bytes);
    let _ = read_frame(bytes, |_, _, _| Ok(()));
    if let Ok(request) = ReadRequest::parse(bytes) {
        let mut message = Vec::new();
        request.write(&mut message);
        assert!(ReadRequest::parse(&message).is_ok());
    }
});
