//! Wild bytes as chunk payloads: as many items as asked for or an error, never a panic, and a part
//! of a chunk equal to that part of the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::chunk::{
    Coder, decode_samples, decode_timestamps, decode_values, decode_values_range, encode_samples,
    samples_in_chunk,
};
use narthex::model::Samples;

fuzz_target!(|data: &[u8]| {
    let Some((head, payload)) = data.split_first_chunk::<3>() else {
        return;
    };
    let n = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let mut whole = Vec::new();
    let is_ok = decode_values(payload, n, &mut whole).is_ok();
    assert_eq!(whole.len(), if is_ok { n } else { 0 });
    let mut part = Vec::new();
    let middle = n * usize::from(head[2]) / 256;
    if is_ok && decode_values_range(payload, n, middle / 2..middle, &mut part).is_ok() {
        let same = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits();
        assert!(part.iter().zip(&whole[middle / 2..middle]).all(same));
    }
    let times: Vec<i64> = (0..n as i64).collect();
    let mut samples = Samples::default();
    let is_ok = n > 0 && decode_samples(payload, &times, 0..n, &mut samples).is_ok();
    assert_eq!(samples.len(), if is_ok { n } else { 0 });
    if is_ok && samples_in_chunk(&samples, 0..n) == n {
        let (mut again, mut found) = (Vec::new(), Samples::default());
        encode_samples(&samples, 0..n, Coder::Fast, &mut again);
        decode_samples(&again, &times, 0..n, &mut found).expect("what was written reads");
        assert_eq!(format!("{found:?}"), format!("{samples:?}"));
    }
    let mut timestamps = Vec::new();
    let is_ok = decode_timestamps(payload, n, &mut timestamps).is_ok();
    assert_eq!(timestamps.len(), if is_ok { n } else { 0 });
});
