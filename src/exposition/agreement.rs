//! The property that fuzzing holds the line cache to: it tells what the parser tells.

use super::lines::LineCache;
use super::shape::ShapePool;
use super::text::{Entry, TextParser};

/// Reads `page` by the parser, then three times by one cache and once by another of its pool, and
/// panics where they disagree: the property that fuzzing holds the cache to.
pub fn check_cache_against_parser(page: &[u8]) {
    let pool = ShapePool::new();
    let mut caches = [LineCache::<u32>::new(&pool), LineCache::new(&pool)];
    for turn in [0, 0, 1, 0] {
        let mut parser = TextParser::new(page);
        let mut walk = caches[turn].walk(page);
        loop {
            let expected = loop {
                match parser.next_entry() {
                    Ok(Some(Entry::Series { value, timestamp_ms, .. })) => {
                        break Ok(Some((value.to_bits(), timestamp_ms)));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(None),
                    Err(error) => break Err(error),
                }
            };
            let line = walk.next_line();
            let got = line.map(|line| line.map(|l| (l.value.to_bits(), l.timestamp_ms)));
            assert_eq!(got, expected);
            match got {
                Ok(Some(_)) => {}
                Ok(None) => break walk.finish(),
                Err(_) => return,
            }
        }
    }
}
