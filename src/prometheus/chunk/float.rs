//! Chunks of floats: XOR, which everybody writes, and XOR2, which 3.14 writes when asked to.

use super::super::bits::{BitReader, BitWriter, XorFloat, fits_signed};
use super::starts::StartReader;
use super::{ChunkError, Clockwork};
use crate::model::{Samples, is_stale, stale_nan};

/// Samples after which Prometheus begins another chunk.
pub const FLOATS_PER_CHUNK: usize = 120;

/// Widths of time fields by the number of ones before them: XOR.
const XOR_WIDTHS: [u32; 5] = [0, 14, 17, 20, 64];

pub(super) fn decode_xor(count: u16, data: &[u8], out: &mut Samples) -> Result<(), ChunkError> {
    let mut bits = BitReader::new(data);
    if count == 0 {
        return Ok(());
    }
    let mut clock = Clockwork::new(bits.varint()?);
    let mut value = XorFloat::new(bits.float()?);
    out.push(clock.t_ms, value.value());
    for index in 1..count {
        let delta_of_delta = if index == 1 {
            bits.uvarint()? as i64
        } else {
            match XOR_WIDTHS[bits.ones(4)? as usize] {
                0 => 0,
                width => bits.signed(width)?,
            }
        };
        let t_ms = clock.advance(delta_of_delta)?;
        out.push(t_ms, value.read(&mut bits)?);
    }
    Ok(())
}

/// Appends the payload of one chunk with all of the samples, which are floats and at most 65,535.
pub fn encode_floats(timestamps: &[i64], values: &[f64], out: &mut Vec<u8>) {
    let count = u16::try_from(timestamps.len()).expect("BUG: a chunk counts in 16 bits");
    let mut bits = BitWriter::new(&count.to_be_bytes());
    let mut samples = timestamps.iter().zip(values);
    if let Some((&first, &value)) = samples.next() {
        bits.varint(first);
        bits.float(value);
        let mut before = (first, 0_i64);
        let mut xor = XorFloat::new(value);
        for (index, (&t_ms, &value)) in samples.enumerate() {
            let delta = t_ms.wrapping_sub(before.0);
            if index == 0 {
                bits.uvarint(delta as u64);
            } else {
                write_time(&mut bits, delta.wrapping_sub(before.1));
            }
            before = (t_ms, delta);
            xor.write(value, &mut bits);
        }
    }
    out.extend_from_slice(&bits.into_bytes());
}

fn write_time(bits: &mut BitWriter, delta_of_delta: i64) {
    let ones = match delta_of_delta {
        0 => 0,
        d if fits_signed(d, 14) => 1,
        d if fits_signed(d, 17) => 2,
        d if fits_signed(d, 20) => 3,
        _ => 4,
    };
    bits.ones(ones, 4);
    bits.bits(delta_of_delta as u64, XOR_WIDTHS[ones as usize]);
}

pub(super) fn decode_xor2(count: u16, data: &[u8], out: &mut Samples) -> Result<(), ChunkError> {
    let Some((&header, data)) = data.split_first() else { return Err(ChunkError::Bits) };
    let mut bits = BitReader::new(data);
    let mut starts = StartReader::new(header);
    if count == 0 {
        return Ok(());
    }
    let mut clock = Clockwork::new(bits.varint()?);
    let first = bits.float()?;
    // What differences count from never is the staleness marker.
    let mut baseline = XorFloat::new(if is_stale(first) { 0.0 } else { first });
    out.push(clock.t_ms, first);
    out.set_last_start(starts.first(&mut bits, clock.t_ms)?);
    for index in 1..count {
        let before_ms = clock.t_ms;
        let value = if index == 1 {
            clock.advance(bits.uvarint()? as i64)?;
            read_xor2_value(&mut bits, &mut baseline)?
        } else {
            read_xor2_pair(&mut bits, &mut clock, &mut baseline)?
        };
        out.push(clock.t_ms, value);
        out.set_last_start(starts.next(&mut bits, index, before_ms)?);
    }
    Ok(())
}

/// Time and value under one prefix.
fn read_xor2_pair(
    bits: &mut BitReader<'_>,
    clock: &mut Clockwork,
    baseline: &mut XorFloat,
) -> Result<f64, ChunkError> {
    let width = match bits.ones(5)? {
        0 => {
            clock.advance(0)?;
            return Ok(baseline.value());
        }
        1 => {
            clock.advance(0)?;
            if bits.bit()? {
                baseline.read_window(bits)?;
            }
            baseline.read_difference(bits)?;
            return Ok(baseline.value());
        }
        2 => 13,
        3 => 20,
        4 => 64,
        _ => {
            clock.advance(0)?;
            return Ok(stale_nan());
        }
    };
    let field = bits.bits(width)?;
    // Two's complement, unlike the fields of XOR chunks.
    clock.advance((field << (64 - width)) as i64 >> (64 - width))?;
    read_xor2_value(bits, baseline)
}

fn read_xor2_value(bits: &mut BitReader<'_>, baseline: &mut XorFloat) -> Result<f64, ChunkError> {
    match bits.ones(3)? {
        0 => {}
        1 => baseline.read_difference(bits)?,
        2 => {
            baseline.read_window(bits)?;
            baseline.read_difference(bits)?;
        }
        _ => return Ok(stale_nan()),
    }
    Ok(baseline.value())
}
