//! The cache against the plain parser: whatever the pages do, both must tell the same.

use std::io::Write;

use super::*;
use crate::exposition::ShapePool;
use proptest::prelude::*;

/// Labels, value, time, whether the line is a repeat.
type Sample = (String, f64, Option<i64>, bool);

/// Scrapes `page` and gives, for each sample line, its label text, value and time; the payload is
/// a number that names the labels.
fn scrape(
    cache: &mut LineCache<u32>,
    names: &mut Vec<String>,
    page: &str,
) -> Result<Vec<Sample>, ParseError> {
    let mut out = Vec::new();
    let mut walk = cache.walk(page.as_bytes(), Format::Text, ParseOptions::default());
    while let Some(line) = walk.next_line()? {
        if line.step == WalkStep::New {
            let labels = walk.labels_builder()?.build().to_string();
            names.push(labels);
            walk.set_payload(line.slot, names.len() as u32);
        }
        let name = names[walk.payload(line.slot) as usize - 1].clone();
        // Labels can be had of any line, as long as no TYPE in between changed their bounds.
        assert!(name.contains("le=") || walk.labels_builder()?.build().to_string() == name);
        out.push((name, line.value, line.timestamp_ms, line.step == WalkStep::Repeat));
    }
    walk.finish();
    Ok(out)
}

fn parse(page: &str) -> Result<Vec<Sample>, ParseError> {
    let mut out = Vec::new();
    let mut seen = hashbrown::HashSet::new();
    let mut parser = TextParser::new(page.as_bytes());
    while let Some(entry) = parser.next_entry()? {
        if let Entry::Series { text, value, timestamp_ms } = entry {
            let labels = parser.labels_builder()?.build().to_string();
            out.push((labels, value, timestamp_ms, !seen.insert(text)));
        }
    }
    Ok(out)
}

fn check(pages: &[&str]) {
    let pool = ShapePool::new();
    let (mut one, mut two) = (LineCache::new(&pool), LineCache::new(&pool));
    let mut names = Vec::new();
    for page in pages {
        for cache in [&mut one, &mut two] {
            let got = scrape(cache, &mut names, page);
            // NaN is not equal to itself, its text is.
            assert_eq!(format!("{got:?}"), format!("{:?}", parse(page)), "{page:?} of {pages:?}");
        }
    }
}

#[test]
fn pages_that_change_read_as_if_read_for_the_first_time() {
    let page = "# HELP a b\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\nc 4 5\n";
    check(&[page, page, &page.replace('3', "NaN"), &page.replace("a{x=\"2\"} 2\n", ""), page]);
    check(&[page, "b 3\nc 4 5\na{x=\"1\"} 1\n", page, "c 1\nb 1\na{x=\"3\"} 1\n", page]);
    check(&[page, &page.replace("b 3", "b  3 "), &page.replace("b 3", "b{} 3"), "", page]);
    check(&[page, page.trim_end(), &page.replace("c 4 5", "cc 4 5"), &page.replace('\n', "\n\n")]);
    check(&["b 1\n", "b {x=\"1\"} 1\n", "b\t1\n", "bb 1\n", "b 1"]);
    check(&["a 1\nb 2\na 3\n", "a 1\nb 2\na 3\n", "b 2\na 3\n", "a 1\na 2\na 3\nb 1\na 4\n"]);
    check(&["a 1\nb 1\nc 1\n", "b 1\na 1\nb 2\nc 2\n", "b 1\na 1\nb 2\nc 2\n"]);
    check(&["a{x=\"1\n2\"} 1\nb 1\n", "a{x=\"1\n2\"} 2\nb 2\n"]);
    check(&[
        "# TYPE a histogram\na{le=\"1\"} 1\n",
        "# TYPE a histogram\na{le=\"1\"} 1\na{le=\"2\"} 1\n",
    ]);
    check(&["# one\n# two\na 1\n", "# two\na 1\n# one\n", "#\n#\na 1\n#\n", "#\n#\na 1\n#\n"]);
}

#[test]
fn errors_are_those_of_the_parser_and_leave_the_cache_alone() {
    let page = "a 1\nb 2\n";
    for bad in ["a 1\nb x\n", "a 1_0\n", "a 1 2 3\n", "a 1\nb 2 1.5\n", "a 1\nc{ 2\n", "a 1e999\n"]
    {
        check(&[page, bad, page, bad]);
    }
}

#[test]
fn lines_that_went_away_are_told() {
    let pool = ShapePool::new();
    let mut cache = LineCache::new(&pool);
    let mut names = Vec::new();
    scrape(&mut cache, &mut names, "# HELP a b\na 1\nb 1\nc 1\n").unwrap();
    for (page, expected) in [
        ("# HELP a b\na 1\nb 1\nc 1\n", vec![]),
        ("c 1\na 1\n", vec![2]),
        ("# HELP a b\na 1\nb 1\n", vec![3]),
        ("", vec![1, 2, 3]),
        ("d 1\nb 1\n", vec![1, 3]),
    ] {
        let mut walk = cache.walk(page.as_bytes(), Format::Text, ParseOptions::default());
        while walk.next_line().unwrap().is_some() {}
        assert_eq!(walk.gone(), expected, "{page:?}");
        let met: Vec<_> = walk.met_payloads().filter(|p| *p > 0).collect();
        assert_eq!(met.len() + expected.len(), 3, "{page:?}");
    }
}

#[test]
fn targets_with_equal_lines_share_their_text() {
    let pool = ShapePool::new();
    let mut names = Vec::new();
    let page = "# HELP a b\n# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\n";
    let mut caches: Vec<_> = (0..3).map(|_| LineCache::new(&pool)).collect();
    for cache in &mut caches {
        scrape(cache, &mut names, page).unwrap();
        scrape(cache, &mut names, &page.replace(" 1\n", " 7\n")).unwrap();
    }
    assert_eq!(pool.usage().0, 1);
    assert!(caches[0].shape.text().is_some_and(|text| text.ends_with(b"a{x=\"2\"}")));
    let metadata = caches[2].metadata();
    assert_eq!(metadata.len(), 1);
    assert_eq!((&*metadata[0].name, &*metadata[0].help), ("a", "b"));
    assert_eq!(metadata[0].metric_type, MetricType::Counter);
    drop(caches);
    assert_eq!(pool.usage(), (0, 0));
}

#[test]
fn a_target_that_shuffles_is_not_reshaped_each_time() {
    let pool = ShapePool::new();
    let mut cache = LineCache::new(&pool);
    let mut names = Vec::new();
    let mut lines: Vec<String> = (0..20).map(|i| format!("a{{x=\"{i}\"}} 1\n")).collect();
    let mut shapes = 0;
    for turn in 0..40 {
        let before = Arc::as_ptr(&cache.shape);
        lines.rotate_left(7);
        lines.swap(turn % 20, turn * 7 % 20);
        scrape(&mut cache, &mut names, &lines.concat()).unwrap();
        shapes += usize::from(Arc::as_ptr(&cache.shape) != before);
    }
    assert!(shapes < 10, "{shapes} reorderings");
    assert_eq!(names.len(), 20);
}

proptest! {
    #[test]
    fn any_sequence_of_pages_reads_as_by_the_parser(
        pages in prop::collection::vec(
            prop::collection::vec(
                prop::sample::select(vec![
                    "a 1\n", "a 2 3\n", "a{x=\"1\"} 1\n", "a{x=\"2\"} 1e3\n", "b 5\n", "c NaN\n",
                    "c\t-Inf 7\n", "# TYPE a counter\n", "# TYPE a gauge\n", "# HELP a b\n",
                    "a{le=\"1\"} 1\n", "\n", "  d 1\n", "#\n", "e{x=\"\n\"} 1\n", "f 1", "a{",
                    "{\"a\"} 1\n", "aa 12345678901234567890123\n", "a  1 \n",
                ]),
                0..12,
            ),
            1..6,
        )
    ) {
        let pages: Vec<String> = pages.iter().map(|lines| lines.concat()).collect();
        let pool = ShapePool::new();
        let (mut one, mut two) = (LineCache::new(&pool), LineCache::new(&pool));
        let mut names = Vec::new();
        for page in &pages {
            for cache in [&mut one, &mut two] {
                let got = scrape(cache, &mut names, page);
                let expected = parse(page);
                prop_assert_eq!(format!("{got:?}"), format!("{expected:?}"));
            }
        }
    }
}

/// The pages of other implementations, where they are there.
fn foreign_pages() -> Vec<(Format, Vec<u8>)> {
    let dir = std::env::var("NARTHEX_TEXTPARSE_DIR")
        .unwrap_or_else(|_| "../shared/testdata/textparse".to_owned());
    let read = |(name, format)| Some((format, std::fs::read(format!("{dir}/{name}")).ok()?));
    let pages = [
        ("1histogram.om.txt", Format::OpenMetrics),
        ("alltypes.5mfs.om.txt", Format::OpenMetrics),
        ("alltypes.237mfs.prom.txt", Format::Text),
        ("alltypes.237mfs.nometa.prom.txt", Format::Text),
    ];
    let found: Vec<_> = pages.into_iter().filter_map(read).collect();
    let loud = if found.is_empty() { "!!! NO PAGE WAS FOUND" } else { "pages" };
    // Not through a macro: what those print is held back where the test passes.
    let _ = writeln!(std::io::stderr(), "textparse: {} {loud} in {dir}", found.len());
    found
}

#[test]
fn whole_pages_are_told_alike_by_cache_and_parser() {
    let own =
        b"# TYPE a counter\na_total{x=\"1\"} 1 # {t=\"u\"} 2\na_created{x=\"1\"} 3\n# TYPE h \
        histogram\nh_bucket{le=\"1\"} 2 # {} 1 5\nh_bucket{le=\"+Inf\"} 3 7.5\nh_count 3\n# EOF\n";
    let mut pages = foreign_pages();
    pages.push((Format::OpenMetrics, own.to_vec()));
    for (format, page) in pages {
        for flags in 0..16 {
            let options = ParseOptions {
                reads_starts: flags & 1 != 0,
                native_histograms: false,
                keep_classic: flags & 2 != 0,
                convert_classic: flags & 4 != 0,
                type_and_unit_labels: flags & 8 != 0,
            };
            crate::exposition::check_cache_against_parser(&page, format, options);
        }
    }
}

proptest! {
    #[test]
    fn mutants_of_openmetrics_are_told_alike(
        cuts in prop::collection::vec((0_usize..300, "[#a{}\"\\\\ =,\n0-9.]?"), 0..4),
        flags in 0_u8..16,
    ) {
        let mut page = "# TYPE a counter\na_total{x=\"1\"} 1 # {t=\"u\"} 2\na_created{x=\"1\"} 3\n\
            # TYPE h histogram\nh_bucket{le=\"1\"} 2 # {} 1 5\nh_bucket{le=\"+Inf\"} 3 7.5\n\
            h_count 3\n# UNIT c_s s\nc_s 1\nb 1\nb{x=\"2\"} 1 5\n# EOF\n".to_owned();
        for (at, text) in cuts {
            let at = at % page.len();
            page.replace_range(at..=at, &text);
        }
        let options = ParseOptions {
            reads_starts: flags & 1 != 0,
            native_histograms: false,
            keep_classic: flags & 2 != 0,
            convert_classic: flags & 4 != 0,
                type_and_unit_labels: flags & 8 != 0,
        };
        let page = page.as_bytes();
        crate::exposition::check_cache_against_parser(page, Format::OpenMetrics, options);
    }
}
