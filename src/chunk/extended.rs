//! Chunks of more than floats: native histograms, and when counters began to count.
//!
//! The samples of a series are turned into columns, one for each field of its histograms and one
//! for each bucket: over time a bucket moves like a counter does. Which buckets a histogram has is
//! told by its layout; layouts are listed once, and a bucket that comes and goes has one column all
//! the same. The bytes are in `storage-format.md`, section 3, kind 9.
//!
//! INVARIANT: a chunk has at most [`CELLS_MAX`] buckets in all; writers cut runs by
//! [`samples_in_chunk`], readers refuse more, and so a few damaged bytes cannot ask for memory.

use std::ops::Range;
use std::sync::Arc;

use super::ints::{self, Stream};
use super::{
    ChunkError, Coder, check_count, decode_values, decode_values_range, encode_values, kind,
};
use crate::encoding::cursor::Cursor;
use crate::encoding::delta::DeltaError;
use crate::encoding::histogram::{Layout, read_layout, write_layout};
use crate::encoding::varint::{write_bytes, write_uvarint};
use crate::model::{Histogram, ResetHint, Samples, Span};

/// Buckets of all histograms of one chunk at most, unless it has one sample only.
const CELLS_MAX: usize = 1 << 22;

const HAS_HISTOGRAMS: u8 = 1;
const HAS_STARTS: u8 = 2;

impl From<DeltaError> for ChunkError {
    fn from(error: DeltaError) -> Self {
        match error {
            DeltaError::Bytes(error) => error.into(),
            DeltaError::UnknownToken { .. } => Self::Corrupt("no value begins so"),
        }
    }
}

/// How many of the samples `range` one chunk takes; at least one, where there is one.
pub fn samples_in_chunk(samples: &Samples, range: Range<usize>) -> usize {
    let mut cells = 0;
    for (index, histogram) in within(samples, &range) {
        cells += buckets_of(histogram);
        if cells > CELLS_MAX && index > range.start {
            return index - range.start;
        }
    }
    range.len()
}

/// Appends the payload of the samples `range` of `samples`, without their times; every bit comes
/// back. Histograms are such as [`crate::model`]'s validation lets through.
///
/// # Panics
/// If the range is empty, or larger than [`samples_in_chunk`] or the greatest chunk.
pub fn encode_samples(samples: &Samples, range: Range<usize>, coder: Coder, out: &mut Vec<u8>) {
    let histograms: Vec<_> = within(samples, &range).collect();
    let starts = samples.starts_ms.get(range.clone()).unwrap_or(&[]);
    let has_starts = starts.iter().any(|start| *start != 0);
    if histograms.is_empty() && !has_starts {
        return encode_values(&samples.values[range], coder, out);
    }
    let has_histograms = if histograms.is_empty() { 0 } else { HAS_HISTOGRAMS };
    out.extend_from_slice(&[
        kind::EXTENDED,
        has_histograms | if has_starts { HAS_STARTS } else { 0 },
    ]);
    if has_starts {
        ints::encode(starts, coder, out);
    }
    if histograms.is_empty() {
        return encode_values(&samples.values[range], coder, out);
    }
    write_places(&histograms, &range, out);
    let mut places = histograms.iter().map(|entry| entry.0).peekable();
    let floats: Vec<f64> = range
        .clone()
        .filter(|index| places.next_if_eq(index).is_none())
        .map(|index| samples.values[index])
        .collect();
    if !floats.is_empty() {
        write_sized(&floats, coder, out);
    }
    let histograms: Vec<&Histogram> = histograms.iter().map(|entry| &**entry.1).collect();
    write_histograms(&histograms, coder, out);
}

/// Whether `payload` may hold more than floats.
pub fn is_extended(payload: &[u8]) -> bool {
    payload.first() == Some(&kind::EXTENDED)
}

/// Appends the samples of `payload` whose index lies in `range` to `out`; `times` are those of all
/// samples of the chunk. After an error `out` is as before.
///
/// # Panics
/// If `range` ends above the number of times or begins above its end: the caller's bug.
pub fn decode_samples(
    payload: &[u8],
    times: &[i64],
    range: Range<usize>,
    out: &mut Samples,
) -> Result<(), ChunkError> {
    let n = times.len();
    if !is_extended(payload) {
        decode_values_range(payload, n, range.clone(), &mut out.values)?;
        out.timestamps.extend_from_slice(&times[range]);
        if !out.starts_ms.is_empty() {
            out.starts_ms.resize(out.timestamps.len(), 0);
        }
        return Ok(());
    }
    check_count(n)?;
    let mut cursor = Cursor::new(&payload[1..]);
    let flags = cursor.u8()?;
    if flags == 0 || flags & !(HAS_HISTOGRAMS | HAS_STARTS) != 0 {
        return Err(ChunkError::NeedsNewerReader(kind::EXTENDED));
    }
    let mut all = Samples { timestamps: times.to_vec(), ..Samples::default() };
    if flags & HAS_STARTS != 0 {
        all.starts_ms = read_ints(&mut cursor, n)?;
    }
    if flags & HAS_HISTOGRAMS != 0 {
        read_mixed(&mut cursor, n, &mut all)?;
        cursor.finish()?;
    } else {
        decode_values(cursor.rest(), n, &mut all.values)?;
    }
    out.extend_from(&all, range);
    Ok(())
}

/// The histograms among the samples `range`, by index.
fn within<'a>(
    samples: &'a Samples,
    range: &Range<usize>,
) -> impl Iterator<Item = (usize, &'a Arc<Histogram>)> + use<'a> {
    let (start, end) = (range.start, range.end);
    let first = samples.histograms.partition_point(|entry| (entry.0 as usize) < start);
    let rest = samples.histograms[first..].iter().map(|entry| (entry.0 as usize, &entry.1));
    rest.take_while(move |entry| entry.0 < end)
}

fn buckets_of(histogram: &Histogram) -> usize {
    let layout = Layout::of(histogram);
    layout.positive + layout.negative
}

/// Appends which samples are histograms: how many, and unless all are, runs of floats and
/// histograms in turn.
fn write_places(histograms: &[(usize, &Arc<Histogram>)], range: &Range<usize>, out: &mut Vec<u8>) {
    write_uvarint(out, histograms.len() as u64);
    if histograms.len() == range.len() {
        return;
    }
    let mut end = range.start;
    for run in histograms.chunk_by(|a, b| a.0 + 1 == b.0) {
        write_uvarint(out, (run[0].0 - end) as u64);
        write_uvarint(out, run.len() as u64);
        end = run[0].0 + run.len();
    }
}

fn read_places(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<u32>, ChunkError> {
    const OUTSIDE: ChunkError = ChunkError::Corrupt("a histogram lies outside its chunk");
    let count = cursor.uvarint_max(n)?;
    if count == 0 {
        return Err(OUTSIDE);
    }
    if count == n {
        return Ok((0..n as u32).collect());
    }
    let mut places = Vec::with_capacity(count);
    let mut end = 0;
    while places.len() < count {
        let start = end + cursor.uvarint_max(n)?;
        let len = cursor.uvarint_max(count - places.len())?;
        end = start + len;
        if len == 0 || end > n {
            return Err(OUTSIDE);
        }
        places.extend(start as u32..end as u32);
    }
    Ok(places)
}

fn write_sized(values: &[f64], coder: Coder, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    encode_values(values, coder, &mut payload);
    write_bytes(out, &payload);
}

fn read_sized(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<f64>, ChunkError> {
    let mut values = Vec::new();
    decode_values(cursor.sized_bytes()?, n, &mut values)?;
    Ok(values)
}

fn read_ints(cursor: &mut Cursor<'_>, n: usize) -> Result<Vec<i64>, ChunkError> {
    let mut values = Vec::with_capacity(n);
    let stream = Stream::read(cursor)?;
    stream.values(cursor, n, n, |part| values.extend_from_slice(part))?;
    Ok(values)
}

/// Where the buckets of one layout stand among the columns.
#[derive(Debug)]
struct Placed {
    /// Number of the column of each bucket, positive ones first.
    columns: Vec<u32>,
}

/// A bucket of either side by its index; the order of columns.
type Bucket = (bool, i64);

/// The buckets of a layout, positive ones first. Indexes are of 64 bits, so that spans which go up
/// never give one twice.
fn buckets(layout: &Layout<'_>) -> Vec<Bucket> {
    let mut buckets = Vec::with_capacity(layout.positive + layout.negative);
    side(false, layout.positive_spans, layout.positive, &mut buckets);
    side(true, layout.negative_spans, layout.negative, &mut buckets);
    buckets
}

fn side(is_negative: bool, spans: &[Span], count: usize, out: &mut Vec<Bucket>) {
    let end = out.len() + count;
    let mut index = 0_i64;
    for span in spans {
        index += i64::from(span.offset);
        let length = (span.length as usize).min(end - out.len());
        out.extend((index..).take(length).map(|index| (is_negative, index)));
        index += i64::from(span.length);
    }
    // What no span names stands behind the last.
    let rest = end - out.len();
    out.extend((index..).take(rest).map(|index| (is_negative, index)));
}

/// Numbers the buckets of all `layouts` of one kind in ascending order; gives the number of
/// columns too.
fn place(layouts: &[Layout<'_>]) -> (Vec<Placed>, usize) {
    let of_layout: Vec<Vec<Bucket>> = layouts.iter().map(buckets).collect();
    let mut all: Vec<Bucket> = of_layout.iter().flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    let number = |bucket: &Bucket| all.partition_point(|other| other < bucket) as u32;
    let placed = of_layout
        .iter()
        .map(|buckets| Placed { columns: buckets.iter().map(number).collect() })
        .collect();
    (placed, all.len())
}

fn is_float(histogram: &Histogram) -> bool {
    matches!(histogram, Histogram::Float(_))
}

fn write_histograms(histograms: &[&Histogram], coder: Coder, out: &mut Vec<u8>) {
    let mut layouts: Vec<&Histogram> = Vec::new();
    let mut numbers = Vec::with_capacity(histograms.len());
    for &histogram in histograms {
        let layout = Layout::of(histogram);
        // From the newest: a layout is mostly that of the histogram before.
        let is_same = |known: &&Histogram| {
            is_float(known) == is_float(histogram) && Layout::of(known) == layout
        };
        let number = layouts.iter().rposition(is_same).unwrap_or_else(|| {
            layouts.push(histogram);
            layouts.len() - 1
        });
        numbers.push(number as i64);
    }
    write_uvarint(out, layouts.len() as u64);
    for histogram in &layouts {
        out.push(u8::from(is_float(histogram)));
        write_layout(&Layout::of(histogram), out);
    }
    if layouts.len() > 1 {
        ints::encode(&numbers, coder, out);
    }
    let hints: Vec<i64> = histograms.iter().map(|h| i64::from(h.reset_hint().to_u8())).collect();
    ints::encode(&hints, coder, out);
    let sums: Vec<f64> = histograms.iter().map(|h| h.sum()).collect();
    write_sized(&sums, coder, out);
    write_integers(&layouts, &numbers, histograms, coder, out);
    write_floats(&layouts, &numbers, histograms, coder, out);
}

/// The layouts of one kind placed, by the numbers that layouts have among all.
fn place_kind(layouts: &[&Histogram], floats: bool) -> (Vec<Option<Placed>>, usize) {
    let of_kind = layouts.iter().filter(|h| is_float(h) == floats);
    let of_kind: Vec<_> = of_kind.map(|h| Layout::of(h)).collect();
    let (placed, columns) = place(&of_kind);
    let mut placed = placed.into_iter();
    let take = |h: &&Histogram| if is_float(h) == floats { placed.next() } else { None };
    (layouts.iter().map(take).collect(), columns)
}

fn write_integers(
    layouts: &[&Histogram],
    numbers: &[i64],
    histograms: &[&Histogram],
    coder: Coder,
    out: &mut Vec<u8>,
) {
    let (placed, columns) = place_kind(layouts, false);
    let (mut counts, mut zeros) = (Vec::new(), Vec::new());
    let mut buckets: Vec<Vec<i64>> = vec![Vec::new(); columns];
    for (histogram, number) in histograms.iter().zip(numbers) {
        let (Histogram::Integer(h), Some(placed)) = (histogram, &placed[*number as usize]) else {
            continue;
        };
        counts.push(h.count as i64);
        zeros.push(h.zero_count as i64);
        let sides = absolute(&h.positive_deltas).chain(absolute(&h.negative_deltas));
        for (column, count) in placed.columns.iter().zip(sides) {
            buckets[*column as usize].push(count);
        }
    }
    if !counts.is_empty() {
        for column in [counts, zeros].iter().chain(&buckets) {
            ints::encode(column, coder, out);
        }
    }
}

/// Counts of buckets from the differences between them.
fn absolute(deltas: &[i64]) -> impl Iterator<Item = i64> {
    let mut count = 0_i64;
    deltas.iter().map(move |delta| {
        count = count.wrapping_add(*delta);
        count
    })
}

fn write_floats(
    layouts: &[&Histogram],
    numbers: &[i64],
    histograms: &[&Histogram],
    coder: Coder,
    out: &mut Vec<u8>,
) {
    let (placed, columns) = place_kind(layouts, true);
    let (mut counts, mut zeros) = (Vec::new(), Vec::new());
    let mut buckets: Vec<Vec<f64>> = vec![Vec::new(); columns];
    for (histogram, number) in histograms.iter().zip(numbers) {
        let (Histogram::Float(h), Some(placed)) = (histogram, &placed[*number as usize]) else {
            continue;
        };
        counts.push(h.count);
        zeros.push(h.zero_count);
        let values = h.positive_buckets.iter().chain(&h.negative_buckets);
        for (column, value) in placed.columns.iter().zip(values) {
            buckets[*column as usize].push(*value);
        }
    }
    if !counts.is_empty() {
        for column in [counts, zeros].iter().chain(&buckets) {
            write_sized(column, coder, out);
        }
    }
}

/// Reads floats and histograms into `all`, whose times and starts are there.
fn read_mixed(cursor: &mut Cursor<'_>, n: usize, all: &mut Samples) -> Result<(), ChunkError> {
    let places = read_places(cursor, n)?;
    let floats = if places.len() < n { read_sized(cursor, n - places.len())? } else { Vec::new() };
    let histograms = read_histograms(cursor, places.len())?;
    let mut floats = floats.into_iter();
    all.histograms = places.into_iter().zip(histograms.into_iter().map(Arc::new)).collect();
    let mut next = 0;
    for index in 0..n {
        let value = match all.histograms.get(next) {
            Some((place, histogram)) if *place as usize == index => {
                next += 1;
                histogram.sum()
            }
            _ => floats.next().unwrap_or_else(|| unreachable!("BUG: a float for each place")),
        };
        all.values.push(value);
    }
    Ok(())
}

/// Reads the `h` histograms of a chunk.
fn read_histograms(cursor: &mut Cursor<'_>, h: usize) -> Result<Vec<Histogram>, ChunkError> {
    let (layouts, numbers) = read_layouts(cursor, h)?;
    let mut histograms: Vec<Histogram> =
        numbers.iter().map(|number| layouts[*number].clone()).collect();
    let hints = read_ints(cursor, h)?;
    let sums = read_sized(cursor, h)?;
    for ((histogram, hint), sum) in histograms.iter_mut().zip(hints).zip(sums) {
        let hint = u8::try_from(hint).ok().and_then(ResetHint::from_u8);
        let hint = hint.ok_or(ChunkError::Corrupt("an unknown hint of a counter reset"))?;
        match histogram {
            Histogram::Integer(h) => (h.reset_hint, h.sum) = (hint, sum),
            Histogram::Float(h) => (h.reset_hint, h.sum) = (hint, sum),
        }
    }
    let layouts: Vec<&Histogram> = layouts.iter().collect();
    read_integers(cursor, &layouts, &numbers, &mut histograms)?;
    read_floats(cursor, &layouts, &numbers, &mut histograms)?;
    Ok(histograms)
}

/// Reads the layouts, as histograms that count nothing, and which one each histogram has.
fn read_layouts(
    cursor: &mut Cursor<'_>,
    h: usize,
) -> Result<(Vec<Histogram>, Vec<usize>), ChunkError> {
    const TOO_MANY: ChunkError = ChunkError::Corrupt("a chunk has too many buckets");
    let count = cursor.uvarint_max(h)?;
    let mut layouts = Vec::new();
    let mut cells = 0;
    for _ in 0..count {
        let is_float = match cursor.u8()? {
            0 => false,
            1 => true,
            _ => return Err(ChunkError::NeedsNewerReader(kind::EXTENDED)),
        };
        // Each bucket has a column of two bytes at least.
        let layout = read_layout(is_float, cursor.remaining() / 2, cursor)?;
        cells += buckets_of(&layout);
        if cells > CELLS_MAX && h > 1 {
            return Err(TOO_MANY);
        }
        layouts.push(layout);
    }
    let numbers = if count > 1 { read_ints(cursor, h)? } else { vec![0; h] };
    let number = |number: i64| {
        let number = usize::try_from(number).ok().filter(|number| *number < layouts.len());
        number.ok_or(ChunkError::Corrupt("a histogram of an unknown layout"))
    };
    let numbers = numbers.into_iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let sizes: Vec<usize> = layouts.iter().map(buckets_of).collect();
    let cells: usize = numbers.iter().map(|number| sizes[*number]).sum();
    if cells > CELLS_MAX && h > 1 { Err(TOO_MANY) } else { Ok((layouts, numbers)) }
}

/// How many values each column has.
fn column_lens(placed: &[Option<Placed>], numbers: &[usize], columns: usize) -> Vec<usize> {
    let mut lens = vec![0; columns];
    for placed in numbers.iter().filter_map(|number| placed[*number].as_ref()) {
        for column in &placed.columns {
            lens[*column as usize] += 1;
        }
    }
    lens
}

/// Reads the columns with these numbers of values, each as an iterator; empty ones have no bytes.
fn read_columns<T>(
    cursor: &mut Cursor<'_>,
    lens: Vec<usize>,
    read: impl Fn(&mut Cursor<'_>, usize) -> Result<Vec<T>, ChunkError>,
) -> Result<Vec<std::vec::IntoIter<T>>, ChunkError> {
    let column = |n: usize| if n == 0 { Ok(Vec::new()) } else { read(cursor, n) };
    let columns: Result<Vec<_>, _> = lens.into_iter().map(column).collect();
    Ok(columns?.into_iter().map(Vec::into_iter).collect())
}

fn read_integers(
    cursor: &mut Cursor<'_>,
    layouts: &[&Histogram],
    numbers: &[usize],
    histograms: &mut [Histogram],
) -> Result<(), ChunkError> {
    let count = histograms.iter().filter(|h| !is_float(h)).count();
    let (placed, columns) = place_kind(layouts, false);
    let mut lens = vec![count; 2];
    lens.extend(column_lens(&placed, numbers, columns));
    let mut columns = read_columns(cursor, lens, read_ints)?;
    for (histogram, number) in histograms.iter_mut().zip(numbers) {
        let (Histogram::Integer(h), Some(placed)) = (histogram, &placed[*number]) else { continue };
        h.count = next(&mut columns[0]) as u64;
        h.zero_count = next(&mut columns[1]) as u64;
        let mut places = placed.columns.iter();
        for deltas in [&mut h.positive_deltas, &mut h.negative_deltas] {
            let mut before = 0_i64;
            for (delta, column) in deltas.iter_mut().zip(places.by_ref()) {
                let count = next(&mut columns[*column as usize + 2]);
                *delta = count.wrapping_sub(before);
                before = count;
            }
        }
    }
    Ok(())
}

fn read_floats(
    cursor: &mut Cursor<'_>,
    layouts: &[&Histogram],
    numbers: &[usize],
    histograms: &mut [Histogram],
) -> Result<(), ChunkError> {
    let count = histograms.iter().filter(|h| is_float(h)).count();
    let (placed, columns) = place_kind(layouts, true);
    let mut lens = vec![count; 2];
    lens.extend(column_lens(&placed, numbers, columns));
    let mut columns = read_columns(cursor, lens, read_sized)?;
    for (histogram, number) in histograms.iter_mut().zip(numbers) {
        let (Histogram::Float(h), Some(placed)) = (histogram, &placed[*number]) else { continue };
        h.count = next(&mut columns[0]);
        h.zero_count = next(&mut columns[1]);
        let values = h.positive_buckets.iter_mut().chain(&mut h.negative_buckets);
        for (value, column) in values.zip(&placed.columns) {
            *value = next(&mut columns[*column as usize + 2]);
        }
    }
    Ok(())
}

fn next<T>(column: &mut std::vec::IntoIter<T>) -> T {
    column.next().expect("BUG: columns were read as long as they are used")
}

#[cfg(test)]
mod tests;
