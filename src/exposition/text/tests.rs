//! What the parser takes and refuses; expectations are facts about Prometheus 3.14's parser.

use super::*;
use crate::model::NORMAL_NAN_BITS;
use proptest::prelude::*;

fn entries(page: &[u8]) -> Result<Vec<String>, ParseError> {
    let mut parser = TextParser::new(page);
    let mut out = Vec::new();
    while let Some(entry) = parser.next_entry()? {
        out.push(match entry {
            Entry::Series { value, timestamp_ms, .. } => {
                let labels = parser.labels_builder()?.build();
                let time = timestamp_ms.map_or(String::new(), |t| format!(" @{t}"));
                format!("{labels} {value}{time}")
            }
            Entry::Help { name, text } => format!("HELP {name}|{text}"),
            Entry::Type { name, metric_type } => format!("TYPE {name}|{}", metric_type.name()),
            Entry::Comment(text) => format!("COMMENT {}", String::from_utf8_lossy(text)),
            Entry::Unit { .. } | Entry::Histogram { .. } => panic!("the format has none"),
        });
    }
    Ok(out)
}

#[test]
fn reads_every_form_of_an_entry() {
    for (page, expected) in [
        ("# HELP a  two  words \\n \\\\ \\\" ", "HELP a| two  words \n \\ \\\" "),
        ("# HELP a", "HELP a|"),
        ("# HELP a   ", "HELP a|"),
        ("#\t TYPE \t a gauge", "TYPE a|gauge"),
        ("# TYPE \"a.b\" untyped", "TYPE a.b|unknown"),
        ("#HELP a b", "COMMENT #HELP a b"),
        ("# HELPER a b", "COMMENT # HELPER a b"),
        ("#", "COMMENT #"),
        ("a 1", r#"{__name__="a"} 1"#),
        ("a:b_1\t-2.5e-3   12", r#"{__name__="a:b_1"} -0.0025 @12"#),
        ("  a 1", r#"{__name__="a"} 1"#),
        ("a 1 \t", r#"{__name__="a"} 1"#),
        ("a{} 1", r#"{__name__="a"} 1"#),
        ("a{b=\"c\"}1", r#"{__name__="a", b="c"} 1"#),
        ("a { b = \"c\" , d= \"e\", } 1", r#"{__name__="a", b="c", d="e"} 1"#),
        ("a{b=\"c\" d=\"e\"} 1", r#"{__name__="a", b="c", d="e"} 1"#),
        ("a{b=\"\\\\ \\\" \\n \\x\"} 1", r#"{__name__="a", b="\\ \" \n \\x"} 1"#),
        ("a{b=\"x\ny\"} 1", r#"{__name__="a", b="x\ny"} 1"#),
        ("a{b=\"\"} 1", r#"{__name__="a"} 1"#),
        ("{\"a.b\",c=\"d\"} 1", r#"{__name__="a.b", c="d"} 1"#),
        ("{c=\"d\", \"a\\\"b\"} 1", r#"{__name__="a\"b", c="d"} 1"#),
        ("a{\"b.c\"=\"d\"} 1", r#"{__name__="a", "b.c"="d"} 1"#),
        ("a +Inf", r#"{__name__="a"} inf"#),
        ("a NaN", r#"{__name__="a"} NaN"#),
        ("a{le=\"1\"} 1", r#"{__name__="a", le="1"} 1"#),
    ] {
        assert_eq!(entries(page.as_bytes()).unwrap(), [expected], "{page:?}");
        let with_newlines = format!("\n\n{page}\n\n");
        assert_eq!(entries(with_newlines.as_bytes()).unwrap(), [expected], "{page:?}");
    }
    assert!(entries(b"").unwrap().is_empty());
    assert_eq!(entries(b"a{b=\"abc\0\"} 1").unwrap(), [r#"{__name__="a", b="abc\0"} 1"#]);
    assert_eq!(entries(b"# HELP a foo\0bar").unwrap(), ["HELP a|foo\0bar"]);
}

#[test]
fn bounds_come_in_openmetrics_style() {
    let page = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\n\
                other{le=\"5\",quantile=\"1\"} 1\n# TYPE s summary\ns{quantile=\"0\"} 1\n\
                s{quantile=\"x\"} 1\n# TYPE g gauge\ng{le=\"1\",quantile=\"1\"} 1\n";
    let samples: Vec<_> =
        entries(page.as_bytes()).unwrap().into_iter().filter(|e| e.starts_with('{')).collect();
    assert_eq!(
        samples,
        [
            r#"{__name__="h_bucket", le="1.0"} 1"#,
            r#"{__name__="h_bucket", le="+Inf"} 1"#,
            r#"{__name__="other", le="5.0", quantile="1"} 1"#,
            r#"{__name__="s", quantile="0.0"} 1"#,
            r#"{__name__="s", quantile="x"} 1"#,
            r#"{__name__="g", le="1", quantile="1"} 1"#,
        ]
    );
}

/// A page, and the text of the error it gives.
const REFUSED: &[(&[u8], &str)] = &[
    (b"a", r#"expected value after metric, got "\n" ("INVALID") while parsing: "a\n""#),
    (b"a{b='c'} 1\n", r#"expected label value, got "'" ("INVALID") while parsing: "a{b='""#),
    (b"a{b=\n", r#"expected label value, got "\n" ("INVALID") while parsing: "a{b=\n""#),
    (
        b"a{\xff=\"foo\"} 1\n",
        r#"expected label name, got "\xff" ("INVALID") while parsing: "a{\xff""#,
    ),
    (b"a{b=\"\xff\"} 1\n", r#"invalid UTF-8 label value: "\"\xff\"""#),
    (
        br#"{"a", "b = "c"}"#,
        r#"expected equal, got "c\"" ("LNAME") while parsing: "{\"a\", \"b = \"c\"""#,
    ),
    (br#"{"a",b\nc="d"} 1"#, r#"expected equal, got "\\" ("INVALID") while parsing: "{\"a\",b\\""#),
    (b"a true\n", r#"strconv.ParseFloat: parsing "true": invalid syntax while parsing: "a true""#),
    (
        b"s{problem=\"",
        r#"expected label value, got "\"\n" ("INVALID") while parsing: "s{problem=\"\n""#,
    ),
    (b"e{=\"\"} 0", r#"expected label name, got "=\"" ("EQUAL") while parsing: "e{=\"""#),
    (b"{A}0", r#"expected equal, got "}0" ("BCLOSE") while parsing: "{A}0""#),
    (b"foo 1_2\n", r#"unsupported character in float while parsing: "foo 1_2""#),
    (b"foo 0x1p-3\n", r#"unsupported character in float while parsing: "foo 0x1p-3""#),
    (
        b"foo 0 1_2\n",
        r#"expected next entry after timestamp, got "_" ("INVALID") while parsing: "foo 0 1_""#,
    ),
    (br#"{a="ok"} 1"#, r#"metric name not set while parsing: "{a=\"ok\"} 1""#),
    (
        b"# TYPE #\n#EOF\n",
        r##"expected metric name after TYPE, got "#" ("INVALID") while parsing: "# TYPE #""##,
    ),
    (
        b"# HELP #\n#EOF\n",
        r##"expected metric name after HELP, got "#" ("INVALID") while parsing: "# HELP #""##,
    ),
    (
        b"a{b=\0\"ssss\"} 1\n",
        r#"expected label value, got "\x00" ("INVALID") while parsing: "a{b=\x00""#,
    ),
    (
        b"a{b=\"\0",
        r#"expected label value, got "\"\x00\n" ("INVALID") while parsing: "a{b=\"\x00\n""#,
    ),
    (b"a{b\0=\"hiih\"}\t1", r#"expected equal, got "\x00" ("INVALID") while parsing: "a{b\x00""#),
    (
        b"a\0{b=\"ddd\"} 1",
        r#"expected value after metric, got "\x00" ("INVALID") while parsing: "a\x00""#,
    ),
    (
        b"a 0 1\0",
        r#"expected next entry after timestamp, got "\x00" ("INVALID") while parsing: "a 0 1\x00""#,
    ),
    (b"# TYPE a gauge \n", r#"invalid metric type "gauge ""#),
    (b"# TYPE a info\n", r#"invalid metric type "info""#),
    (b"# HELP a \xff\n", r#"help text "\xff" is not a valid utf8 string"#),
    (
        b"a 1 99999999999999999999\n",
        "strconv.ParseInt: parsing \"99999999999999999999\": value out of range \
             while parsing: \"a 1 99999999999999999999\"",
    ),
    (
        b"a 1 -1\n",
        r#"expected timestamp or new record, got "-" ("INVALID") while parsing: "a 1 -""#,
    ),
    (
        b"a 1 1.5\n",
        r#"expected next entry after timestamp, got "." ("INVALID") while parsing: "a 1 1.""#,
    ),
    (
        b"{\"a\"}{b=\"c\"} 1\n",
        r#"expected value after metric, got "{b" ("BOPEN") while parsing: "{\"a\"}{b""#,
    ),
    (b"a{\"b\"} 1\n", r#"metric name already set while parsing: "a{\"b\"}""#),
    (b"1a 1\n", r#"expected a valid start token, got "1" ("INVALID") while parsing: "1""#),
    (b"a{b=\"1\",b=\"2\"} 1\n", r#"label name "b" is not unique: invalid sample"#),
    (b"{\"\xff\"} 1\n", r#"invalid metric name or label names: "\xff""#),
    (
        b"a 1e999\n",
        r#"strconv.ParseFloat: parsing "1e999": value out of range while parsing: "a 1e999""#,
    ),
];

#[test]
fn errors_are_those_of_prometheus() {
    for (page, text) in REFUSED {
        let page_text = String::from_utf8_lossy(page);
        assert_eq!(entries(page).unwrap_err().to_string(), *text, "{page_text:?}");
    }
}

#[test]
fn a_nul_at_the_start_of_a_line_ends_the_page() {
    assert_eq!(entries(b"a 1\n\0b 2\n").unwrap().len(), 1);
}

#[test]
fn long_lines_are_refused_by_name() {
    let page = format!("a{{b=\"{}\"}} 1\n", "x".repeat(LINE_BYTES_MAX));
    let error = entries(page.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("limit of 1048576 bytes"), "{error}");
    let unclosed = format!("a{{b=\"{}", "x".repeat(LINE_BYTES_MAX));
    assert!(entries(unclosed.as_bytes()).unwrap_err().to_string().len() < 4096);
}

#[test]
fn every_nan_is_the_ordinary_one() {
    let mut parser = TextParser::new(b"a nan\n");
    let Some(Entry::Series { value, .. }) = parser.next_entry().unwrap() else { panic!() };
    assert_eq!(value.to_bits(), NORMAL_NAN_BITS);
}

proptest! {
    #[test]
    fn any_bytes_give_entries_or_an_error(
        page in prop::collection::vec(
            prop::sample::select(b"ab{}=\",\\\n #HELPTY1 .e-+\0\xff\t".to_vec()), 0..60
        )
    ) {
        let _ = entries(&page);
    }
}
