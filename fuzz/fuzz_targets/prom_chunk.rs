//! Wild bytes as a chunk of Prometheus: samples whose times ascend, or an error; and what was read
//! is written and read again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::model::Samples;
use narthex::prometheus::chunk::{Encoding, decode, encode_floats};

fuzz_target!(|data: &[u8]| {
    let Some((&number, data)) = data.split_first() else {
        return;
    };
    let Some(encoding) = Encoding::from_u8(number % 6 + 1) else {
        return;
    };
    let mut samples = Samples::default();
    let _ = decode(encoding, data, &mut samples);
    assert!(samples.timestamps.windows(2).all(|pair| pair[0] < pair[1]));
    if samples.is_float_only() && samples.len() <= usize::from(u16::MAX) {
        let mut bytes = Vec::new();
        encode_floats(&samples.timestamps, &samples.values, &mut bytes);
        let mut again = Samples::default();
        assert_eq!(decode(Encoding::Xor, &bytes, &mut again), Ok(()));
        let bits = |s: &Samples| s.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(again.timestamps == samples.timestamps && bits(&again) == bits(&samples));
    }
});
