//! Integers to streams: which residual packs smallest, and under which coder.

use super::{
    CODED, CODED_IN_FOUR, CONSTANT, HAS_CENTER, HAS_DIVISOR, HUFFMAN, LINEAR, RESIDUAL_SHIFT,
    RESIDUALS, Residual,
};
use crate::chunk::pfor::{self, NO_WIDTHS, Widths};
use crate::chunk::tokens::Histogram;
use crate::chunk::{Coder, huffman};
use crate::encoding::bitpack::{BLOCK, width_of};
use crate::encoding::varint::{write_uvarint, write_varint, zigzag};

/// Residuals from which four streams pay: they take three bytes more and decode faster.
const IN_FOUR_MIN: usize = 1500;

/// Appends the stream of `values`, which are not empty.
pub(in crate::chunk) fn encode(values: &[i64], coder: Coder, out: &mut Vec<u8>) {
    let first = values[0];
    let mut deltas: Vec<i64> = values.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let step = deltas.first().copied().unwrap_or(0);
    if deltas.iter().all(|delta| *delta == step) {
        out.push(if step == 0 { CONSTANT } else { LINEAR });
        write_varint(out, first);
        if step != 0 {
            write_varint(out, step);
        }
        return;
    }
    let divisor = common_divisor(&deltas);
    if divisor > 1 {
        for delta in &mut deltas {
            *delta /= divisor as i64;
        }
    }
    let plan = match coder {
        Coder::Fast => plan_fast(&deltas),
        Coder::Dense => plan_dense(&deltas),
    };
    write_head(&plan, first, divisor, deltas.len(), out);
    match plan.counts {
        None => write_blocks(&deltas, &plan, out),
        Some(ref histogram) => {
            let mut residuals = Vec::with_capacity(deltas.len());
            let mut state = Undone { value: 0, before: plan.center };
            residuals.extend(deltas.iter().map(|d| state.residual(*d, plan.residual, plan.center)));
            huffman::write(&residuals, &histogram.counts, residuals.len() >= IN_FOUR_MIN, out);
        }
    }
}

fn write_head(plan: &Plan, first: i64, divisor: u64, count: usize, out: &mut Vec<u8>) {
    let is_huffman = plan.counts.is_some();
    let mut header = if is_huffman && count >= IN_FOUR_MIN { CODED_IN_FOUR } else { CODED };
    header |= (plan.residual as u8) << RESIDUAL_SHIFT;
    header |= if is_huffman { HUFFMAN } else { 0 };
    header |= if divisor > 1 { HAS_DIVISOR } else { 0 };
    header |= if plan.center == 0 { 0 } else { HAS_CENTER };
    out.push(header);
    write_varint(out, first);
    if divisor > 1 {
        write_uvarint(out, divisor);
    }
    if plan.center != 0 {
        write_varint(out, plan.center);
    }
}

/// How residuals are written.
struct Plan {
    residual: Residual,
    center: i64,
    /// How often each token stands in them, where they are written as tokens.
    counts: Option<Histogram>,
}

/// The greatest number that divides all of `deltas`; 1 where it is not worth its byte.
fn common_divisor(deltas: &[i64]) -> u64 {
    let mut divisor = 0_u64;
    for delta in deltas {
        let mut rest = delta.unsigned_abs();
        if rest == 0 {
            continue;
        }
        if divisor == 0 {
            divisor = rest;
        }
        // Euclid's algorithm, of which a common multiple takes one step.
        rest %= divisor;
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        if divisor == 1 {
            break;
        }
    }
    if divisor > i64::MAX as u64 { 1 } else { divisor }
}

/// The center that each residual would have.
fn centers_of(deltas: &[i64]) -> [i64; RESIDUALS.len()] {
    let mut value = 0_i64;
    let (mut delta_min, mut value_min) = (i64::MAX, 0);
    for delta in deltas {
        value = value.wrapping_add(*delta);
        delta_min = delta_min.min(*delta);
        value_min = value_min.min(value);
    }
    [0, delta_min, middle(deltas), value_min, 0]
}

/// All five residuals of each value.
#[inline]
fn visit_residuals(
    deltas: &[i64],
    centers: &[i64; RESIDUALS.len()],
    mut visit: impl FnMut([u64; RESIDUALS.len()]),
) {
    let (mut value, mut before) = (0_i64, 0);
    for &delta in deltas {
        value = value.wrapping_add(delta);
        visit([
            zigzag(delta),
            delta.wrapping_sub(centers[1]) as u64,
            zigzag(value.wrapping_sub(centers[2])),
            value.wrapping_sub(centers[3]) as u64,
            zigzag(delta.wrapping_sub(before)),
        ]);
        before = delta;
    }
}

fn center_bits(center: i64) -> usize {
    if center == 0 { 0 } else { 8 + usize::from(width_of(zigzag(center))) }
}

/// The residual that packs smallest by its widths over the whole stream.
fn plan_fast(deltas: &[i64]) -> Plan {
    let centers = centers_of(deltas);
    let mut widths = [NO_WIDTHS; RESIDUALS.len()];
    visit_residuals(deltas, &centers, |residuals| {
        for (widths, residual) in widths.iter_mut().zip(residuals) {
            count(widths, residual);
        }
    });
    let bits = |i: usize| pfor::best_width(&widths[i], deltas.len()).1 + center_bits(centers[i]);
    let best = (0..RESIDUALS.len()).min_by_key(|i| bits(*i)).unwrap_or(0);
    Plan { residual: RESIDUALS[best], center: centers[best], counts: None }
}

/// The residual that is smallest as tokens, unless packing takes hardly more: it decodes three
/// times as fast.
fn plan_dense(deltas: &[i64]) -> Plan {
    const WORTH: usize = 128;
    let centers = centers_of(deltas);
    let mut histograms = [Histogram::EMPTY; RESIDUALS.len()];
    visit_residuals(deltas, &centers, |residuals| {
        for (histogram, residual) in histograms.iter_mut().zip(residuals) {
            histogram.push(residual);
        }
    });
    let mut coded = (usize::MAX, 0);
    let mut packed = (usize::MAX, 0);
    for (i, histogram) in histograms.iter_mut().enumerate() {
        histogram.finish();
        let center = center_bits(centers[i]);
        coded = coded.min((histogram.bits() as usize + center, i));
        packed = packed.min((packed_bits(histogram, deltas.len()) + center, i));
    }
    let is_coded = coded.0 + coded.0 / WORTH < packed.0;
    let best = if is_coded { coded.1 } else { packed.1 };
    let counts = is_coded.then(|| histograms[best].clone());
    Plan { residual: RESIDUALS[best], center: centers[best], counts }
}

/// About how many bits `count` residuals take in blocks.
fn packed_bits(histogram: &Histogram, count: usize) -> usize {
    let mut widths = NO_WIDTHS;
    let mut zeros = count as u32;
    histogram.visit_widths(|width, n| {
        widths[usize::from(width)] += n;
        zeros -= n;
    });
    widths[0] = zeros;
    pfor::best_width(&widths, count).1 + count.div_ceil(BLOCK) * 8
}

#[inline]
fn count(widths: &mut Widths, residual: u64) {
    widths[usize::from(width_of(residual))] += 1;
}

/// About the median of the values, from some of them.
fn middle(deltas: &[i64]) -> i64 {
    const PICKED: usize = 32;
    let stride = deltas.len().div_ceil(PICKED);
    let mut picked = [0_i64; PICKED];
    let mut value = 0_i64;
    let mut n = 0;
    for chunk in deltas.chunks(stride) {
        value = chunk.iter().fold(value, |sum, delta| sum.wrapping_add(*delta));
        picked[n] = value;
        n += 1;
    }
    *picked[..n].select_nth_unstable(n / 2).1
}

/// What was seen before a delta.
struct Undone {
    value: i64,
    before: i64,
}

impl Undone {
    #[inline]
    fn residual(&mut self, delta: i64, residual: Residual, center: i64) -> u64 {
        self.value = self.value.wrapping_add(delta);
        let before = std::mem::replace(&mut self.before, delta);
        match residual {
            Residual::Delta => zigzag(delta),
            Residual::DeltaMin => delta.wrapping_sub(center) as u64,
            Residual::Value => zigzag(self.value.wrapping_sub(center)),
            Residual::ValueMin => self.value.wrapping_sub(center) as u64,
            Residual::DeltaOfDelta => zigzag(delta.wrapping_sub(before)),
        }
    }
}

fn write_blocks(deltas: &[i64], plan: &Plan, out: &mut Vec<u8>) {
    let mut block = [0_u64; BLOCK];
    let mut state = Undone { value: 0, before: plan.center };
    for chunk in deltas.chunks(BLOCK) {
        for (place, &delta) in block.iter_mut().zip(chunk) {
            *place = state.residual(delta, plan.residual, plan.center);
        }
        pfor::write_block(&block[..chunk.len()], out);
    }
}
