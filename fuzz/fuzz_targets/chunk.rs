//! Wild bytes as chunk payloads: as many items as asked for or an error, never a panic, and a part
//! of a chunk equal to that part of the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex::chunk::{
    Sibling, constant_of, decode_timestamps, decode_values, decode_values_range,
    integers_to_values, read_integers,
};
use narthex::encoding::cursor::Cursor;

fuzz_target!(|data: &[u8]| {
    let Some((head, payload)) = data.split_first_chunk::<3>() else {
        return;
    };
    let n = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let middle = n * usize::from(head[2]) / 256;
    whole_and_part(payload, n, middle);
    let mut timestamps = Vec::new();
    let is_ok = decode_timestamps(payload, n, &mut timestamps).is_ok();
    assert_eq!(timestamps.len(), if is_ok { n } else { 0 });
    beside(payload, n, middle);
    let mut cursor = Cursor::new(payload);
    while narthex::chunk::read_aggregate(&mut cursor, n as u32).is_ok() {}
});

fn same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn whole_and_part(payload: &[u8], n: usize, middle: usize) {
    let mut whole = Vec::new();
    let is_ok = decode_values(payload, n, &mut whole).is_ok();
    assert_eq!(whole.len(), if is_ok { n } else { 0 });
    let mut part = Vec::new();
    if is_ok && decode_values_range(payload, n, middle / 2..middle, &mut part).is_ok() {
        assert!(same(&part, &whole[middle / 2..middle]));
    }
    if let (true, Ok(Some(value))) = (is_ok, constant_of(payload)) {
        assert!(whole.iter().all(|other| other.to_bits() == value.to_bits()));
    }
}

/// As a difference to a sibling of squares, or as a chunk that others differ from.
fn beside(payload: &[u8], n: usize, middle: usize) {
    let has_sibling = Sibling::of(payload, n).is_ok_and(|sibling| sibling.is_some());
    let base: Vec<i64> = (0..n as i64).map(|i| i * i).collect();
    let mut integers = Vec::new();
    if read_integers(payload, n, n, &base, &mut integers).is_err() {
        assert!(integers.is_empty());
        return;
    }
    let mut values = Vec::new();
    integers_to_values(payload, n, &integers, 0..n, &mut values).expect("its list was checked");
    let mut part = Vec::new();
    integers_to_values(payload, n, &integers, middle / 2..middle, &mut part).expect("the same");
    assert!(same(&part, &values[middle / 2..middle]));
    let mut plain = Vec::new();
    if !has_sibling && decode_values(payload, n, &mut plain).is_ok() {
        assert!(same(&plain, &values));
    }
}
