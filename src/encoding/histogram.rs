//! One native histogram as bytes, alone or against an earlier one of its series.
//!
//! The log and checkpoints write histograms alone; the head writes most against the one before.
//! Every bit comes back. `storage-format.md`, section 5, has the bytes:
//!
//! | part | bytes |
//! |---|---|
//! | flags | u8: bits 0–1 reset hint, bit 2 counts are floats, bit 3 against an earlier one |
//! | layout, unless bit 3 | see [`write_layout`] |
//! | numbers | count, zero count, sum, positive buckets, negative buckets |
//!
//! Numbers of integers are varints of what they are above the earlier one's (buckets: of the
//! counts themselves), where a bucket's 0 is followed by how many more zeros follow (uvarint);
//! alone, the buckets are the histogram's own deltas. Sums, and the numbers of floats, are values
//! as in [`super::delta`], against the earlier histogram's, or (floats' buckets alone) against the
//! bucket before.
//!
//! Only a histogram of the same kind and layout can be the earlier one.

use std::sync::Arc;

use super::cursor::Cursor;
use super::delta::{DeltaError, read_value, write_value};
use super::varint::{write_uvarint, write_varint};
use crate::model::{FloatHistogram, Histogram, IntegerHistogram, ResetHint, Span};

const HINT: u8 = 3;
const FLOAT: u8 = 1 << 2;
const AGAINST: u8 = 1 << 3;

/// What two histograms have in common whose buckets can be set side by side.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    /// Which bounds the buckets have.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Which positive buckets are there.
    pub positive_spans: &'a [Span],
    /// Which negative buckets are there.
    pub negative_spans: &'a [Span],
    /// Number of positive buckets.
    pub positive: usize,
    /// Number of negative buckets.
    pub negative: usize,
    /// Upper bounds of custom buckets.
    pub custom_bounds: &'a [f64],
}

impl<'a> Layout<'a> {
    /// The layout of a histogram.
    pub fn of(histogram: &'a Histogram) -> Self {
        match histogram {
            Histogram::Integer(h) => Self {
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                positive_spans: &h.positive_spans,
                negative_spans: &h.negative_spans,
                positive: h.positive_deltas.len(),
                negative: h.negative_deltas.len(),
                custom_bounds: &h.custom_bounds,
            },
            Histogram::Float(h) => Self {
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                positive_spans: &h.positive_spans,
                negative_spans: &h.negative_spans,
                positive: h.positive_buckets.len(),
                negative: h.negative_buckets.len(),
                custom_bounds: &h.custom_bounds,
            },
        }
    }
}

/// By bits.
impl PartialEq for Layout<'_> {
    fn eq(&self, other: &Self) -> bool {
        let bits = |value: &f64| value.to_bits();
        self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && (self.positive, self.negative) == (other.positive, other.negative)
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && self.custom_bounds.iter().map(bits).eq(other.custom_bounds.iter().map(bits))
    }
}

/// Whether the two are equal in every bit.
pub fn is_same(a: &Histogram, b: &Histogram) -> bool {
    if a.reset_hint() != b.reset_hint() || Layout::of(a) != Layout::of(b) {
        return false;
    }
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    match (a, b) {
        (Histogram::Integer(a), Histogram::Integer(b)) => {
            (a.count, a.zero_count, a.sum.to_bits()) == (b.count, b.zero_count, b.sum.to_bits())
                && a.positive_deltas == b.positive_deltas
                && a.negative_deltas == b.negative_deltas
        }
        (Histogram::Float(a), Histogram::Float(b)) => {
            bits(&[a.count, a.zero_count, a.sum]) == bits(&[b.count, b.zero_count, b.sum])
                && bits(&a.positive_buckets) == bits(&b.positive_buckets)
                && bits(&a.negative_buckets) == bits(&b.negative_buckets)
        }
        _ => false,
    }
}

/// Appends a layout: schema (varint), zero threshold (value), then for either side the number of
/// spans (uvarint), each span's offset (varint) and length (uvarint), the number of buckets
/// (uvarint); then the number of custom bounds (uvarint) and each bound as a value against the one
/// before.
pub fn write_layout(layout: &Layout<'_>, out: &mut Vec<u8>) {
    write_varint(out, i64::from(layout.schema));
    write_value(None, layout.zero_threshold, out);
    let sides =
        [(layout.positive_spans, layout.positive), (layout.negative_spans, layout.negative)];
    for (spans, buckets) in sides {
        write_uvarint(out, spans.len() as u64);
        for span in spans {
            write_varint(out, i64::from(span.offset));
            write_uvarint(out, u64::from(span.length));
        }
        write_uvarint(out, buckets as u64);
    }
    write_uvarint(out, layout.custom_bounds.len() as u64);
    let mut before = None;
    for &bound in layout.custom_bounds {
        write_value(before, bound, out);
        before = Some(bound);
    }
}

/// Reads a layout into a histogram that has all buckets and counts nothing. Declared numbers are
/// bounded by `buckets_max` and by the bytes that are left.
pub fn read_layout(
    is_float: bool,
    buckets_max: usize,
    cursor: &mut Cursor<'_>,
) -> Result<Histogram, DeltaError> {
    let schema = cursor.varint()? as i32;
    let zero_threshold = read_value(None, cursor)?;
    let (positive_spans, positive) = read_side(buckets_max, cursor)?;
    let (negative_spans, negative) = read_side(buckets_max, cursor)?;
    let count = cursor.uvarint_max(cursor.remaining())?;
    let mut custom_bounds = Vec::with_capacity(count);
    let mut before = None;
    for _ in 0..count {
        let bound = read_value(before, cursor)?;
        before = Some(bound);
        custom_bounds.push(bound);
    }
    let custom_bounds: Arc<[f64]> = custom_bounds.into();
    Ok(if is_float {
        Histogram::Float(FloatHistogram {
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            positive_buckets: vec![0.0; positive],
            negative_buckets: vec![0.0; negative],
            custom_bounds,
            ..FloatHistogram::default()
        })
    } else {
        Histogram::Integer(IntegerHistogram {
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            positive_deltas: vec![0; positive],
            negative_deltas: vec![0; negative],
            custom_bounds,
            ..IntegerHistogram::default()
        })
    })
}

fn read_side(
    buckets_max: usize,
    cursor: &mut Cursor<'_>,
) -> Result<(Vec<Span>, usize), DeltaError> {
    let count = cursor.uvarint_max(cursor.remaining() / 2)?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        let offset = cursor.varint()? as i32;
        spans.push(Span { offset, length: cursor.uvarint_u32()? });
    }
    Ok((spans, cursor.uvarint_max(buckets_max)?))
}

/// Appends `histogram`. `earlier` is what the reader will know; it is made use of where the layouts
/// are equal.
pub fn write_histogram(earlier: Option<&Histogram>, histogram: &Histogram, out: &mut Vec<u8>) {
    let layout = Layout::of(histogram);
    let earlier = earlier.filter(|earlier| {
        std::mem::discriminant(*earlier) == std::mem::discriminant(histogram)
            && Layout::of(earlier) == layout
    });
    let mut flags = histogram.reset_hint().to_u8();
    flags |= if matches!(histogram, Histogram::Float(_)) { FLOAT } else { 0 };
    flags |= if earlier.is_some() { AGAINST } else { 0 };
    out.push(flags);
    if earlier.is_none() {
        write_layout(&layout, out);
    }
    match (histogram, earlier) {
        (Histogram::Integer(h), None) => write_integers_alone(h, out),
        (Histogram::Integer(h), Some(Histogram::Integer(e))) => write_integers(e, h, out),
        (Histogram::Float(h), None) => write_floats_alone(h, out),
        (Histogram::Float(h), Some(Histogram::Float(e))) => write_floats(e, h, out),
        _ => unreachable!("BUG: the earlier histogram is of the same kind"),
    }
}

fn write_integers_alone(h: &IntegerHistogram, out: &mut Vec<u8>) {
    write_varint(out, h.count as i64);
    write_varint(out, h.zero_count as i64);
    write_value(None, h.sum, out);
    for &delta in h.positive_deltas.iter().chain(&h.negative_deltas) {
        write_varint(out, delta);
    }
}

fn write_integers(e: &IntegerHistogram, h: &IntegerHistogram, out: &mut Vec<u8>) {
    write_varint(out, h.count.wrapping_sub(e.count) as i64);
    write_varint(out, h.zero_count.wrapping_sub(e.zero_count) as i64);
    write_value(Some(e.sum), h.sum, out);
    let sides =
        [(&e.positive_deltas, &h.positive_deltas), (&e.negative_deltas, &h.negative_deltas)];
    for (earlier, deltas) in sides {
        let mut above = 0_i64;
        let mut zeros = 0_u64;
        for (earlier, delta) in earlier.iter().zip(deltas) {
            above = above.wrapping_add(delta.wrapping_sub(*earlier));
            if above == 0 {
                zeros += 1;
                continue;
            }
            write_zeros(&mut zeros, out);
            write_varint(out, above);
        }
        write_zeros(&mut zeros, out);
    }
}

fn write_zeros(zeros: &mut u64, out: &mut Vec<u8>) {
    if *zeros > 0 {
        out.push(0);
        write_uvarint(out, *zeros - 1);
        *zeros = 0;
    }
}

fn write_floats_alone(h: &FloatHistogram, out: &mut Vec<u8>) {
    for value in [h.count, h.zero_count, h.sum] {
        write_value(None, value, out);
    }
    let mut before = None;
    for &value in h.positive_buckets.iter().chain(&h.negative_buckets) {
        write_value(before, value, out);
        before = Some(value);
    }
}

fn write_floats(e: &FloatHistogram, h: &FloatHistogram, out: &mut Vec<u8>) {
    let numbers = [(e.count, h.count), (e.zero_count, h.zero_count), (e.sum, h.sum)];
    let earlier = e.positive_buckets.iter().chain(&e.negative_buckets).copied();
    let buckets = earlier.zip(h.positive_buckets.iter().chain(&h.negative_buckets).copied());
    for (earlier, value) in numbers.into_iter().chain(buckets) {
        write_value(Some(earlier), value, out);
    }
}

/// Reads what [`write_histogram`] wrote with the same `earlier`. Nothing is allocated beyond a few
/// times the bytes that are there, or the buckets that `earlier` has.
pub fn read_histogram(
    earlier: Option<&Histogram>,
    cursor: &mut Cursor<'_>,
) -> Result<Histogram, DeltaError> {
    let offset = cursor.offset();
    let flags = cursor.u8()?;
    let bad = Err(DeltaError::UnknownToken { token: flags, offset });
    let Some(hint) = ResetHint::from_u8(flags & HINT).filter(|_| flags >> 4 == 0) else {
        return bad;
    };
    let is_float = flags & FLOAT != 0;
    let is_alone = flags & AGAINST == 0;
    let mut histogram = if is_alone {
        // Each bucket has a byte at least.
        read_layout(is_float, cursor.remaining(), cursor)?
    } else {
        match earlier {
            Some(earlier) if matches!(earlier, Histogram::Float(_)) == is_float => earlier.clone(),
            _ => return bad,
        }
    };
    match &mut histogram {
        Histogram::Integer(h) => {
            h.reset_hint = hint;
            read_integers(h, is_alone, cursor)?;
        }
        Histogram::Float(h) => {
            h.reset_hint = hint;
            read_floats(h, is_alone, cursor)?;
        }
    }
    Ok(histogram)
}

/// `h` holds the earlier numbers, and zeros where there are none.
fn read_integers(
    h: &mut IntegerHistogram,
    is_alone: bool,
    cursor: &mut Cursor<'_>,
) -> Result<(), DeltaError> {
    h.count = h.count.wrapping_add(cursor.varint()? as u64);
    h.zero_count = h.zero_count.wrapping_add(cursor.varint()? as u64);
    h.sum = read_value((!is_alone).then_some(h.sum), cursor)?;
    if is_alone {
        for delta in h.positive_deltas.iter_mut().chain(&mut h.negative_deltas) {
            *delta = cursor.varint()?;
        }
        return Ok(());
    }
    for deltas in [&mut h.positive_deltas, &mut h.negative_deltas] {
        let (mut before, mut zeros) = (0_i64, 0_u64);
        for delta in deltas {
            let above = if zeros > 0 {
                zeros -= 1;
                0
            } else {
                let above = cursor.varint()?;
                if above == 0 {
                    zeros = cursor.uvarint()?;
                }
                above
            };
            *delta = delta.wrapping_add(above.wrapping_sub(before));
            before = above;
        }
    }
    Ok(())
}

fn read_floats(
    h: &mut FloatHistogram,
    is_alone: bool,
    cursor: &mut Cursor<'_>,
) -> Result<(), DeltaError> {
    for value in [&mut h.count, &mut h.zero_count, &mut h.sum] {
        *value = read_value((!is_alone).then_some(*value), cursor)?;
    }
    let mut before = None;
    for value in h.positive_buckets.iter_mut().chain(&mut h.negative_buckets) {
        *value = read_value(if is_alone { before } else { Some(*value) }, cursor)?;
        before = Some(*value);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    //! Properties, and random histograms for the tests of other modules.

    use proptest::prelude::*;

    use super::*;

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        let span = (-3_i32..20, 0_u32..5).prop_map(|(offset, length)| Span { offset, length });
        prop::collection::vec(span, 0..4).prop_map(|mut spans| {
            for span in spans.iter_mut().skip(1) {
                span.offset = span.offset.abs();
            }
            spans
        })
    }

    fn float() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (0_u32..5000).prop_map(f64::from),
            2 => any::<u64>().prop_map(f64::from_bits),
            1 => Just(crate::model::stale_nan()),
        ]
    }

    fn integer() -> impl Strategy<Value = i64> {
        prop_oneof![6 => -20_i64..50, 1 => any::<i64>()]
    }

    fn buckets(spans: &[Span]) -> usize {
        spans.iter().map(|span| span.length as usize).sum()
    }

    /// A histogram of the shape that validation asks for, with any numbers in it.
    pub(crate) fn any_histogram() -> impl Strategy<Value = Histogram> {
        let layout = (
            0_u8..4,
            prop_oneof![Just(-53_i32), -4_i32..9],
            prop_oneof![Just(0.0), Just(1e-128), float()],
            (spans(), spans()),
            prop::collection::vec(float(), 0..3),
        );
        let numbers = (any::<bool>(), float(), integer(), integer());
        let pools = (prop::collection::vec(integer(), 40), prop::collection::vec(float(), 40));
        (layout, numbers, pools).prop_map(|(layout, numbers, (ints, floats))| {
            let (hint, schema, zero_threshold, (positive_spans, negative_spans), bounds) = layout;
            let (is_float, sum, count, zero) = numbers;
            let reset_hint = ResetHint::from_u8(hint).unwrap_or_default();
            let (p, n) = (buckets(&positive_spans), buckets(&negative_spans));
            let custom_bounds: Arc<[f64]> = bounds.into();
            if is_float {
                Histogram::Float(FloatHistogram {
                    reset_hint,
                    schema,
                    zero_threshold,
                    zero_count: floats[0],
                    count: floats[1],
                    sum,
                    positive_spans,
                    negative_spans,
                    positive_buckets: floats[2..2 + p].to_vec(),
                    negative_buckets: floats[2 + p..2 + p + n].to_vec(),
                    custom_bounds,
                })
            } else {
                Histogram::Integer(IntegerHistogram {
                    reset_hint,
                    schema,
                    zero_threshold,
                    zero_count: zero as u64,
                    count: count as u64,
                    sum,
                    positive_spans,
                    negative_spans,
                    positive_deltas: ints[..p].to_vec(),
                    negative_deltas: ints[p..p + n].to_vec(),
                    custom_bounds,
                })
            }
        })
    }

    /// A histogram of the layout of `like`, with the numbers of `from` as far as they go.
    pub(crate) fn with_layout_of(like: &Histogram, from: &Histogram) -> Histogram {
        let mut histogram = like.clone();
        match (&mut histogram, from) {
            (Histogram::Integer(h), Histogram::Integer(from)) => {
                h.count = from.count;
                h.sum = from.sum;
                let deltas = from.positive_deltas.iter().chain(&from.negative_deltas);
                let places = h.positive_deltas.iter_mut().chain(&mut h.negative_deltas);
                places.zip(deltas).for_each(|(place, delta)| *place = *delta);
            }
            (Histogram::Float(h), Histogram::Float(from)) => {
                h.count = from.count;
                h.sum = from.sum;
                let values = from.positive_buckets.iter().chain(&from.negative_buckets);
                let places = h.positive_buckets.iter_mut().chain(&mut h.negative_buckets);
                places.zip(values).for_each(|(place, value)| *place = *value);
            }
            _ => {}
        }
        histogram
    }

    fn round_trip(earlier: Option<&Histogram>, histogram: &Histogram) -> usize {
        let mut out = vec![];
        write_histogram(earlier, histogram, &mut out);
        let mut cursor = Cursor::new(&out);
        let read = read_histogram(earlier, &mut cursor).unwrap();
        assert!(is_same(&read, histogram), "{read:?}\n{histogram:?}");
        assert!(cursor.is_empty());
        out.len()
    }

    #[test]
    fn what_does_not_change_takes_little() {
        let mut before = IntegerHistogram {
            count: 1 << 40,
            sum: 1e9,
            positive_spans: vec![Span { offset: 0, length: 100 }],
            positive_deltas: vec![3; 100],
            ..IntegerHistogram::default()
        };
        let earlier = Histogram::Integer(before.clone());
        before.count += 5;
        before.positive_deltas[40] += 5;
        before.positive_deltas[41] -= 5;
        assert!(round_trip(Some(&earlier), &Histogram::Integer(before)) <= 10);
    }

    proptest! {
        #[test]
        fn every_histogram_comes_back(
            earlier in any_histogram(), histogram in any_histogram(),
        ) {
            round_trip(None, &histogram);
            round_trip(Some(&earlier), &histogram);
            round_trip(Some(&histogram), &histogram);
            round_trip(Some(&earlier), &with_layout_of(&earlier, &histogram));
        }

        #[test]
        fn wild_bytes_do_not_panic(earlier in any_histogram(), bytes: Vec<u8>) {
            let _ = read_histogram(None, &mut Cursor::new(&bytes));
            let _ = read_histogram(Some(&earlier), &mut Cursor::new(&bytes));
        }
    }
}
