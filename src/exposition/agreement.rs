//! The property that fuzzing holds the line cache to: it tells what the parser tells.

use super::cache::LineCache;
use super::error::ParseError;
use super::page::{Format, PageParser, ParseOptions};
use super::shape::ShapePool;
use super::text::Entry;

/// Bits of the value, time, whether it is a histogram, exemplars and labels as text, start.
type Told = (u64, Option<i64>, bool, String, i64);

/// Reads `page` by the parser, then three times by one cache and once by another of its pool, and
/// panics where they disagree: the property that fuzzing holds the cache to.
pub fn check_cache_against_parser(page: &[u8], format: Format, options: ParseOptions) {
    let pool = ShapePool::new();
    let mut caches = [LineCache::<u32>::new(&pool), LineCache::new(&pool)];
    for turn in [0, 0, 1, 0] {
        let mut parser = PageParser::new(page, format, options);
        let mut walk = caches[turn].walk(page, format, options);
        loop {
            let expected = next_sample(&mut parser, options);
            let got = walk.next_line().and_then(|line| {
                let Some(line) = line else { return Ok(None) };
                let exemplars = if line.has_exemplars { walk.exemplars()? } else { Vec::new() };
                let texts = format!("{exemplars:?} {:?}", walk.labels());
                let start_ms = walk.start_ms();
                let value = line.value.to_bits();
                Ok(Some((value, line.timestamp_ms, line.is_histogram, texts, start_ms)))
            });
            assert_eq!(got, expected);
            match got {
                Ok(Some(_)) => {}
                Ok(None) => break walk.finish(),
                Err(_) => return,
            }
        }
    }
}

fn next_sample(
    parser: &mut PageParser<'_>,
    options: ParseOptions,
) -> Result<Option<Told>, ParseError> {
    loop {
        let (value, timestamp_ms, is_histogram) = match parser.next_entry()? {
            None => return Ok(None),
            Some(Entry::Series { value, timestamp_ms, .. }) => (value, timestamp_ms, false),
            Some(Entry::Histogram { histogram, timestamp_ms }) => {
                (histogram.sum(), timestamp_ms, true)
            }
            Some(_) => continue,
        };
        let exemplars = if parser.has_exemplars() { parser.exemplars()? } else { Vec::new() };
        let start_ms = if options.reads_starts { parser.start_ms() } else { 0 };
        let texts = format!("{exemplars:?} {:?}", parser.labels());
        return Ok(Some((value.to_bits(), timestamp_ms, is_histogram, texts, start_ms)));
    }
}
